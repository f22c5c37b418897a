"""Columns of a table as attributes: binary, categorical, numeric, or unusable."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from candid.errors import ConfigError, DataError, TargetError, did_you_mean
from candid.records import Split
from candid.tables.attributes import Attribute
from candid.tables.numbers import encode_numbers, parse_number

NO_YES = ("no", "yes")
NO_SUCH_TARGET = "no-such-target"  # the codes of errors
UNCLEAR_TARGET = "unclear-target"
ALL = "*"  # in place of a target: any that can be
MOST_WORDS = 1000  # more distinct words than this are names or free text, not groups

# Usual names of columns, in any case, with spaces or underscores; the first that exists is taken.
PATH_COLUMNS = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path"),
    *("image_file", "image_name", "imagepath", "image_filename", "image_id", "img", "img_path"),
    *("img_name", "picture", "photo"),
)
SPLIT_COLUMNS = ("split", "partition", "subset", "set", "fold")
PERSON_COLUMNS = (
    *("identity", "identity_id", "person", "person_id", "subject", "subject_id", "celeb_id"),
    *("individual", "individual_id"),
)

# Words for the splits, in lower case.
SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

MISSING = ("NA", "N/A", "NaN", "null", "#N/A", "<NA>")  # in any case; an empty cell anyway
_PAIRS = (("no", "yes"), ("false", "true"), ("0", "1"), ("-1", "1"))
_LETTERS = (("n", "y"), ("f", "t"))  # only where both occur: F alone may well be "female"
_CODES = range(-1, 10)  # whole numbers in this range are codes, others are quantities


def read_column(
    name: str, array: Any, class_names: Sequence[str] = (), missing: Sequence[str] = MISSING
) -> Attribute | str:
    """Read an Arrow column as an attribute; returns the reason in words where it cannot be one.

    Two values such as no/yes, false/true, 0/1 and −1/1 are binary. Whole numbers from −1 to 9 are
    codes, and so categories; any other numbers are quantities. Words are categories in natural
    order ("3-9" before "10-19") unless there are more than 1,000 of them, or more than 20 and
    hardly any occurs twice.

    `array` may be chunked and dictionary-encoded; `class_names` are the names of the numbers 0, 1,
    …, if known, `missing` the words for a missing value, in any case.
    """
    if not is_plain(array.type):
        return f"it holds {array.type}, not words or numbers"
    codes, distinct = _encode(array)
    if class_names:
        return _decode_class_codes(name, codes, distinct, class_names)
    words = _normalize(distinct, missing)
    present = {w for w in words if w is not None}
    if not present:
        return "every row is empty"
    if (pair := find_pair(present)) is not None:
        yes = pair[1].lower()
        return _build(name, "binary", codes, [w and NO_YES[w.lower() == yes] for w in words])
    numbers = [parse_number(w) for w in words]
    if all(x is not None for x, w in zip(numbers, words, strict=True) if w is not None):
        if present <= {str(i) for i in _CODES}:
            return _build(name, "categorical", codes, words, sorted(present, key=int))
        floats = [math.nan if x is None or math.isinf(x) else x for x in numbers]
        lookup = np.array([*floats, math.nan])
        if np.isnan(lookup[codes]).all():
            return "it holds no finite number"
        return Attribute(name, "numeric", (), lookup[codes])
    rows = int(np.count_nonzero(codes >= 0))
    if len(present) > MOST_WORDS or (len(present) > 20 and len(present) > 0.5 * rows):
        return f"it holds {len(present):,} different words in {rows:,} rows"
    return _build(name, "categorical", codes, words)


def find_pair(present: Iterable[str]) -> tuple[str, str] | None:
    """The column's own words for no and yes; None where it has others."""
    words = {w.lower(): w for w in present}
    for pair in _PAIRS + tuple(p for p in _LETTERS if words.keys() >= {*p}):
        if words.keys() <= {*pair}:
            no, yes = (words.get(w, w) for w in pair)
            return no, yes
    return None


def read_words(name: str, array: Any, missing: Sequence[str] = MISSING) -> Attribute | str:
    """Read a column as categories, even if they are 0 and 1; see `read_column`."""
    codes, words = encode(array, missing)
    present = {w for w in words if w is not None}
    if not 0 < len(present) <= MOST_WORDS:
        return f"it holds {len(present):,} different words" if present else "every row is empty"
    numbers = {w: math.inf if (x := parse_number(w)) is None else x for w in present}
    order = sorted(present, key=lambda w: (numbers[w], natural_key(w)))  # -1 before 1
    return _build(name, "categorical", codes, words, order)


