"""From the bytes of images to rows: decode, find faces, flag the unfamiliar, classify, abstain.

`Labeller` serves all: tables, Python, shards on a cluster, and the server, which decodes and
classifies in separate calls. `label` processes a stream of images concurrently, in order and in
constant memory. It uses threads, not processes: a thread decodes a block and runs the model on it,
both without the GIL, so nothing is copied between processes. Blocks depend on the images alone, so
the same images make the same rows however often the job was stopped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from candid.cores import cores
from candid.data.decode import decode, decode_whole
from candid.data.encoded import Budget
from candid.errors import ImageError
from candid.inference.classifier import BATCH, Classifier, Framed, Framer
from candid.inference.detectors import Box
from candid.inference.drift import DriftReference, drift_scores
from candid.inference.faces import FaceFinder
from candid.inference.rows import REASON_CODE, Block, Row, RowColumns, names_digest
from candid.inference.sources import Item
from candid.inference.unfamiliar import Unfamiliar
from candid.records.framing import CommonFrame
from candid.text import labelling as text

_BLOCK_BYTES = 64 << 20  # of encoded images in one block
DIGITS = 7  # the precision of float32

# An item, and its bytes where they had to be read in order.
_Read = tuple[Item, "bytes | ImageError | None"]


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """The model's input from an image: the image as a square, or a face in it."""

    # (side, side, 3), in a prediction the model's input; None: there is no face
    pixels: NDArray[np.uint8] | None
    width: int  # of the image in its file
    height: int
    face: int | None = None  # its number in the image
    box: Box | None = None  # in pixels of the image in its file
    # (3, 3) from the model's input to the crop, from -1 to 1 each; None: the input is the crop
    frame: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """The model's answer for a crop; where it abstains, `unlike` or `unsure` says why."""

    crop: Crop
    prediction: str  # the most probable class
    probability: dict[str, float]  # calibrated, of every class
    unlike: str = ""  # why it does not look like the training images
    unsure: str = ""  # why the model is not sure enough
    scores: list[float] = field(default_factory=list)  # for drift; [] where it is not watched

    @property
    def abstains(self) -> bool:
        """Whether the model gives no answer."""
        return bool(self.unlike or self.unsure)


