"""What a column of a table holds: yes or no, one of some words, a number, or nothing usable."""

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
from candid.tables.numbers import as_number, number_in

NO_YES = ("no", "yes")
NO_SUCH_TARGET = "no-such-target"  # the codes of errors
UNCLEAR_TARGET = "unclear-target"
ALL = "*"  # in place of a target: any that can be
MOST_WORDS = 1000  # more distinct words than this are names or free text, not groups

# Names of columns, in any case, with spaces or underscores; the first that a table has is taken.
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

# What the parts of the data are called, in lower case.
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
_CODES = range(-1, 10)  # whole numbers that all lie here are codes, others are quantities


def read_column(
    name: str, array: Any, class_names: Sequence[str] = (), missing: Sequence[str] = MISSING
) -> Attribute | str:
    """An Arrow column as an attribute, or in a few words why it cannot be one.

    Two values such as no/yes, false/true, 0/1 and −1/1 are binary. Whole numbers from −1 to 9 are
    codes, and so categories; any other numbers are quantities. Words are categories in natural
    order ("3-9" before "10-19") unless there are more than 1,000 of them, or more than 20 and
    hardly one stands twice.

    `array` may be chunked and dictionary-encoded; `class_names` is what the numbers 0, 1, … stand
    for, where that is known, `missing` the words for a missing value, in any case.
    """
    if not is_plain(array.type):
        return f"it holds {array.type}, not words or numbers"
    codes, distinct = _distinct(array)
    if class_names:
        return _named(name, codes, distinct, class_names)
    words = _normal(distinct, missing)
    present = {w for w in words if w is not None}
    if not present:
        return "every row is empty"
    if (pair := pair_of(present)) is not None:
        yes = pair[1].lower()
        return _coded(name, "binary", codes, [w and NO_YES[w.lower() == yes] for w in words])
    numbers = [number_in(w) for w in words]
    if all(x is not None for x, w in zip(numbers, words, strict=True) if w is not None):
        if present <= {str(i) for i in _CODES}:
            return _coded(name, "categorical", codes, words, sorted(present, key=int))
        finite = [math.nan if x is None or math.isinf(x) else x for x in numbers]
        looked_up = np.array([*finite, math.nan])
        if np.isnan(looked_up[codes]).all():
            return "it holds no finite number"
        return Attribute(name, "numeric", (), looked_up[codes])
    rows = int(np.count_nonzero(codes >= 0))
    if len(present) > MOST_WORDS or (len(present) > 20 and len(present) > 0.5 * rows):
        return f"it holds {len(present):,} different words in {rows:,} rows"
    return _coded(name, "categorical", codes, words)


def pair_of(present: Iterable[str]) -> tuple[str, str] | None:
    """The words for no and yes that a column holds, as it writes them; None where it has others."""
    words = {w.lower(): w for w in present}
    for pair in _PAIRS + tuple(p for p in _LETTERS if words.keys() >= {*p}):
        if words.keys() <= {*pair}:
            no, yes = (words.get(w, w) for w in pair)
            return no, yes
    return None


def read_words(name: str, array: Any, missing: Sequence[str] = MISSING) -> Attribute | str:
    """A column as categories whatever its words are, 0 and 1 too; see `read_column`."""
    codes, distinct = _distinct(array)
    words = _normal(distinct, missing)
    present = {w for w in words if w is not None}
    if not 0 < len(present) <= MOST_WORDS:
        return f"it holds {len(present):,} different words" if present else "every row is empty"
    numbers = {w: math.inf if (x := number_in(w)) is None else x for w in present}
    order = sorted(present, key=lambda w: (numbers[w], natural(w)))  # -1 before 1
    return _coded(name, "categorical", codes, words, order)


def words_of(array: Any, missing: Sequence[str] = MISSING) -> list[str | None]:
    """A column's cells as words, None where empty; whole numbers without a decimal point."""
    codes, distinct = _distinct(array)
    words = [*_normal(distinct, missing), None]
    return [words[code] for code in codes.tolist()]


def coded(
    array: Any, missing: Sequence[str] = MISSING
) -> tuple[NDArray[np.int64], list[str | None]]:
    """A column as codes into its different words: (n,) codes, −1 where empty, and the words.

    A word is None where its cells count as empty ("NA"); two codes may stand for one word.
    """
    codes, distinct = _distinct(array)
    return codes, _normal(distinct, missing)


def numbered(array: Any, number: Callable[[str], int]) -> NDArray[np.int64]:
    """(n,) the number of each cell's word; −1 where it is empty."""
    codes, words = coded(array)
    return np.array([-1 if w is None else number(w) for w in words] + [-1], np.int64)[codes]


def distinct_words(array: Any) -> set[str]:
    """A column's different words, without empty cells."""
    return {w for w in _normal(_distinct(array)[1]) if w is not None}


