"""A table: one row per image, with its person and annotations.

Data sets and predictions extend `Table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import candid.tables.columns as columns
from candid.errors import DataError, did_you_mean
from candid.records import SPLITS
from candid.tables.attributes import Attribute, bin_attribute
from candid.tables.delimited import read_table

__all__ = [
    "ROW",
    "Attribute",
    "PerImage",
    "Table",
    "arrow_table",
    "known_persons",
    "per_image_values",
    "person_numbers",
    "sample_rows",
    "value_per_image",
]

_ALL_ROWS = slice(None)
ROW = "row "  # before its number: the name of an unnamed image


class PerImage:
    """A base of frozen dataclasses whose rows can be selected by a mask or by indices.

    `PER_IMAGE` names the fields with a value per image: arrays, lists, attributes, or None.
    """

    PER_IMAGE: ClassVar[tuple[str, ...]] = ()

    def __getitem__(self, rows: NDArray[Any]) -> Self:
        """The selected rows."""
        fields = {name: _select(getattr(self, name), rows) for name in self.PER_IMAGE}
        return replace(self, **fields)  # type: ignore[type-var]


def _select(value: Any, rows: NDArray[Any]) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: _select(inner, rows) for name, inner in value.items()}
    if isinstance(value, tuple):
        return tuple(_select(inner, rows) for inner in value)
    if isinstance(value, list):
        return [value[i] for i in np.arange(len(value))[rows].tolist()]
    return value[rows]


def person_numbers(person: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """(n,) identities in which each unknown one (-1) is replaced by a new person."""
    if person is None:
        return None
    has_person = person >= 0
    top = int(person.max(initial=-1)) + 1
    return np.where(has_person, person, top + np.cumsum(~has_person))


def known_persons(person: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """As `person_numbers`; None where nobody is known: each image is independent."""
    any_person = person is not None and bool((person >= 0).any())
    return person_numbers(person) if any_person else None


def sample_rows(rows: NDArray[np.intp], most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A random sample of at most `most` rows, in ascending order."""
    return np.sort(rng.choice(rows, min(most, len(rows)), replace=False))