@dataclass(frozen=True, eq=False)
class Labeller:
    """Makes rows of images; thread-safe."""

    classifier: Classifier
    unfamiliar: Unfamiliar | None = None  # flags images unlike the training images; None: no check
    finder: FaceFinder | None = None  # of the faces in an image; None: the image is the crop
    _: KW_ONLY
    # Detects drift of a stream of images from the validation images; None: not watched.
    reference: DriftReference | None = None
    with_scores: bool = False  # whether predictions have drift scores even without a reference
    # Whether the images of a job are framed by their common frame (see
    # `candid.inference.common_frame`), and not each by itself.
    one_frame: bool = True
    max_pixels: int | None = None  # an image with more is not decoded; None: the model's limit
    budget: Budget | None = None  # of the memory for decoding; None: the process's

    @property
    def columns(self) -> RowColumns:
        """The columns of the rows."""
        return RowColumns(self.classifier.classes, faces=self.finder is not None)

    @property
    def common_framer(self) -> Framer | None:
        """The framing network, where a job's images are framed by their common frame; else None.

        None, too, if the common frame is already known.
        """
        c = self.classifier
        return c.framer if c.common is None and self.one_frame else None

    def with_frame(self, common: CommonFrame) -> Self:
        """A copy for images with this common frame."""
        return replace(self, classifier=replace(self.classifier, common=common))

    def crops(self, encoded: bytes) -> list[Crop]:
        """The crops of an image: each face with a finder, else the image.

        Raises ImageError where it cannot be decoded.
        """
        c = self.classifier
        if self.finder is not None:
            return self._crop_faces(self.finder, encoded)
        image = decode(encoded, side=c.side, fit=c.fit, detail=c.detail, **self._decode_options())
        return [Crop(image.pixels, image.width, image.height)]

    def decode_original(self, encoded: bytes, longest: int) -> NDArray[np.uint8]:
        """An image (height, width, 3) in its own shape, at most `longest` pixels per side.

        Raises ImageError where it cannot be decoded.
        """
        return decode_whole(encoded, longest=longest, **self._decode_options()).pixels

    def _decode_options(self) -> dict[str, Any]:
        max_pixels = self.classifier.max_pixels if self.max_pixels is None else self.max_pixels
        return {"max_pixels": max_pixels} | ({} if self.budget is None else {"budget": self.budget})

    def _crop_faces(self, finder: FaceFinder, encoded: bytes) -> list[Crop]:
        image = decode_whole(encoded, longest=finder.longest, **self._decode_options())
        scale = image.width / image.pixels.shape[1]
        side, fit = self.classifier.input_side, self.classifier.fit
        crops = [
            Crop(finder.crop(image.pixels, face, side=side, fit=fit), image.width, image.height,
                 number, face.box.scaled(scale))
            for number, face in enumerate(finder.find(image.pixels))
        ]  # fmt: skip
        return crops or [Crop(None, image.width, image.height)]

    def answers(self, crops: Sequence[Crop]) -> list[Prediction]:
        """The model's answers for crops, each with pixels."""
        if not crops:
            return []
        c = self.classifier
        framed = c.framed(np.stack([crop.pixels for crop in crops]))  # type: ignore[misc]
        probability = c.probabilities(framed.pixels)
        distances = None
        if self.unfamiliar is not None:
            distances = self.unfamiliar.distances(framed.pixels)
        unlike_reasons, unsure_reasons = self._unlike(framed, crops, distances), [""] * len(crops)
        scores: list[list[float]] = [[]] * len(crops)
        if self.with_scores or self.reference is not None:
            scores = drift_scores(framed, probability, distances).tolist()
        frames = [None] * len(crops) if c.framer is None else list(framed.frames)
        crops = [
            replace(crop, pixels=p, frame=frame)
            for crop, p, frame in zip(crops, framed.pixels, frames, strict=True)
        ]
        if c.rule is not None:
            reason = text.below_threshold(c.rule.threshold)
            unsure_reasons = [reason if below else "" for below in c.rule.abstains(probability)]
        best = probability.argmax(axis=1).tolist()
        by_class = [dict(zip(c.classes, p, strict=True)) for p in probability.tolist()]
        return [
            Prediction(crop, c.classes[b], p, unlike_reason, unsure_reason, row_scores)
            for crop, b, p, unlike_reason, unsure_reason, row_scores in zip(
                crops, best, by_class, unlike_reasons, unsure_reasons, scores, strict=True
            )
        ]

    def _unlike(
        self, framed: Framed, crops: Sequence[Crop], distances: NDArray[np.float64] | None
    ) -> list[str]:
        if self.unfamiliar is None:
            return [""] * len(crops)
        boxes = [crop.box or crop for crop in crops]
        shapes = np.array([(box.width, box.height) for box in boxes], np.float64)
        if self.finder is not None:  # what was cut out is larger than the box
            shapes = shapes / self.finder.frame.box[2]
        reasons = self.unfamiliar.unlike(
            framed.pixels,
            shapes[:, 0],
            shapes[:, 1],
            cut=self.finder is not None,
            distances=distances,
        )
        return [
            reason or ("" if settled else text.NO_FRAME)
            for reason, settled in zip(reasons, framed.settled.tolist(), strict=True)
        ]

    def rows(self, images: Iterable[_Read]) -> tuple[list[Row], list[list[float]]]:
        """The rows of images, in order, and the drift scores of each.

        An item without bytes is read here.
        """
        named = [pair for item, data in images for pair in self._load(item, data)]
        crops = [crop for _, crop in named if isinstance(crop, Crop) and crop.pixels is not None]
        answers = iter(self.answers(crops))
        values, scores = [], []
        for name, crop in named:
            answer = None
            if isinstance(crop, Crop) and crop.pixels is not None:
                answer = next(answers)
            row = self.to_row(crop, answer) if isinstance(crop, Crop) else {"error": crop}
            values.append({"id": name} | row)
            scores.append([] if answer is None else answer.scores)
        return self.columns.rows(values), scores

    def to_row(self, crop: Crop, answer: Prediction | None) -> dict[str, Any]:
        """A crop's row by the names of the columns; no answer: no face was found."""
        values: dict[str, Any] = {"width": crop.width, "height": crop.height}
        if answer is None:
            return values | {"abstained": True, "reason": text.NO_FACE, REASON_CODE: text.NO_FACE}
        if crop.box is not None:
            values |= {"face": crop.face} | crop.box.values()
        if answer.unlike:
            values |= {"reason": answer.unlike, REASON_CODE: text.UNLIKE}
        elif answer.unsure:
            values |= {"reason": text.not_sure(answer.unsure), REASON_CODE: text.NOT_SURE}
        values["prediction"] = None if answer.abstains else answer.prediction
        values["abstained"] = answer.abstains
        return values | self._answer_columns(answer)

    def _answer_columns(self, answer: Prediction) -> dict[str, Any]:
        return {f"p_{name}": round(p, DIGITS) for name, p in answer.probability.items()}

    def _load(self, item: Item, data: bytes | ImageError | None) -> list[tuple[str, Crop | str]]:
        """The item's name with each of its crops, or with an error message."""
        try:
            if isinstance(data, ImageError):
                raise data
            return [(item.id, crop) for crop in self.crops(item.read() if data is None else data)]
        except ImageError as error:
            return [(item.id, " ".join(error.what.split()))]


# --- a stream of images --------------------------------------------------------------------------


def label(
    labeller: Labeller,
    items: Iterable[Item],
    *,
    workers: int = 0,
    bar: Callable[[int], object] = lambda _: None,
) -> Generator[Block]:
    """The rows of all items, block by block, in order; at most a few blocks are read ahead.

    `workers` are threads, 0: one per core; `bar` is called with the number of images of each block.
    """
    count = workers or cores()
    pool = ThreadPoolExecutor(count, thread_name_prefix="candid-label")
    pending: deque[tuple[list[Item], int, Future[tuple[list[Row], list[list[float]]]]]] = deque()

    def finish_next() -> Block:
        items, _, future = pending.popleft()
        rows, scores = future.result()
        bar(len(items))
        return Block(len(items), names_digest(item.id for item in items), rows, scores)

    try:
        for block, size in _blocks(items):
            # No more than needed to keep all threads busy while this one reads.
            while len(pending) >= 2 * count + 2 or (
                pending and sum(n_bytes for _, n_bytes, _ in pending) + size > 4 * _BLOCK_BYTES
            ):
                yield finish_next()
            pending.append(([item for item, _ in block], size, pool.submit(labeller.rows, block)))
        while pending:
            yield finish_next()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _blocks(items: Iterable[Item]) -> Iterator[tuple[list[_Read], int]]:
    """Items in blocks for one batch of the model, and the bytes of each block."""
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
