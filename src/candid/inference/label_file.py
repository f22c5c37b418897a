"""A table with a row per image, written atomically; a killed job can be resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from candid.errors import DataError, OutputError
from candid.inference.classify import Labeller, label
from candid.inference.rows import Block, Counter, Format, Outcome, names_digest, open_writer
from candid.inference.sources import Item
from candid.storage.files import atomic
from candid.storage.jobs import Job, PartsJournal, open_journal


def no_pictures() -> DataError:
    """The error where there is nothing to label."""
    return DataError(
        "There is not one picture in what was named.",
        expected="files that end like pictures (.jpg, .png, .webp, …), or tar or Parquet files "
        "with some",
        todo="check the paths; a folder's hidden files are passed over",
    )


def none_read(images: int, path: str) -> DataError:
    """The error where none of the images could be read; `path` names the table."""
    subject = "The one picture" if images == 1 else f"Not one of {images:,} pictures"
    return DataError(
        f"{subject} could {'not ' if images == 1 else ''}be read.",
        expected="at least one picture that can be decoded",
        todo=f"the column error of {path} says why of each",
    )


def journal_path(out: Path) -> Path:
    """The path of a table's journal."""
    return out.with_name(f"{out.name}.partial")


def label_to_file(
    labeller: Labeller,
    items: Iterable[Item],
    out: Path,
    kind: Format,
    job: Job,
    *,
    about: dict[str, Any] | None = None,
    force: bool = False,
    codes: bool = False,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Outcome:
    """Write a row per image to `out`, atomically, or resume a killed job.

    `job` is all that determines the rows: a journal of another job is not resumed. `about` is a
    Parquet file's metadata. `force` replaces an existing table, and the journal of another job;
    `codes` writes the code of each reason, too (see `RowColumns.schema`). Raises OutputError where
    `out` exists, or has another job's journal, or cannot be written; DataError where the images are
    not those of the journal, or there are none.
    """
    path = journal_path(out)
    if out.is_dir() or (out.exists() and not force and not path.exists()):
        raise OutputError(
            f"{out} exists already.",
            expected="a file that is not there yet",
            todo="name another place with --out, or replace it with --force",
        )
    counter = Counter(labeller.columns, labeller.reference)
    with open_journal(path, job, replace=force) as journal:
        remaining = _skip_done(iter(items), journal, counter, bar)
        with contextlib.closing(label(labeller, remaining, workers=workers, bar=bar)) as blocks:
            for block in blocks:
                journal.add(vars(block))
                counter.add(block.items, block.rows, block.scores)
        if not counter.images:
            journal.remove()
            raise no_pictures()
        schema = labeller.columns.schema(codes=codes)
        with atomic(out) as part, open_writer(part, kind, schema, about or {}) as writer:
            for values in journal.parts():
                writer.write(values["rows"])
        journal.remove()
    return replace(counter.tally(), frame=labeller.classifier.common)


def _skip_done(
    items: Iterator[Item], journal: PartsJournal, counter: Counter, bar: Callable[[int], object]
) -> Iterator[Item]:
    """The items after those in the journal, whose names must be the same."""
    for block in (Block(**plain) for plain in journal.parts()):
        names = [item.id for item in islice(items, block.items)]
        if len(names) != block.items or names_digest(names) != block.names:
            raise DataError(
                f"The pictures are not those that {journal.path} tells of "
                f"(after {counter.images:,} that are).",
                expected="the same pictures in the same order as when the job was stopped",
                todo="put them back, or begin anew with --force",
            )
        counter.add(block.items, block.rows, block.scores)
        bar(block.items)
    counter.resumed = counter.images
    return items
