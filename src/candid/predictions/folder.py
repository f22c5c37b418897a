"""A folder of Parquet tables that together hold predictions, read batch by batch.

The columns mean what they mean in one table (`Predictions.from_table`); what words stand for is
decided before the rows are read. Memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import PredictionsError
from candid.predictions.answers import Answers, read_answers
from candid.predictions.choosing import refuse_answers
from candid.records import SPLITS
from candid.tables.attributes import Attribute

BATCH = 1 << 17  # rows


@dataclass(frozen=True, eq=False)
class Piece:
    """A batch of rows."""

    split: NDArray[np.intp]  # (n,) indices into SPLITS
    label: NDArray[np.intp]  # (n,), -1 where not annotated
    probability: NDArray[np.float64]  # (n, classes), NaN without a prediction
    key: NDArray[np.int64]  # (n,) the same for the same person; unknown ones all differ
    attributes: Mapping[str, NDArray[np.intp]]  # (n,) codes into `Folder.words`; -1 unknown


@dataclass(eq=False)
class Folder:
    """A folder of tables, before and after its rows were read."""

    path: Path
    files: tuple[Path, ...]
    n: int  # rows of all tables
    target: str  # this and what follows as in `Predictions`
    classes: tuple[str, ...]
    hard: bool
    # Those that are audited; `meaning` gives the values of other models' tables in the end.
    attributes: tuple[Attribute, ...]
    by_person: bool  # whether there is a column of persons
    notes: tuple[str, ...]  # assumptions
    # By attribute, the code of each word; it grows as rows are read.
    words: dict[str, dict[str, int]] = field(default_factory=dict)
    _columns: dict[str, Any] = field(default_factory=dict)
    _answers: Answers | None = None
    _label_words: dict[str, int] = field(default_factory=dict)
    _rows: int = 0

    def pieces(self) -> Iterator[Piece]:
        """All rows, table by table.

        Raises PredictionsError where a value is impossible.
        """
        c, groups = self._columns, [a.name for a in self.attributes]
        options = pads.ParquetReadOptions(dictionary_columns=[*groups, c["label"]])
        file_format = pads.ParquetFileFormat(read_options=options)
        names = dict.fromkeys([c["label"], *c["prediction"], c["person"], c["split"], *groups])
        column_names = [name for name in names if name is not None]
        for file in self.files:
            scanner = pads.dataset(file, format=file_format).scanner(
                columns=column_names, batch_size=BATCH, batch_readahead=2, use_threads=False
            )
            for batch in scanner.to_batches():
                if len(batch):
                    try:
                        yield self._piece(pa.table(batch))
                    except PredictionsError as error:
                        raise error.of(file.name) from error

    def refuse_answers(self, n: int, wrong: int) -> None:
        """As `candid.predictions.choosing.refuse_answers`, for another model's tables."""
        if self._answers is not None:
            refuse_answers(self.target, self._columns["prediction"], n, wrong)

    def meaning(self) -> tuple[tuple[Attribute, ...], dict[str, NDArray[np.intp]]]:
        """The attributes with their values, and by name the value of each code of the pieces.

        A word that counts as empty has the value -1. Attributes have no data.
        """
        no_data = np.empty(0, np.int16)
        attributes, values_of_codes = [], {}
        for a in self.attributes:
            words = list(self.words[a.name])
            if self._answers is None:
                values_of_codes[a.name] = np.array([a.values.index(w) for w in words], np.intp)
                attributes.append(replace(a, data=no_data))
                continue
            read = columns.read_column(a.name, pa.array(words, pa.string()))
            if isinstance(read, str) or read.kind == "numeric":
                raise PredictionsError(
                    f"The column {a.name!r} looked like a group in the first rows and is none: "
                    f"{read if isinstance(read, str) else 'it holds numbers'}.",
                    expected="a column with a few words",
                    todo="name the groups with --group",
                )
            values_of_codes[a.name] = read.data.astype(np.intp)
            attributes.append(replace(read, data=no_data))
        return tuple(attributes), values_of_codes

    # --- one batch ---

    def _piece(self, table: pa.Table) -> Piece:
        label = self._labels(table)
        probability = self._probability(table, label)
        self._rows += len(table)
        return Piece(
            split=self._splits(table),
            label=label,
            probability=probability,
            key=self._keys(table),
            attributes={a.name: self._codes(table[a.name], a.name) for a in self.attributes},
        )

    def _probability(self, table: pa.Table, label: NDArray[np.intp]) -> NDArray[np.float64]:
        c, answers = self._columns, self._answers
        if answers is None:
            probability = np.column_stack([_to_floats(table[name]) for name in c["prediction"]])
            _check_probabilities(probability)
            return probability
        if all(table[name].null_count == len(table) for name in c["prediction"]):
            return np.full((len(table), len(self.classes)), np.nan)
        truth = replace(answers.label, code=label.astype(np.int16))
        return read_answers(table, truth, c["prediction"], c["positive"], c["scale"]).probability

    def _labels(self, table: pa.Table) -> NDArray[np.intp]:
        column = table[self._columns["label"]]
        return columns.map_words(column, self._label_words.__getitem__).astype(np.intp)

    def _splits(self, table: pa.Table) -> NDArray[np.intp]:
        name = self._columns["split"]
        if name is None:
            return np.full(len(table), SPLITS.index("test"))
        codes, words = columns.encode(table[name])
        splits = [columns.SPLIT_WORDS.get((w or "").lower()) for w in words]
        index = np.array([-1 if s is None else SPLITS.index(s) for s in splits] + [-1])[codes]
        if (index < 0).any():
            word = words[codes[int(np.argmax(index < 0))]] if len(words) else None
            raise PredictionsError(
                f"The split column {name!r} holds {word!r}.",
                expected="train, validation or test in every row",
                todo="fill it or rename the word, or leave the column out",
            )
        return index.astype(np.intp)

    def _keys(self, table: pa.Table) -> NDArray[np.int64]:
        """Numbers for people; rows of unknown people count down from the lowest number."""
        unknown = np.iinfo(np.int64).min + self._rows + np.arange(len(table))
        if self._columns["person"] is None:
            return unknown
        column = table[self._columns["person"]]
        if pa.types.is_integer(column.type):
            keys = pc.fill_null(column.cast(pa.int64()), -1).to_numpy()
        else:
            keys = columns.map_words(column, _hash_word)
        return np.where(keys == -1, unknown, keys)

    def _codes(self, column: Any, name: str) -> NDArray[np.intp]:
        codes, words = columns.encode(column)
        codes_of = self.words[name]
        code = [-1 if w is None else codes_of.setdefault(w, len(codes_of)) for w in words]
        if len(codes_of) > self._columns["most"]:
            raise PredictionsError(
                f"The group {name!r} holds more than {self._columns['most']:,} different words.",
                expected="a column with a few words",
                todo="name the groups with --group, or raise audit.most_values",
            )
        return np.array([*code, -1], np.intp)[codes]


def _hash_word(word: str) -> int:
    """A 64-bit hash of a word (FNV-1a)."""
    digest = 0xCBF29CE484222325
    for byte in word.encode("utf-8", "surrogatepass"):
        digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return digest - 2**63


def _to_floats(column: Any) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    return numbers


def _check_probabilities(p: NDArray[np.float64]) -> None:
    complete = p[~np.isnan(p).any(axis=1)]
    wrong = (complete < 0) | (complete > 1)
    if wrong.any() or (abs(complete.sum(axis=1) - 1) > 1e-3).any():
        raise PredictionsError(
            "there are probabilities below 0, above 1 or that do not sum to 1.",
            expected="a probability per class that sum to 1",
            todo="write the table again",
        )
