"""A table's prediction columns, in whatever form they are, as probabilities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.arrays import FloatArray
from candid.errors import PredictionsError, did_you_mean
from candid.predictions.labels import MOST_CLASSES, Label, tokens
from candid.tables.numbers import format_number, parse_number

Scale = Literal["probability", "percent", "logit"]

ANSWERS_ALONE = (
    "There are answers and no probabilities, so areas under curves, losses and calibration are "
    "undefined."
)

# Probabilities that were rounded to two digits do not sum to 1 exactly.
_ROUNDING = 0.02

# Words that mark a column as a prediction without naming a class.
_GENERIC = frozenset(
    (
        *("p", "pr", "prob", "probs", "proba", "probability", "probabilities", "score", "scores"),
        *("pred", "preds", "predicted", "prediction", "predictions", "model", "output", "of"),
        *("confidence", "conf", "softmax", "sigmoid", "logit", "logits", "y", "hat", "yhat"),
        *("class", "is", "percent", "pct", "label", "answer"),
    )
)


@dataclass(frozen=True, eq=False)
class Cells:
    """A prediction column: numbers where cells hold numbers, and the words where they do not.

    `value` is NaN where a cell is empty or a word; `word` is −1 except where it is a word.
    """

    name: str
    value: FloatArray
    word: NDArray[np.int64]
    words: tuple[str, ...]
    percent: bool = False


def read_cells(table: pa.Table, name: str) -> Cells:
    """A column with numbers, or words, or both."""
    array = table[name]
    kind = array.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        value = pc.fill_null(array.cast(pa.float64()), np.nan).to_numpy()
        return Cells(name, value, np.full(len(value), -1), ())
    codes, words = columns.encode(array)
    signs = {w.endswith("%") for w in words if w is not None}
    percent = signs == {True}  # where only some bear the sign, those are words among numbers
    value, word = np.full(len(words) + 1, np.nan), np.full(len(words) + 1, -1)
    texts: list[str] = []
    for i, text in enumerate(words):
        if text is None:
            continue
        number = parse_number(text.removesuffix("%") if percent else text, comma=True)
        if number is None:
            word[i] = len(texts)
            texts.append(text)
        else:
            value[i] = number
    return Cells(name, value[codes], word[codes], tuple(texts), percent)


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers for n images.

    `label` includes classes that only the model has. `probability` is (n, classes); rows sum to 1,
    NaN without a prediction. `hard` marks answers without probabilities, `positive` is the class
    that a single column of probabilities was taken to be of.
    """

    label: Label
    probability: FloatArray
    hard: bool = False
    positive: int | None = None


def read_answers(
    table: pa.Table, label: Label, names: Sequence[str], positive: str | None, scale: Scale
) -> Answers:
    """Read the prediction columns of a table, in whatever form.

    `names` are a column with answers or with the probability of one class, or one column per
    class; `positive` and `scale` as in `Predictions.from_table`. Raises PredictionsError where they
    are impossible or ambiguous.
    """
    cells = [read_cells(table, name) for name in names]
    for c in cells:
        if not c.words and np.isnan(c.value).all():
            raise PredictionsError(
                f"The prediction {c.name!r} is empty in every row.",
                expected="a number or a class in every row",
                todo="name another column with --prediction",
            )
    if len(cells) == 1 and _are_classes(cells[0], label):
        label, scores = _one_hot(cells[0], label, positive)
        return Answers(label, scores, hard=True)
    for c in cells:
        require_numbers(c, alone=len(cells) == 1)
    if len(cells) > 1:
        label, order = _class_columns(cells, label, positive)
        return Answers(label, _to_probabilities([cells[i] for i in order], scale))
    label, index = _positive_class(cells[0].name, label, positive)
    second = _to_probabilities(cells, scale)[:, 0]
    scores = np.stack([1 - second, second] if index else [second, 1 - second], axis=1)
    return Answers(label, scores, positive=index)


def _are_classes(cells: Cells, truth: Label) -> bool:
    """Whether a single column holds answers: words, or numbers that name classes."""
    numbers = cells.value[~np.isnan(cells.value)]
    distinct = {format_number(x) for x in np.unique(numbers)[: MOST_CLASSES + 1]}
    if cells.words:
        return distinct <= {*truth.classes}
    if distinct <= {"0", "1"}:
        return True
    is_coded = all(re.fullmatch(r"-?\d+", c) for c in truth.classes) or truth.two_valued
    names = {"-1", "1"} if truth.two_valued else {*truth.classes}
    few_codes = len(truth.classes) > 2 and distinct <= {str(i) for i in range(-1, 10)}
    return is_coded and (distinct <= names or (few_codes and bool(distinct & names)))


