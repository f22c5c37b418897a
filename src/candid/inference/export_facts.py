"""The metadata of an exported model."""

from __future__ import annotations

import json
from typing import Any

from candid.inference.abstaining import abstention_rule
from candid.records import ModelCard, Provenance, read_record
from candid.runs import Run, open_run


def facts(run: Run, card: ModelCard) -> dict[str, Any]:
    """An export's provenance and abstention."""
    provenance = read_record(run.provenance, Provenance)
    settings = open_run(run.path).settings
    rule = abstention_rule(run, None, settings.predict.target_error)
    return {
        "target": card.target,
        "classes": list(card.classes),
        "abstain_below": None if rule is None else rule.threshold,
        "fit": settings.data.fit,  # how an image becomes a square
        "data_fingerprint": provenance.data_fingerprint,
        "version": provenance.candid,
        # The publisher must choose one that labels and images allow.
        "license": "other",
    }


def fact_marks(run: Run, card: ModelCard) -> dict[str, str]:
    """The facts as metadata of an ONNX file; None is left out."""
    return {
        f"candid.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in facts(run, card).items()
        if value is not None
    }
