"""How a figure, its interval and what it stands on are written: numbers, units, plurals, lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from candid.records import Estimate

UNDEFINED = "undefined"


class WithInterval(Protocol):
    """A figure and the ends of its interval."""

    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102


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


def p_value(p: float) -> str:
    """A p-value in a table."""
    return "<0.0001" if p < 0.0001 else significant(p, 2)


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


def decimals(figure: WithInterval, max_digits: int, scale: float = 1.0) -> int:
    """How many decimals a figure deserves: `max_digits`, or fewer where its interval is wide.

    Half the interval of `scale` times the figure keeps two significant digits, and the figure ends
    where they end: 0.957 (0.951 to 0.963), but 0.86 (0.72 to 0.95).
    """
    half = scale * (figure.high - figure.low) / 2
    if not (math.isfinite(half) and half > 0):
        return max_digits
    return max(0, min(max_digits, 1 - math.floor(math.log10(half))))


def figure_of(figure: WithInterval, max_digits: int = 3) -> str:
    """A figure with the decimals that its interval deserves, `max_digits` at most."""
    return number(figure.value, decimals(figure, max_digits))


def share_of(figure: WithInterval) -> str:
    """A share as a percentage, with the decimals that its interval deserves."""
    return percent(figure.value, decimals(figure, 1, 100))


def points_of(figure: WithInterval) -> str:
    """A difference of shares in percentage points, with its sign."""
    return points(figure.value, decimals(figure, 1, 100))


def hundredths_of(figure: WithInterval) -> str:
    """A share in hundredths: "4.0"."""
    return number(100 * figure.value, decimals(figure, 1, 100))


def size_in_points(figure: WithInterval) -> str:
    """The size of a difference of shares in percentage points, without its sign."""
    return number(100 * abs(figure.value), decimals(figure, 1, 100))


def with_ends(figure: WithInterval, max_digits: int = 3) -> str:
    """A figure and its interval: "0.957 (0.951 to 0.963)"."""
    return f"{figure_of(figure, max_digits)} ({interval(figure, max_digits)})"


def share_with_ends(figure: WithInterval) -> str:
    """A share and its interval: "95.7% (95.1% to 96.3%)"."""
    return f"{share_of(figure)} ({interval(figure, share=True)})"


def points_with_ends(figure: WithInterval) -> str:
    """A difference of shares and its interval in percentage points, with signs."""
    return f"{points_of(figure)} ({points_interval(figure)})"


def interval(figure: WithInterval, digits: int = 3, *, share: bool = False) -> str:
    """The ends of the interval, "0.951 to 0.963"; "undefined" where either is."""
    if share:
        return _format_interval(figure, lambda end: percent(end, decimals(figure, 1, 100)))
    return _format_interval(figure, lambda end: number(end, decimals(figure, digits)))


def points(value: float, digits: int = 1) -> str:
    """A difference of shares in percentage points, with its sign."""
    if not math.isfinite(value):
        return UNDEFINED
    return f"{'+' if value > 0 else ''}{number(100 * value, digits)}"


def points_interval(figure: WithInterval) -> str:
    """The ends of an interval in percentage points, with signs; "undefined" where one is."""
    return _format_interval(figure, lambda end: points(end, decimals(figure, 1, 100)))


def hundredths(estimate: Estimate) -> str:
    """A share in hundredths with its interval: "4.0 (3.1 to 4.9)"; "undefined" without a value."""
    if not math.isfinite(estimate.value):
        return UNDEFINED
    return f"{hundredths_of(estimate)} ({hundredths_interval(estimate)})"


def percent_interval(estimate: Estimate) -> str:
    """A share as a percentage with its interval: "4.0% (3.1 to 4.9)"."""
    return f"{share_of(estimate)} ({hundredths_interval(estimate)})"


def hundredths_interval(figure: WithInterval) -> str:
    """The ends of the interval in hundredths, "3.1 to 4.9"; "undefined" where either is."""
    return _format_interval(figure, lambda end: number(100 * end, decimals(figure, 1, 100)))


def _format_interval(figure: WithInterval, format_end: Callable[[float], str]) -> str:
    is_finite = math.isfinite(figure.low) and math.isfinite(figure.high)
    return f"{format_end(figure.low)} to {format_end(figure.high)}" if is_finite else UNDEFINED


def plural(n: int, one: str, several: str) -> str:
    """`one` where n is 1, else `several`."""
    return one if n == 1 else several


def many(n: int, one: str, several: str) -> str:
    """A count and its noun: "1 image", "3 images"."""
    return f"{count(n)} {plural(n, one, several)}"


def images(n: int, people: int | None = None) -> str:
    """A count of images: "12 images of 3 people", or "12 images" where people are unknown."""
    return f"{many(n, 'image', 'images')}{of_people(people)}"


def of_people(n: int | None) -> str:
    """The end of "2,900 images of 611 people"; "" where people are unknown."""
    return "" if n is None else f" of {persons(n)}"


def support(estimate: Estimate) -> str:
    """The sample behind a figure: "n = 2,900 images of 611 people"."""
    return f"n = {images(estimate.n, estimate.people)}"


def persons(n: int) -> str:
    """A count of people: "1 person", "3 people"."""
    return many(n, "person", "people")


def gaps(n: int) -> str:
    """A count of gaps: "1 gap", "3 gaps"."""
    return many(n, "gap", "gaps")


def groups_or_rests(n: int) -> str:
    """A count for a sentence's start: "3 groups or their rests have"."""
    return many(n, "group or its rest has", "groups or their rests have")


def too_few(groups: int, unit: str) -> str:
    """How many groups are too small, or their rests; `unit` is what counts."""
    return f"{groups_or_rests(groups)} too few {unit} to say anything"


def confidence(share: float) -> str:
    """What kind of interval: "95% interval"."""
    return f"{100 * share:g}% interval"


def method(estimate: Estimate) -> str:
    """How the interval was computed, with the draws that left the figure undefined."""
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


def align_columns(
    table: Sequence[Sequence[str]], *, right: Callable[[int], bool] = lambda column: False
) -> Iterator[str]:
    """Rows of cells as lines of aligned columns; `right` says which are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = (
            cell.rjust(width) if right(i) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def upper_median(values: Iterable[float]) -> float | None:
    """The upper median of the finite values; None without any."""
    finite = sorted(filter(math.isfinite, values))
    return finite[len(finite) // 2] if finite else None


def conjoin(words: list[str], last: str = "and") -> str:
    """Join words: "A, B and C"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def sentence(text: str) -> str:
    """A line as a sentence: it begins with a capital letter and ends with a stop."""
    text = text.strip()
    stop = "" if not text or text[-1] in ".!?…" else "."
    return text[:1].upper() + text[1:] + stop
