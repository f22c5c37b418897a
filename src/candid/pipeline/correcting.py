"""Corrections written back into label files, and two people's merged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from os import fspath
from pathlib import Path

from candid.pipeline.data_places import Places, as_paths
from candid.pipeline.opening import Place
from candid.records import Finding
from candid.records.review import Agreement, Disagreement
from candid.settings import Config
from candid.tables.corrections import merged, read_corrections, words_by_image, write_corrections


def apply_corrections(
    data: Places, file: Place, out: Place, config: Config | None = None
) -> tuple[Finding, int, tuple[Path, ...]]:
    """Write labels as corrections have them: `candid corrections apply` from Python.

    Parameters
    ----------
    data
        Where the data lie, in one place or several; they stay as they are.
    file
        The decisions.
    out
        The file to write; see `candid.data.label_files.write_labels` for the names it may have.
    config
        Its `data` section says how labels are read; None: the defaults.

    Returns
    -------
    What was done, how many images there are now, and the files that were written.

    Raises
    ------
    DataError
        Where the decisions are of other data, or cannot be read.
    ConfigError
        Where the name of `out` does not say how to write.
    """
    from candid.data.joining import load_labels
    from candid.data.label_files import write_labels

    data_config = replace((config or Config()).data, corrections=fspath(file))
    dataset = load_labels(as_paths(data), data_config)
    files = write_labels(Path(out), dataset)
    finding = next(f for f in reversed(dataset.findings) if f.code == "CORRECTIONS")
    return finding, len(dataset), files


def merge_corrections(
    first: Place, second: Place, out: Place, *, draws: int = 1000, confidence: float = 0.95
) -> Agreement:
    """Write the decisions of two files as one, and say how far they agree.

    Parameters
    ----------
    first, second
        The files.
    out
        The file to write: the decisions of both in the order of their times.
    draws, confidence
        Bootstrap draws for the interval of Cohen's kappa, and the confidence of both intervals.

    Raises
    ------
    DataError
        Where a file cannot be read as decisions.
    """
    from candid.stats.agreement import measure_agreement

    a, b = read_corrections(Path(first)), read_corrections(Path(second))
    words_of = words_by_image(a), words_by_image(b)
    shared = [image for image in words_of[0] if image in words_of[1]]
    left, right = ([words[image] for image in shared] for words in words_of)
    agreement, kappa = measure_agreement(left, right, draws=draws, confidence=confidence)
    differing = Counter((x, y) for x, y in zip(left, right, strict=True) if x != y)
    merged_lines = merged(a, b)
    write_corrections(Path(out), merged_lines)
    return Agreement(
        lines=len(merged_lines),
        images=len({c.id for c in merged_lines}),
        both=len(shared),
        agreement=agreement,
        kappa=kappa,
        apart=tuple(Disagreement(x, y, count) for (x, y), count in differing.most_common()),
    )
