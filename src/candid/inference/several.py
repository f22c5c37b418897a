"""Rows of a network that learned several labels: one way through it, an answer of each label."""

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
    Runs,
    chosen_engine,
    model_digest,
    open_framer,
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
from candid.runs import Run, is_framed, open_run
from candid.runs.folders import TARGETS
from candid.text import labelling as text


@dataclass(frozen=True)
class SeveralColumns(RowColumns):
    """What the rows of a job hold where each has an answer of several labels.

    A column <label> for each, with its class or nothing, and beside it p_<label>_<class>. Of a
    number, <label> with its value, <label>_low and <label>_high with the ends of its interval.
    """

    labels: tuple[TargetLabel, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        """As of one label; found once, as there may be many."""
        return list(self.schema(codes=True).names)

    def column(self, label: TargetLabel) -> str:
        """A label's column: its name, which may be that of a column of every table."""
        taken = super().schema(codes=True).names
        return f"{label.name} (label)" if label.name in taken else label.name

    @property
    def answers(self) -> dict[str, str]:
        """The columns with answers, and what stands before a class where they are counted."""
        return {self.column(a): f"{a.name} = " for a in self.labels if a.number is None}

    @property
    def numbers(self) -> dict[str, str]:
        """The columns with numbers, and what is counted where there is one."""
        return {self.column(a): f"{a.name} known" for a in self.labels if a.number is not None}

    def schema(self, *, codes: bool = False) -> pa.Schema:
        """As of one label, with those of each in the place of its."""
        fields = [*super().schema(codes=codes)]
        place = next(i for i, one in enumerate(fields) if one.name == "prediction")
        own = [one for label in self.labels for one in self._of(label)]
        return pa.schema([*fields[:place], *own, *fields[place + 1 :]])

    def _of(self, label: TargetLabel) -> list[pa.Field]:
        column = self.column(label)
        if label.number is not None:
            return [pa.field(f"{column}{end}", pa.float64()) for end in ("", "_low", "_high")]
        each = [pa.field(f"p_{column}_{name}", pa.float64()) for name in label.classes]
        return [pa.field(column, pa.string()), *each]


class LabelAnswer(NamedTuple):
    """What the network says of one label of a crop.

    `prediction` is its most probable class, None where it abstains, and of a number; `probability`
    is calibrated, of every class, and empty of a number. `number` is a number's value and the ends
    of its interval, else None; `below` the threshold that the highest probability is below, so that
    it abstains, else None.
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
    """All that makes rows with an answer of each of several labels.

    `labels` are in the order of the classifier's classes, which are all their classes; `rules` say
    of each when there is no answer, None: never.
    """

    labels: tuple[TargetLabel, ...] = field(default=(), kw_only=True)
    rules: tuple[Rule | None, ...] = field(default=(), kw_only=True)

    @cached_property
    def columns(self) -> SeveralColumns:
        """What the rows hold."""
        return SeveralColumns((), faces=self.finder is not None, labels=self.labels)

    # What follows is the same for every row.

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
        named = zip(self.labels, self._column_names, strict=True)
        return [
            f"p_{column}_{name}" if label.number is None else ""
            for label, column in named
            for name in label.classes
        ]

    def told(self, crop: Crop, answer: Prediction | None) -> dict[str, Any]:
        """A crop's row by the names of the columns: of each label its answer, if any."""
        values = super().told(crop, answer)
        if answer is None:
            return values
        unsure, answered = [], False
        for one, column in zip(self.label_answers(answer), self._column_names, strict=True):
            known = not answer.unlike and one.below is None
            answered |= known
            if one.number is not None and known:
                for end, x in zip(("", "_low", "_high"), one.number, strict=True):
                    values[f"{column}{end}"] = round(x, DIGITS)
            elif known:
                values[column] = one.prediction
            if one.below is not None:
                unsure.append(f"{one.label.name}, {one.unsure}")
        if unsure and not answer.unlike:
            values |= {"reason": text.not_sure("; ".join(unsure)), REASON_CODE: text.NOT_SURE}
        return values | {"abstained": not answered}

    def _answer_columns(self, answer: Prediction) -> dict[str, Any]:
        rounded = np.round(self._calibrated(answer), DIGITS).tolist()
        return dict(zip(self._class_columns, rounded, strict=True))

    def _calibrated(self, answer: Prediction) -> NDArray[np.float64]:
        """(outputs,) of a crop; of each label they sum to 1."""
        everything = np.array(list(answer.probability.values()))
        sums = np.add.reduceat(everything, self._firsts)
        return np.asarray(everything / np.repeat(sums, self._sizes))

    def label_answers(self, answer: Prediction) -> list[LabelAnswer]:
        """What the network says of each label, as if the crop looked like the training images."""
        each: list[float] = self._calibrated(answer).tolist()
        answers = []
        for label, rule in zip(self.labels, self.rules, strict=True):
            p = each[label.first : label.first + len(label.classes)]
            if label.number is not None:
                value, low, high = (float(x[0]) for x in answers_of(label.number, np.array([p])))
                answers.append(LabelAnswer(label, None, {}, (value, low, high)))
                continue
            highest = max(p)
            below = rule.threshold if rule is not None and rule.is_above(highest) else None
            best = label.classes[p.index(highest)] if below is None else None
            named = dict(zip(label.classes, p, strict=True))
            answers.append(LabelAnswer(label, best, named, below=below))
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
    """What labels pictures as a run that learned several labels does.

    Parameters are as for `candid.pipeline.labelling.labeller`; `threads` as for `open_classifier`.
    Nobody watches whether the pictures drift away from the validation pictures. Raises ConfigError
    for whole numbers of eight bits, which are one label's, and for a calibration where there are
    several labels.
    """
    about, config = read_record(run.targets, Targets), open_run(run.path).settings
    each = run.of_targets()
    cards = [read_record(one.model_file, ModelCard) for one in each]
    if engine == "int8":
        raise _for_one_label(f"--engine {engine}", run)
    if calibration and (len(each) > 1 or cards[0].number is None):
        raise _for_one_label(f"--calibration {calibration}", run)
    rules = tuple(
        abstention_rule(one, abstain_below, config.predict.target_error)
        if card.number is None  # a number has an interval in place of an abstention
        else None
        for one, card in zip(each, cards, strict=True)
    )
    common = None
    if calibration:
        from candid.models.onnx_framing import weights_digest

        framed_by = weights_digest(run) if is_framed(run) else None
        model = model_digest(each[0], cards[0], framed_by)
        place = read_calibration(each[0], calibration, cards[0], model)
        if isinstance(place, NumberCalibration):
            cards, common = [replace(cards[0], number=place.card)], place.frame
    whole = _whole(run, about, cards, rules, engine=engine, threads=threads)
    return SeveralLabeller(
        replace(whole, common=common),
        read_unfamiliar(run.unfamiliar) if check and not calibration else None,
        finder,
        labels=tuple(
            replace(label, number=card.number)  # as it was calibrated
            for label, card in zip(about.labels, cards, strict=True)
        ),
        rules=rules,
    )


def _for_one_label(asked: str, run: Run) -> ConfigError:
    """What to say of an option that is for one label with classes."""
    labels = read_record(run.targets, Targets).labels
    classes = [label for label in labels if label.number is None]
    there = "several" if len(labels) > 1 else "a number"
    other = f", or name one label's folder, such as {run.path / TARGETS / classes[0].folder}"
    return ConfigError(
        f"{asked} is for one label with classes, and {run.path} learned {there}.",
        expected="--engine onnx or torch, and no calibration",
        todo=f"leave it out{other if classes else ''}",
    )


def _whole(
    run: Run,
    about: Targets,
    cards: Sequence[ModelCard],
    rules: Sequence[Rule | None],
    *,
    engine: Engine,
    threads: int,
) -> Classifier:
    """The network with all its outputs; what it gives is calibrated label by label."""
    from candid.models.onnx_several import several_mark

    made = several_mark(run, about, cards)  # all weights are read for it: once
    runs = _open_engine(run, about, cards, made, engine, threads)
    framer, framed_by = open_framer(run, runs, engine, threads)
    made_by = made or "an exported model alone"
    decides = [made_by, framed_by, repr(rules), [repr(c.number) for c in cards]]
    config = open_run(run.path).settings.data
    return Classifier(
        card=replace(about.model, target=""),
        fit=config.fit,
        max_pixels=config.max_pixels,
        rule=None,
        _engine=runs,
        framer=framer,
        made_from=hashlib.blake2b(repr(decides).encode(), digest_size=16).hexdigest(),
    ).tried()


def _open_engine(
    run: Run,
    about: Targets,
    cards: Sequence[ModelCard],
    made: str | None,
    engine: Engine,
    threads: int,
) -> Runs:
    from candid.inference.framed_export import framing_marks
    from candid.models.onnx_framing import framing_path
    from candid.models.onnx_several import is_several_exported, open_onnx_several

    if chosen_engine(engine, lambda: is_several_exported(run, about, made)) == "onnx":
        marks = framing_marks(run, framing_path(run).name)
        return open_onnx_several(
            run, about, cards, made, network=run.network, threads=threads, marks=marks
        )
    from candid.models.model import TorchEngine
    from candid.models.several import load_several

    return TorchEngine(load_several(run.weights, about, cards, run.network))
