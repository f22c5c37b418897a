"""Pictures in, rows out: read, decoded and answered side by side, in order, in flat memory.

Threads, not processes: a thread decodes a block of pictures and runs the model on them, and both
let other threads run meanwhile, so blocks overlap without waiting for each other and nothing is
copied between processes. Blocks are cut by the pictures alone, so the same pictures make the same
rows however often the job was stopped.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.cores import cores
from candid.data.decode import decode, decode_whole
from candid.errors import DataError, ImageError, OutputError
from candid.inference.classifier import BATCH, Classifier
from candid.inference.faces import Finder
from candid.inference.journal import Block, Journal, names_digest, open_journal
from candid.inference.rows import Columns, Format, Row, open_writer
from candid.inference.sources import Item
from candid.inference.unfamiliar import Typical
from candid.storage.files import atomic

_BLOCK_BYTES = 64 << 20  # of encoded pictures that wait in one block
_DIGITS = 7  # what float32 carries

# An item, and its bytes where they had to be read in order.
_Read = tuple[Item, "bytes | ImageError | None"]


# --- one block of pictures -----------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Crop:
    """What the model sees (None where there is nothing to see), and the values of its row."""

    pixels: NDArray[np.uint8] | None
    values: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Labeller:
    """All that makes rows of pictures; safe to use from several threads.

    Attributes
    ----------
    classifier
        The model.
    typical
        Tells pictures that the model was not made for; None: nobody looks.
    finder
        Finds and aligns the faces in a picture; None: the picture is the crop.
    """

    classifier: Classifier
    typical: Typical | None = None
    finder: Finder | None = None

    @property
    def columns(self) -> Columns:
        """What the rows hold."""
        return Columns(self.classifier.classes, faces=self.finder is not None)

    def rows(self, pictures: Iterable[_Read]) -> list[Row]:
        """The rows of some pictures, in order; without bytes, an item is read here."""
        crops = [crop for item, data in pictures for crop in self._crops(item, data)]
        self._answer([crop for crop in crops if crop.pixels is not None])
        return self.columns.rows(crop.values for crop in crops)

    def _crops(self, item: Item, data: bytes | ImageError | None) -> list[_Crop]:
        try:
            if isinstance(data, ImageError):
                raise data
            encoded = item.read() if data is None else data
            if self.finder is not None:
                return self._faces(item.id, encoded, self.finder)
            c = self.classifier
            picture = decode(encoded, side=c.side, fit=c.fit, max_pixels=c.max_pixels)
        except ImageError as error:
            return [_Crop(None, {"id": item.id, "error": " ".join(error.what.split())})]
        values = {"id": item.id, "width": picture.width, "height": picture.height}
        return [_Crop(picture.pixels, values)]

    def _faces(self, name: str, encoded: bytes, finder: Finder) -> list[_Crop]:
        c = self.classifier
        picture = decode_whole(encoded, longest=finder.longest, max_pixels=c.max_pixels)
        values = {"id": name, "width": picture.width, "height": picture.height}
        found = finder.find(picture.pixels)
        if not found:
            return [_Crop(None, values | {"abstained": True, "reason": "no face found"})]
        scale = picture.width / picture.pixels.shape[1]
        return [
            _Crop(
                finder.crop(picture.pixels, face, side=c.side, fit=c.fit),
                values | {"face": number} | face.box.scaled(scale).values(),
            )
            for number, face in enumerate(found)
        ]

    def _answer(self, crops: list[_Crop]) -> None:
        """Add what the model says to the values of crops with pixels."""
        if not crops:
            return
        c = self.classifier
        pixels: NDArray[np.uint8] = np.stack([crop.pixels for crop in crops])  # type: ignore[misc]
        probability = c.probabilities(pixels)
        reasons = [""] * len(crops)
        if c.rule is not None:
            unsure = f"not sure: the highest probability is below {c.rule.threshold:.4g}"
            reasons = [unsure if below else "" for below in c.rule.abstains(probability)]
        odd = self._unlike(pixels, crops)
        for crop, p, unlike, reason in zip(crops, probability, odd, reasons, strict=True):
            why = unlike or reason
            crop.values |= {
                "prediction": None if why else c.classes[int(p.argmax())],
                "abstained": bool(why),
                "reason": why or None,
            }
            for name, value in zip(c.classes, p, strict=True):
                crop.values[f"p_{name}"] = round(float(value), _DIGITS)

    def _unlike(self, pixels: NDArray[np.uint8], crops: list[_Crop]) -> list[str]:
        if self.typical is None:
            return [""] * len(crops)
        edges = ("box_width", "box_height") if self.finder is not None else ("width", "height")
        shapes = np.array([[crop.values[edge] for edge in edges] for crop in crops])
        if self.finder is not None:  # what was cut out is larger than the box
            shapes = shapes / self.finder.frame.box[2]
        return self.typical.unlike(pixels, shapes[:, 0], shapes[:, 1], cut=self.finder is not None)


# --- all of them ---------------------------------------------------------------------------------


def label(
    labeller: Labeller,
    items: Iterable[Item],
    *,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Generator[Block]:
    """The rows of all items, block by block, in order.

    Parameters
    ----------
    labeller
        What makes the rows.
    items
        The pictures; read no further ahead than a few blocks.
    workers
        Threads; 0: one per core.
    bar
        Called with the number of pictures of each block.
    """
    count = workers or cores()
    pool = ThreadPoolExecutor(count, thread_name_prefix="candid-label")
    waiting: deque[tuple[list[Item], Future[list[Row]]]] = deque()
    held: deque[int] = deque()
    try:
        for block, size in _blocks(items):
            # Enough that no thread is idle while this one reads, and no more.
            while len(waiting) >= 2 * count + 2 or (held and sum(held) + size > 4 * _BLOCK_BYTES):
                held.popleft()
                yield _done(waiting.popleft(), bar)
            waiting.append(([item for item, _ in block], pool.submit(labeller.rows, block)))
            held.append(size)
        while waiting:
            yield _done(waiting.popleft(), bar)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _done(entry: tuple[list[Item], Future[list[Row]]], bar: Callable[[int], object]) -> Block:
    items, future = entry
    rows = future.result()
    bar(len(items))
    return Block(len(items), names_digest(item.id for item in items), rows)


def _blocks(items: Iterable[Item]) -> Iterator[tuple[list[_Read], int]]:
    """Items in blocks that the model takes at once, and the bytes that they hold."""
    block: list[_Read] = []
    size = 0
    for item in items:
        data: bytes | ImageError | None = None
        if item.ordered:
            try:
                data = item.read()
                size += len(data)
            except ImageError as error:
                data = error
        block.append((item, data))
        if len(block) == BATCH or size >= _BLOCK_BYTES:
            yield block, size
            block, size = [], 0
    if block:
        yield block, size


# --- into a file, safe from kills ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the pictures of a job.

    Attributes
    ----------
    pictures, rows
        Pictures, and rows of them: with faces looked for, as many as faces.
    answered, abstained, errors
        Rows with a prediction, rows without one and why, pictures that could not be read.
    reasons
        How often each reason to abstain came, without its figures.
    predictions
        How often each class was predicted.
    resumed
        Pictures that had been done before this start.
    """

    pictures: int
    rows: int
    answered: int
    abstained: int
    errors: int
    reasons: dict[str, int]
    predictions: dict[str, int]
    resumed: int


