"""From a request to the bytes of its images, within limits and in memory only.

Images are the body itself, parts of a form, or in JSON. Names of files are ignored.
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
_INLINE_BYTES = 1 << 18  # bytes that are parsed on the event loop

Grow = Callable[[int], None]  # called with a request's total bytes


class Memory:
    """The bytes of all requests; one that would exceed the limit is refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """A function that sets a request's total bytes; they are released at the end."""
        own_size = 0

        def grow(size: int) -> None:
            nonlocal own_size
            increase = max(0, size - own_size)
            if self.held + increase > self._limit:
                reason = "the requests at work fill the memory that they may fill"
                raise Refusal("too-busy", why=reason, retry_after=1)
            self.held += increase
            own_size += increase

        try:
            yield grow
        finally:
            self.held -= own_size


async def read_body(request: Request, config: ServeConfig, grow: Grow) -> list[bytes]:
    """The encoded images of a request, in their order.

    Raises Refusal 413 for too many bytes or images, 415 for an unknown content type, 422 for a
    malformed body or one without images, 408 for one that takes too long, 429 where requests fill
    the memory.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    media = kind.decode("latin-1")
    is_raw = media == RAW or media.startswith("image/")
    if not is_raw and media not in (FORM, JSON):
        no_type = "The request has no Content-Type."
        unknown_type = "The Content-Type says nothing that the server can read."
        raise Refusal("unknown-type", what=unknown_type if media else no_type)
    body = await _receive(request, config, grow)
    if is_raw:
        pictures = [body] if body else []
    else:
        parse = _parse_json if media == JSON else _parse_form
        work = partial(parse, body, options.get(b"boundary", b""), config.max_images)
        # Longer bodies would block the event loop.
        pictures = work() if len(body) <= _INLINE_BYTES else await asyncio.to_thread(work)
    if not pictures:
        raise Refusal("no-images")
    return pictures


async def _receive(request: Request, config: ServeConfig, grow: Grow) -> bytes:
    content_length = request.headers.get("content-length", "")
    chunks: list[bytes] = []

    def check_size(size: int) -> None:
        if size > config.max_bytes:
            raise Refusal("too-many-bytes", most=config.max_bytes)
        grow(size)

    if content_length.isdigit():
        check_size(int(content_length))
    size, has_more = 0, True
    try:
        async with asyncio.timeout(config.timeout):
            while has_more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Refusal("gone")
                chunk = message.get("body", b"")
                has_more = message.get("more_body", False)
                size += len(chunk)
                check_size(size)
                chunks.append(chunk)
    except TimeoutError:
        raise Refusal("too-slow", seconds=config.timeout) from None
    return b"".join(chunks)


# --- forms and JSON ------------------------------------------------------------------------------


def _parse_form(body: bytes, boundary: bytes, limit: int) -> list[bytes]:
    """Every part of a form, whatever its name."""
    parts: list[bytearray] = []
    ends: list[bool] = []

    def begin() -> None:
        if len(parts) == limit:
            raise Refusal("too-many-images", most=limit)
        parts.append(bytearray())

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] += chunk[start:end]

    if not boundary:
        raise Refusal("malformed", what="The form has no boundary.")
    end = partial(ends.append, True)
    try:
        parser = MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": end}
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise Refusal("malformed", what="The form is damaged.") from None
    if not ends and body:
        raise Refusal("malformed", what="The form is cut short.")
    return [bytes(part) for part in parts]


def _parse_json(body: bytes, _: bytes, limit: int) -> list[bytes]:
    """The strings of base64 in {"images": [...]}."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal("malformed", what="The body is not JSON.") from None
    images: Any = data.get("images") if isinstance(data, dict) else None
    if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise Refusal("malformed", what="The JSON holds no list of strings called “images”.")
    if len(images) > limit:
        raise Refusal("too-many-images", most=limit)
    return [_decode_base64(text, number) for number, text in enumerate(images, 1)]


def _decode_base64(text: str, number: int) -> bytes:
    if text.startswith("data:"):  # as in browsers: data:image/png;base64,…
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise Refusal("malformed", what=f"Picture {number} in “images” is not base64.") from None
