"""From the bytes of images to rows: decode, find faces, tell the unfamiliar, classify, abstain.

`Labeller` is the one way there is: for tables, for Python, for shards on a cluster, and for the
server, which decodes and answers in calls of its own. `label` does a stream of images side by side,
in order and in flat memory. With threads, not processes: a thread decodes a block and runs the
model on it, and both let other threads run meanwhile, so nothing is copied between processes.
Blocks are cut by the images alone, so the same images make the same rows however often the job was
stopped.
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

_BLOCK_BYTES = 64 << 20  # of encoded images that wait in one block
DIGITS = 7  # what float32 carries

# An item, and its bytes where they had to be read in order.
_Read = tuple[Item, "bytes | ImageError | None"]


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """What the model sees of an image: the image as a square, or a face that was found in it."""

    # (side, side, 3), of an answer as the model saw it; None: a face was looked for and not found
    pixels: NDArray[np.uint8] | None
    width: int  # of the image in its file
    height: int
    face: int | None = None  # its number in the image
    box: Box | None = None  # in pixels of the image in its file
    # (3, 3) from what the model saw to the crop that came, from -1 to 1 each; None: it saw the crop
    frame: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Prediction:
    """What the model says of a crop; where it abstains, `unlike` or `unsure` says why."""

    crop: Crop
    prediction: str  # the most probable class
    probability: dict[str, float]  # calibrated, of every class
    unlike: str = ""  # why it does not look like the training images
    unsure: str = ""  # why the model is not sure enough
    scores: list[float] = field(default_factory=list)  # that are watched; [] where nobody does

    @property
    def abstains(self) -> bool:
        """Whether there is no prediction."""
        return bool(self.unlike or self.unsure)


@dataclass(frozen=True, eq=False)
class Labeller:
    """All that makes rows of images; safe to use from several threads."""

    classifier: Classifier
    unfamiliar: Unfamiliar | None = None  # tells what the model was not made for; None: nobody
    finder: FaceFinder | None = None  # of the faces in an image; None: the image is the crop
    _: KW_ONLY
    # Tells whether a stream of images is still like the validation images; None: nobody watches.
    reference: DriftReference | None = None
    scored: bool = False  # whether predictions bear what is watched, also where nobody watches
    # Whether many pictures of one job are framed from the frame that they have in common (see
    # `candid.inference.common_frame`), and not each by itself.
    together: bool = True
    max_pixels: int | None = None  # an image that claims more is not decoded; None: the model's
    budget: Budget | None = None  # of the memory that decoding takes; None: the process's

    @property
    def columns(self) -> RowColumns:
        """What the rows hold."""
        return RowColumns(self.classifier.classes, faces=self.finder is not None)

    @property
    def common_framer(self) -> Framer | None:
        """What finds the frame that many pictures have in common; None where nobody looks for it.

        That is where nothing frames, the place is known already, or each is framed by itself.
        """
        c = self.classifier
        return c.framer if c.common is None and self.together else None

    def in_frame(self, common: CommonFrame) -> Self:
        """The same for pictures of which it is known how most of them lie."""
        return replace(self, classifier=replace(self.classifier, common=common))

    def crops(self, encoded: bytes) -> list[Crop]:
        """What there is to classify in an image: with faces looked for, each of them.

        Raises ImageError where it cannot be decoded.
        """
        c = self.classifier
        if self.finder is not None:
            return self._faces(self.finder, encoded)
        image = decode(encoded, side=c.side, fit=c.fit, detail=c.detail, **self._limits())
        return [Crop(image.pixels, image.width, image.height)]

    def as_it_came(self, encoded: bytes, longest: int) -> NDArray[np.uint8]:
        """An image (height, width, 3) that is no square, at most `longest` pixels per side.

        Raises ImageError where it cannot be decoded.
        """
        return decode_whole(encoded, longest=longest, **self._limits()).pixels

    def _limits(self) -> dict[str, Any]:
        most = self.classifier.max_pixels if self.max_pixels is None else self.max_pixels
        return {"max_pixels": most} | ({} if self.budget is None else {"budget": self.budget})

    def _faces(self, finder: FaceFinder, encoded: bytes) -> list[Crop]:
        image = decode_whole(encoded, longest=finder.longest, **self._limits())
        scale = image.width / image.pixels.shape[1]
        side, fit = self.classifier.input_side, self.classifier.fit
        found = [
            Crop(finder.crop(image.pixels, face, side=side, fit=fit), image.width, image.height,
                 number, face.box.scaled(scale))
            for number, face in enumerate(finder.find(image.pixels))
        ]  # fmt: skip
        return found or [Crop(None, image.width, image.height)]

    def answers(self, crops: Sequence[Crop]) -> list[Prediction]:
        """What the model says of crops, each with pixels."""
        if not crops:
            return []
        c = self.classifier
        framed = c.framed(np.stack([crop.pixels for crop in crops]))  # type: ignore[misc]
        probability = c.probabilities(framed.pixels)
        distances = None
        if self.unfamiliar is not None:
            distances = self.unfamiliar.distances(framed.pixels)
        unlike, unsure = self._unlike(framed, crops, distances), [""] * len(crops)
        scores: list[list[float]] = [[]] * len(crops)
        if self.scored or self.reference is not None:
            scores = drift_scores(framed, probability, distances).tolist()
        frames = [None] * len(crops) if c.framer is None else list(framed.frames)
        crops = [
            replace(crop, pixels=p, frame=frame)
            for crop, p, frame in zip(crops, framed.pixels, frames, strict=True)
        ]
        if c.rule is not None:
            why = text.below_threshold(c.rule.threshold)
            unsure = [why if below else "" for below in c.rule.abstains(probability)]
        best = probability.argmax(axis=1).tolist()
        named = [dict(zip(c.classes, p, strict=True)) for p in probability.tolist()]
        return [
            Prediction(crop, c.classes[b], p, odd, doubt, own)
            for crop, b, p, odd, doubt, own in zip(
                crops, best, named, unlike, unsure, scores, strict=True
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
        found = self.unfamiliar.unlike(
            framed.pixels,
            shapes[:, 0],
            shapes[:, 1],
            cut=self.finder is not None,
            distances=distances,
        )
        return [
            why or ("" if settled else text.NO_FRAME)
            for why, settled in zip(found, framed.settled.tolist(), strict=True)
        ]

    def rows(self, images: Iterable[_Read]) -> tuple[list[Row], list[list[float]]]:
        """The rows of some images, in order, and what is watched of each.

        Without bytes, an item is read here.
        """
        found = [one for item, data in images for one in self._seen(item, data)]
        seen = [crop for _, crop in found if isinstance(crop, Crop) and crop.pixels is not None]
        answers = iter(self.answers(seen))
        values, scores = [], []
        for name, crop in found:
            answer = None
            if isinstance(crop, Crop) and crop.pixels is not None:
                answer = next(answers)
            told = self.told(crop, answer) if isinstance(crop, Crop) else {"error": crop}
            values.append({"id": name} | told)
            scores.append([] if answer is None else answer.scores)
        return self.columns.rows(values), scores

    def told(self, crop: Crop, answer: Prediction | None) -> dict[str, Any]:
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

    def _seen(self, item: Item, data: bytes | ImageError | None) -> list[tuple[str, Crop | str]]:
        """The item's name with each of its crops, or with why there is none."""
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
    """The rows of all items, block by block, in order; read ahead are no more than a few blocks.

    `workers` are threads, 0: one per core; `bar` is called with the number of images of each block.
    """
    count = workers or cores()
    pool = ThreadPoolExecutor(count, thread_name_prefix="candid-label")
    waiting: deque[tuple[list[Item], int, Future[tuple[list[Row], list[list[float]]]]]] = deque()

    def next_done() -> Block:
        items, _, future = waiting.popleft()
        rows, scores = future.result()
        bar(len(items))
        return Block(len(items), names_digest(item.id for item in items), rows, scores)

    try:
        for block, size in _blocks(items):
            # Enough that no thread is idle while this one reads, and no more.
            while len(waiting) >= 2 * count + 2 or (
                waiting and sum(held for _, held, _ in waiting) + size > 4 * _BLOCK_BYTES
            ):
                yield next_done()
            waiting.append(([item for item, _ in block], size, pool.submit(labeller.rows, block)))
        while waiting:
            yield next_done()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
