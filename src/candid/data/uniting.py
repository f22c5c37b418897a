"""Labels and attributes of several data sets under the same words.

Words that differ in case alone are the same, spelt as in the first data set. Other synonyms ("M",
"1", "Male") must be named in the settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.data.splits import SOURCE
from candid.errors import TargetError
from candid.tables.attributes import Attribute
from candid.tables.numbers import encode_numbers, to_numbers


def unite_words(words: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[NDArray[np.int16]]]:
    """The distinct words of several lists, and for each list the index of every word.

    Each list of indices ends with -1, so that the code -1 stays "missing".
    """
    index: dict[str, int] = {}
    spellings: list[str] = []
    for word in (word for ws in words for word in ws):
        if word.casefold() not in index:
            index[word.casefold()] = len(spellings)
            spellings.append(word)
    codes = [np.array([*(index[w.casefold()] for w in ws), -1], np.int16) for ws in words]
    return tuple(spellings), codes


# --- the label -----------------------------------------------------------------------------------


def unite_labels(
    datasets: Sequence[Dataset], names: Sequence[str], named: frozenset[str]
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The classes of all data sets, and each image's label among them.

    `names` are the data sets' own, `named` the classes, casefolded, that the settings name: they
    may occur in one data set alone. Raises TargetError where another class of one data set may be
    a synonym of one of the others.
    """
    classes, codes = unite_words([d.classes for d in datasets])
    _reject_unlike(classes, [set(code[:-1].tolist()) for code in codes], names, named)
    labels = [code[d.label] for code, d in zip(codes, datasets, strict=True)]
    return classes, np.concatenate(labels)


def _reject_unlike(
    classes: Sequence[str], present: Sequence[set[int]], names: Sequence[str], named: frozenset[str]
) -> None:
    """Raise for a class of only one data set, if that lacks a class of others.

    The error prefers one that is not the first data set's.
    """
    all_classes = set().union(*present)
    unlike: list[tuple[str, int]] = []
    for k, word in enumerate(classes):
        owners = [i for i, codes in enumerate(present) if k in codes]
        if len(owners) == 1 < len(present) and all_classes - present[owners[0]]:
            unlike += [] if word.casefold() in named else [(word, owners[0])]
    if not unlike:
        return
    word, owner = next((s for s in unlike if s[1] > 0), unlike[0])
    missing = [classes[k] for k in sorted(all_classes - present[owner])]
    same, own = (
        json.dumps(words, ensure_ascii=False)
        for words in ([f"{word}={missing[0]}"], [f"{w}={w}" for w, _ in unlike])
    )
    raise TargetError(
        f"The class {word!r} is one of {names[owner]!r} alone, which has no "
        f"{' or '.join(map(repr, missing[:4]))}.",
        expected="the same classes in all data sets, in any case of their letters",
        todo=f"where it means the same, say so, such as --set 'data.class_names={same}' (by what "
        f"stands in the data, such as 0=…); where such classes are their own, {own}; or name "
        f"another label of {names[owner]!r} with data.source_settings",
    )


def unite_numbers(
    datasets: Sequence[Dataset], target: str
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The distinct values of a number in all data sets, ascending, and each image's index."""
    values = [np.append(to_numbers(d.classes), np.nan)[d.label] for d in datasets]
    return encode_numbers(Attribute(target, "numeric", (), np.concatenate(values)))


# --- attributes ----------------------------------------------------------------------------------


def unite_attributes(
    datasets: Sequence[Dataset], names: Sequence[str], target: str
) -> tuple[dict[str, Attribute], dict[str, str]]:
    """Every attribute of every data set, missing in those that do not have it; `SOURCE` first.

    Those of one name and one kind become one. Where kinds differ, or a name is that of the target,
    the data sets are appended: "age (utkface)". The second dict has the original names.
    """
    rows = [len(d) for d in datasets]
    numbers = np.repeat(np.arange(len(names), dtype=np.int16), rows)
    united = {SOURCE: Attribute(SOURCE, "categorical", tuple(names), numbers)}
    original_names: dict[str, str] = {}
    for name in dict.fromkeys(name for d in datasets for name in d.attributes):
        columns = [d.attributes.get(name) for d in datasets]
        kinds = dict.fromkeys(a.kind for a in columns if a is not None)
        for kind in kinds:
            same_kind = [a if a is not None and a.kind == kind else None for a in columns]
            unique_name = f"{name} (column)" if name == SOURCE else name
            if len(kinds) > 1 or name == target:
                owners = (n for n, a in zip(names, same_kind, strict=True) if a is not None)
                unique_name = f"{name} ({', '.join(owners)})"
            while unique_name in united or unique_name == target:
                unique_name += " (column)"
            united[unique_name] = _concatenate(unique_name, kind, same_kind, rows)
            original_names[unique_name] = name
    return united, original_names


def _concatenate(
    name: str, kind: Any, columns: Sequence[Attribute | None], rows: Sequence[int]
) -> Attribute:
    """One attribute from those of a kind; None in a data set means missing in all of its rows."""
    if kind == "numeric":
        parts = [
            np.full(n, np.nan) if a is None else a.data for a, n in zip(columns, rows, strict=True)
        ]
        return Attribute(name, kind, (), np.concatenate(parts))
    values, codes = unite_words([() if a is None else a.values for a in columns])
    parts = [
        np.full(n, -1, np.int16) if a is None else code[a.data]
        for a, code, n in zip(columns, codes, rows, strict=True)
    ]
    kind = "categorical" if len(values) > 2 else kind
    return Attribute(name, kind, values, np.concatenate(parts))
