"""The server's work apart from HTTP: images in, rows and maps out.

A thread switch and a call of a function on arrays cost as much as a small image, so a batch is
decoded and classified in one thread. Only a large image is decoded before, in another thread, so
that it does not delay the others of its batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from candid.data.encoded import TOO_MANY_PIXELS, TOO_MUCH_MEMORY, Budget
from candid.errors import DependencyError, ImageError, RunError, did_you_mean
from candid.inference.classify import Crop, Labeller, Prediction
from candid.inference.drift import Drift, DriftWatch
from candid.inference.promise import alarm_text
from candid.serving.batching import Batcher, Closing, Full
from candid.serving.bodies import Memory
from candid.serving.refusals import Refusal, stopping_refusal
from candid.serving.rows import image_row
from candid.serving.served import Served
from candid.serving.telemetry import Metrics, log
from candid.settings import MAP_METHODS, ServeConfig

if TYPE_CHECKING:
    from candid.serving.explaining import Explainer

# An image of more encoded bytes, or of more pixels, is decoded before it joins a batch.
QUICK_BYTES = 1 << 16
QUICK_PIXELS = 1 << 20

# An image's prediction, or why it cannot be read; None: it is large.
Result = Prediction | ImageError | None


@dataclass(frozen=True, eq=False, slots=True)
class MappedPicture:
    """A map, and its image."""

    # (height, width, 3): the model's input; where that was framed, the original image
    pixels: NDArray[np.uint8]
    # (height, width): evidence for (above 0) and against a class, divided by its largest size
    shades: NDArray[np.float32]
    # (4, 2) of the model's input, in shares of width and height; None: the input is `pixels`
    corners: NDArray[np.float64] | None = None


def _load_crop(labeller: Labeller, encoded: bytes) -> Crop | ImageError:
    try:
        return labeller.crops(encoded)[0]
    except ImageError as error:
        return error


def _answer_batch(labeller: Labeller, images: Sequence[bytes | Crop]) -> list[Result]:
    max_pixels = labeller.max_pixels or 0
    quick = replace(labeller, max_pixels=min(max_pixels, QUICK_PIXELS))
    crops = [image if isinstance(image, Crop) else _load_crop(quick, image) for image in images]
    answers = iter(labeller.answers([crop for crop in crops if isinstance(crop, Crop)]))

    def to_result(crop: Crop | ImageError) -> Result:
        if isinstance(crop, Crop):
            return next(answers)
        return None if crop.code == TOO_MANY_PIXELS and max_pixels > QUICK_PIXELS else crop

    return [to_result(crop) for crop in crops]


class Service:
    """The models, their threads, and their load."""

    def __init__(self, models: Sequence[Served], config: ServeConfig) -> None:
        self.models = {served.name: served for served in models}
        self.config = config
        self.memory = Memory(config.max_memory)
        budget = Budget(config.max_memory)
        self._labellers = {
            name: served.labeller(config.max_pixels, budget) for name, served in self.models.items()
        }
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: self.memory.held)
        self._watches = {
            name: DriftWatch(served.reference)
            for name, served in self.models.items()
            if served.reference is not None
        }
        for name in self._watches:
            self.metrics.drift(name, 0.0, False)
        self.batcher: Batcher[bytes | Crop, Result] = Batcher(
            {name: partial(_answer_batch, labeller) for name, labeller in self._labellers.items()},
            batch=config.batch,
            wait=config.wait_milliseconds / 1000,
            queue=config.queue,
            workers=config.workers,
            observe=self.metrics.batch,
        )
        self.ready = False
        self._decoding = 0
        self._mapping = 0
        self._decoders = ThreadPoolExecutor(
            config.decoders or os.cpu_count() or 1, thread_name_prefix="candid-decode"
        )
        # One map at a time: it takes long, and predictions come first.
        self._mapper = ThreadPoolExecutor(1, thread_name_prefix="candid-map")
        self._explainers: dict[str, Explainer] = {}

    async def start(self) -> None:
        """Start, and warm every model up with one image."""
        await self.batcher.__aenter__()
        for name, served in self.models.items():
            side = served.classifier.input_side
            await self.batcher.ask(name, [Crop(np.zeros((side, side, 3), np.uint8), side, side)])
        self.ready = True

    async def stop(self) -> None:
        """Answer the accepted requests, and stop."""
        self.ready = False
        await self.batcher.close(self.config.timeout)
        for pool in (self._decoders, self._mapper):
            pool.shutdown(wait=False, cancel_futures=True)

    def find(self, name: str | None) -> Served:
        """The model of that name; None: the first."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal("unknown-model", hint=did_you_mean(name[:100], self.models))
        return self.models[name]

    def refuse_when_full(self, images: int = 1) -> None:
        """Refuse a request that does not fit into the queue, before any work for it."""
        if not self.ready:
            raise stopping_refusal()
        if self._decoding + self.batcher.waiting + images > self.config.queue:
            reason = "all places in the queue are taken"
            raise Refusal("too-busy", why=reason, retry_after=self.batcher.retry_after)

    # --- predictions -----------------------------------------------------------------------------

    async def predict(self, served: Served, images: Sequence[bytes]) -> list[dict[str, Any]]:
        """One row per image, in their order.

        Raises Refusal 429 and 503 where the server is overloaded; 413 and 422 where no image can be
        read.
        """
        self.refuse_when_full(len(images))
        quick = [i for i, data in enumerate(images) if len(data) <= QUICK_BYTES]
        answers = await self._classify(served, [images[i] for i in quick])
        results: dict[int, Result] = dict(zip(quick, answers, strict=True))
        large = [i for i in range(len(images)) if results.get(i) is None]
        if large:
            crops = await self._load_crops(served, [images[i] for i in large])
            results |= zip(large, await self._answer(served, crops), strict=True)
        ordered = [results[i] for i in range(len(images))]
        rows = self._rows(served, ordered)
        self._watch_drift(served, ordered)
        return rows

    def _watch_drift(self, served: Served, results: Sequence[Result]) -> None:
        """Add predictions to the drift watch; an alarm is logged once."""
        watch = self._watches.get(served.name)
        scores = [f.scores for f in results if isinstance(f, Prediction)]
        if watch is None or not scores:
            return
        alarm, drift = watch.add(np.array(scores)), watch.state
        self.metrics.drift(served.name, drift.log_capital, drift.alarm)
        if alarm:
            log(
                "drift",
                level=logging.WARNING,
                model=served.name,
                pictures=drift.after,
                log_capital=round(drift.log_capital, 3),
                sentence=alarm_text(drift),
            )

    def drift(self, served: Served) -> Drift | None:
        """The drift of a model's images; None where it is not watched."""
        watch = self._watches.get(served.name)
        return None if watch is None else watch.state

    async def classify(self, served: Served, image: bytes) -> tuple[Prediction, dict[str, Any]]:
        """The prediction for an image, with the model's input, and its row.

        Raises Refusal as `predict` does.
        """
        self.refuse_when_full()
        (result,) = await self._answer(served, await self._load_crops(served, [image]))
        (row,) = self._rows(served, [result])
        assert isinstance(result, Prediction)  # else it was refused
        return result, row

    async def _answer(self, served: Served, crops: Sequence[Crop | ImageError]) -> list[Result]:
        answers = iter(await self._classify(served, [s for s in crops if isinstance(s, Crop)]))
        return [next(answers) if isinstance(s, Crop) else s for s in crops]

    def _rows(self, served: Served, results: Sequence[Result]) -> list[dict[str, Any]]:
        """The rows of a request; it is refused where none of its images can be read."""
        errors = [result for result in results if isinstance(result, ImageError)]
        if len(errors) == len(results):
            raise self._unreadable(served, errors[0])
        rows = [image_row(result, served.several) for result in results]
        for row in rows:
            outcome = "abstained" if row["abstained"] else "answered"
            outcome = "unreadable" if row["error"] else outcome
            self.metrics.pictures.labels(served.name, outcome).inc()
            for label, label_row in row.get("labels", {}).items():
                outcome = "abstained" if label_row["abstained"] else "answered"
                self.metrics.label(served.name, label, outcome)
        return rows

    def _unreadable(self, served: Served, error: ImageError) -> Refusal:
        by_header = error.code in (TOO_MANY_PIXELS, TOO_MUCH_MEMORY)
        return Refusal(
            error.code if by_header else "unreadable",
            what=error.what,
            expected=error.expected,
            most=self._labellers[served.name].max_pixels,
        )

    async def _load_crops(self, served: Served, images: Sequence[bytes]) -> list[Crop | ImageError]:
        """The crops of large images, or why one cannot be read."""
        load = partial(_load_crop, self._labellers[served.name])
        loop = asyncio.get_running_loop()
        self._decoding += len(images)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.gather(
                    *(loop.run_in_executor(self._decoders, load, data) for data in images)
                )
        except TimeoutError:
            raise self._timed_out(self.batcher.retry_after) from None
        finally:
            self._decoding -= len(images)

    async def _classify(self, served: Served, images: Sequence[bytes | Crop]) -> list[Result]:
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self.batcher.ask(served.name, images)
        except Full as full:
            raise Refusal("too-busy", why=full.reason, retry_after=full.retry_after) from None
        except Closing:
            raise stopping_refusal() from None
        except TimeoutError:
            raise self._timed_out(self.batcher.retry_after) from None

    def _timed_out(self, retry_after: int) -> Refusal:
        return Refusal("timed-out", seconds=self.config.timeout, retry_after=retry_after)

    # --- maps ------------------------------------------------------------------------------------

    def makes_maps(self, served: Served) -> bool:
        """Whether maps of a model can be made; not where torch is missing."""
        if served.weights is None or served.labels or not self.config.explain_queue:
            return False
        return find_spec("torch") is not None

    async def map(
        self, served: Served, image: bytes, crop: Crop, method: str, explained: str, *, longest: int
    ) -> MappedPicture:
        """A map for a class of an image with this crop.

        Where the crop was framed, the map is on the original image, of `longest` pixels at most.

        Raises Refusal 422 for an unknown class or method, 501 where no maps are made, 429 where too
        many requests wait for maps.
        """
        if served.labels:
            raise Refusal(
                "no-maps",
                what="Maps are of one label, and this model predicts several.",
                expected="a model of one label",
                todo="serve the folder of that label, below targets/",
            )
        classes = served.classifier.classes
        for code, word, choices in (
            ("unknown-class", explained, classes), ("unknown-method", method, MAP_METHODS)
        ):  # fmt: skip
            if word not in choices:
                hint = did_you_mean(word[:100], choices)
                raise Refusal(code, known=", ".join(choices), hint=hint)
        if not self.config.explain_queue:
            what, todo = "This server makes no maps.", "set serve.explain_queue above 0"
            raise Refusal("no-maps", what=what, expected="a server that does", todo=todo)
        if self._mapping >= self.config.explain_queue:
            reason, seconds = f"{self._mapping} maps are waited for", 2 * self._mapping + 1
            raise Refusal("too-busy", why=reason, retry_after=seconds)
        loop = asyncio.get_running_loop()
        self._mapping += 1
        work = self._mapper.submit(
            self._make_map, served, image, crop, method, classes.index(explained), longest
        )

        def end(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed
                loop.call_soon_threadsafe(self._map_done)

        # Not when the request ends: the thread is busy until the map is done.
        work.add_done_callback(end)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise self._timed_out(2 * self._mapping + 1) from None

    def _map_done(self) -> None:
        self._mapping -= 1

    def _make_map(
        self, served: Served, image: bytes, crop: Crop, method: str, explained: int, longest: int
    ) -> MappedPicture:
        pixels = crop.pixels
        assert pixels is not None  # without a face finder
        try:
            if served.name not in self._explainers:
                self._explainers[served.name] = served.explainer()
            shades = self._explainers[served.name].map(pixels, method, explained)
            mapped = MappedPicture(pixels, shades)
            if crop.frame is not None:
                original = self._labellers[served.name].decode_original(image, longest)
                mapped = _project_map(mapped, crop, original, served.classifier.fit)
        except (DependencyError, RunError) as error:
            raise Refusal(
                "no-maps", what=error.what, expected=error.expected, todo=error.todo
            ) from None
        except ImageError as error:
            raise self._unreadable(served, error) from None
        except LookupError as error:
            raise Refusal("unsuitable-method", why=error) from None
        largest = float(np.abs(mapped.shades).max())
        shades = mapped.shades / np.float32(largest) if largest > 0 else mapped.shades
        return replace(mapped, shades=shades)


def _project_map(
    mapped: MappedPicture, crop: Crop, image: NDArray[np.uint8], fit: str
) -> MappedPicture:
    """Project a map of the framed input to the original image (height, width, 3)."""
    from candid.explanation.projection import frame_corners, onto_picture, projected

    assert crop.frame is not None
    matrix = onto_picture(crop.frame, crop.width, crop.height, fit)
    (shades,) = projected(mapped.shades[None], matrix, *image.shape[:2])
    return MappedPicture(image, shades, frame_corners(matrix))