def _one_hot(cells: Cells, truth: Label, positive: str | None) -> tuple[Label, FloatArray]:
    """One-hot probabilities of answers; NaN rows where there is none."""
    codes, words = cells.word, list(cells.words)
    if not np.isnan(cells.value).all():
        numbers, inverse = np.unique(cells.value, return_inverse=True)
        code_of_number = np.where(np.isnan(numbers), -1, len(words) + np.arange(len(numbers)))
        codes = np.where(codes >= 0, codes, code_of_number[inverse])
        words += [format_number(x) for x in numbers]
    occurs = np.bincount(codes[codes >= 0], minlength=len(words)) > 0
    used = [w for w, s in zip(words, occurs.tolist(), strict=True) if s]
    if {*used} <= {"0", "1"} and not truth.two_valued and not {*used} <= {*truth.classes}:
        truth, index = _positive_class(cells.name, truth, positive)
        index_of: dict[str, int | None] = {"0": 1 - index, "1": index}
    else:
        index_of = {w: truth.find(w) for w in used}
        unknown = [w for w, i in index_of.items() if i is None]
        if unknown and (truth.two_valued or len(unknown) == len(used)):
            raise PredictionsError(
                f"The prediction {cells.name!r} says {_quote(used)}, and the label "
                f"{truth.name!r} {_quote([*truth.classes])}.",
                expected="the same words for the same classes",
                todo="write both in the same words",
            )
        truth = truth.with_classes(unknown)
        index_of = {w: truth.find(w) for w in used}
    lookup = np.array([*(-1 if (i := index_of.get(w)) is None else i for w in words), -1], np.intp)
    answer = lookup[codes]
    scores = np.eye(len(truth.classes))[answer]
    scores[answer < 0] = np.nan
    return truth, scores


def _quote(words: Sequence[str]) -> str:
    listed = ", ".join(repr(w) for w in sorted(words, key=columns.natural_key)[:4])
    return listed + (", …" if len(words) > 4 else "")


def require_numbers(cells: Cells, role: str = "prediction", *, alone: bool = False) -> None:
    """Raise a PredictionsError where a cell holds a word; `alone`: the only prediction column."""
    if not cells.words:
        return
    row = int(np.argmax(cells.word >= 0))
    n = int(np.count_nonzero(cells.word >= 0))
    raise PredictionsError(
        f"The {role} {cells.name!r} holds {cells.words[cells.word[row]]!r} in row {row + 1}"
        + (f", and words in {n:,} rows in all." if n > 1 else ", which is no number."),
        expected="a number in every row, empty where there is none"
        + (", or the label's own words throughout" if alone else ""),
        todo=f"mend the cells, or name another column with --{role}",
    )


def _positive_class(name: str, truth: Label, positive: str | None) -> tuple[Label, int]:
    """The class of a single probability: `positive`, by the column's name, or "yes"."""
    if len(truth.classes) > 2:
        raise PredictionsError(
            f"{name!r} is one probability, and the label {truth.name!r} has "
            f"{len(truth.classes)} classes: {_quote(truth.classes)}.",
            expected="one probability per class, or a column with the answer",
            todo="name all of them with --prediction, or with a pattern such as 'p_*'"
            + ("; or add --number, if both are numbers" if _all_numbers(truth.classes) else ""),
        )
    word = class_from_name(name, truth) if positive is None else positive
    index = None if word == "" else truth.find(word)
    if index is None and word == "" and truth.two_valued:
        index = 1
    if len(truth.classes) == 1 and (index is not None or positive):
        # The other class does not occur, so only the caller can name it.
        only = truth.classes[0]
        new_class = f"not {only}" if index is not None else str(positive)
        truth = truth.with_classes([new_class])
        return truth, truth.classes.index(only if index is not None else new_class)
    if index is None:
        classes = " or ".join(repr(c) for c in truth.classes)
        hint = "1 (or 0)" if truth.two_valued else repr(truth.classes[-1])
        raise PredictionsError(
            f"{positive!r} is no class of the label {truth.name!r}."
            if positive
            else f"Which class {name!r} is a probability of is not clear.",
            expected=f"the probability of {classes}",
            todo=did_you_mean(positive, truth.classes) if positive else f"add --positive {hint}",
        )
    return truth, index


def _all_numbers(classes: Sequence[str]) -> bool:
    return all(parse_number(c, comma=True) is not None for c in classes)


def class_from_name(name: str, truth: Label) -> str:
    """The class in a prediction's name: "Male" of "p_Male"; "" where there is none."""
    words = tokens(name)
    for part in (words, words[1:], words[:-1]):
        if part and (index := truth.find(" ".join(part))) is not None:
            return truth.classes[index]
    rest = [t for t in words if t not in _GENERIC]
    if rest == tokens(truth.name) or not rest:
        return ""
    # The words in the case in which the name has them.
    return " ".join(t for t in re.split(r"[\W_]+", name) if t and t.lower() in rest)


