"""A table's label column, and the words for its classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.tables.attributes import Attribute

MOST_CLASSES = 200

# Words in a label's name that do not name its positive class.
_NO_CLASS = frozenset(
    (
        *("label", "labels", "target", "y", "true", "truth", "ground", "gt", "class", "annotation"),
        *("annotated", "gold", "gender", "sex"),
    )
)
_POSITIVE = frozenset(("1", "yes", "true", "pos", "positive"))
_NEGATIVE = frozenset(("0", "-1", "no", "false", "neg", "negative"))


@dataclass(frozen=True, eq=False)
class Label:
    """The label as it was read, and further words for its classes (`also`).

    `two_valued`: it was 0 and 1 or the like, so the second class is the "yes".
    """

    name: str
    classes: tuple[str, ...]
    code: NDArray[np.int16]
    two_valued: bool = False
    also: Mapping[str, int] = field(default_factory=dict)

    def find(self, word: str) -> int | None:
        """The class of a word, whatever its case and punctuation; None where it is unclear."""
        if word in self.classes:
            return self.classes.index(word)
        same = [i for i, c in enumerate(self.classes) if tokens(c) == tokens(word)]
        if len(same) == 1:
            return same[0]
        return self.also.get(word.lower())

    def with_classes(self, words: Sequence[str]) -> Label:
        """The same label with further classes, in natural order."""
        if not words:
            return self
        classes = tuple(sorted({*self.classes, *words}, key=columns.natural_key))
        code_of_code = np.array([*(classes.index(c) for c in self.classes), -1], dtype=np.int16)
        return replace(self, classes=classes, code=code_of_code[self.code])


def tokens(name: str) -> list[str]:
    """A name's words in lower case: "p_Male" is "p" and "male", "P(not Male)" has three."""
    return [t for t in re.split(r"[\W_]+", name.lower()) if t]


def read_label(table: pa.Table, name: str) -> Label:
    """Read a column as the label, with the classes that occur.

    Raises PredictionsError where it is empty, or holds quantities or free text.
    """
    column = columns.read_column(name, table[name])
    words = columns.distinct_words(table[name])
    if isinstance(column, Attribute) and column.kind == "binary":
        also = dict.fromkeys(_NEGATIVE, 0) | dict.fromkeys(_POSITIVE, 1)
        pair = columns.class_words(name)
        if {*tokens(name)} <= _NO_CLASS:  # "labelled not label" would say nothing
            pair = columns.find_pair(words) or pair
        return Label(name, pair, column.data, two_valued=True, also=also)
    is_quantity = isinstance(column, Attribute) and column.kind == "numeric"
    reason = ""
    if not words:
        reason = "is empty in every row"
    elif len(words) > MOST_CLASSES:
        reason = f"holds {len(words):,} different values, such as {min(words)!r}"
    elif isinstance(column, Attribute) and column.kind == "numeric":
        numbers = column.data[~np.isnan(column.data)]
        if not np.array_equal(numbers, np.rint(numbers)):
            reason = f"holds numbers, from {numbers.min():g} to {numbers.max():g}"
    if reason:
        raise PredictionsError(
            f"The label {name!r} {reason}.",
            expected="the class that an annotator wrote: a few words, or 0 and 1",
            todo="name another column with --label"
            + ("; or add --number, if it is one" if is_quantity else ""),
        )
    classes = tuple(sorted(words, key=columns.natural_key))
    _reject_case_twins(name, classes)
    return Label(name, classes, columns.map_words(table[name], classes.index).astype(np.int16))


def _reject_case_twins(name: str, classes: tuple[str, ...]) -> None:
    """Raise PredictionsError where two classes differ in case alone; single letters may well."""
    spellings: dict[str, str] = {}
    for word in classes:
        if len(word) > 1 and (first := spellings.setdefault(word.casefold(), word)) != word:
            raise PredictionsError(
                f"The label {name!r} has the classes {first!r} and {word!r}, which differ in case "
                "alone.",
                expected="one word for each class",
                todo="write both in the same case",
            )
