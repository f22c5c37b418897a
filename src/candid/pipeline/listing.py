"""The runs below a folder, with their figures."""

from __future__ import annotations

import fnmatch
import itertools
import math
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from candid.errors import CandidError, DataError
from candid.pipeline.auditing import furthest_behind
from candid.pipeline.opening import Place
from candid.records import Evaluation, ModelCard, Provenance, read_record
from candid.records.audit import Audit
from candid.records.listing import RunList, RunOrder, RunState, RunSummary, WorstGap
from candid.records.number import NumberEvaluation
from candid.records.targets import Targets
from candid.runs import Run, open_run
from candid.text.findings import group_name

_DEPTH = 4  # folders in folders; runs of a study lie in the second


def list_runs(
    folder: Place = "runs",
    *,
    order: RunOrder = "started",
    target: str = "",
    recipe: str = "",
    data: str = "",
) -> RunList:
    """The runs below a folder: what each learned, how well it does, for whom worst, at what price.

    A run that is damaged, or was stopped, is listed as such. Of one that learned several labels,
    each is listed.

    Parameters
    ----------
    folder
        Where to look, to a depth of four folders; or one run.
    order
        "started": the latest first; "run": by name; "f1" and "accuracy": the best first; "worst":
        the widest gap first; "mae": the smallest error of a number first; "seconds" and "size": the
        largest first. Those without it come last.
    target, recipe, data
        Only runs of this label, of this recipe or network, of this data set: words in any case of
        their letters, or patterns such as "utk*"; "": all.

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
    rows = (row for path in _find_runs(root, 0) for row in _summarise_run(path))
    matching = (
        row
        for row in rows
        if _matches(target, row.target)
        and _matches(recipe, row.recipe, row.network)
        and _matches(data, row.data, *row.data.split(", "))
    )
    return RunList(str(root), tuple(sorted(matching, key=_sort_key(order))))


def _matches(pattern: str, *words: str) -> bool:
    folded = pattern.casefold()
    return not folded or any(fnmatch.fnmatchcase(word.casefold(), folded) for word in words)


def _find_runs(folder: Path, depth: int) -> Iterator[Path]:
    """The folders of runs; not those inside the folder of a run."""
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
            yield from _find_runs(Path(entry.path), depth + 1)


def _sort_key(order: RunOrder) -> Callable[[RunSummary], Any]:
    """The key to sort runs by; NaN and missing values come last."""
    if order == "run":
        return lambda r: r.run
    if order == "started":
        return lambda r: [-ord(letter) for letter in r.started] or [0]

    def key(r: RunSummary) -> Any:
        value = _FIGURES[order](r)
        if value is None or math.isnan(value):
            return True, 0.0, r.run
        return False, -value, r.run

    return key


_FIGURES: dict[RunOrder, Callable[[RunSummary], float | None]] = {
    "f1": lambda r: None if r.weighted_f1 is None else r.weighted_f1.value,
    "accuracy": lambda r: None if r.accuracy is None else r.accuracy.value,
    "mae": lambda r: None if r.mae is None else -r.mae.value,
    # Of a number it is no share, and not compared.
    "worst": lambda r: None if r.worst is None or r.mae is not None else -r.worst.value,
    "seconds": lambda r: r.seconds,
    "size": lambda r: r.size,
}


def _summarise_run(path: Path) -> list[RunSummary]:
    """A row for a run, or for each of its labels."""
    size = folder_size(path)
    try:
        run = open_run(path)
        provenance = read_record(run.provenance, Provenance)
        label_runs = run.target_runs()
        if not label_runs:
            return [_summarise(run, provenance, size)]
        labels = read_record(run.targets, Targets).labels
    except CandidError as error:
        return [_summarise_damaged(path, size, error)]
    rows = [
        _summarise_label(r, label.name, provenance, size)
        for r, label in zip(label_runs, labels, strict=True)
    ]
    return [replace(row, whole=str(path)) for row in rows]


def _summarise_label(run: Run, label: str, provenance: Provenance, size: int) -> RunSummary:
    """A row for one of several labels; seconds and size are the whole run's."""
    try:
        if not run.provenance.is_file():  # nothing was done for it yet
            return replace(_summarise(run, provenance, size), target=label, state="not evaluated")
        record = read_record(run.provenance, Provenance)
        seconds = provenance.seconds | {f"label {k}": s for k, s in record.seconds.items()}
        return _summarise(run, replace(provenance, seconds=seconds), size)
    except CandidError as error:
        return _summarise_damaged(run.path, size, error)


def _summarise_damaged(path: Path, size: int, error: CandidError) -> RunSummary:
    return RunSummary(str(path), "damaged", size, " ".join(error.what.split()))


def _summarise(run: Run, provenance: Provenance, size: int) -> RunSummary:
    state: RunState = "unfinished"
    target = run.settings.data.target or ", ".join(run.settings.data.targets)
    fields: dict[str, Any] = {"target": target if run.parent is None else run.path.name}
    is_number = False
    if run.model_file.is_file():
        card, state = read_record(run.model_file, ModelCard), "not evaluated"
        is_number = card.number is not None
        fields |= {"target": card.target, "classes": () if is_number else card.classes}
    if run.evaluation.is_file():
        state = "finished" if run.report.is_file() else "no report"
        fields |= _read_figures(run, is_number=is_number)
    return RunSummary(
        run=str(run.path),
        state=state,
        size=size,
        started=provenance.started,
        candid=provenance.candid,
        data=", ".join(provenance.sources) or Path(provenance.data).name,
        network=run.settings.network.name,
        recipe=_parse_recipe(provenance.command) or run.settings.network.name,
        seconds=sum(provenance.seconds.values()),
        **fields,
    )


def _parse_recipe(command: str) -> str:
    """The recipe in a command line, or ""."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote that does not end
        return ""
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--recipe":
            return following
        if word.startswith("--recipe="):
            return word.removeprefix("--recipe=")
    return ""


def _read_figures(run: Run, *, is_number: bool) -> dict[str, Any]:
    """Figures of test, or else of validation, and the group furthest behind."""
    fields: dict[str, Any] = {}
    if is_number:
        split = read_record(run.evaluation, NumberEvaluation).headline
        if split is not None:
            fields = {"split": split.split, "mae": split.metrics["mae"]}
    else:
        splits = {split.split: split for split in read_record(run.evaluation, Evaluation).splits}
        if headline := splits.get("test") or splits.get("validation"):
            figures = {name: headline.metrics[name] for name in ("accuracy", "weighted_f1")}
            fields = {"split": headline.split, **figures}
    audit = read_record(run.audit, Audit) if run.audit.is_file() else None
    if furthest := furthest_behind(audit, is_number=is_number):
        group, gap = furthest
        fields["worst"] = WorstGap(group_name(group.conditions), gap.value, gap.low, gap.high)
    return fields


def folder_size(path: Path) -> int:
    """Bytes of all files below; files that vanish meanwhile do not count."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return total
