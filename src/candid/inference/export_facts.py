"""What an exported model says of itself, wherever it is carried."""

from __future__ import annotations

import json
from typing import Any

from candid.inference.abstaining import abstention_rule
from candid.records import ModelCard, Provenance, read_record
from candid.runs import Run, open_run


def facts(run: Run, card: ModelCard) -> dict[str, Any]:
    """What an export says of where it comes from and when the model abstains."""
    about = read_record(run.provenance, Provenance)
    settings = open_run(run.path).settings
    rule = abstention_rule(run, None, settings.predict.target_error)
    return {
        "target": card.target,
        "classes": list(card.classes),
        "abstain_below": None if rule is None else rule.threshold,
        "fit": settings.data.fit,  # how a picture becomes a square
        "data_fingerprint": about.data_fingerprint,
        "version": about.candid,
        # What the labels and pictures allow is for whoever publishes it to say.
        "license": "other",
    }


def fact_marks(run: Run, card: ModelCard) -> dict[str, str]:
    """The same as entries in the metadata of an ONNX file; what is not known is left out."""
    return {
        f"candid.{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in facts(run, card).items()
        if value is not None
    }
