"""How a figure, its interval and what it stands on are written: numbers, units, plurals, lists.

Everything here is plain text: whoever prints it escapes it for HTML, Markdown or YAML.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from candid.records import Estimate
from candid.records.audit import Gap

UNDEFINED = "undefined"

# --- figures -------------------------------------------------------------------------------------


def number(value: float, digits: int = 3) -> str:
    """A figure to so many decimals; "undefined" where it is NaN or infinite."""
    if not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def significant(value: float, digits: int = 3) -> str:
    """A figure to so many significant digits, for one whose size is not known beforehand."""
    return f"{value:.{digits}g}".replace("-", "−") if math.isfinite(value) else UNDEFINED


def count(value: int) -> str:
    """A whole number with its thousands marked: 24,152."""
    return f"{value:,}"


def percent(share: float, digits: int = 1) -> str:
    """A share as a percentage; never 0% or 100% unless it is exactly that."""
    if not math.isfinite(share):
        return UNDEFINED
    text = f"{100 * share:.{digits}f}"
    smallest = 10.0**-digits
    if float(text) >= 100 and share < 1:
        return f">{100 - smallest:.{digits}f}%"
    if float(text) == 0 and share > 0:
        return f"<{smallest:.{digits}f}%"
    return f"{text}%"


def interval(estimate: Estimate, digits: int = 3, *, share: bool = False) -> str:
    """The ends of the interval, "0.951 to 0.963"; "undefined" where either is."""
    ends = (estimate.low, estimate.high)
    if not all(math.isfinite(end) for end in ends):
        return UNDEFINED
    if share:
        return " to ".join(percent(end) for end in ends)
    return " to ".join(number(end, digits) for end in ends)


def points(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"{'+' if value > 0 else ''}{number(100 * value, digits)}"


def points_interval(of: Estimate | Gap) -> str:
    """The ends of an interval in percentage points, with their signs."""
    return f"{points(of.low)} to {points(of.high)}"


def hundredths(estimate: Estimate) -> str:
    """A share in hundredths with its interval: "4.0 (3.1 to 4.9)"; "undefined" without a value."""
    if not math.isfinite(estimate.value):
        return UNDEFINED
    return f"{number(100 * estimate.value, 1)} ({hundredths_interval(estimate)})"


def percent_interval(estimate: Estimate) -> str:
    """A share as a percentage with its interval: "4.0% (3.1 to 4.9)"."""
    return f"{percent(estimate.value)} ({hundredths_interval(estimate)})"


def hundredths_interval(estimate: Estimate) -> str:
    """The ends of the interval in hundredths, "3.1 to 4.9"; "undefined" where either is."""
    ends = (estimate.low, estimate.high)
    if not all(math.isfinite(end) for end in ends):
        return UNDEFINED
    return " to ".join(number(100 * end, 1) for end in ends)


def images(n: int, who: int | None = None) -> str:
    """So many images, and the people behind them where they are known."""
    return f"{count(n)} {'image' if n == 1 else 'images'}{of_people(who)}"


def of_people(n: int | None) -> str:
    """The end of "2,900 images of 611 people"; nothing where nobody knows who is in them."""
    return "" if n is None else f" of {persons(n)}"


def support(estimate: Estimate) -> str:
    """What stands behind a figure: "n = 2,900 images of 611 people"."""
    return f"n = {images(estimate.n, estimate.people)}"


def persons(n: int) -> str:
    """So many people, in words that count."""
    return f"{count(n)} {'person' if n == 1 else 'people'}"


def confidence(share: float) -> str:
    """What kind of interval: "95% interval"."""
    return f"{100 * share:g}% interval"


def method(estimate: Estimate) -> str:
    """How the interval was made, with the draws that left the figure undefined."""
    text = f"{confidence(estimate.confidence)}, {estimate.method}"
    if estimate.draws:
        text += f", {count(estimate.draws)} draws"
    if estimate.undefined_draws:
        text += f", of which {count(estimate.undefined_draws)} left it undefined"
    return text


def size(count: float) -> str:
    """Bytes in the unit that suits them: "3.2 MB"."""
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log10(max(count, 1)) // 3))
    return f"{count / 1000**power:.3g} {units[power]}"


def aligned(table: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows of cells as lines, the cells of a column below each other."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def listed(words: list[str], last: str = "and") -> str:
    """A, B and C."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(text: str) -> str:
    """A line as a sentence: it begins with a capital letter and ends with a stop."""
    text = text.strip()
    stop = "" if not text or text[-1] in ".!?…" else "."
    return text[:1].upper() + text[1:] + stop
