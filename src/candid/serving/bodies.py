"""From a request to the bytes of its pictures, within limits and in memory alone.

Three ways to send pictures: as the body itself, as parts of a form, in JSON. Names of files are
never looked at.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from candid.serving.refusals import Refusal
from candid.settings import ServeConfig

FORM, JSON, RAW = "multipart/form-data", "application/json", "application/octet-stream"
_QUICK = 1 << 18  # bytes that are taken apart in the thread that answers all requests

Grow = Callable[[int], None]  # told how many bytes a request holds in all


class Memory:
    """How many bytes all requests hold; one that would go past the limit is refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """A function that says how many bytes a request holds; they are given back at the end."""
        mine = 0

        def grow(size: int) -> None:
            nonlocal mine
            more = max(0, size - mine)
            if self.held + more > self._limit:
                why = "the requests at work fill the memory that they may fill"
                raise Refusal("too-busy", why=why, retry_after=1)
            self.held += more
            mine += more

        try:
            yield grow
        finally:
            self.held -= mine


async def read_body(request: Request, config: ServeConfig, grow: Grow) -> list[bytes]:
    """The encoded pictures of a request, in their order.

    Raises
    ------
    Refusal
        413 for too many bytes or pictures, 415 for a type of body that is not known, 422 for one
        that is not what it says or holds none, 408 for one that takes too long, 429 where too many
        bytes are being worked on.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    media = kind.decode("latin-1")
    is_raw = media == RAW or media.startswith("image/")
    if not is_raw and media not in (FORM, JSON):
        missing = "The request has no Content-Type."
        unknown = "The Content-Type says nothing that the server can read."
        raise Refusal("unknown-type", what=unknown if media else missing)
    body = await _read(request, config, grow)
    if is_raw:
        pictures = [body] if body else []
    else:
        take = _take_json if media == JSON else _take_form
        work = partial(take, body, options.get(b"boundary", b""), config.max_images)
        # Longer bodies, taken apart right here, would hold up all other requests.
        pictures = work() if len(body) <= _QUICK else await asyncio.to_thread(work)
    if not pictures:
        raise Refusal("no-images")
    return pictures


async def _read(request: Request, config: ServeConfig, grow: Grow) -> bytes:
    claimed = request.headers.get("content-length", "")
    parts: list[bytes] = []

    def hold(size: int) -> None:
        if size > config.max_bytes:
            raise Refusal("too-many-bytes", most=config.max_bytes)
        grow(size)

    if claimed.isdigit():
        hold(int(claimed))
    size, more = 0, True
    try:
        async with asyncio.timeout(config.timeout):
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refusal("gone")
                chunk = message.get("body", b"")
                more = message.get("more_body", False)
                size += len(chunk)
                hold(size)
                parts.append(chunk)
    except TimeoutError:
        raise Refusal("too-slow", seconds=config.timeout) from None
    return b"".join(parts)


# --- forms and JSON ------------------------------------------------------------------------------


def _take_form(body: bytes, boundary: bytes, most: int) -> list[bytes]:
    """Every part of a form, whatever it is called."""
    parts: list[bytearray] = []
    ended: list[bool] = []

    def begin() -> None:
        if len(parts) == most:
            raise Refusal("too-many-images", most=most)
        parts.append(bytearray())

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] += chunk[start:end]

    if not boundary:
        raise Refusal("malformed", what="The form has no boundary.")
    end = partial(ended.append, True)
    try:
        parser = MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": end}
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Refusal("malformed", what="The form is damaged.") from None
    if not ended and body:
        raise Refusal("malformed", what="The form is cut short.")
    return [bytes(part) for part in parts]


def _take_json(body: bytes, _: bytes, most: int) -> list[bytes]:
    """The strings of base64 in {"images": [...]}."""
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("malformed", what="The body is not JSON.") from None
    images: Any = plain.get("images") if isinstance(plain, dict) else None
    if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise Refusal("malformed", what="The JSON holds no list of strings called “images”.")
    if len(images) > most:
        raise Refusal("too-many-images", most=most)
    return [_unwrapped(text, number) for number, text in enumerate(images, 1)]


def _unwrapped(text: str, number: int) -> bytes:
    if text.startswith("data:"):  # as browsers write pictures: data:image/png;base64,…
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Refusal("malformed", what=f"Picture {number} in “images” is not base64.") from None