def _class_columns(
    cells: list[Cells], truth: Label, positive: str | None
) -> tuple[Label, list[int]]:
    """The label with the classes that columns are named after, and the columns in their order."""
    words = {c.name: class_from_name(c.name, truth) for c in cells}
    if positive is not None:
        raise PredictionsError(
            f"--positive {positive!r} goes with one probability, and {len(cells)} are named.",
            expected="one of the two",
            todo="leave it out, or name one column with --prediction",
        )
    matches = {name: truth.find(word) if word else None for name, word in words.items()}
    if all(i is None for i in matches.values()) or any(not w for w in words.values()):
        raise PredictionsError(
            f"Which class each of {_quote([*words])} is a probability of is not clear.",
            expected="columns named after the classes: " + ", ".join(
                f"p_{c}" for c in truth.classes[:4]),
            todo="rename the columns, or the label's classes",
        )  # fmt: skip
    unmatched = [n for n, i in matches.items() if i is None]
    free = [i for i in range(len(truth.classes)) if i not in matches.values()]
    # "p_Female" beside "p_Male", where the label is Male: 0, 1
    if len(unmatched) == len(free) == 1:
        words[unmatched[0]] = truth.classes[free[0]]
    elif not truth.two_valued:
        truth = truth.with_classes([words[n] for n in unmatched])
    order_of = {name: truth.find(word) for name, word in words.items()}
    missing = [c for i, c in enumerate(truth.classes) if i not in order_of.values()]
    has_repeats = len({*order_of.values()}) < len(order_of)
    if missing or has_repeats or None in order_of.values():
        raise PredictionsError(
            f"There is no probability for {_quote(missing)} of the label {truth.name!r}."
            if missing
            else f"The columns {_quote([*words])} do not name one class of {truth.name!r} each.",
            expected=f"one column for each of its {len(truth.classes)} classes",
            todo="name the others with --prediction too, or a pattern such as 'p_*'",
        )
    order = sorted(range(len(cells)), key=lambda i: order_of[cells[i].name] or 0)
    return truth, order


def _to_probabilities(cells: list[Cells], scale: Scale) -> FloatArray:
    """(n, columns) the numbers as probabilities; those of several columns sum to 1."""
    value = np.stack([finite_numbers(c) for c in cells], axis=1)
    if scale == "logit" and len(cells) == 1:
        sigmoid: FloatArray = 1 / (
            1 + np.exp(-value.clip(-700, 700))
        )  # exp(710) is no float any more
        return sigmoid
    if scale == "logit":
        exponentials = np.exp(value - value.max(axis=1, keepdims=True))
        softmax: FloatArray = exponentials / exponentials.sum(axis=1, keepdims=True)
        return softmax
    value = value / np.array([100 if scale == "percent" or c.percent else 1 for c in cells])
    _check_range(value, cells, scale)
    total = value.sum(axis=1, keepdims=True) if len(cells) > 1 else np.ones(1)
    off = (abs(total - 1) > _ROUNDING).ravel()
    if off.any():
        row = int(np.argmax(off))
        raise PredictionsError(
            f"The probabilities of {np.count_nonzero(off):,} of {len(value):,} rows do not sum "
            f"to 1: those of row {row + 1} sum to {total[row, 0]:.4g}.",
            expected="one probability per class, together 1",
            todo="name the columns of all classes; independent scores need a softmax first "
            "(logits: --scale logit)",
        )
    probabilities: FloatArray = np.clip(value / total, 0.0, 1.0)
    return probabilities


def finite_numbers(cells: Cells, role: str = "prediction") -> FloatArray:
    """(n,) the numbers, NaN where empty; raises PredictionsError for infinity."""
    infinite = np.isinf(cells.value)
    if infinite.any():
        raise PredictionsError(
            f"The {role} {cells.name!r} is infinite in {np.count_nonzero(infinite):,} "
            f"rows, such as row {int(np.argmax(infinite)) + 1}.",
            expected="finite numbers",
            todo="look for the overflow in what wrote them, or leave the cells empty",
        )
    return cells.value


def _check_range(value: FloatArray, cells: list[Cells], scale: Scale) -> None:
    """Raise PredictionsError where a number lies outside 0 to 1, but for rounding."""
    with np.errstate(invalid="ignore"):
        bad = (value < -1e-6) | (value > 1 + 1e-6)
    if not bad.any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    least, most, n_known = np.nanmin(value), np.nanmax(value), np.count_nonzero(~np.isnan(value))
    many = np.count_nonzero(bad) > 0.02 * n_known
    guess, todo = "", "mend these rows, or name another column with --prediction"
    if scale == "percent":
        todo = "leave --scale percent out, or mend the rows"
    elif least < 0 and many:
        guess, todo = " They look like logits.", "add --scale logit, or write probabilities"
    elif least >= 0 and 2 < most <= 100 and many:
        guess, todo = " They look like percents.", "add --scale percent, or write shares of 1"
    raise PredictionsError(
        f"The prediction {cells[column].name!r} lies outside 0 to 1 in {np.count_nonzero(bad):,} "
        f"of {n_known:,} cells: {value[row, column]:g} in row {row + 1}, "
        f"{least:g} to {most:g} altogether.{guess}",
        expected="probabilities from 0 to 1",
        todo=todo,
    )


def is_like_a_prediction(name: str, predictions: Sequence[str], label: Label) -> bool:
    """Whether a column's name begins like a prediction's, or names a class: "p_Female"."""
    first, *rest = tokens(name) or [""]
    if first not in _GENERIC:
        return False
    same_prefix = any(tokens(n)[:1] == [first] for n in predictions)
    return same_prefix or (bool(rest) and label.find(" ".join(rest)) is not None)
