"""Progress: a bar on a terminal, lines elsewhere, on standard error.

`stages` names the parts of a long job; `track` and `progress` are for one piece of work, which
inside a stage belongs to that stage.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

T = TypeVar("T")

clock = time.monotonic
_MIN_INTERVAL = 1.0  # seconds between two lines about the same work
_OPEN_INTERVAL = 30.0  # the same without a known total
_BAR = "{desc} {percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
# Without a known total: of things that are counted, and of others.
_COUNT_FORMAT, _OPEN_FORMAT = "{desc} {n_fmt} [{elapsed}{postfix}]", "{desc} [{elapsed}{postfix}]"
_TICK_SECONDS = 1.0  # how often the bar of a job shows the time, whether anything is done or not


def write_line(line: str, *, quiet: bool = False) -> None:
    """Write a line, above the bars that are shown."""
    if quiet or sys.stderr is None:
        return
    from tqdm import tqdm

    with contextlib.suppress(OSError, ValueError):  # standard error is closed: work goes on
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()


def _is_screen() -> bool:
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def _tqdm(**options: Any) -> Any:
    if "ipykernel" in sys.modules:
        from tqdm import TqdmWarning

        with warnings.catch_warnings():  # of ipywidgets, without which the bar is one of text
            warnings.simplefilter("ignore", TqdmWarning)
            from tqdm import auto as bars
    else:
        import tqdm as bars  # type: ignore[no-redef]

        # A terminal may say that it has no size, and tqdm would then draw nothing.
        options["ncols"], options["nrows"] = shutil.get_terminal_size()
    return bars.tqdm(file=sys.stderr, **options)


def _format_seconds(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def _format_unit(n: int, unit: str) -> str:
    """The unit of n things: "batches", but 1 "batch"."""
    return unit if n != 1 else unit.removesuffix("es" if unit.endswith("ches") else "s")


# --- one piece of work ---------------------------------------------------------------------------


class Progress:
    """A piece of work; this class shows nothing."""

    def __init__(self, total: int | None = None, done: int = 0) -> None:
        self.total = total
        self.n = done

    def update(self, n: int = 1) -> None:
        """Add n units."""
        self.n += n

    def note(self, text: str) -> None:
        """Show a few words."""

    def expect(self, total: int) -> None:
        """Set the total."""
        self.total = total


class _LineProgress(Progress):
    """A line per tenth, or now and then where the total is unknown."""

    def __init__(self, title: str, total: int | None, unit: str, done: int) -> None:
        super().__init__(total, done)
        self.title, self.unit, self.words = title, unit, ""
        self.first, self.tenth = done, self._tenth()
        self.start = self.last_line = clock()

    def note(self, text: str) -> None:
        self.words = f"; {text}"

    def update(self, n: int = 1) -> None:
        super().update(n)
        now = clock()
        tenth = self._tenth()
        interval = now - self.last_line
        if self.total and (tenth <= self.tenth or self.n >= self.total or interval < _MIN_INTERVAL):
            return
        if not self.total and interval < _OPEN_INTERVAL:
            return
        self.tenth, self.last_line = tenth, now
        spent = now - self.start
        unit = _format_unit(self.total or self.n, self.unit)
        done = f"{self.n:,}{f' of {self.total:,}' if self.total else ''} {unit}".rstrip()
        if self.total and self.n > self.first:
            left = _format_seconds(spent * (self.total - self.n) / (self.n - self.first))
            write_line(f"{self.title}: {tenth}0% ({done}), {left} left{self.words}")
        else:
            write_line(f"{self.title}: {done} in {_format_seconds(spent)}{self.words}")

    def _tenth(self) -> int:
        return self.n * 10 // self.total if self.total else 0


class _BarProgress(Progress):
    """A bar of tqdm's, of its own or of the stage."""

    def __init__(self, bar: Any, total: int | None, done: int, behind: str = "") -> None:
        super().__init__(total, done)
        self.bar, self.behind = bar, behind

    def update(self, n: int = 1) -> None:
        super().update(n)
        self.bar.update(n)

    def note(self, text: str) -> None:
        self.bar.set_postfix_str("; ".join(filter(None, (text, self.behind))), refresh=False)

    def expect(self, total: int) -> None:
        super().expect(total)
        self.bar.total, self.bar.bar_format = total, _BAR


