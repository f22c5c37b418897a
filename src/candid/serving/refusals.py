"""Refused requests as responses: a status, a code, and the three parts of an error."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastapi.responses import JSONResponse


class Refusal(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    code
        Stable and short, for programs: a key of `_PROBLEMS`.
    retry_after
        Seconds after which to retry; 0: not at all.
    status
        The HTTP status, if not that of the code.
    values
        The variables of the code's sentences; of the request only what is safe to repeat.
    """

    def __init__(
        self, code: str, *, retry_after: int = 0, status: int = 0, **values: object
    ) -> None:
        problem = _PROBLEMS[code]
        self.code, self.status, self.retry_after = code, status or problem.status, retry_after
        self.what, self.expected, self.todo = (
            text.format(retry_after=retry_after, **values) for text in problem[1:]
        )
        super().__init__(self.what)

    def response(self) -> JSONResponse:
        """The response, as JSON."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (400, 408):  # the end of this request is uncertain
            headers["Connection"] = "close"
        parts = {name: getattr(self, name) for name in ("code", "what", "expected", "todo")}
        return JSONResponse({"error": parts}, self.status, headers)


class _Problem(NamedTuple):
    status: int
    what: str
    expected: str = ""
    todo: str = ""


_DOCUMENT = "see /openapi.json"
_RETRY = "try again in {retry_after} s"
_SMALLER = "make it smaller"
_FEWER = "send smaller pictures, or fewer at a time"
_KEY = ("Authorization: Bearer KEY, or X-API-Key: KEY", "ask whoever runs the server")
_TYPES = (
    "image/… or application/octet-stream (one picture), multipart/form-data, or application/json",
    "set Content-Type: with curl, -H 'Content-Type: image/jpeg' or -F images=@face.jpg",
)

_PROBLEMS = {
    # the head
    "strange-host": _Problem(
        400,
        "The server does not go by the name that it was called by.",
        "one of: {hosts}",
        "use that name, or add yours to serve.hosts",
    ),
    "two-lengths": _Problem(
        400,
        "The request has both a Content-Length and a Transfer-Encoding.",
        "one of the two",
        "leave out Content-Length",
    ),
    "no-key": _Problem(401, "The request carries no key.", *_KEY),
    "wrong-key": _Problem(401, "The key is not the right one.", *_KEY),
    # the address
    "not-found": _Problem(
        404, "There is nothing at this address.", "an address of /openapi.json", _DOCUMENT
    ),
    "wrong-method": _Problem(
        405, "This address is not asked in this way.", "the method of Allow", _DOCUMENT
    ),
    "invalid-parameter": _Problem(
        422, "A parameter of the address is not what it should be.", "{problems}", _DOCUMENT
    ),
    "unknown-model": _Problem(
        404, "There is no model of that name.", "a name from /v1/models", "{hint}"
    ),
    "unknown-class": _Problem(422, "There is no such class.", "one of: {known}", "{hint}"),
    "unknown-method": _Problem(422, "There is no such method.", "one of: {known}", "{hint}"),
    "no-report": _Problem(
        404, "This model has no report.", "a run that was reported", "candid report RUN"
    ),
    # the body
    "unknown-type": _Problem(415, "{what}", *_TYPES),
    "too-slow": _Problem(
        408,
        "The request was not whole within {seconds:g} s.",
        "a request that arrives within serve.timeout",
        _FEWER,
    ),
    "too-many-bytes": _Problem(
        413, "The request is larger than {most:,} bytes.", "at most {most:,} bytes", _FEWER
    ),
    "too-many-images": _Problem(
        413,
        "The request holds more than {most} pictures.",
        "at most {most}",
        "send several requests",
    ),
    "malformed": _Problem(
        422,
        "{what}",
        'a form of files, or {{"images": ["<base64>", …]}}',
        "see /openapi.json for examples",
    ),
    "no-images": _Problem(
        422,
        "The request holds no picture.",
        "at least one picture",
        "send the bytes of a JPEG, PNG or WebP file",
    ),
    # the images
    "too-much-memory": _Problem(
        413,
        "The picture {what}.",
        "a picture that fits into serve.max_memory once it is decoded",
        _SMALLER,
    ),
    "too-many-pixels": _Problem(
        413,
        "The picture claims more pixels than the server decodes.",
        "at most {most:,} pixels",
        _SMALLER,
    ),
    "unreadable": _Problem(
        422, "The picture cannot be read: {what}.", "{expected}", "send another picture"
    ),
    # maps
    "no-maps": _Problem(501, "{what}", "{expected}", "{todo}"),
    "unsuitable-method": _Problem(
        422, "No map of this kind: {why}.", "a method that suits the model", "choose another method"
    ),
    # the server
    "too-busy": _Problem(
        429,
        "The server has as much to do as it takes on: {why}.",
        "fewer requests at a time",
        _RETRY,
    ),
    "gone": _Problem(499, "The client went away."),  # nobody reads this; it is counted and logged
    "stopping": _Problem(
        503, "The server is stopping.", "a server that runs", "try again when it runs again"
    ),
    "timed-out": _Problem(
        503, "No answer within {seconds:g} s.", "less load, or a larger serve.timeout", _RETRY
    ),
    "broken": _Problem(
        500, "Something in the server went wrong.", "an answer", "look at the server's log"
    ),
    "refused": _Problem(500, "The request was refused.", "", _DOCUMENT),
}


def stopping_refusal() -> Refusal:
    """The refusal of a server that is stopping."""
    return Refusal("stopping", retry_after=5)


def refusal_for_status(status: int) -> Refusal:
    """The refusal for a library's HTTP status."""
    codes: dict[int, Any] = {404: "not-found", 405: "wrong-method", 500: "broken"}
    return Refusal(codes.get(status, "refused"), status=status)