@dataclass(frozen=True, eq=False)
class Table(PerImage):
    """n images with their labels and annotations."""

    PER_IMAGE: ClassVar[tuple[str, ...]] = (
        *("ids", "split", "label", "label_as_read"),
        *("person", "attributes"),
    )

    target: str  # the name of the label: "Male"
    # the label's values in the data's own words, in a fixed order; of two, the negative one first
    classes: tuple[str, ...]
    ids: NDArray[np.str_]  # (n,) one per image, unique
    split: NDArray[np.str_]  # (n,) "train", "validation" or "test"
    label: NDArray[np.int16]  # (n,) index into `classes`; -1 where not annotated
    # (n,) the labels before any was corrected; None where none was
    label_as_read: NDArray[np.int16] | None = field(default=None, kw_only=True)
    # (n,) the same number for the same person, -1 unknown; None without persons
    person: NDArray[np.int64] | None = field(default=None, kw_only=True)
    attributes: Mapping[str, Attribute] = field(default_factory=dict, kw_only=True)
    further_targets: tuple[str, ...] = field(default=(), kw_only=True)  # names of attributes

    @property
    def annotated(self) -> NDArray[np.int16]:
        """(n,) the labels as they were read."""
        return self.label if self.label_as_read is None else self.label_as_read

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of all labels, the one that is judged first."""
        return self.target, *self.further_targets

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, split: str, usable: NDArray[np.bool_] | None = None) -> NDArray[np.intp]:
        """The rows of a split with any target's label, ascending, within the mask `usable`."""
        keep = (self.split == split) & self.labelled
        return np.flatnonzero(keep if usable is None else keep & usable)

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """(n,) the images with a label for any of the targets."""
        mask = self.label >= 0
        for name in self.further_targets:
            mask = mask | self.attributes[name].known
        return mask

    @cached_property
    def _persons(self) -> NDArray[np.int64] | None:
        return known_persons(self.person)

    def persons(self, rows: NDArray[Any] | slice = _ALL_ROWS) -> NDArray[np.int64] | None:
        """The person on each image, as in `known_persons`."""
        return None if self._persons is None else self._persons[rows]

    def n_people(self, rows: NDArray[Any] | slice = _ALL_ROWS) -> int | None:
        """The number of persons on the images; None where nobody is known."""
        persons = self.persons(rows)
        return None if persons is None else len(np.unique(persons))

    def with_bins(self) -> Self:
        """A copy with numeric attributes cut at their quartiles, without those that are empty."""
        all_rows = np.arange(len(self))
        attributes = [a for a in self.attributes.values() if a.kind != "numeric" or a.known.any()]
        return replace(self, attributes={a.name: bin_attribute(a, all_rows) for a in attributes})

    def take(self, rows: NDArray[Any]) -> Self:
        """The selected rows; as `table[rows]`."""
        return self[rows]

    @classmethod
    def from_arrays(
        cls,
        label: Any,
        *,
        target: str = "label",
        classes: Sequence[Any] | None = None,
        columns: Any = None,
        person: Any = None,
        ids: Any = None,
        split: Any = None,
    ) -> Table:
        """A table from lists, arrays or columns of any data frame.

        Parameters
        ----------
        label
            (n,) words, numbers or booleans.
        target
            The label's name.
        classes
            The label's values in the wanted order; None: those that occur, sorted.
        columns
            Other annotations: a data frame, a mapping of names to (n,) values, or one column.
        person
            (n,) the person in each image.
        ids
            (n,) names of the images; None: they are numbered.
        split
            (n,) train, validation or test; None: all are test.

        Raises
        ------
        DataError
            Where values are missing, lengths differ, or a value is not possible.
        """
        return Table(**per_image_values(label, target, classes, columns, person, ids, split))

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        target: str,
        classes: Sequence[Any] | None = None,
        person: str | None = None,
        ids: str | None = None,
        split: str | None = None,
    ) -> Table:
        """A table from a data frame (pandas, polars, Arrow), with columns by their names.

        A column that holds neither a few words nor numbers is no annotation and is left out.
        """
        table = arrow_table(frame)
        for name in (target, person, ids, split):
            if name is not None and name not in table.column_names:
                raise DataError(
                    f"The table has no column called {name!r}.",
                    expected=f"one of its {len(table.column_names)} columns",
                    todo=did_you_mean(name, table.column_names),
                )
        rest = [n for n in table.column_names if n not in (target, person, ids, split)]
        parsed = {n: columns.read_column(n, table[n]) for n in rest}
        return cls.from_arrays(
            table[target],
            target=target,
            classes=classes,
            columns={n: table[n] for n, a in parsed.items() if isinstance(a, Attribute)},
            person=None if person is None else table[person],
            ids=None if ids is None else table[ids],
            split=None if split is None else table[split],
        )

    @classmethod
    def read(cls, path: str | PathLike[str], **options: Any) -> Table:
        """A table from a CSV, TSV, JSON lines or Parquet file; see `from_frame`."""
        return cls.from_frame(read_table(Path(path)), **options)


def per_image_values(
    label: Any,
    target: str,
    classes: Sequence[Any] | None,
    annotations: Any,
    person: Any,
    ids: Any,
    split: Any,
) -> dict[str, Any]:
    """The fields of a `Table` from any arrays; see `Table.from_arrays`."""
    values = value_per_image(label, "the label")
    n = len(values)
    if not n:
        raise DataError(
            "There are no labels.",
            expected="one per image, and at least one",
            todo="pass those of the images that are to be judged",
        )
    names, code = _encode_labels(values, classes)
    attributes = attributes_from(annotations)
    optional = {"person": person, "ids": ids, "split": split}
    arrays = {k: value_per_image(v, k) for k, v in optional.items() if v is not None}
    sizes = {k: len(a) for k, a in arrays.items()} | {k: len(a.data) for k, a in attributes.items()}
    for name, size in sizes.items():
        if size != n:
            raise DataError(
                f"There are {n:,} labels and {size:,} values of {name}.",
                expected="one value per image, in the same order",
                todo="pass columns of one table",
            )
    words = {k: columns.to_words(a) for k, a in arrays.items()}
    for name in ("ids", "split"):
        if None in words.get(name, ()):
            raise DataError(
                f"{name} has no value for row {words[name].index(None) + 1}.",
                expected="a value for every image",
                todo="fill it, or leave these rows out",
            )
    return {
        "target": target,
        "classes": names,
        "ids": np.array(words.get("ids") or [f"{ROW}{i}" for i in range(1, n + 1)], np.str_),
        "split": _check_splits(words.get("split") or ["test"] * n),
        "label": code,
        "person": columns.identities(words["person"]) if person is not None else None,
        "attributes": attributes,
    }


