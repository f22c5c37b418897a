"""A test martingale that detects when scores no longer come as those of a fixed reference set.

Each new score becomes a conformal p-value, its smoothed rank in the reference set (Vovk, Gammerman
and Shafer 2005, §8). Against a set that stays as it is these are not independent and uniform: given
the set, the share of p-values below a level is not that level but what the set happened to have
there (Vovk 2012; Bates et al. 2023), and whoever bets against the level itself wins from that error
sooner or later, in a stream that is long enough. So the bets are against an interval: that the
share of p-values below a level lies within what another sample of as many people as the reference
set may show. What is wider than that, no reference set of this size can tell from home.

A bet that the share is above `high` multiplies its capital by 1 + stake (1 - high) / high where a
p-value is below the level and by 1 - stake where it is not; at any share up to `high` that is at
most 1 on average, whatever came before (Waudby-Smith and Ramdas 2024). Bets below `low` are the
mirror image. The capital is spread evenly over scores, levels, sides and stakes, and over the
moments at which a bet begins, so that a change late in a stream meets fresh capital (Shin, Ramdas
and Rinaldo 2022). A sum of such capitals is a supermartingale that begins at 1: at home it ever
reaches 1 / share with the probability `share` at most, however long the stream (Ville 1939).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, FloatArray
from candid.stats.intervals import (
    linearise,
    linearised_error,
    student_quantile,
    sums_by_person,
    wilson_limits,
)
from candid.table import known_persons

Codes = NDArray[np.uint8]

# At most so many streams from home raise an alarm: some because the reference set is an odd one, so
# that its intervals miss, the others by chance.
_MISSES, _CHANCE = 0.01, 0.04
FALSE_ALARMS = _MISSES + _CHANCE

ROUND = 25  # so many images are bet on at once, and then a bet begins anew
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)  # of p-values
_STAKES = (0.02, 0.06, 0.2, 0.5)
_FEWEST = 10  # of half the effective size on either side of a level that is bet on
_MOST_CAPITAL = 1e200  # capital beyond it is given up, so that no product overflows


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The scores that new ones are compared with."""

    scores: FloatArray  # (n, k) of k scores of n images, each column ascending
    # (k, levels) ends within which the share of p-values below each level lies at home.
    low: FloatArray
    high: FloatArray

    @property
    def limits(self) -> int:
        """How many shares a stream could leave; 0: the images are too few to tell anything."""
        return int(np.count_nonzero(self.low > 0) + np.count_nonzero(self.high < 1))

    def codes(self, scores: FloatArray, rng: np.random.Generator) -> Codes:
        """(m, k) how many of the levels lie below the p-value of each of (m, k) scores."""
        p = [
            conformal_p(column, reference, rng)
            for column, reference in zip(scores.T, self.scores.T, strict=True)
        ]
        return np.searchsorted(LEVELS, np.column_stack(p)).astype(np.uint8)


def conformal_p(scores: FloatArray, reference: FloatArray, rng: np.random.Generator) -> FloatArray:
    """(m,) smoothed ranks in (0, 1) of scores among the ascending `reference` (n,).

    Where a score stands among equal ones is drawn, its own place included. Uniform where the
    scores and the reference are exchangeable.
    """
    below = np.searchsorted(reference, scores, side="left")
    ties = np.searchsorted(reference, scores, side="right") - below
    uniform = 1 - rng.random(len(scores))  # never 0
    return (below + uniform * (ties + 1)) / (len(reference) + 1)


def reference_set(
    scores: FloatArray, person: NDArray[np.int64] | None = None, *, seed: int = 0
) -> ReferenceSet:
    """What to hold new scores against, of (n, k) scores of home.

    All intervals together miss with a probability of 1%. `person` (n,) says
    whose images they are (-1: unknown); those of one person count as what they are worth together.
    """
    n, k = scores.shape
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random((k, n)), scores.T))  # equal scores in a drawn order
    p = (np.argsort(order) + 0.5).T / n  # (n, k): the rank of each among all
    below = p[:, :, None] <= np.array(LEVELS)
    low, high = _home_limits(below, known_persons(person))
    return ReferenceSet(np.sort(scores, axis=0), low, high)