def as_label(
    attribute: Attribute, two: tuple[str, str] | None = None, *, number: bool = False
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """A column as the label: its classes, and each row's index among them (−1 where missing).

    Of a number (`is_number`), the classes are its different values, ascending. `two` are words for
    no and yes; without them "not Smiling" and "Smiling". `number` says that it is a number though
    it looks like classes. Raises TargetError where it then holds words, or too large a number.
    """
    if is_number(attribute, named=number):
        return as_number(attribute)
    if attribute.kind == "numeric" and (counted := _counted(attribute)) is not None:
        attribute = counted
    used = np.unique(attribute.data[attribute.data >= 0])
    values = attribute.values
    if attribute.kind == "binary" and values == NO_YES:
        values = two or class_words(attribute.name)
    new = np.full(len(attribute.values) + 1, -1, dtype=np.int16)
    new[used] = np.arange(len(used))
    return tuple(values[i] for i in used), new[attribute.data]


def is_number(attribute: Attribute, *, named: bool = False) -> bool:
    """Whether a column is learned as a number, and not as classes.

    It is where it holds numbers, unless these count classes: from 0 or 1 on with none left out.
    Whole numbers from −1 to 9 are codes of classes (see `read_column`). `named` says that somebody
    wants it to be one, whatever it holds.
    """
    return named or (attribute.kind == "numeric" and _counted(attribute) is None)


def _counted(attribute: Attribute) -> Attribute | None:
    """Numbers that count classes, from 0 or 1 on with none left out, as categories."""
    known = np.unique(attribute.data[~np.isnan(attribute.data)])
    start = known[0] if len(known) else math.nan
    if start not in (0, 1) or len(known) > MOST_WORDS:
        return None
    if not np.array_equal(known, start + np.arange(len(known))):
        return None
    code = np.where(np.isnan(attribute.data), -1, attribute.data - start).astype(np.int16)
    return Attribute(attribute.name, "categorical", tuple(f"{x:.0f}" for x in known), code)


def class_words(name: str) -> tuple[str, str]:
    """Readable words for the two classes of a yes-or-no column: ("not Smiling", "Smiling")."""
    spaced = name.replace("_", " ").strip()
    if re.match(r"no\s", spaced, re.IGNORECASE):
        return spaced[3:].strip(), spaced
    return f"not {spaced}", spaced


def choose_target(target: str | None, columns: Iterable[str], usual: Sequence[str]) -> str:
    """The target that was named, or else the first of the usual ones, or else the only column.

    Raises TargetError where the named one does not exist, or none was named and none is obvious.
    """
    known = list(columns)
    if target is not None:
        if target in known:
            return target
        raise TargetError(
            f"There is no label called {target!r}.",
            expected=f"one of the {len(known)} columns with annotations"
            if len(known) != 1
            else "the only column with annotations",
            todo=did_you_mean(target, known),
            code=NO_SUCH_TARGET,
        )
    found = first_usual(known, usual) or (known[0] if len(known) == 1 else None)
    if found is not None:
        return found
    raise TargetError(
        "Which column is the label is not clear.",
        expected="a target; " + (did_you_mean("", known) if known else "there are no columns"),
        todo="name it with --target",
        code=UNCLEAR_TARGET,
    )


def first_usual(names: Iterable[str], usual: Sequence[str]) -> str | None:
    """The column with the first of some usual names, in any case; None where there is none."""
    spelt = {spelling(name): name for name in reversed([*names])}
    return next((spelt[u] for u in map(spelling, usual) if u in spelt), None)


def spelling(name: str) -> str:
    """A column's name as usual ones are written: "Image Path" is image_path."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def narrow(attributes: Mapping[str, Attribute], wanted: Sequence[str], target: str) -> list[str]:
    """The names of the attributes to audit: the wanted ones, or all.

    Raises ConfigError where a wanted one does not exist.
    """
    if not wanted:
        return list(attributes)
    for name in wanted:
        if name not in attributes and name != target:
            raise ConfigError(
                f"data.attributes names {name!r}, which the data does not have.",
                expected=f"one of the {len(attributes)} attributes",
                todo=did_you_mean(name, attributes),
            )
    return [name for name in dict.fromkeys(wanted) if name != target]


def people(words: Sequence[str | None]) -> NDArray[np.int64]:
    """(n,) a number per person: the data's own where all are whole numbers, otherwise counted."""
    known = sorted({w for w in words if w is not None and w != "-1"})
    if all(re.fullmatch(r"\d{1,18}", w) and str(int(w)) == w for w in known):
        number = {w: int(w) for w in known}
    else:
        number = {w: i for i, w in enumerate(known)}
    return np.array([-1 if w is None else number.get(w, -1) for w in words], dtype=np.int64)


def natural(word: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that puts "3-9" before "10-19", and upper and lower case together."""
    parts = re.split(r"(\d+)", word.lower())
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p], word


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column of this kind names or numbers things."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    is_text = is_text or pa.types.is_string_view(kind)
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(
        is_text
        or is_number
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_temporal(kind)
    )


def _distinct(array: Any) -> tuple[NDArray[np.int64], list[Any]]:
    """(n,) codes, −1 where empty, and the values that they stand for."""
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
    used = np.bincount(codes[codes >= 0], minlength=len(array.dictionary)) > 0
    values = array.dictionary.to_pylist()  # also those of rows that were left out since
    return codes, [v if u else None for v, u in zip(values, used.tolist(), strict=True)]


def _normal(values: Iterable[Any], missing: Sequence[str] = MISSING) -> list[str | None]:
    """Cells as words, None where they are missing; 1.0 becomes 1."""
    nothing = {"", *(w.strip().lower() for w in missing)}
    words = [word(value) for value in values]
    return [None if w.lower() in nothing else w for w in words]


def word(value: Any) -> str:
    """A value as a word; "" where it is missing, and 1 for 1.0."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if text.endswith(".0") and text[:-2].lstrip("-").isdigit():
        return text[:-2]  # a table with empty cells turns codes into decimals
    return text


def _coded(
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
        values = tuple(order) or tuple(sorted({w for w in words if w is not None}, key=natural))
    index = {word: i for i, word in enumerate(values)}
    new = np.array([-1 if w is None else index[w] for w in words] + [-1], dtype=np.int16)
    return Attribute(name, kind, values, new[codes])


def _named(
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
            return _coded(name, "binary", codes, [w and NO_YES[w.lower() == yes] for w in words])
    return _coded(name, "categorical", codes, words, class_names)
