"""The hierarchy of errors, and the exit code that each one ends a command with.

::

    CandidError                     exit 2
    ├── DataError                   the data folder, a label file, a table
    │   ├── LayoutError             no layout fits, or the named one does not
    │   ├── TargetError             no such label column, or a label that cannot be learned
    │   └── ImageError              one picture that cannot be decoded (listed and skipped)
    ├── ConfigError                 a setting that does not exist or has an impossible value
    ├── PredictionsError            a predictions file that does not hold what it must
    ├── RunError                    a run folder that is missing, incomplete or damaged
    ├── TrainingError               training that cannot go on
    ├── OutputError                 a place that cannot be written to
    └── DependencyError             an extra that is not installed
    CheckFailed                     exit 1: the work was done, but what was asked does not hold

Every message has three parts: what came, what was expected, what to do.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Self


class CandidError(Exception):
    """Something that the user can mend: bad input, a bad setting, a full disk.

    Parameters
    ----------
    what
        What came, in one sentence.
    expected
        What was expected instead.
    todo
        What to do about it.
    code
        Stable and short, where somebody must tell this error from others of its kind.
    """

    exit_code = 2

    def __init__(self, what: str, *, expected: str = "", todo: str = "", code: str = "") -> None:
        super().__init__(what, expected, todo)
        self.what = what
        self.expected = expected
        self.todo = todo
        self.code = code

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.todo:
            lines.append(f"  to do:    {self.todo}")
        return "\n".join(lines)

    def of(self, name: str) -> Self:
        """The same error, with the name of what it is about."""
        what = f"{name}: {self.what}"
        return type(self)(what, expected=self.expected, todo=self.todo, code=self.code)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive Exception's pickling, and errors cross processes.
        words = {"expected": self.expected, "todo": self.todo, "code": self.code}
        return (partial(type(self), self.what, **words), ())


class DataError(CandidError):
    """The data folder, a label file or a table is not what it should be."""


class LayoutError(DataError):
    """No layout fits the folder, or the layout that was named does not."""


class TargetError(DataError):
    """The label column does not exist, or cannot be learned from."""


class ImageError(DataError):
    """One picture that cannot be decoded; `what` is the reason that is listed beside its name.

    `cause` is the reason without the `particulars` of this picture, which stand in brackets.
    """

    def __init__(
        self,
        cause: str,
        *,
        particulars: str = "",
        expected: str = "",
        todo: str = "",
        code: str = "",
    ) -> None:
        what = f"{cause} ({particulars})" if particulars else cause
        super().__init__(what, expected=expected, todo=todo, code=code)
        self.cause = cause
        self._particulars = particulars

    def __reduce__(self) -> tuple[object, ...]:
        words = {"expected": self.expected, "todo": self.todo, "code": self.code}
        return (partial(type(self), self.cause, particulars=self._particulars, **words), ())


class ConfigError(CandidError):
    """A setting that does not exist, or that has an impossible value."""


class PredictionsError(CandidError):
    """A predictions file that does not hold what it must."""


class RunError(CandidError):
    """A run folder that is missing, incomplete or damaged."""


class TrainingError(CandidError):
    """Training that cannot go on: a loss that is not finite, a device that is not there."""


class OutputError(CandidError):
    """A place that cannot be written to."""


class DependencyError(CandidError):
    """A library that this verb needs is not installed."""


class CheckFailed(CandidError):
    """The work was done, and a demand does not hold."""

    exit_code = 1


@contextlib.contextmanager
def require_extra(what: str, extra: str, *, expected: str = "", todo: str = "") -> Iterator[None]:
    """Turn an import that fails in the block into a DependencyError; `what` is "This needs"."""
    try:
        yield
    except ImportError as error:
        raise DependencyError(
            f"{what} a library that is not installed: {error.name}.",
            expected=expected or f"the extra '{extra}'",
            todo=todo or f"pip install 'candid-faces[{extra}]'",
        ) from error


def resume_advice(run: object) -> str:
    """The advice for a half-finished run in the folder `run`."""
    return f"go on with: candid run --resume {shlex.quote(str(run))}"


def nearest_names(word: str, known: Iterable[str]) -> str:
    """A hint with the known words nearest to `word`; "" where none is near."""
    import difflib

    folded = {w.lower(): w for w in sorted(set(known))}
    near = [folded[w] for w in difflib.get_close_matches(word.lower(), folded, cutoff=0.5)]
    return "did you mean " + " or ".join(repr(w) for w in near) + "?" if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the known words nearest to `word`, or with all of them where there are few."""
    words = sorted(set(known))
    if hint := nearest_names(word, words):
        return hint
    shown = ", ".join(words[:12]) + (f", … ({len(words)} in all)" if len(words) > 12 else "")
    return f"known: {shown}"
