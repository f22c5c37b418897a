"""How well a run's model of a number does on other data; see `candid.transfer`."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray
from candid.errors import ConfigError
from candid.pipeline.answers import ModelAnswers
from candid.pipeline.auditing import AnyAnswers
from candid.pipeline.labelled import TrainedRun
from candid.pipeline.labelling import PredictOptions
from candid.predictions.numbers import (
    NumberPredictions,
    read_number_predictions,
    write_number_predictions,
)
from candid.records import Estimate, read_record
from candid.records.audit import SplitAudit
from candid.records.external_number import NumberFigures, NumberSource, NumberTransfer
from candid.settings import AuditConfig
from candid.tables.attributes import Attribute
from candid.tables.columns import NO_YES

UNLIKE = "unlike the training data"  # an attribute of the predictions that are kept


def refuse_for_number(options: PredictOptions) -> None:
    """Raise a ConfigError for options that mean nothing for a number."""
    conflicts = {
        "--abstain-below": options.get("abstain_below"),
        "--engine int8": options.get("engine") == "int8",
    }
    for option, value in conflicts.items():
        if value:
            raise ConfigError(
                f"{option} is for a label with classes, and the run learned a number.",
                expected="a number, which has an interval in place of probabilities",
                todo="leave it out",
            )


@dataclass(frozen=True, eq=False)
class NumberJudge:
    """Judges the answers of a run of a number elsewhere, beside those to its own test images."""

    trained_run: TrainedRun
    home: tuple[NumberPredictions, NumberFigures] | None  # None: it has no test images

    @classmethod
    def open(cls, trained_run: TrainedRun) -> NumberJudge:
        """With the run's own test predictions, where it has some."""
        from candid.evaluation.external_numbers import number_figures_at

        file = trained_run.run.predictions_file
        if not file.is_file():
            return cls(trained_run, None)
        predictions = read_number_predictions(file)
        test = predictions[predictions.split == "test"]
        if not len(test):
            return cls(trained_run, None)
        return cls(trained_run, (test, number_figures_at(test, trained_run.settings.evaluate)))

    def open_record(self, model: str) -> NumberTransfer:
        """The record, with what it already holds of this model."""
        from candid.evaluation.numbers import choose_tolerance

        run, card = self.trained_run.run, self.trained_run.card
        number = card.number
        if number is None:
            raise ValueError(f"{card.target!r} is no number")
        key = f"{model}, {number!r}"  # the intervals, too
        model = blake2b(key.encode(), digest_size=16).hexdigest()
        sources: tuple[NumberSource, ...] = ()
        if run.transfer.is_file():
            previous = read_record(run.transfer, NumberTransfer)
            sources = previous.sources if previous.model == model else ()
        tolerance = choose_tolerance(number.quartiles, self.trained_run.settings.evaluate)
        figures = None if self.home is None else self.home[1]
        return NumberTransfer(card.target, number.coverage, tolerance, model, figures, sources)

    def judge(
        self, fields: dict[str, Any], answers: ModelAnswers, file: Path, split: NDArray[np.str_]
    ) -> NumberSource:
        """Evaluate on the answered images; writes the predictions, in the splits (n,) `split`."""
        from candid.evaluation.external_numbers import number_figures_at

        p = answers.numbers
        figures = number_figures_at(p, self.trained_run.settings.evaluate, answers.unlike)
        paired, differences = self._compare_home(p, figures)
        write_number_predictions(file, add_marks(replace(p, split=split), {UNLIKE: answers.unlike}))
        return NumberSource(
            **fields,
            figures=figures,
            differences=differences,
            paired=paired,
            audit=_audit_groups(p, self.trained_run.settings.audit) if p.attributes else None,
        )

    def _compare_home(
        self, p: NumberPredictions, figures: NumberFigures
    ) -> tuple[bool, dict[str, Estimate]]:
        """Whether these are the run's own pictures, and the figures less those at home."""
        from candid.evaluation.external_numbers import (
            number_less_home,
            paired_numbers,
            same_numbers,
        )

        if self.home is None:
            return False, {}
        home, home_figures = self.home
        if same_numbers(p, home):
            return True, paired_numbers(p, home, self.trained_run.settings.evaluate)
        return False, number_less_home(figures, home_figures)


def add_marks(p: AnyAnswers, marks: Mapping[str, BoolArray | None]) -> AnyAnswers:
    """The predictions with masks (n,) as further attributes, unless they have such attributes."""
    extra = {
        name: Attribute(name, "binary", NO_YES, mark.astype(np.int16))
        for name, mark in marks.items()
        if mark is not None and name not in p.attributes
    }
    return replace(p, attributes={**p.attributes, **extra})


def _audit_groups(p: NumberPredictions, config: AuditConfig) -> SplitAudit:
    """The gaps between the groups of the data set's own attributes, one by one."""
    from candid.auditing.number_gaps import audit_number

    as_test = replace(p, split=np.full(len(p), "test"))
    return audit_number(as_test, single_group_settings(config, p.attributes)).splits[0]


def single_group_settings(config: AuditConfig, attributes: Container[str]) -> AuditConfig:
    """Settings to audit groups at another place, which may lack some of the attributes."""
    names = tuple(name for name in config.attributes if name in attributes)
    return replace(config, splits=("test",), attributes=names)