def to_words(array: Any, missing: Sequence[str] = MISSING) -> list[str | None]:
    """A column's cells as words, None where empty; whole numbers without a decimal point."""
    codes, words = encode(array, missing)
    words.append(None)
    return [words[code] for code in codes.tolist()]


def encode(
    array: Any, missing: Sequence[str] = MISSING
) -> tuple[NDArray[np.int64], list[str | None]]:
    """A column as codes into its distinct words: (n,) codes, −1 where empty, and the words.

    A word is None where its cells count as empty ("NA"); two codes may stand for one word.
    """
    codes, distinct = _encode(array)
    return codes, _normalize(distinct, missing)


def map_words(array: Any, number: Callable[[str], int]) -> NDArray[np.int64]:
    """(n,) the number of each cell's word; −1 where it is empty."""
    codes, words = encode(array)
    return np.array([-1 if w is None else number(w) for w in words] + [-1], np.int64)[codes]


def distinct_words(array: Any) -> set[str]:
    """A column's distinct words, without empty cells."""
    return {w for w in encode(array)[1] if w is not None}


def to_label(
    attribute: Attribute, pair: tuple[str, str] | None = None, *, number: bool = False
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """A column as the label: its classes, and each row's index among them (−1 where missing).

    Of a number (`is_number`), the classes are its distinct values, ascending. `pair` are words for
    no and yes; without them "not Smiling" and "Smiling". `number`: it is a number even if it looks
    like classes. Raises TargetError where it then holds words, or too large a number.
    """
    if is_number(attribute, as_number=number):
        return encode_numbers(attribute)
    if attribute.kind == "numeric" and (as_codes := _as_class_codes(attribute)) is not None:
        attribute = as_codes
    used = np.unique(attribute.data[attribute.data >= 0])
    values = attribute.values
    if attribute.kind == "binary" and values == NO_YES:
        values = pair or class_words(attribute.name)
    index = np.full(len(attribute.values) + 1, -1, dtype=np.int16)
    index[used] = np.arange(len(used))
    return tuple(values[i] for i in used), index[attribute.data]


def is_number(attribute: Attribute, *, as_number: bool = False) -> bool:
    """Whether a column is learned as a number, and not as classes.

    Numbers that count from 0 or 1 on without gaps are classes, and so are whole numbers from −1 to
    9 (see `read_column`). `as_number`: it is a number whatever it holds.
    """
    return as_number or (attribute.kind == "numeric" and _as_class_codes(attribute) is None)


def _as_class_codes(attribute: Attribute) -> Attribute | None:
    """Numbers that count from 0 or 1 on without gaps as categories; None for others."""
    distinct = np.unique(attribute.data[~np.isnan(attribute.data)])
    start = distinct[0] if len(distinct) else math.nan
    if start not in (0, 1) or len(distinct) > MOST_WORDS:
        return None
    if not np.array_equal(distinct, start + np.arange(len(distinct))):
        return None
    code = np.where(np.isnan(attribute.data), -1, attribute.data - start).astype(np.int16)
    return Attribute(attribute.name, "categorical", tuple(f"{x:.0f}" for x in distinct), code)


def class_words(name: str) -> tuple[str, str]:
    """Readable words for the two classes of a yes-or-no column: ("not Smiling", "Smiling")."""
    words = name.replace("_", " ").strip()
    if re.match(r"no\s", words, re.IGNORECASE):
        return words[3:].strip(), words
    return f"not {words}", words


def choose_target(target: str | None, columns: Iterable[str], usual: Sequence[str]) -> str:
    """The named target, or else the first of the usual ones, or else the only column.

    Raises TargetError where the named one does not exist, or none was named and none is obvious.
    """
    names = list(columns)
    if target is not None:
        if target in names:
            return target
        raise TargetError(
            f"There is no label called {target!r}.",
            expected=f"one of the {len(names)} columns with annotations"
            if len(names) != 1
            else "the only column with annotations",
            todo=did_you_mean(target, names),
            code=NO_SUCH_TARGET,
        )
    column = find_usual(names, usual) or (names[0] if len(names) == 1 else None)
    if column is not None:
        return column
    raise TargetError(
        "Which column is the label is not clear.",
        expected="a target; " + (did_you_mean("", names) if names else "there are no columns"),
        todo="name it with --target",
        code=UNCLEAR_TARGET,
    )


def find_usual(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """The column with the first of the usual names, in any case; None where there is none."""
    by_name = {normalize_name(name): name for name in reversed([*names])}
    return next((by_name[u] for u in map(normalize_name, usual) if u in by_name), None)


def normalize_name(name: str) -> str:
    """A column's name in lower case with underscores: "Image Path" is image_path."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def select(attributes: Mapping[str, Attribute], names: Sequence[str], target: str) -> list[str]:
    """The names of the attributes to audit: the wanted ones, or all.

    Raises ConfigError where a wanted one does not exist.
    """
    if not names:
        return list(attributes)
    for name in names:
        if name not in attributes and name != target:
            raise ConfigError(
                f"data.attributes names {name!r}, which the data does not have.",
                expected=f"one of the {len(attributes)} attributes",
                todo=did_you_mean(name, attributes),
            )
    return [name for name in dict.fromkeys(names) if name != target]


def identities(words: Sequence[str | None]) -> NDArray[np.int64]:
    """(n,) a number per person: the identity where all are whole numbers, else its rank."""
    ids = sorted({w for w in words if w is not None and w != "-1"})
    if all(re.fullmatch(r"\d{1,18}", w) and str(int(w)) == w for w in ids):
        number = {w: int(w) for w in ids}
    else:
        number = {w: i for i, w in enumerate(ids)}
    return np.array([-1 if w is None else number.get(w, -1) for w in words], dtype=np.int64)


def natural_key(word: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that puts "3-9" before "10-19", and upper and lower case together."""
    parts = re.split(r"(\d+)", word.lower())
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p], word


def is_plain(dtype: pa.DataType) -> bool:
    """Whether a column of this type holds words, numbers, booleans or times."""
    if pa.types.is_dictionary(dtype):
        dtype = dtype.value_type
    t = pa.types
    checks = (
        *(t.is_string, t.is_large_string, t.is_string_view, t.is_integer, t.is_floating),
        *(t.is_decimal, t.is_boolean, t.is_temporal, t.is_null),
    )
    return any(check(dtype) for check in checks)


def _encode(array: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """(n,) codes, −1 where empty, and the distinct values."""
    if not is_plain(array.type):
        raise DataError(
            f"A column that should name or number things holds {array.type}.",
            expected="words or numbers",
            todo="name another column (data.path_column, data.split_column, data.person_column)",
        )
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().combine_chunks()
    if pa.types.is_null(array.type):
        return np.full(len(array), -1, dtype=np.int64), []
    if not pa.types.is_dictionary(array.type):
        array = pc.dictionary_encode(array)
    codes = pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    occurs = np.bincount(codes[codes >= 0], minlength=len(array.dictionary)) > 0
    values = array.dictionary.to_pylist()  # also those of rows that were left out since
    return codes, [v if u else None for v, u in zip(values, occurs.tolist(), strict=True)]


def _normalize(values: Iterable[Any], missing: Sequence[str] = MISSING) -> list[str | None]:
    """Cells as words, None where they are missing; 1.0 becomes 1."""
    empty = {"", *(w.strip().lower() for w in missing)}
    words = [to_word(value) for value in values]
    return [None if w.lower() in empty else w for w in words]


def to_word(value: Any) -> str:
    """A value as a word; "" where it is missing, and 1 for 1.0."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if text.endswith(".0") and text[:-2].lstrip("-").isdigit():
        return text[:-2]  # a table with empty cells turns codes into decimals
    return text


def _build(
    name: str,
    kind: Any,
    codes: NDArray[np.int64],
    words: Sequence[str | None],
    order: Sequence[str] = (),
) -> Attribute:
    """Codes into `words`, which may hold one word twice, as codes into the attribute's values."""
    if kind == "binary":
        values: tuple[str, ...] = NO_YES
    else:
        values = tuple(order) or tuple(sorted({w for w in words if w is not None}, key=natural_key))
    index = {word: i for i, word in enumerate(values)}
    lookup = np.array([-1 if w is None else index[w] for w in words] + [-1], dtype=np.int16)
    return Attribute(name, kind, values, lookup[codes])


def _decode_class_codes(
    name: str, codes: NDArray[np.int64], distinct: Sequence[Any], class_names: Sequence[str]
) -> Attribute | str:
    words: list[str | None] = []
    for value in distinct:
        if value is None or value == -1 or (isinstance(value, float) and math.isnan(value)):
            words.append(None)
        elif isinstance(value, str) and value in class_names:
            words.append(value)
        elif isinstance(value, int | float) and 0 <= value < len(class_names):
            words.append(class_names[int(value)])
        else:
            return f"it holds {value!r}, which is none of its {len(class_names)} classes"
    for no, yes in _PAIRS:
        if [w.lower() for w in class_names] == [no, yes]:
            return _build(name, "binary", codes, [w and NO_YES[w.lower() == yes] for w in words])
    return _build(name, "categorical", codes, words, class_names)
