"""How a finding about the data is put into words: a title, what was seen, what to do about it."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from candid.text import words

# A finding's values by name; `count` and `of` are always among them.
Values = Mapping[str, Any]

_FEW = 6  # names that stand in a sentence


@dataclass(frozen=True, slots=True)
class Wording:
    """The texts of one code: templates with values in braces, or functions of the values."""

    title: str  # a few words for a heading
    found: str | Callable[[Values], str]  # what was seen
    absent: str | Callable[[Values], str] = ""  # what was not
    todo: str | Callable[[Values], str] = ""  # what a careful person would do about what was found
    # whether `found` says how many of how many; "always": so does `absent`
    tells_share: Literal["never", "found", "always"] = "never"


class _PluralFormatter(string.Formatter):
    """A formatter that also takes "{count:has|have}"."""

    def format_field(self, value: Any, format_spec: str) -> str:
        one, has_forms, several = format_spec.partition("|")
        if has_forms:
            return words.plural(value, one, several)
        return str(super().format_field(value, format_spec))


_FORMATTER = _PluralFormatter()


def fill_in(text: str | Callable[[Values], str], values: Values) -> str:
    """The text with its values filled in; "{count:has|have}" agrees with a number."""
    return _FORMATTER.vformat(text, (), values) if isinstance(text, str) else text(values)


def join_few(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    remainder = f" and {len(names) - _FEW:,} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + remainder


def count_by_split(counts: Mapping[str, int]) -> str:
    """How many images each split has: "12 in train, 3 in test"."""
    return ", ".join(f"{count:,} in {split}" for split, count in counts.items() if count)


def value_counts(counts: Mapping[str, int], limit: int = 4) -> list[str]:
    """The first of the values, each with its count."""
    return [f"{value} ({words.count(n)})" for value, n in list(counts.items())[:limit]]
