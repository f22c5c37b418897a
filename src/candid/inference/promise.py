"""Whether what a model promises of its answers holds for the pictures at hand.

The promise was made for pictures like those that the threshold was found on. Where more pictures
are flagged as unlike the training data than chance explains, or where all together drift away from
the validation pictures (`candid.inference.drift`), or most of them lie otherwise in their frame
(`candid.inference.common_frame`), these are others, and it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from candid.inference.abstaining import Rule
from candid.inference.classifier import Classifier
from candid.inference.classify import Labeller
from candid.inference.drift import Drift
from candid.inference.rows import Outcome
from candid.inference.unfamiliar import UNLIKE
from candid.records.framing import CommonFrame
from candid.stats.exact import exceedance_p
from candid.stats.martingale import FALSE_ALARMS
from candid.text import promise as text
from candid.text.labelling import most_lie

_SURPRISE = 0.05  # a chance below it is not taken for chance


@dataclass(frozen=True, slots=True)
class PromiseHere:
    """What is promised of the answers to some pictures.

    `unlike` of `pictures` (with faces looked for: of faces) were flagged as unlike the training
    data. `holds` is False where these are more than chance explains, where all together drift away
    from the validation pictures, or where most of them lie otherwise in their frame; None where
    nobody looked. `sentence` is the promise, or that it does not hold here; "" where there is none.
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
    frame = tally.frame
    if frame is not None and lies_elsewhere(labeller.classifier, frame):
        said = "" if rule is None else rule.sentence
        if rule is not None and rule.target_error is not None:
            said = text.withdrawn(f"{most_lie(frame)}.", rule.target_error)
        return PromiseHere(unlike, seen, False, said)
    drift = None if tally.drift is None else tally.drift.drawn
    if drift is not None and drift.alarm and holds is not False:
        said = "" if rule is None else promise_after(rule, drift)
        return PromiseHere(unlike, seen, False, said)
    if rule is None or rule.target_error is None or unfamiliar is None:
        return PromiseHere(unlike, seen, holds, "" if rule is None else rule.sentence)
    if holds:
        return PromiseHere(unlike, seen, holds, text.holds(rule.sentence, unlike, seen))
    said = text.too_many_flagged(unlike, seen, unfamiliar.false_alarms, rule.target_error)
    return PromiseHere(unlike, seen, holds, said)


def lies_elsewhere(classifier: Classifier, frame: CommonFrame | None) -> bool:
    """Whether pictures with this frame in common are none that the model's promise was made for.

    A calibration's was made for those of its place, however they lie.
    """
    return classifier.shift is None and frame is not None and not frame.at_home


def promise_after(rule: Rule, drift: Drift | None) -> str:
    """The rule's sentence; where an alarm was raised over what it promises, that instead."""
    alarm = alarm_said(drift)
    if alarm is None or rule.target_error is None:
        return rule.sentence
    return text.withdrawn(alarm, rule.target_error)


def alarm_said(drift: Drift | None) -> str | None:
    """What an alarm says; None where there was none."""
    if drift is None or drift.after is None:
        return None
    return text.drifted(drift.after, drift.change, FALSE_ALARMS)


def drift_said(tally: Outcome) -> str:
    """What a job's summary says of drift: "" where nobody watched."""
    found = tally.drift
    return "" if found is None else text.drift_line(found.ordered, found.drawn, FALSE_ALARMS)
