"""Whether the guarantee on a model's answers holds for a job's images.

The guarantee is for images like those on which the threshold was set. It does not hold where more
images are flagged as unlike the training data than chance explains, where they drift from the
validation images (`candid.inference.drift`), or where most of them have another frame
(`candid.inference.common_frame`).
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
from candid.text.labelling import common_frame_clause

_SIGNIFICANCE = 0.05


@dataclass(frozen=True, slots=True)
class PromiseHere:
    """The guarantee on the answers for a job's images.

    `unlike` of `pictures` (with a face finder: of faces) were flagged as unlike the training data.
    `holds` is False where these are more than chance explains, where the images drift from the
    validation images, or where most of them have another frame; None where it was not checked.
    `sentence` is the guarantee, or that it does not hold; "" where there is none.
    """

    unlike: int
    pictures: int
    holds: bool | None
    sentence: str


def promise_here(labeller: Labeller, tally: Outcome) -> PromiseHere:
    """The guarantee on a job's answers."""
    rule, unfamiliar = labeller.classifier.rule, labeller.unfamiliar
    unlike, n = tally.reasons.get(UNLIKE, 0), tally.answered + tally.abstained
    holds = None
    if unfamiliar is not None:
        p_value = exceedance_p(unlike, n, unfamiliar.checked, unfamiliar.false_alarms)
        holds = p_value >= _SIGNIFICANCE
    frame = tally.frame
    if frame is not None and lies_elsewhere(labeller.classifier, frame):
        sentence = "" if rule is None else rule.sentence
        if rule is not None and rule.target_error is not None:
            sentence = text.withdrawn(f"{common_frame_clause(frame)}.", rule.target_error)
        return PromiseHere(unlike, n, False, sentence)
    drift = None if tally.drift is None else tally.drift.drawn
    if drift is not None and drift.alarm and holds is not False:
        sentence = "" if rule is None else promise_after(rule, drift)
        return PromiseHere(unlike, n, False, sentence)
    if rule is None or rule.target_error is None or unfamiliar is None:
        return PromiseHere(unlike, n, holds, "" if rule is None else rule.sentence)
    if holds:
        return PromiseHere(unlike, n, holds, text.promise_sentence(rule.sentence, unlike, n))
    sentence = text.too_many_flagged(unlike, n, unfamiliar.false_alarms, rule.target_error)
    return PromiseHere(unlike, n, holds, sentence)


def lies_elsewhere(classifier: Classifier, frame: CommonFrame | None) -> bool:
    """Whether the model's guarantee excludes images with this common frame.

    A calibration's guarantee is for its place, whatever the frame.
    """
    return classifier.shift is None and frame is not None and not frame.at_home


def promise_after(rule: Rule, drift: Drift | None) -> str:
    """The rule's sentence; after an alarm, that its guarantee does not hold."""
    alarm = alarm_text(drift)
    if alarm is None or rule.target_error is None:
        return rule.sentence
    return text.withdrawn(alarm, rule.target_error)


def alarm_text(drift: Drift | None) -> str | None:
    """The alarm's text; None where there was none."""
    if drift is None or drift.after is None:
        return None
    return text.drifted(drift.after, drift.change, FALSE_ALARMS)


def describe_drift(tally: Outcome) -> str:
    """A job summary's line on drift; "" where it was not watched."""
    drift = tally.drift
    return "" if drift is None else text.drift_line(drift.ordered, drift.drawn, FALSE_ALARMS)
