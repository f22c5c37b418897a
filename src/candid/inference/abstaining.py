"""When a model abstains, and the guarantee on its answers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import CandidError, DataError, RunError
from candid.records import from_plain
from candid.records.abstention import Abstention, AbstentionRule
from candid.records.calibration import PlaceCalibration
from candid.runs import Run
from candid.storage.files import check_format, read_bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """The model abstains where its highest probability is below `threshold`."""

    threshold: float
    sentence: str  # the threshold's origin and guarantee, for a reader
    # At most this share of the answers is wrong, with this confidence; None: no guarantee.
    target_error: float | None = None
    confidence: float = 0.95

    def abstains(self, probability: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) of probabilities (n, classes)."""
        mask: NDArray[np.bool_] = self.is_above(probability.max(axis=1))
        return mask

    def is_above(self, highest: Any) -> Any:
        """Whether the threshold is above the highest probability, of one or of several."""
        return highest < self.threshold


def abstention_rule(
    run: Run,
    abstain_below: float | None,
    target_error: float,
    place: PlaceCalibration | None = None,
) -> Rule | None:
    """When a run's model abstains; `place` is the calibration in use, if any."""
    if abstain_below is None and place is not None:
        return None if place.rule is None else _to_rule(place.rule, f"those of {place.name}")
    if abstain_below is None:
        return _audit_rule(run, target_error) if target_error else None
    if not (math.isfinite(abstain_below) and 0 <= abstain_below <= 1):
        raise DataError(
            f"The threshold of abstention is {abstain_below}.",
            expected="a probability from 0 to 1",
            todo="name one, such as 0.9, or none",
        )
    if abstain_below == 0:
        return None
    return Rule(abstain_below, f"Chosen by the user: no answer below {abstain_below:g}.")


def _audit_rule(run: Run, target_error: float) -> Rule | None:
    """The audit's rule for a share of wrong answers; None where it has none."""
    path = run.path / "audit.json"
    if not path.is_file():
        return None
    try:
        audit = json.loads(read_bytes(path))
        check_format(path, audit.get("format"))
        section = audit.get("abstention")
        abstention = None if section is None else from_plain(Abstention, section)
    except CandidError:
        raise
    except Exception as error:  # cattrs raises groups of many kinds; all mean the same to a reader
        raise RunError(
            f"{path} is damaged or comes from another version: {type(error).__name__}.",
            expected="the audit of this run",
            todo="run candid audit again",
        ) from error
    if abstention is None:
        return None
    for target in abstention.targets:
        if math.isclose(target.target_error, target_error) and target.rule is not None:
            source = abstention.calibrated_on
            like = "the validation pictures" if source == "validation" else f"those of {source}"
            return _to_rule(target.rule, like)
    return None


def _to_rule(rule: AbstentionRule, like: str) -> Rule:
    sentence = f"{rule.guarantee} This is promised for pictures like {like}."
    return Rule(rule.threshold, sentence, rule.target_error, rule.confidence)
