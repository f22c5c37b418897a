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
from collections.abc import Iterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from candid.serving.refusals import Refusal, client_gone, too_busy
from candid.settings import ServeConfig

FORM, JSON, RAW = "multipart/form-data", "application/json", "application/octet-stream"
_QUICK = 1 << 18  # bytes that are taken apart right here; more would hold up all other requests


class Memory:
    """How many bytes all requests hold; one that would go past the limit is refused."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Holding]:
        """What one request holds, given back at its end."""
        mine = Holding(self, self._limit)
        try:
            yield mine
        finally:
            self.held -= mine.size


class Holding:
    """What one request holds."""

    def __init__(self, memory: Memory, limit: int) -> None:
        self._memory, self._limit = memory, limit
        self.size = 0

    def grow(self, size: int) -> None:
        """Hold so many bytes in all from now on."""
        more = max(0, size - self.size)
        if self._memory.held + more > self._limit:
            raise too_busy("the requests at work fill the memory that they may fill", 1)
        self._memory.held += more
        self.size += more


async def read_pictures(request: Request, config: ServeConfig, holding: Holding) -> list[bytes]:
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
        raise _unknown_type(media)
    body = await _read(request, config, holding)
    if is_raw:
        if not body:
            raise _nothing()
        return [body]
    take = _take_json if media == JSON else _take_form
    boundary = options.get(b"boundary", b"")
    if len(body) <= _QUICK:
        pictures = take(body, boundary, config.max_images)
    else:
        pictures = await asyncio.to_thread(take, body, boundary, config.max_images)
    if not pictures:
        raise _nothing()
    return pictures


async def _read(request: Request, config: ServeConfig, holding: Holding) -> bytes:
    claimed = request.headers.get("content-length", "")
    if claimed.isdigit():
        if int(claimed) > config.max_bytes:
            raise _too_large(config)
        holding.grow(int(claimed))
    parts, size = [], 0
    try:
        async with asyncio.timeout(config.timeout):
            async for chunk in request.stream():
                size += len(chunk)
                if size > config.max_bytes:
                    raise _too_large(config)
                holding.grow(size)
                parts.append(chunk)
    except TimeoutError:
        raise Refusal(
            408,
            "too-slow",
            f"The request was not whole within {config.timeout:g} s.",
            expected="a request that arrives within serve.timeout",
            todo="send smaller pictures, or fewer at a time",
        ) from None
    except ClientDisconnect:
        raise client_gone() from None
    return b"".join(parts)


# --- forms and JSON ------------------------------------------------------------------------------


def _take_form(body: bytes, boundary: bytes, most: int) -> list[bytes]:
    """Every part of a form, whatever it is called."""
    parts: list[bytearray] = []
    ended: list[bool] = []

    def begin() -> None:
        if len(parts) == most:
            raise too_many(most)
        parts.append(bytearray())

    def data(chunk: bytes, start: int, end: int) -> None:
        parts[-1] += chunk[start:end]

    def end() -> None:
        ended.append(True)

    if not boundary:
        raise _malformed("The form has no boundary.")
    try:
        parser = MultipartParser(
            boundary, {"on_part_begin": begin, "on_part_data": data, "on_end": end}
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise _malformed("The form is damaged.") from None
    if not ended and body:
        raise _malformed("The form is cut short.")
    return [bytes(part) for part in parts]


def _take_json(body: bytes, _: bytes, most: int) -> list[bytes]:
    """The strings of base64 in {"images": [...]}."""
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        raise _malformed("The body is not JSON.") from None
    images: Any = plain.get("images") if isinstance(plain, dict) else None
    if not isinstance(images, list) or not all(isinstance(i, str) for i in images):
        raise _malformed("The JSON holds no list of strings called “images”.")
    if len(images) > most:
        raise too_many(most)
    return [_unwrapped(text, number) for number, text in enumerate(images, 1)]


def _unwrapped(text: str, number: int) -> bytes:
    if text.startswith("data:"):  # as browsers write pictures: data:image/png;base64,…
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise _malformed(f"Picture {number} in “images” is not base64.") from None


# --- refusals ------------------------------------------------------------------------------------


def too_many(most: int) -> Refusal:
    """More pictures than a request may hold."""
    return Refusal(
        413,
        "too-many-images",
        f"The request holds more than {most} pictures.",
        expected=f"at most {most}",
        todo="send several requests",
    )


def _too_large(config: ServeConfig) -> Refusal:
    return Refusal(
        413,
        "too-many-bytes",
        f"The request is larger than {config.max_bytes:,} bytes.",
        expected=f"at most {config.max_bytes:,} bytes",
        todo="send smaller pictures, or fewer at a time",
    )


def _unknown_type(media: str) -> Refusal:
    return Refusal(
        415,
        "unknown-type",
        "The Content-Type says nothing that the server can read." if media else
        "The request has no Content-Type.",
        expected=f"image/… or {RAW} (one picture), {FORM}, or {JSON}",
        todo="set Content-Type: with curl, -H 'Content-Type: image/jpeg' or -F images=@face.jpg",
    )  # fmt: skip


def _malformed(what: str) -> Refusal:
    return Refusal(
        422,
        "malformed",
        what,
        expected='a form of files, or {"images": ["<base64>", …]}',
        todo="see /openapi.json for examples",
    )


def _nothing() -> Refusal:
    return Refusal(
        422,
        "no-images",
        "The request holds no picture.",
        expected="at least one picture",
        todo="send the bytes of a JPEG, PNG or WebP file",
    )
