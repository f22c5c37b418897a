"""How a run's model of a number does on another place's pictures; see `candid.transfer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.pipeline.answered import Answered
from candid.pipeline.labelling import Answering
from candid.predictions.numbers import (
    NumberPredictions,
    read_number_predictions,
    write_number_predictions,
)
from candid.records import Estimate, ModelCard, read_record
from candid.records.audit import SplitAudit
from candid.records.external_number import NumberFigures, NumberSource, NumberTransfer
from candid.runs import Run
from candid.settings import AuditConfig, Config
from candid.tables.attributes import Attribute
from candid.tables.columns import NO_YES

_UNLIKE = "unlike the training data"  # an attribute of the predictions that are kept


@dataclass(frozen=True, eq=False)
class NumberHome:
    """The run's own test images: what the model says of them, and how it does."""

    predictions: NumberPredictions
    figures: NumberFigures


def refuse_for_number(how: Answering) -> None:
    """Raise a ConfigError where something is asked that has no meaning for a number."""
    asked = {
        "--abstain-below": how.get("abstain_below"),
        "--engine int8": how.get("engine") == "int8",
    }
    for option, given in asked.items():
        if given:
            raise ConfigError(
                f"{option} is for a label with classes, and the run learned a number.",
                expected="a number, which has an interval in place of probabilities",
                todo="leave it out",
            )


def number_at_home(run: Run, settings: Config) -> NumberHome | None:
    """On the run's own test predictions; None where there are none."""
    from candid.evaluation.external_numbers import number_figures_at

    if not run.predictions_file.is_file():
        return None
    own = read_number_predictions(run.predictions_file)
    tested = own[own.split == "test"]
    if not len(tested):
        return None
    return NumberHome(tested, number_figures_at(tested, settings.evaluate))


def number_begun(
    run: Run, card: ModelCard, model: str, home: NumberFigures | None, settings: Config
) -> NumberTransfer:
    """The record with what it held of this model before."""
    from candid.evaluation.numbers import tolerance_of

    if card.number is None:
        raise ValueError(f"{card.target!r} is no number")
    made_from = f"{model}, {card.number!r}"  # the intervals, too
    model = blake2b(made_from.encode(), digest_size=16).hexdigest()
    sources: tuple[NumberSource, ...] = ()
    if run.transfer.is_file():
        before = read_record(run.transfer, NumberTransfer)
        sources = before.sources if before.model == model else ()
    tolerance = tolerance_of(card.number.quartiles, settings.evaluate)
    return NumberTransfer(card.target, card.number.coverage, tolerance, model, home, sources)


def number_source(
    about: dict[str, Any],
    answered: Answered,
    own: NumberHome | None,
    settings: Config,
    file: Path,
    unseen: NDArray[np.str_],
) -> NumberSource:
    """How the model does on the pictures that were answered; writes the predictions.

    `about` is what is known of the pictures, `unseen` (n,) what they are to be called as a split.
    """
    from candid.evaluation.external_numbers import number_figures_at

    p = answered.numbers
    figures = number_figures_at(p, settings.evaluate, answered.unlike)
    paired, differences = _less_home(p, figures, own, settings)
    write_number_predictions(file, _with_flags(replace(p, split=unseen), answered.unlike))
    return NumberSource(
        **about,
        figures=figures,
        differences=differences,
        paired=paired,
        audit=_by_group(p, settings.audit) if p.attributes else None,
    )


def _less_home(
    p: NumberPredictions, figures: NumberFigures, own: NumberHome | None, settings: Config
) -> tuple[bool, dict[str, Estimate]]:
    """Whether these are the run's own pictures, and the figures less those at home."""
    from candid.evaluation.external_numbers import number_less_home, paired_numbers, same_numbers

    if own is None:
        return False, {}
    if same_numbers(p, own.predictions):
        return True, paired_numbers(p, own.predictions, settings.evaluate)
    return False, number_less_home(figures, own.figures)


def _with_flags(p: NumberPredictions, unlike: NDArray[np.bool_] | None) -> NumberPredictions:
    """The predictions with whether each was flagged, as a further attribute."""
    if unlike is None or _UNLIKE in p.attributes:
        return p
    flags = Attribute(_UNLIKE, "binary", NO_YES, unlike.astype(np.int16))
    return replace(p, attributes={**p.attributes, _UNLIKE: flags})


def _by_group(p: NumberPredictions, config: AuditConfig) -> SplitAudit:
    """The gaps between the groups of the data set's own attributes, one by one."""
    from candid.auditing.number_gaps import audit_number

    everyone = replace(p, split=np.full(len(p), "test"))
    return audit_number(everyone, singles_there(config, p.attributes)).splits[0]


def singles_there(config: AuditConfig, attributes: Iterable[str]) -> AuditConfig:
    """How groups are audited at another place, which may lack attributes that are named."""
    known = {*attributes}
    named = tuple(name for name in config.attributes if name in known)
    return replace(config, splits=("test",), attributes=named)