def _home_limits(
    below: BoolArray, person: NDArray[np.int64] | None
) -> tuple[FloatArray, FloatArray]:
    """(k, levels) limits of the shares that another sample of (n, k, levels) marks may have.

    Korn & Graubard's intervals (1998), in Wilson's form, at half the effective size, as there are
    two samples. The design effect of a score is its largest at any level: in the tails, where a few
    images count, it cannot be read off. 0 and 1 where too few lie on one side of a level.
    """
    n, k, levels = below.shape
    if person is None:
        people, effective = n, np.full(k, float(n))
    else:
        sums = sums_by_person(below.reshape(n, -1), person)
        images = sums_by_person(np.ones((n, 1)), person)
        people = len(sums)
        share, moves = linearise(sums, images)
        error = linearised_error(moves, np.array(people))
        spread = share * (1 - share)  # 0 where all of few images lie on one side of a level
        effect = np.divide(error**2 * n, spread, out=np.ones_like(spread), where=spread > 0)
        effect = effect.reshape(k, levels)
        effective = n / np.maximum(effect.max(axis=1), 1)
    share, effective_half = below.mean(axis=0), effective[:, None] / 2
    quantile = student_quantile(1 - _MISSES / (k * levels), people - 1)
    low, high = wilson_limits(share, effective_half, people, quantile)
    is_reliable = effective_half * np.minimum(share, 1 - share) >= _FEWEST
    return np.where(is_reliable, low, 0.0), np.where(is_reliable, high, 1.0)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Evidence that scores no longer come as at home."""

    after: int  # how many had come
    score: int  # which of the scores gave most of the evidence
    lower: bool  # in that part of its values where most of it lies: lower than at home, else higher


class DriftMartingale:
    """Bets that scores no longer come as those of a reference set; of one thread alone."""

    log_limit = -math.log(_CHANCE)  # of the capital: from here on it is an alarm

    def __init__(self, reference: ReferenceSet) -> None:
        self.seen = 0  # images whose scores have come
        self.log_value = 0.0  # the logarithm of the capital
        self.alarm: Alarm | None = None  # the first
        self._log_odds = _log_odds(reference)  # (k, codes, bets)
        k, self._n_codes, bets = self._log_odds.shape
        self._capital = np.zeros((k, bets))  # that is at stake
        self._rounds = 0
        self._pending = np.zeros((0, k), np.uint8)  # fewer than make a round

    def add(self, codes: Codes) -> None:
        """Take in the codes (m, k) of m images, in their order; a bet is made in every round."""
        self.seen += len(codes)
        codes = np.concatenate([self._pending, codes])
        complete = len(codes) // ROUND * ROUND
        rounds = codes[:complete].reshape(-1, ROUND, codes.shape[1])
        self._pending = codes[complete:]
        counts = np.count_nonzero(rounds[..., None] == np.arange(self._n_codes), axis=1)
        for growth in np.exp(np.einsum("rkc,kcb->rkb", counts, self._log_odds)):
            self._bet(growth)

    def _bet(self, growth: FloatArray) -> None:
        """One round, in which the bets grow by (k, bets) factors."""
        released = _reserve(self._rounds) - _reserve(self._rounds + 1)
        self._rounds += 1
        capital = (self._capital + released / self._capital.size) * growth
        self._capital = np.minimum(capital, _MOST_CAPITAL)
        self.log_value = math.log(_reserve(self._rounds) + float(self._capital.sum()))
        if self.alarm is None and self.log_value >= self.log_limit:
            self.alarm = self._alarm()

    def _alarm(self) -> Alarm:
        score = int(self._capital.sum(axis=1).argmax())
        shape = (len(LEVELS), 2, len(_STAKES))
        _, side, _ = np.unravel_index(int(self._capital[score].argmax()), shape)
        return Alarm(self._rounds * ROUND, score, lower=bool(side == 0))


def _reserve(rounds: int) -> float:
    """The share of the capital that is left for further bets after so many rounds."""
    return 1 / (1 + math.log1p(rounds))


def _log_odds(reference: ReferenceSet) -> FloatArray:
    """(k, codes, bets): the logarithm of what each code multiplies the capital of each bet by.

    The bets are all of (levels, sides, stakes); the first side is that more lie below a level.
    """
    stake = np.array(_STAKES)
    code = np.arange(len(LEVELS) + 1)
    below = code[:, None] <= np.arange(len(LEVELS))  # (codes, levels)
    bound = np.stack([reference.high, 1 - reference.low], axis=-1)  # (k, levels, sides)
    is_below = np.stack([below, ~below], axis=-1)[..., None]  # (codes, levels, sides, 1)
    gain = 1 + stake * ((1 - bound) / bound)[:, None, :, :, None]
    log_odds: FloatArray = np.log(np.where(is_below, gain, 1 - stake))
    return log_odds.reshape(len(bound), len(code), -1)
