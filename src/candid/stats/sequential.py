"""Figures that are looked at while their data grow, with intervals that hold all the same.

Whoever stops as soon as an interval is narrow enough, and takes it for one of the usual kind, is
wrong too often: every look is another chance. Here the looks are few and fixed beforehand, and each
has a level of its own. All but the last are strict (Haybittle 1971; Peto et al. 1976), so the last
keeps nearly the whole error: with three looks and 95%, two at 99.9% and one at 95.2%. The errors of
all looks add up to no more than one minus the confidence (Bonferroni), so that the intervals of all
looks hold together, whatever rule stops (repeated confidence intervals, Jennison & Turnbull 1989).
To give up early where success has become unlikely costs power and never validity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from candid.records import Estimate
from candid.stats.intervals import normal_quantile

_INTERIM = 1 / 50  # of the whole error that each look but the last takes
_THIRDS = 3  # looks at a third, two thirds and all
_HOPELESS = 1.645  # standard errors: below a chance of 5% that the last look passes


@dataclass(frozen=True, slots=True)
class Looks:
    """The units after which there is a look, the last at all, and the joint confidence."""

    sizes: tuple[int, ...]
    confidence: float

    def level(self, look: int) -> float:
        """The confidence of the interval of a look, counted from 0."""
        error, interim = 1 - self.confidence, len(self.sizes) - 1
        return 1 - error * (_INTERIM if look < interim else 1 - interim * _INTERIM)


def looks_at(n: int, confidence: float, *, fewest: int) -> Looks:
    """Looks at a third, two thirds and all of n units; at all alone where a third is too few."""
    if n < _THIRDS * fewest:
        return Looks((n,), confidence)
    sizes = [math.ceil(n * part / _THIRDS) for part in range(1, _THIRDS + 1)]
    return Looks(tuple(sizes), confidence)


def excludes(figure: Estimate, threshold: float) -> bool:
    """Whether the whole interval lies on one side of the threshold."""
    return figure.low > threshold or figure.high < threshold


def is_settled(figures: Iterable[Estimate], looks: Looks, look: int) -> bool:
    """Whether all surely lie above 0, or one of them does not or most likely will not."""
    estimates = list(figures)
    failed = any(e.high < 0 or is_hopeless(e, looks, look) for e in estimates)
    return failed or all(e.low > 0 for e in estimates)


def is_hopeless(figure: Estimate, looks: Looks, look: int) -> bool:
    """Whether a figure that is to lie above 0 will most likely not at the last look.

    That is, where it goes on as it began: its conditional power (Lan & Wittes 1988) is below 5%. A
    figure without an interval is not hopeless.
    """
    fraction = looks.sizes[look] / looks.sizes[-1]
    if fraction >= 1 or not math.isfinite(figure.high - figure.low):
        return False
    error = (figure.high - figure.low) / 2 / normal_quantile(figure.confidence)
    at_last = error * math.sqrt(fraction)  # its standard error at the last look
    needed = normal_quantile(looks.level(len(looks.sizes) - 1)) * at_last
    return needed - figure.value > _HOPELESS * at_last * math.sqrt((1 - fraction) / fraction)
