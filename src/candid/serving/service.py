"""What the addresses of the server do, apart from HTTP: images in, rows and maps out.

A hand-over between threads and a call of a function on arrays cost as much as a small image, so a
batch is decoded and answered in one hand-over. Only an image that takes long to decode is decoded
before, in a thread of its own, so that it does not hold up the others of its batch.
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
from candid.inference.promise import alarm_said
from candid.serving.batching import Batcher, Closing, Full
from candid.serving.bodies import Memory
from candid.serving.refusals import Refusal, stopping
from candid.serving.rows import image_row
from candid.serving.served import Served
from candid.serving.telemetry import Metrics, log
from candid.settings import MAP_METHODS, ServeConfig

if TYPE_CHECKING:
    from candid.serving.explaining import Explainer

# An image of more encoded bytes, or of more pixels, is decoded before it joins a batch.
QUICK_BYTES = 1 << 16
QUICK_PIXELS = 1 << 20

# What became of an image: what the model says, why it cannot be read; None: it is large.
Found = Prediction | ImageError | None


@dataclass(frozen=True, eq=False, slots=True)
class MappedPicture:
    """A map, and the picture that it lies on."""

    # (height, width, 3): what the model saw; where it was framed, the picture as it came
    pixels: NDArray[np.uint8]
    # (height, width): what speaks for (above 0) and against a class, divided by its largest size
    shades: NDArray[np.float32]
    # (4, 2) of what the model saw, in shares of width and height; None: it saw `pixels`
    corners: NDArray[np.float64] | None = None


def _see(labeller: Labeller, encoded: bytes) -> Crop | ImageError:
    try:
        return labeller.crops(encoded)[0]
    except ImageError as error:
        return error


def _answer_batch(labeller: Labeller, images: Sequence[bytes | Crop]) -> list[Found]:
    most = labeller.max_pixels or 0
    quick = replace(labeller, max_pixels=min(most, QUICK_PIXELS))
    seen = [image if isinstance(image, Crop) else _see(quick, image) for image in images]
    answers = iter(labeller.answers([crop for crop in seen if isinstance(crop, Crop)]))

    def found(one: Crop | ImageError) -> Found:
        if isinstance(one, Crop):
            return next(answers)
        return None if one.code == TOO_MANY_PIXELS and most > QUICK_PIXELS else one

    return [found(one) for one in seen]


class Service:
    """The models, the threads that work for them, and how much of it is in use."""

    def __init__(self, models: Sequence[Served], config: ServeConfig) -> None:
        self.models = {served.name: served for served in models}
        self.config = config
        self.memory = Memory(config.max_memory)
        decoded = Budget(config.max_memory)
        self._labellers = {
            name: served.labeller(config.max_pixels, decoded)
            for name, served in self.models.items()
        }
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: self.memory.held)
        self._watches = {
            name: DriftWatch(served.reference)
            for name, served in self.models.items()
            if served.reference is not None
        }
        for name in self._watches:
            self.metrics.drift(name, 0.0, False)
        self.batcher: Batcher[bytes | Crop, Found] = Batcher(
            {name: partial(_answer_batch, one) for name, one in self._labellers.items()},
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
        # One map at a time: it keeps a processor busy for long, and predictions come first.
        self._mapper = ThreadPoolExecutor(1, thread_name_prefix="candid-map")
        self._explainers: dict[str, Explainer] = {}

    async def start(self) -> None:
        """Begin to work: every model answers once, so that the first request finds it warm."""
        await self.batcher.__aenter__()
        for name, served in self.models.items():
            side = served.classifier.input_side
            await self.batcher.ask(name, [Crop(np.zeros((side, side, 3), np.uint8), side, side)])
        self.ready = True

    async def stop(self) -> None:
        """Answer what was taken in, and end."""
        self.ready = False
        await self.batcher.close(self.config.timeout)
        for pool in (self._decoders, self._mapper):
            pool.shutdown(wait=False, cancel_futures=True)

    def find(self, name: str | None) -> Served:
        """The model of that name; the first where there is none."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise Refusal("unknown-model", hint=did_you_mean(name[:100], self.models))
        return self.models[name]

    def refuse_when_full(self, images: int = 1) -> None:
        """Refuse what could only wait in vain, before anything is done for it."""
        if not self.ready:
            raise stopping()
        if self._decoding + self.batcher.waiting + images > self.config.queue:
            why = "all places in the queue are taken"
            raise Refusal("too-busy", why=why, retry_after=self.batcher.retry_after)

    # --- predictions -----------------------------------------------------------------------------

    async def predict(self, served: Served, images: Sequence[bytes]) -> list[dict[str, Any]]:
        """One row per image, in their order.

        Raises
        ------
        Refusal
            429 and 503 where there is too much to do; 413 and 422 where no image can be read.
        """
        self.refuse_when_full(len(images))
        quick = [i for i, data in enumerate(images) if len(data) <= QUICK_BYTES]
        answers = await self._asked(served, [images[i] for i in quick])
        found: dict[int, Found] = dict(zip(quick, answers, strict=True))
        large = [i for i in range(len(images)) if found.get(i) is None]
        if large:
            crops = await self._seen(served, [images[i] for i in large])
            found |= zip(large, await self._answered(served, crops), strict=True)
        in_order = [found[i] for i in range(len(images))]
        rows = self._rows(served, in_order)
        self._watch(served, in_order)
        return rows

    def _watch(self, served: Served, found: Sequence[Found]) -> None:
        """Hold what was answered against the validation pictures; an alarm is logged once."""
        watch = self._watches.get(served.name)
        scores = [f.scores for f in found if isinstance(f, Prediction)]
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
                sentence=alarm_said(drift),
            )

    def drift(self, served: Served) -> Drift | None:
        """Whether a model's pictures drift; None where nobody watches."""
        watch = self._watches.get(served.name)
        return None if watch is None else watch.state

    async def see(self, served: Served, image: bytes) -> tuple[Prediction, dict[str, Any]]:
        """What the model says of an image, with what it saw of it, and its row.

        Raises
        ------
        Refusal
            As for `predict`.
        """
        self.refuse_when_full()
        (found,) = await self._answered(served, await self._seen(served, [image]))
        (row,) = self._rows(served, [found])
        assert isinstance(found, Prediction)  # else it was refused
        return found, row

    async def _answered(self, served: Served, seen: Sequence[Crop | ImageError]) -> list[Found]:
        answers = iter(await self._asked(served, [s for s in seen if isinstance(s, Crop)]))
        return [next(answers) if isinstance(s, Crop) else s for s in seen]

    def _rows(self, served: Served, found: Sequence[Found]) -> list[dict[str, Any]]:
        """The rows of a request; it is refused where not one of its images could be read."""
        errors = [f for f in found if isinstance(f, ImageError)]
        if len(errors) == len(found):
            raise self._unreadable(served, errors[0])
        rows = [image_row(f, served.several) for f in found]
        for row in rows:
            outcome = "abstained" if row["abstained"] else "answered"
            outcome = "unreadable" if row["error"] else outcome
            self.metrics.pictures.labels(served.name, outcome).inc()
            for label, found_label in row.get("labels", {}).items():
                outcome = "abstained" if found_label["abstained"] else "answered"
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

    async def _seen(self, served: Served, images: Sequence[bytes]) -> list[Crop | ImageError]:
        """Large images as the model sees them, or why one cannot be read."""
        see = partial(_see, self._labellers[served.name])
        loop = asyncio.get_running_loop()
        self._decoding += len(images)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.gather(
                    *(loop.run_in_executor(self._decoders, see, data) for data in images)
                )
        except TimeoutError:
            raise self._timed_out(self.batcher.retry_after) from None
        finally:
            self._decoding -= len(images)

    async def _asked(self, served: Served, images: Sequence[bytes | Crop]) -> list[Found]:
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self.batcher.ask(served.name, images)
        except Full as full:
            raise Refusal("too-busy", why=full.reason, retry_after=full.retry_after) from None
        except Closing:
            raise stopping() from None
        except TimeoutError:
            raise self._timed_out(self.batcher.retry_after) from None

    def _timed_out(self, retry_after: int) -> Refusal:
        return Refusal("timed-out", seconds=self.config.timeout, retry_after=retry_after)

    # --- maps ------------------------------------------------------------------------------------

    def makes_maps(self, served: Served) -> bool:
        """Whether maps of a model can be made; not where torch is missing."""
        able = served.weights is not None and not served.labels and bool(self.config.explain_queue)
        return able and find_spec("torch") is not None

    async def map(
        self, served: Served, image: bytes, crop: Crop, method: str, explained: str, *, longest: int
    ) -> MappedPicture:
        """What speaks for and against a class in an image of which the model saw a crop.

        Where it was framed, the map lies on the image as it came, of `longest` pixels at most.

        Raises
        ------
        Refusal
            422 for a class or method that there is not, 501 where no maps are made, 429 where too
            many maps are waited for.
        """
        if served.labels:
            raise Refusal(
                "no-maps",
                what="Maps are of one label, and this model predicts several.",
                expected="a model of one label",
                todo="serve the folder of that label, below targets/",
            )
        classes = served.classifier.classes
        for code, word, known in (
            ("unknown-class", explained, classes), ("unknown-method", method, MAP_METHODS)
        ):  # fmt: skip
            if word not in known:
                hint = did_you_mean(word[:100], known)
                raise Refusal(code, known=", ".join(known), hint=hint)
        if not self.config.explain_queue:
            what, todo = "This server makes no maps.", "set serve.explain_queue above 0"
            raise Refusal("no-maps", what=what, expected="a server that does", todo=todo)
        later = 2 * self._mapping + 1
        if self._mapping >= self.config.explain_queue:
            raise Refusal("too-busy", why=f"{self._mapping} maps are waited for", retry_after=later)
        loop = asyncio.get_running_loop()
        self._mapping += 1
        work = self._mapper.submit(
            self._mapped, served, image, crop, method, classes.index(explained), longest
        )

        def end(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(self._map_done)

        # Not when the request ends: what a thread has begun keeps it busy until it is done.
        work.add_done_callback(end)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise self._timed_out(2 * self._mapping + 1) from None

    def _map_done(self) -> None:
        self._mapping -= 1

    def _mapped(
        self, served: Served, image: bytes, crop: Crop, method: str, explained: int, longest: int
    ) -> MappedPicture:
        seen = crop.pixels
        assert seen is not None  # for nobody looks for faces here
        try:
            if served.name not in self._explainers:
                self._explainers[served.name] = served.explainer()
            found = MappedPicture(seen, self._explainers[served.name].map(seen, method, explained))
            if crop.frame is not None:
                whole = self._labellers[served.name].as_it_came(image, longest)
                found = _drawn_back(found, crop, whole, served.classifier.fit)
        except (DependencyError, RunError) as error:
            raise Refusal(
                "no-maps", what=error.what, expected=error.expected, todo=error.todo
            ) from None
        except ImageError as error:
            raise self._unreadable(served, error) from None
        except LookupError as error:
            raise Refusal("unsuitable-method", why=error) from None
        most = float(np.abs(found.shades).max())
        return replace(found, shades=found.shades / np.float32(most)) if most > 0 else found


def _drawn_back(
    mapped: MappedPicture, crop: Crop, whole: NDArray[np.uint8], fit: str
) -> MappedPicture:
    """A map of what the model saw in a frame, on the whole image (height, width, 3)."""
    from candid.explanation.projection import frame_corners, onto_picture, projected

    assert crop.frame is not None
    matrix = onto_picture(crop.frame, crop.width, crop.height, fit)
    (shades,) = projected(mapped.shades[None], matrix, *whole.shape[:2])
    return MappedPicture(whole, shades, frame_corners(matrix))
