"""Whether what a model promises of its answers holds for the pictures at hand.

The promise was made for pictures like those that the threshold was found on. Where more pictures
are flagged as unlike the training data than chance explains, or where all together drift away from
the validation pictures (`candid.inference.drift`), these are others, and it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.inference.classifier import Rule
from candid.inference.classify import Labeller
from candid.inference.drift import Drift
from candid.inference.rows import Outcome
from candid.inference.unfamiliar import UNLIKE
from candid.stats.exact import exceedance_p
from candid.stats.martingale import FALSE_ALARMS

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
        False where these are more than chance explains, or where all pictures together drift away
        from the validation pictures; None where nobody looked.
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
    drift = None if tally.drift is None else tally.drift.drawn
    if drift is not None and drift.after is not None and holds is not False:
        said = "" if rule is None else broken_promise(rule, drift)
        return PromiseHere(unlike, seen, False, said)
    if rule is None or rule.target_error is None:
        return PromiseHere(unlike, seen, holds, "" if rule is None else rule.sentence)
    if unfamiliar is None or holds is None:
        return PromiseHere(unlike, seen, holds, rule.sentence)
    of = f"{unlike:,} of these {seen:,} are unlike the training data"
    if holds:
        return PromiseHere(unlike, seen, holds, f"{rule.sentence} {of}.")
    said = (
        f"No promise: {of}, where at most {unfamiliar.false_alarms:.1%} of pictures like the "
        f"validation pictures would be. {_for_those(rule.target_error)}"
    )
    return PromiseHere(unlike, seen, holds, said)


def _for_those(target_error: float) -> str:
    return (
        "For those it was promised that at most "
        f"{100 * target_error:.3g}% of the answers are wrong; for these nothing is known. "
        "candid evaluate RUN DATA says how it does on labelled ones, and candid calibrate makes a "
        "promise for them."
    )


def broken_promise(rule: Rule, drift: Drift) -> str:
    """What stands in a promise's place after an alarm; the rule's sentence where none was made."""
    if rule.target_error is None:
        return rule.sentence
    return f"No promise: {drifted(drift)} {_for_those(rule.target_error)}"


def drifted(drift: Drift) -> str:
    """What an alarm says."""
    return (
        f"the pictures are not like the validation pictures, which showed after {drift.after:,} of "
        f"them (most of all, {drift.change}; streams of pictures like those raise at most "
        f"{100 * FALSE_ALARMS:.0f} false alarms in 100)."
    )


def drift_line(tally: Outcome) -> str:
    """What a job's summary says of drift: "" where nobody watched."""
    found = tally.drift
    if found is None:
        return ""
    if not found.drawn.limits:
        return "drift: the validation pictures are too few to tell"
    if found.drawn.after is not None:
        since = found.ordered.after
        order = "" if since is None else f"; in their order it showed after {since:,}"
        return f"drift: {drifted(found.drawn)[:-1]}{order}"
    if found.ordered.after is not None:
        return (
            f"drift: all {found.drawn.pictures:,} together are like the validation pictures, but "
            f"not in their order, which showed after {found.ordered.after:,} (most of all, "
            f"{found.ordered.change}): they are sorted, or change on the way"
        )
    return f"drift: none seen in {found.drawn.pictures:,} pictures"
