"""Rows of a network that learned several labels: one forward pass, an answer for each label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from candid.errors import ConfigError
from candid.inference.abstaining import Rule, abstention_rule
from candid.inference.classifier import (
    Classifier,
    Engine,
    Runner,
    model_digest,
    open_framer,
    pick_engine,
    read_calibration,
)
from candid.inference.classify import DIGITS, Crop, Labeller, Prediction
from candid.inference.faces import FaceFinder
from candid.inference.numbers import answers_of
from candid.inference.rows import REASON_CODE, RowColumns
from candid.inference.unfamiliar import read_unfamiliar
from candid.records import ModelCard, read_record
from candid.records.calibration import NumberCalibration
from candid.records.targets import TargetLabel, Targets
from candid.runs import Run, has_framing, open_run
from candid.runs.folders import TARGETS
from candid.text import labelling as text


@dataclass(frozen=True)
class SeveralColumns(RowColumns):
    """The columns of rows with several labels.

    A column <label> for each, with its class or nothing, and p_<label>_<class>. Of a number,
    <label> with its value, <label>_low and <label>_high with the ends of its interval.
    """

    labels: tuple[TargetLabel, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        """As of one label; cached, as there may be many."""
        return list(self.schema(codes=True).names)

    def column(self, label: TargetLabel) -> str:
        """A label's column: its name, with a suffix where every table has a column of that name."""
        taken = super().schema(codes=True).names
        return f"{label.name} (label)" if label.name in taken else label.name

    @property
    def answers(self) -> dict[str, str]:
        """The columns with answers, and the prefix of a class where they are counted."""
        return {self.column(a): f"{a.name} = " for a in self.labels if a.number is None}

    @property
    def numbers(self) -> dict[str, str]:
        """The columns with numbers, and the name under which they are counted."""
        return {self.column(a): f"{a.name} known" for a in self.labels if a.number is not None}

    def schema(self, *, codes: bool = False) -> pa.Schema:
        """As of one label, with each label's columns in place of `prediction`."""
        fields = [*super().schema(codes=codes)]
        index = next(i for i, f in enumerate(fields) if f.name == "prediction")
        label_fields = [f for label in self.labels for f in self._fields_of(label)]
        return pa.schema([*fields[:index], *label_fields, *fields[index + 1 :]])

    def _fields_of(self, label: TargetLabel) -> list[pa.Field]:
        column = self.column(label)
        if label.number is not None:
            return [pa.field(f"{column}{end}", pa.float64()) for end in ("", "_low", "_high")]
        probabilities = [pa.field(f"p_{column}_{name}", pa.float64()) for name in label.classes]
        return [pa.field(column, pa.string()), *probabilities]


class LabelAnswer(NamedTuple):
    """The network's answer for one label of a crop.

    `prediction` is the most probable class, None where the model abstains, and for a number;
    `probability` is calibrated, of every class, and empty for a number. `number` is a number's
    value and the ends of its interval, else None; `below` the threshold that the highest
    probability is below where the model abstains, else None.
    """

    label: TargetLabel
    prediction: str | None
    probability: dict[str, float]
    number: tuple[float, float, float] | None = None
    below: float | None = None

    @property
    def unsure(self) -> str:
        """Why it abstains; "" where it does not."""
        return "" if self.below is None else text.below_threshold(self.below)


@dataclass(frozen=True, eq=False)
class SeveralLabeller(Labeller):
    """A labeller whose rows have an answer for each of several labels.

    `labels` are in the order of the classifier's classes, which are all their classes; `rules` are
    the labels' rules of abstention, None: never.
    """

    labels: tuple[TargetLabel, ...] = field(default=(), kw_only=True)
    rules: tuple[Rule | None, ...] = field(default=(), kw_only=True)

    @cached_property
    def columns(self) -> SeveralColumns:
        """The columns of the rows."""
        return SeveralColumns((), faces=self.finder is not None, labels=self.labels)

    # Cached, as they are the same for every row.

    @cached_property
    def _firsts(self) -> list[int]:
        return [label.first for label in self.labels]

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(label.classes) for label in self.labels]

    @cached_property
    def _column_names(self) -> list[str]:
        return [*map(self.columns.column, self.labels)]

    @cached_property
    def _class_columns(self) -> list[str]:
        """The column of each output's probability; "" of a number's."""
        by_class = zip(self.labels, self._column_names, strict=True)
        return [
            f"p_{column}_{name}" if label.number is None else ""
            for label, column in by_class
            for name in label.classes
        ]

    def to_row(self, crop: Crop, answer: Prediction | None) -> dict[str, Any]:
        """A crop's row by the names of the columns, with each label's answer, if any."""
        values = super().to_row(crop, answer)
        if answer is None:
            return values
        unsure, answered = [], False
        for a, column in zip(self.label_answers(answer), self._column_names, strict=True):
            is_answered = not answer.unlike and a.below is None
            answered |= is_answered
            if a.number is not None and is_answered:
                for end, x in zip(("", "_low", "_high"), a.number, strict=True):
                    values[f"{column}{end}"] = round(x, DIGITS)
            elif is_answered:
                values[column] = a.prediction
            if a.below is not None:
                unsure.append(f"{a.label.name}, {a.unsure}")
        if unsure and not answer.unlike:
            values |= {"reason": text.not_sure("; ".join(unsure)), REASON_CODE: text.NOT_SURE}
        return values | {"abstained": not answered}

    def _answer_columns(self, answer: Prediction) -> dict[str, Any]:
        rounded = np.round(self._calibrated(answer), DIGITS).tolist()
        return dict(zip(self._class_columns, rounded, strict=True))

    def _calibrated(self, answer: Prediction) -> NDArray[np.float64]:
        """(outputs,) probabilities of a crop; those of each label sum to 1."""
        outputs = np.array(list(answer.probability.values()))
        sums = np.add.reduceat(outputs, self._firsts)
        return np.asarray(outputs / np.repeat(sums, self._sizes))

    def label_answers(self, answer: Prediction) -> list[LabelAnswer]:
        """The answers for each label, as if the crop looked like the training images."""
        probabilities: list[float] = self._calibrated(answer).tolist()
        answers = []
        for label, rule in zip(self.labels, self.rules, strict=True):
            p = probabilities[label.first : label.first + len(label.classes)]
            if label.number is not None:
                value, low, high = (float(x[0]) for x in answers_of(label.number, np.array([p])))
                answers.append(LabelAnswer(label, None, {}, (value, low, high)))
                continue
            highest = max(p)
            below = rule.threshold if rule is not None and rule.is_above(highest) else None
            best = label.classes[p.index(highest)] if below is None else None
            by_class = dict(zip(label.classes, p, strict=True))
            answers.append(LabelAnswer(label, best, by_class, below=below))
        return answers


