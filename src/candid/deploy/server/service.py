"""What the addresses of the server do, apart from HTTP: pictures in, rows and maps out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.data.decode import decode
from candid.deploy.batching import Batcher, Closing, Full
from candid.deploy.served import MAPS, Served
from candid.deploy.server.bodies import Memory
from candid.deploy.server.metrics import Metrics
from candid.deploy.server.refusals import Refusal, stopping, timed_out, too_busy
from candid.errors import DependencyError, ImageError, RunError, did_you_mean
from candid.settings import MAP_METHODS, ServeConfig

if TYPE_CHECKING:
    from candid.deploy.explaining import Explainer


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture as the model sees it (side, side, 3), its own size, and why it looks strange."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    unlike: str


class Service:
    """The models, the threads that work for them, and how much of it is in use.

    Parameters
    ----------
    models
        The first is the one that requests mean which name none.
    config
        Limits, batches, threads.
    """

    def __init__(self, models: Sequence[Served], config: ServeConfig) -> None:
        self.models = {served.name: served for served in models}
        self.config = config
        self.memory = Memory(config.max_memory)
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: self.memory.held)
        self.batcher = Batcher(
            {name: served.classifier.probabilities for name, served in self.models.items()},
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
            side = served.classifier.side
            await self.batcher.ask(name, np.zeros((1, side, side, 3), np.uint8))
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
            raise Refusal(
                404,
                "unknown-model",
                "There is no model of that name.",
                expected="a name from /v1/models",
                todo=did_you_mean(name[:100], self.models),
            )
        return self.models[name]

    def refuse_when_full(self, pictures: int = 1) -> None:
        """Refuse what could only wait in vain, before anything is done for it."""
        if not self.ready:
            raise stopping()
        if self._decoding + self.batcher.waiting + pictures > self.config.queue:
            raise too_busy("all places in the queue are taken", self.batcher.retry_after)

    # --- predictions -----------------------------------------------------------------------------

    async def predict(self, served: Served, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
        """One row per picture, in their order.

        Raises
        ------
        Refusal
            429 and 503 where there is too much to do; 413 and 422 where no picture can be read.
        """
        return await self.rows(served, await self.decode(served, pictures))

    async def rows(
        self, served: Served, decoded: Sequence[Seen | ImageError]
    ) -> list[dict[str, Any]]:
        """One row per decoded picture, or per reason why it was not."""
        good = [(i, d) for i, d in enumerate(decoded) if isinstance(d, Seen)]
        rows = [_unread(d) if isinstance(d, ImageError) else {} for d in decoded]
        if good:
            pixels = np.stack([d.pixels for _, d in good])
            answers = await self._asked(self.batcher.ask(served.name, pixels))
            for (i, seen), row in zip(good, answers, strict=True):
                rows[i] = _row(served, seen, row)
        for row in rows:
            outcome = "abstained" if row["abstained"] else "answered"
            outcome = "unreadable" if row["error"] else outcome
            self.metrics.pictures.labels(served.name, outcome).inc()
        return rows

    async def decode(self, served: Served, pictures: Sequence[bytes]) -> list[Seen | ImageError]:
        """Each picture as the model sees it, or why it cannot be read."""
        self.refuse_when_full(len(pictures))
        loop = asyncio.get_running_loop()
        self._decoding += len(pictures)
        try:
            async with asyncio.timeout(self.config.timeout):
                found = await asyncio.gather(
                    *(
                        loop.run_in_executor(self._decoders, self._decoded, served, data)
                        for data in pictures
                    )
                )
        except TimeoutError:
            raise timed_out(self.config.timeout, self.batcher.retry_after) from None
        finally:
            self._decoding -= len(pictures)
        errors = [d for d in found if isinstance(d, ImageError)]
        if len(errors) == len(found):
            raise _unreadable(errors[0], served, self.config)
        return found

    def _decoded(self, served: Served, data: bytes) -> Seen | ImageError:
        model = served.classifier
        most = min(self.config.max_pixels, model.max_pixels)
        try:
            found = decode(data, side=model.side, fit=model.fit, max_pixels=most)
        except ImageError as error:
            return error
        unlike = "" if served.typical is None else served.typical.unlike(
            found.pixels[None], np.array([found.width]), np.array([found.height])
        )[0]  # fmt: skip
        return Seen(found.pixels, found.width, found.height, unlike)

    async def _asked(self, answer: Awaitable[NDArray[np.float64]]) -> NDArray[np.float64]:
        try:
            async with asyncio.timeout(self.config.timeout):
                return await answer
        except Full as full:
            raise too_busy(full.reason, full.retry_after) from None
        except Closing:
            raise stopping() from None
        except TimeoutError:
            raise timed_out(self.config.timeout, self.batcher.retry_after) from None

    # --- maps ------------------------------------------------------------------------------------

    def methods(self, served: Served) -> list[dict[str, Any]]:
        """The maps that can be made of a model; none where torch is missing."""
        if served.weights is None or not self.config.explain_queue or not find_spec("torch"):
            return []
        return [
            {
                "name": name,
                "title": words.title,
                "about": words.about,
                "signed": words.signed,
                "badge": served.badges.get(name),
            }
            for name, words in MAPS.items()
        ]

    async def map(
        self, served: Served, pixels: NDArray[np.uint8], method: str, explained: str
    ) -> NDArray[np.float32]:
        """(side, side): what speaks for and against a class, divided by its largest size.

        Raises
        ------
        Refusal
            422 for a class or method that there is not, 501 where no maps are made, 429 where too
            many maps are waited for.
        """
        classes = served.classifier.classes
        if explained not in classes:
            raise _no_such("class", "unknown-class", explained, classes)
        if method not in MAP_METHODS:
            raise _no_such("method", "unknown-method", method, MAP_METHODS)
        if not self.config.explain_queue:
            raise Refusal(
                501,
                "no-maps",
                "This server makes no maps.",
                expected="a server that does",
                todo="set serve.explain_queue above 0",
            )
        if self._mapping >= self.config.explain_queue:
            raise too_busy(f"{self._mapping} maps are waited for", 2 * self._mapping + 1)
        loop = asyncio.get_running_loop()
        self._mapping += 1
        work = self._mapper.submit(self._mapped, served, pixels, method, classes.index(explained))

        def end(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                loop.call_soon_threadsafe(self._map_done)

        # Not when the request ends: what a thread has begun keeps it busy until it is done.
        work.add_done_callback(end)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.wrap_future(work)
        except TimeoutError:
            raise timed_out(self.config.timeout, 2 * self._mapping + 1) from None

    def _map_done(self) -> None:
        self._mapping -= 1

    def _mapped(
        self, served: Served, pixels: NDArray[np.uint8], method: str, explained: int
    ) -> NDArray[np.float32]:
        try:
            if served.name not in self._explainers:
                self._explainers[served.name] = served.explainer()
            found = self._explainers[served.name].map(pixels, method, explained)
        except (DependencyError, RunError) as error:
            raise Refusal(
                501, "no-maps", error.what, expected=error.expected, todo=error.todo
            ) from None
        except LookupError as error:
            raise Refusal(
                422,
                "unsuitable-method",
                f"No map of this kind: {error}.",
                expected="a method that suits the model",
                todo="choose another method",
            ) from None
        most = float(np.abs(found).max())
        return found / np.float32(most) if most > 0 else found


# --- rows ----------------------------------------------------------------------------------------


def _row(served: Served, seen: Seen, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    classes, rule = served.classifier.classes, served.classifier.rule
    best = int(np.argmax(probabilities))
    reason = seen.unlike
    if not reason and rule is not None and rule.abstains(probabilities[None])[0]:
        reason = f"the highest probability is below {rule.threshold:.4g}"
    return {
        "label": None if reason else classes[best],
        "probabilities": dict(zip(classes, map(float, probabilities), strict=True)),
        "abstained": bool(reason),
        "reason": reason or None,
        "width": seen.width,
        "height": seen.height,
        "error": None,
    }


def _unread(error: ImageError) -> dict[str, Any]:
    return {
        "label": None,
        "probabilities": None,
        "abstained": False,
        "reason": None,
        "width": None,
        "height": None,
        "error": error.what,
    }


def likeliest(row: dict[str, Any]) -> str:
    """The most probable class of a row, also where the model abstains."""
    probabilities: dict[str, float] = row["probabilities"]
    return max(probabilities, key=probabilities.__getitem__)


def png(pixels: NDArray[np.uint8]) -> str:
    """Pixels as a PNG in base64."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")


# --- refusals ------------------------------------------------------------------------------------


def _unreadable(error: ImageError, served: Served, config: ServeConfig) -> Refusal:
    if error.what.startswith(("claims ", "too many pixels")):
        most = min(config.max_pixels, served.classifier.max_pixels)
        return Refusal(
            413,
            "too-many-pixels",
            "The picture claims more pixels than the server decodes.",
            expected=f"at most {most:,} pixels",
            todo="make it smaller",
        )
    return Refusal(
        422,
        "unreadable",
        f"The picture cannot be read: {error.what}.",
        expected=error.expected,
        todo="send another picture",
    )


def _no_such(what: str, code: str, word: str, known: Sequence[str]) -> Refusal:
    return Refusal(
        422,
        code,
        f"There is no such {what}.",
        expected=f"one of: {', '.join(known)}",
        todo=did_you_mean(word[:100], known),
    )