class Counter:
    """Counts rows as they pass."""

    def __init__(self, columns: Columns) -> None:
        names = columns.schema().names
        self._prediction, self._why = names.index("prediction"), names.index("reason")
        self._error = names.index("error")
        self.pictures = self.rows = self.errors = self.resumed = 0
        self.reasons: dict[str, int] = {}
        self.predictions: dict[str, int] = {}

    def add(self, block: Block) -> None:
        """Count the rows of a block."""
        self.pictures += block.items
        self.rows += len(block.rows)
        for row in block.rows:
            if row[self._error] is not None:
                self.errors += 1
            elif (said := row[self._prediction]) is not None:
                self.predictions[said] = self.predictions.get(said, 0) + 1
            else:
                why = row[self._why].partition(":")[0]
                self.reasons[why] = self.reasons.get(why, 0) + 1

    def tally(self) -> Tally:
        """The counts."""
        return Tally(
            pictures=self.pictures,
            rows=self.rows,
            answered=sum(self.predictions.values()),
            abstained=sum(self.reasons.values()),
            errors=self.errors,
            reasons=dict(sorted(self.reasons.items())),
            predictions=dict(sorted(self.predictions.items())),
            resumed=self.resumed,
        )


def journal_path(out: Path) -> Path:
    """Where the journal of a job lies while it is not finished."""
    return out.with_name(out.name + ".partial")


def label_to_file(
    labeller: Labeller,
    items: Iterable[Item],
    out: Path,
    kind: Format,
    job: dict[str, Any],
    *,
    about: dict[str, Any] | None = None,
    force: bool = False,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Tally:
    """Write a row per picture to `out`, whole or not at all; a killed job goes on where it was.

    Parameters
    ----------
    labeller, items, workers, bar
        As for `label`.
    out, kind
        The table.
    job
        All that decides the rows, as plain values: a journal of another job is not gone on with.
    about
        What a Parquet file says of itself.
    force
        Replace a table that is there, and the journal of another job.

    Raises
    ------
    OutputError
        Where `out` exists, or another job's journal lies beside it, or it cannot be written.
    DataError
        Where the pictures are not those that the journal tells of, or there are none at all.
    """
    path = journal_path(out)
    if out.is_dir() or (out.exists() and not force and not path.exists()):
        raise OutputError(
            f"{out} exists already.",
            expected="a file that is not there yet",
            todo="name another place with --out, or replace it with --force",
        )
    counter = Counter(labeller.columns)
    with open_journal(path, job, replace=force) as journal:
        rest = _skip_done(iter(items), journal, counter, bar)
        with contextlib.closing(label(labeller, rest, workers=workers, bar=bar)) as blocks:
            for block in blocks:
                journal.add(block)
                counter.add(block)
        if not counter.pictures:
            journal.remove()
            raise no_pictures()
        with (
            atomic(out) as part,
            open_writer(part, kind, labeller.columns.schema(), about or {}) as writer,
        ):
            for block in journal.blocks():
                writer.write(block.rows)
        journal.remove()
    return counter.tally()


def no_pictures() -> DataError:
    """What to say where nothing was found to label."""
    return DataError(
        "There is not one picture in what was named.",
        expected="files that end like pictures (.jpg, .png, .webp, …), or tar or Parquet files "
        "with some",
        todo="check the paths; a folder's hidden files are passed over",
    )


def _skip_done(
    items: Iterator[Item], journal: Journal, counter: Counter, bar: Callable[[int], object]
) -> Iterator[Item]:
    """The items after those that the journal holds, which must be the same as then."""
    for block in journal.blocks():
        names = [item.id for item in islice(items, block.items)]
        if len(names) != block.items or names_digest(names) != block.names:
            raise DataError(
                f"The pictures are not those that {journal.path} tells of "
                f"(after {counter.pictures:,} that are).",
                expected="the same pictures in the same order as when the job was stopped",
                todo="put them back, or begin anew with --force",
            )
        counter.add(block)
        bar(block.items)
    counter.resumed = counter.pictures
    return items