def open_several(
    run: Run,
    finder: FaceFinder | None,
    *,
    engine: Engine = "auto",
    threads: int = 1,
    abstain_below: float | None = None,
    check: bool = True,
    calibration: str = "",
) -> SeveralLabeller:
    """The labeller of a run that learned several labels.

    Parameters are as for `candid.pipeline.labelling.open_labeller`; `threads` as for
    `open_classifier`. Drift is not watched. Raises ConfigError for int8, which is for one label
    with classes, and for a calibration of several labels.
    """
    targets, config = read_record(run.targets, Targets), open_run(run.path).settings
    target_runs = run.target_runs()
    cards = [read_record(target_run.model_file, ModelCard) for target_run in target_runs]
    if engine == "int8":
        raise _single_label_error(f"--engine {engine}", run)
    if calibration and (len(cards) > 1 or cards[0].number is None):
        raise _single_label_error(f"--calibration {calibration}", run)
    rules = tuple(
        abstention_rule(target_run, abstain_below, config.predict.target_error)
        if card.number is None  # a number has an interval in place of an abstention
        else None
        for target_run, card in zip(target_runs, cards, strict=True)
    )
    common = None
    if calibration:
        from candid.models.onnx_framing import weights_digest

        framer_digest = weights_digest(run) if has_framing(run) else None
        digest = model_digest(target_runs[0], cards[0], framer_digest)
        place = read_calibration(target_runs[0], calibration, cards[0], digest)
        if isinstance(place, NumberCalibration):
            cards, common = [replace(cards[0], number=place.card)], place.frame
    options: dict[str, Any] = {"engine": engine, "threads": threads}
    classifier = _open_joint_classifier(run, targets, cards, rules, **options)
    return SeveralLabeller(
        replace(classifier, common=common),
        read_unfamiliar(run.unfamiliar) if check and not calibration else None,
        finder,
        labels=tuple(
            replace(label, number=card.number)  # as it was calibrated
            for label, card in zip(targets.labels, cards, strict=True)
        ),
        rules=rules,
    )


def _single_label_error(option: str, run: Run) -> ConfigError:
    """The error for an option that is for one label with classes."""
    labels = read_record(run.targets, Targets).labels
    classes = [label for label in labels if label.number is None]
    kind = "several" if len(labels) > 1 else "a number"
    hint = f", or name one label's folder, such as {run.path / TARGETS / classes[0].folder}"
    return ConfigError(
        f"{option} is for one label with classes, and {run.path} learned {kind}.",
        expected="--engine onnx or torch, and no calibration",
        todo=f"leave it out{hint if classes else ''}",
    )


def _open_joint_classifier(
    run: Run,
    targets: Targets,
    cards: Sequence[ModelCard],
    rules: Sequence[Rule | None],
    *,
    engine: Engine,
    threads: int,
) -> Classifier:
    """The network with all its outputs, calibrated label by label."""
    from candid.models.onnx_several import export_digest

    digest = export_digest(run, targets, cards)  # all weights are read for it: once
    model = _open_engine(run, targets, cards, digest, engine, threads)
    framer, framer_digest = open_framer(run, model, engine, threads)
    source = digest or "an exported model alone"
    determining = [source, framer_digest, repr(rules), [repr(c.number) for c in cards]]
    config = open_run(run.path).settings.data
    return Classifier(
        card=replace(targets.model, target=""),
        fit=config.fit,
        max_pixels=config.max_pixels,
        rule=None,
        _engine=model,
        framer=framer,
        made_from=hashlib.blake2b(repr(determining).encode(), digest_size=16).hexdigest(),
    ).check()


def _open_engine(
    run: Run,
    targets: Targets,
    cards: Sequence[ModelCard],
    digest: str | None,
    engine: Engine,
    threads: int,
) -> Runner:
    from candid.inference.framed_export import framing_marks
    from candid.models.onnx_framing import framing_path
    from candid.models.onnx_several import is_several_exported, open_onnx_several

    if pick_engine(engine, lambda: is_several_exported(run, targets, digest)) == "onnx":
        metadata = framing_marks(run, framing_path(run).name)
        return open_onnx_several(
            run, targets, cards, digest, network=run.network, threads=threads, metadata=metadata
        )
    from candid.models.model import TorchEngine
    from candid.models.several import load_several

    return TorchEngine(load_several(run.weights, targets, cards, run.network))
