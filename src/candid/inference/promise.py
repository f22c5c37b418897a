"""Whether what a model promises of its answers holds for the pictures at hand.

The promise was made for pictures like those that the threshold was found on. Where more pictures
are flagged as unlike the training data than chance explains, these are others, and it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.inference.classify import Labeller
from candid.inference.rows import Outcome
from candid.inference.unfamiliar import UNLIKE
from candid.stats.exact import exceedance_p

_SURPRISE = 0.05  # a chance below it is not taken for chance


@dataclass(frozen=True, slots=True)
class PromiseHere:
    """What is promised of the answers to some pictures.

    Attributes
    ----------
    unlike, pictures
        How many pictures (with faces looked for: faces) were flagged as unlike the training data,
        of how many.
    holds
        False where these are more than chance explains; None where nobody looked.
    sentence
        The promise, or that it does not hold here; "" where there is none.
    """

    unlike: int
    pictures: int
    holds: bool | None
    sentence: str


def promise_here(labeller: Labeller, tally: Outcome) -> PromiseHere:
    """What is promised of the answers that a job gave."""
    rule, unfamiliar = labeller.classifier.rule, labeller.unfamiliar
    unlike, seen = tally.reasons.get(UNLIKE, 0), tally.answered + tally.abstained
    holds = None
    if unfamiliar is not None:
        chance = exceedance_p(unlike, seen, unfamiliar.checked, unfamiliar.false_alarms)
        holds = chance >= _SURPRISE
    if rule is None or rule.target_error is None:
        return PromiseHere(unlike, seen, holds, "" if rule is None else rule.sentence)
    if unfamiliar is None or holds is None:
        return PromiseHere(unlike, seen, holds, rule.sentence)
    of = f"{unlike:,} of these {seen:,} are unlike the training data"
    if holds:
        return PromiseHere(unlike, seen, holds, f"{rule.sentence} {of}.")
    said = (
        f"No promise: {of}, where at most {unfamiliar.false_alarms:.1%} of pictures like the "
        "validation pictures would be. For those it was promised that at most "
        f"{100 * rule.target_error:.3g}% of the answers are wrong; for these nothing is known. "
        "candid evaluate RUN DATA says how it does on labelled ones, and candid calibrate makes a "
        "promise for them."
    )
    return PromiseHere(unlike, seen, holds, said)
