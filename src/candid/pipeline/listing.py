"""Which runs there are below a folder, and what came of each."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from candid.errors import CandidError, DataError
from candid.pipeline.opening import Place
from candid.records import Evaluation, ModelCard, Provenance, SplitEvaluation, read_record
from candid.records.audit import Audit
from candid.records.listing import RunList, RunOrder, RunState, RunSummary, WorstGap
from candid.runs import Run, open_run
from candid.text.findings import group_name

_DEPTH = 4  # folders in folders; runs of a study lie in the second


def list_runs(folder: Place = "runs", *, order: RunOrder = "started") -> RunList:
    """The runs below a folder: what each learned, how well it does, for whom worst, at what price.

    A run that is damaged, or was stopped, is listed as such.

    Parameters
    ----------
    folder
        Where to look, to a depth of four folders; or one run.
    order
        "started": the latest first; "run": by name; "f1" and "accuracy": the best first; "worst":
        the widest gap first; "seconds" and "size": the largest first. Those without it come last.

    Raises
    ------
    DataError
        Where there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}.",
            expected="a folder with runs, such as runs/, which candid run makes",
            todo="name it: candid runs FOLDER",
        )
    found = [_summary(path) for path in _runs_below(root, 0)]
    return RunList(str(root), tuple(sorted(found, key=_key(order))))


def _runs_below(folder: Path, depth: int) -> Iterator[Path]:
    """The folders of runs; there may be others in a run's folder, but none that is a run."""
    if Run(folder).config.is_file():
        yield folder
        return
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:  # one that this user may not look into holds nothing for them
        return
    for entry in entries:
        hidden = entry.name.startswith(".")
        if depth < _DEPTH and not hidden and entry.is_dir(follow_symlinks=False):
            yield from _runs_below(Path(entry.path), depth + 1)


def _key(order: RunOrder) -> Callable[[RunSummary], Any]:
    """What runs are sorted by; NaN and what is missing come last."""

    def by(figure: Callable[[RunSummary], float | None]) -> Callable[[RunSummary], Any]:
        def key(r: RunSummary) -> Any:
            value = figure(r)
            if value is None or math.isnan(value):
                return True, 0.0, r.run
            return False, -value, r.run

        return key

    keys: dict[RunOrder, Callable[[RunSummary], Any]] = {
        "run": lambda r: r.run,
        "started": lambda r: [-ord(letter) for letter in r.started] or [0],
        "f1": by(lambda r: None if r.weighted_f1 is None else r.weighted_f1.value),
        "accuracy": by(lambda r: None if r.accuracy is None else r.accuracy.value),
        "worst": by(lambda r: None if r.worst is None else -r.worst.value),
        "seconds": by(lambda r: r.seconds),
        "size": by(lambda r: r.size),
    }
    return keys[order]


def _summary(path: Path) -> RunSummary:
    size = _bytes(path)
    try:
        return _read(open_run(path), size)
    except CandidError as error:
        why = " ".join(error.what.split())
        return RunSummary(str(path), "damaged", size, why)


def _read(run: Run, size: int) -> RunSummary:
    about = read_record(run.provenance, Provenance)
    state: RunState = "unfinished"
    named: dict[str, Any] = {"target": run.settings.data.target}
    if run.model_file.is_file():
        card, state = read_record(run.model_file, ModelCard), "not evaluated"
        named |= {"target": card.target, "classes": card.classes}
    if run.evaluation.is_file():
        state = "finished" if run.report.is_file() else "no report"
        judged = _judged(read_record(run.evaluation, Evaluation))
        if judged is not None:
            figures = {name: judged.metrics[name] for name in ("accuracy", "weighted_f1")}
            named |= {"split": judged.split, **figures}
    if run.audit.is_file():
        named["worst"] = _worst(read_record(run.audit, Audit))
    return RunSummary(
        run=str(run.path),
        state=state,
        size=size,
        started=about.started,
        candid=about.candid,
        data=", ".join(about.sources) or Path(about.data).name,
        network=run.settings.network.name,
        seconds=sum(about.seconds.values()),
        **named,
    )


def _judged(evaluation: Evaluation) -> SplitEvaluation | None:
    """Test where there is one, else validation."""
    splits = {split.split: split for split in evaluation.splits}
    return splits.get("test") or splits.get("validation")


def _worst(audit: Audit) -> WorstGap | None:
    behind = audit.splits[0].furthest_behind() if audit.splits else None
    if behind is None:
        return None
    group, gap = behind
    return WorstGap(group_name(group.conditions), gap.value, gap.low, gap.high)


def _bytes(path: Path) -> int:
    """Of all files below; what vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
