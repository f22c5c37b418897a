"""Figures with intervals that a page tells, and whether they have more digits than is due."""

from __future__ import annotations

import re
from decimal import Decimal
from html import unescape

_NUMBER = r"[−+<>]?[\d,]*\d(?:\.\d+)?%?"
_ENDS = rf"(?P<low>{_NUMBER}) to (?P<high>{_NUMBER})"
# A figure and its interval: in brackets, in the cell of a table, in a headline.
_SHAPES = (
    rf"(?P<value>{_NUMBER})(?: points)? \((?:\d+% interval )?{_ENDS}[;,)]",
    rf"(?P<value>{_NUMBER})\s*<small>\s*{_ENDS}",
    rf'class="value">(?P<value>{_NUMBER})</dd>\s*<dd class="interval">\d+% interval {_ENDS}',
)


def figures_of(html: str) -> list[tuple[str, str, str]]:
    """Each figure with the ends of its interval, as printed."""
    text = unescape(re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.S))
    return [
        (found["value"], found["low"], found["high"])
        for shape in _SHAPES
        for found in re.finditer(shape, text)
    ]


def _plain(printed: str) -> Decimal:
    return Decimal(re.sub(r"[<>%,+]", "", printed).replace("−", "-"))


def too_long(printed: tuple[str, str, str]) -> bool:
    """Whether the figure or an end goes on behind the second digit of half the interval.

    What was rounded away could have made the interval wider by as much as the last digit.
    """
    value, low, high = map(_plain, printed)
    unit = max(Decimal(1).scaleb(int(x.as_tuple().exponent)) for x in (low, high))
    half = (high - low - unit) / 2
    if half <= 0:
        return False
    least = Decimal(1).scaleb(half.adjusted() - 1)  # what the second digit counts
    # A number outside may be the end of a group's name.
    shown = (value, low, high) if low <= value <= high else (low, high)
    last = [Decimal(1).scaleb(int(x.as_tuple().exponent)) for x in shown]
    return any(unit < least and unit < 1 for unit in last)