def _encode_labels(
    values: pa.Array, classes: Sequence[Any] | None
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The classes as words, and each label's index among them."""
    codes, words = columns.encode(values, missing=())
    if (codes < 0).any() or None in words:
        row = int(np.argmax(np.isin(codes, [-1, *(i for i, w in enumerate(words) if w is None)])))
        raise DataError(
            f"The label of row {row + 1} is missing.",
            expected="a label for every image",
            todo="leave out the rows without one",
        )
    distinct = [v for v in pc.unique(values).to_pylist() if v is not None]
    names = tuple(columns.to_word(c) for c in (sorted(distinct) if classes is None else classes))
    unknown = [w for w in words if w not in names]
    if unknown or len(set(names)) < len(names):
        raise DataError(
            f"The label {unknown[0]!r} is not among the classes {', '.join(map(repr, names))}."
            if unknown
            else f"The classes are {', '.join(map(repr, names))}.",
            expected="each of the label's values once",
            todo="pass classes= with all of them, in the order of the probabilities' columns",
        )
    index = np.array([names.index(w) for w in words if w is not None], np.int16)
    return names, index[codes]


def _check_splits(words: Sequence[str | None]) -> NDArray[np.str_]:
    splits = [columns.SPLIT_WORDS.get((w or "").lower()) for w in words]
    if None in splits:
        raise DataError(
            f"There is a split called {words[splits.index(None)]!r}.",
            expected=f"one of {', '.join(SPLITS)}",
            todo="rename it",
        )
    return np.array(splits, np.str_)


def attributes_from(annotations: Any) -> dict[str, Attribute]:
    """The columns of a data frame or of a mapping, or one column, as attributes.

    Raises
    ------
    DataError
        Where a column holds neither a few words nor numbers.
    """
    table = arrow_table({} if annotations is None else annotations)
    parsed = {name: columns.read_column(name, table[name]) for name in table.column_names}
    for name, attribute in parsed.items():
        if isinstance(attribute, str):
            raise DataError(
                f"The column {name!r} cannot be a group: {attribute}.",
                expected="a few words, or numbers",
                todo="leave it out, or turn it into groups",
            )
    return {name: a for name, a in parsed.items() if isinstance(a, Attribute)}


def arrow_table(frame: Any) -> pa.Table:
    """A data frame of any library, a mapping of columns or one column as an Arrow table."""
    import narwhals.stable.v2 as nw

    if isinstance(frame, Mapping):
        arrays = {str(name): value_per_image(values, str(name)) for name, values in frame.items()}
        if len({len(a) for a in arrays.values()}) > 1:
            sizes = ", ".join(f"{name} {len(a):,}" for name, a in arrays.items())
            raise DataError(
                f"The columns have different lengths: {sizes}.",
                expected="one value per image in each",
                todo="pass columns of one table",
            )
        return pa.table(arrays)
    try:
        native = nw.from_native(frame, eager_only=True, allow_series=True, pass_through=True)
        table = native.to_arrow() if isinstance(native, nw.DataFrame) else None
    except (pa.ArrowException, TypeError, ValueError) as error:  # narwhals' own are among them
        message = f"The data frame cannot be read: {' '.join(str(error).split())}."
        expected = "columns of words, numbers or booleans, each with a name of its own"
        raise DataError(message, expected=expected, todo="rename or leave out others") from error
    if table is None:
        return arrow_table({getattr(frame, "name", None) or "group": frame})
    return table.select([n for n in table.column_names if not n.startswith("__index_level_")])


def value_per_image(values: Any, name: str) -> pa.Array:
    """One value per image from a list, an array or a data frame's column; null where missing."""
    import narwhals.stable.v2 as nw

    series = nw.from_native(values, series_only=True, pass_through=True)
    try:
        array = series.to_arrow() if isinstance(series, nw.Series) else values
        if not isinstance(array, pa.Array | pa.ChunkedArray):
            flat = np.asarray(array)
            if flat.ndim > 1 and flat.size == max(flat.shape):
                flat = flat.reshape(-1)
            array = pa.array(flat, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"The values of {name} cannot be read as a column: {error}.",
            expected="one word, number or boolean per image",
            todo="pass a list, an array or a column of a data frame",
        ) from error
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
