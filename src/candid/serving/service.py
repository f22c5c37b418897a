"""What the addresses of the server do, apart from HTTP: pictures in, rows and maps out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from candid.data.encoded import TOO_MANY_PIXELS, TOO_MUCH_MEMORY, Budget
from candid.errors import DependencyError, ImageError, RunError, did_you_mean
from candid.serving.batching import Batcher, Closing, Full
from candid.serving.bodies import Memory
from candid.serving.classify import QUICK_BYTES, Answer, Large, Seen, look, see
from candid.serving.metrics import Metrics
from candid.serving.refusals import Refusal, stopping, timed_out, too_busy
from candid.serving.served import MAPS, Served
from candid.settings import MAP_METHODS, ServeConfig

if TYPE_CHECKING:
    from candid.serving.explaining import Explainer


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
        self._decoded = Budget(config.max_memory)
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: self.memory.held)
        self.batcher: Batcher[bytes | Seen, Answer | ImageError | Large] = Batcher(
            {name: self._working(look, served) for name, served in self.models.items()},
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
            await self.batcher.ask(name, [Seen(np.zeros((side, side, 3), np.uint8), side, side)])
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
        self.refuse_when_full(len(pictures))
        quick = [i for i, data in enumerate(pictures) if len(data) <= QUICK_BYTES]
        found: list[Answer | ImageError | Large] = [Large()] * len(pictures)
        answers = await self._asked(served, [pictures[i] for i in quick])
        for i, answer in zip(quick, answers, strict=True):
            found[i] = answer
        large = [i for i, answer in enumerate(found) if isinstance(answer, Large)]
        if large:
            later = await self._found(
                served, await self._seen(served, [pictures[i] for i in large])
            )
            for i, answer in zip(large, later, strict=True):
                found[i] = answer
        _refuse_unreadable(found, self._most(served))
        return self._rows(served, found)

    async def see(self, served: Served, picture: bytes) -> tuple[Seen, dict[str, Any]]:
        """A picture as the model sees it, and its row.

        Raises
        ------
        Refusal
            As for `predict`.
        """
        self.refuse_when_full()
        seen = await self._seen(served, [picture])
        _refuse_unreadable(seen, self._most(served))
        (row,) = self._rows(served, await self._found(served, seen))
        (found,) = (s for s in seen if isinstance(s, Seen))
        return found, row

    async def _found(
        self, served: Served, seen: Sequence[Seen | ImageError]
    ) -> list[Answer | ImageError | Large]:
        """An answer to each picture that could be decoded."""
        good = [s for s in seen if isinstance(s, Seen)]
        answers = iter(await self._asked(served, good))
        return [next(answers) if isinstance(s, Seen) else s for s in seen]

    def _rows(
        self, served: Served, found: Sequence[Answer | ImageError | Large]
    ) -> list[dict[str, Any]]:
        rows = [_row(served, f) if isinstance(f, Answer) else _unread(f) for f in found]
        for row in rows:
            outcome = "abstained" if row["abstained"] else "answered"
            outcome = "unreadable" if row["error"] else outcome
            self.metrics.pictures.labels(served.name, outcome).inc()
        return rows

    def _most(self, served: Served) -> int:
        """Pixels that a picture may claim."""
        return min(self.config.max_pixels, served.classifier.max_pixels)

    def _working(self, work: Callable[..., Any], served: Served) -> Callable[..., Any]:
        """`look` or `see` for a model, within the server's limits."""
        return partial(work, served, max_pixels=self._most(served), budget=self._decoded)

    async def _seen(self, served: Served, pictures: Sequence[bytes]) -> list[Seen | ImageError]:
        """Large pictures as the model sees them, or why one cannot be read."""
        loop = asyncio.get_running_loop()
        work: Callable[[bytes], Seen | ImageError] = self._working(see, served)
        self._decoding += len(pictures)
        try:
            async with asyncio.timeout(self.config.timeout):
                return await asyncio.gather(
                    *(loop.run_in_executor(self._decoders, work, data) for data in pictures)
                )
        except TimeoutError:
            raise timed_out(self.config.timeout, self.batcher.retry_after) from None
        finally:
            self._decoding -= len(pictures)

    async def _asked(
        self, served: Served, pictures: Sequence[bytes | Seen]
    ) -> list[Answer | ImageError | Large]:
        try:
            async with asyncio.timeout(self.config.timeout):
                return await self.batcher.ask(served.name, pictures)
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


def _row(served: Served, answer: Answer) -> dict[str, Any]:
    classes, rule = served.classifier.classes, served.classifier.rule
    probabilities = answer.probability
    best = int(probabilities.argmax())
    reason = answer.unlike
    if not reason and rule is not None and rule.abstains(probabilities[None])[0]:
        reason = f"the highest probability is below {rule.threshold:.4g}"
    return {
        "prediction": None if reason else classes[best],
        "probabilities": dict(zip(classes, probabilities.tolist(), strict=True)),
        "abstained": bool(reason),
        "reason": reason or None,
        "width": answer.width,
        "height": answer.height,
        "error": None,
    }


def _unread(error: ImageError | Large) -> dict[str, Any]:
    return {
        "prediction": None,
        "probabilities": None,
        "abstained": False,
        "reason": None,
        "width": None,
        "height": None,
        "error": error.what if isinstance(error, ImageError) else "not decoded",
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


def _refuse_unreadable(found: Sequence[object], max_pixels: int) -> None:
    """Refuse a request of whose pictures not one can be read."""
    errors = [f for f in found if isinstance(f, ImageError)]
    if len(errors) == len(found):
        raise _unreadable(errors[0], max_pixels)


def _unreadable(error: ImageError, max_pixels: int) -> Refusal:
    if error.code == TOO_MUCH_MEMORY:
        return Refusal(
            413,
            error.code,
            f"The picture {error.what}.",
            expected="a picture that fits into serve.max_memory once it is decoded",
            todo="make it smaller",
        )
    if error.code == TOO_MANY_PIXELS:
        return Refusal(
            413,
            error.code,
            "The picture claims more pixels than the server decodes.",
            expected=f"at most {max_pixels:,} pixels",
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