@contextlib.contextmanager
def progress(
    title: str,
    total: int | None = None,
    *,
    unit: str = "",
    done: int = 0,
    quiet: bool = False,
) -> Iterator[Progress]:
    """Work of `total` units, `done` of them before; yields the `Progress` to update."""
    if quiet or sys.stderr is None:
        yield Progress(total, done)
    elif _stages is not None:
        yield _stages.part(title, total, unit, done)
    elif _is_screen():
        with _tqdm(
            desc=title,
            total=total,
            initial=done,
            unit=f" {unit}",
            bar_format=_BAR if total else None,
        ) as bar:
            yield _BarProgress(bar, total, done)
    else:
        began = clock()
        counted = f"{total:,} {_format_unit(total, unit)}" if total else unit
        write_line(f"{title}: {counted}".rstrip(": "))
        yield _LineProgress(title, total, unit, done)
        write_line(f"{title}: done in {_format_seconds(clock() - began)}")


def track(iterable: Iterable[T], title: str, *, unit: str = "", quiet: bool = False) -> Iterator[T]:
    """Iterate with progress."""
    total = len(iterable) if isinstance(iterable, Sized) else None
    with progress(title, total, unit=unit, quiet=quiet) as work:
        for item in iterable:
            yield item
            work.update()


# --- a job of several stages ---------------------------------------------------------------------


class Stages:
    """The stages of a job: which are done, goes on, and come."""

    def __init__(self, names: Sequence[str], bar: Any, quiet: bool) -> None:
        self.names, self.bar, self.quiet = names, bar, quiet
        self.now = ""

    @contextlib.contextmanager
    def begin(self, name: str) -> Iterator[None]:
        """Show a stage, done in the block."""
        global _stages
        place = self.names.index(name) + 1
        self.now, began, before = name, clock(), _stages
        if self.bar is not None:
            self.part(name, None, "", 0)
        else:
            write_line(f"{name} ({place} of {len(self.names)})", quiet=self.quiet)
        _stages = None if self.quiet else self
        try:
            yield
        finally:
            _stages = before
        write_line(f"{name}: done in {_format_seconds(clock() - began)}", quiet=self.quiet)

    def skip(self, name: str) -> None:
        """Show that a stage was done before."""
        write_line(f"{name}: done before", quiet=self.quiet)

    def part(self, title: str, total: int | None, unit: str, done: int) -> Progress:
        """A piece of the present stage."""
        title = self.now if title == self.now else f"{self.now}, {title}"
        if self.bar is None:
            return _LineProgress(title, total, unit, done)
        coming = ", ".join(self.names[self.names.index(self.now) + 1 :])
        self.bar.bar_format = _BAR if total else _COUNT_FORMAT if unit else _OPEN_FORMAT
        self.bar.set_description_str(title, refresh=False)
        self.bar.initial = done
        self.bar.reset(total or float("inf"))
        self.bar.n = done
        work = _BarProgress(self.bar, total, done, f"then {coming}" if coming else "")
        work.note("")
        self.bar.refresh()
        return work


_stages: Stages | None = None  # those of the job that goes on


@contextlib.contextmanager
def stages(names: Sequence[str], *, quiet: bool = False) -> Iterator[Stages]:
    """A job of stages by these names, on one bar."""
    if quiet or not _is_screen():
        yield Stages(names, None, quiet)
        return
    with (
        contextlib.closing(_tqdm(total=None, bar_format=_OPEN_FORMAT, leave=False)) as bar,
        _refresh_bar(bar),
    ):
        yield Stages(names, bar, quiet)


@contextlib.contextmanager
def _refresh_bar(bar: Any) -> Iterator[None]:
    """Refresh the time in a stage that counts nothing."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(_TICK_SECONDS):
            with contextlib.suppress(OSError, ValueError):  # as for `write_line`
                bar.refresh()

    ticker = threading.Thread(target=tick, name="progress", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
