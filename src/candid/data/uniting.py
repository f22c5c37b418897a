"""Labels and attributes of several data sets under the same words.

A word is the same in any case of its letters, and is written as where it stands first. Nothing else
is taken for the same: that "M", "1" and "Male" are one, somebody has to say.
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
from candid.tables.numbers import encode_numbers, numbers_of


def unite_words(words: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[NDArray[np.int16]]]:
    """The different words of several lists, and for each list the place of every word among them.

    Each list of places has -1 at its end, so that the code for "missing" stays one.
    """
    place: dict[str, int] = {}
    spelt: list[str] = []
    for word in (word for some in words for word in some):
        if word.casefold() not in place:
            place[word.casefold()] = len(spelt)
            spelt.append(word)
    codes = [np.array([*(place[w.casefold()] for w in some), -1], np.int16) for some in words]
    return tuple(spelt), codes


# --- the label -----------------------------------------------------------------------------------


def unite_labels(
    datasets: Sequence[Dataset], names: Sequence[str], meant: frozenset[str]
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The classes of all data sets, and each image's label among them.

    `names` are the data sets' own, `meant` the classes, casefolded, that the settings name: they
    may occur in one data set alone. Raises TargetError where a class of one data set alone may be
    another's in other words.
    """
    classes, codes = unite_words([d.classes for d in datasets])
    _refuse_unlike(classes, [set(code[:-1].tolist()) for code in codes], names, meant)
    labels = [code[d.label] for code, d in zip(codes, datasets, strict=True)]
    return classes, np.concatenate(labels)


def _refuse_unlike(
    classes: Sequence[str], having: Sequence[set[int]], names: Sequence[str], meant: frozenset[str]
) -> None:
    """Raise for a class that one data set alone has, which lacks one that others have.

    Of several, one that is not the first data set's, as others are held against that.
    """
    every = set().union(*having)
    strange: list[tuple[str, int]] = []
    for k, word in enumerate(classes):
        owners = [i for i, some in enumerate(having) if k in some]
        if len(owners) == 1 < len(having) and every - having[owners[0]]:
            strange += [] if word.casefold() in meant else [(word, owners[0])]
    if not strange:
        return
    word, owner = next((s for s in strange if s[1] > 0), strange[0])
    other = [classes[k] for k in sorted(every - having[owner])]
    same, own = (
        json.dumps(words, ensure_ascii=False)
        for words in ([f"{word}={other[0]}"], [f"{w}={w}" for w, _ in strange])
    )
    raise TargetError(
        f"The class {word!r} is one of {names[owner]!r} alone, which has no "
        f"{' or '.join(map(repr, other[:4]))}.",
        expected="the same classes in all data sets, in any case of their letters",
        todo=f"where it means the same, say so, such as --set 'data.class_names={same}' (by what "
        f"stands in the data, such as 0=…); where such classes are their own, {own}; or name "
        f"another label of {names[owner]!r} with data.source_settings",
    )


def unite_numbers(
    datasets: Sequence[Dataset], target: str
) -> tuple[tuple[str, ...], NDArray[np.int16]]:
    """The different values of a number in all data sets, ascending, and each image's among them."""
    values = [np.append(numbers_of(d.classes), np.nan)[d.label] for d in datasets]
    return encode_numbers(Attribute(target, "numeric", (), np.concatenate(values)))


# --- attributes ----------------------------------------------------------------------------------


def unite_attributes(
    datasets: Sequence[Dataset], names: Sequence[str], target: str
) -> tuple[dict[str, Attribute], dict[str, str]]:
    """Every attribute of every data set, missing in those that do not have it; `SOURCE` first.

    Those of one name and one kind become one. Where kinds differ, or a name is that of the target,
    the data sets that it is from stand behind it: "age (utkface)". The second says what each is
    called in its own data set.
    """
    rows = [len(d) for d in datasets]
    numbers = np.repeat(np.arange(len(names), dtype=np.int16), rows)
    united = {SOURCE: Attribute(SOURCE, "categorical", tuple(names), numbers)}
    own: dict[str, str] = {}
    for name in dict.fromkeys(name for d in datasets for name in d.attributes):
        found = [d.attributes.get(name) for d in datasets]
        kinds = dict.fromkeys(a.kind for a in found if a is not None)
        for kind in kinds:
            alike = [a if a is not None and a.kind == kind else None for a in found]
            called = f"{name} (column)" if name == SOURCE else name
            if len(kinds) > 1 or name == target:
                having = (n for n, a in zip(names, alike, strict=True) if a is not None)
                called = f"{name} ({', '.join(having)})"
            while called in united or called == target:
                called += " (column)"
            united[called] = _united(called, kind, alike, rows)
            own[called] = name
    return united, own


def _united(
    name: str, kind: Any, found: Sequence[Attribute | None], rows: Sequence[int]
) -> Attribute:
    """One attribute from those of a kind, None where a data set with so many rows has none."""
    if kind == "numeric":
        parts = [
            np.full(n, np.nan) if a is None else a.data for a, n in zip(found, rows, strict=True)
        ]
        return Attribute(name, kind, (), np.concatenate(parts))
    values, codes = unite_words([() if a is None else a.values for a in found])
    parts = [
        np.full(n, -1, np.int16) if a is None else code[a.data]
        for a, code, n in zip(found, codes, rows, strict=True)
    ]
    kind = "categorical" if len(values) > 2 else kind
    return Attribute(name, kind, values, np.concatenate(parts))
