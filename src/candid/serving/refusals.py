"""What the server will not do, as an answer: a status, a code, and the three parts of an error."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse


class Refusal(Exception):
    """A request that gets an error for an answer.

    Parameters
    ----------
    status
        The HTTP status.
    code
        Stable and short, for programs: "too-many-images".
    what, expected, todo
        As in `candid.errors`; nothing of the request's own words but what is safe to repeat.
    retry_after
        Seconds after which another try is worth it; 0: it is not.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        expected: str = "",
        todo: str = "",
        retry_after: int = 0,
    ) -> None:
        super().__init__(what)
        self.status, self.code = status, code
        self.what, self.expected, self.todo = what, expected, todo
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        """The answer, as JSON."""
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.status in (400, 408):  # where this request ends, nobody can be sure
            headers["Connection"] = "close"
        return JSONResponse(self.plain(), self.status, headers)

    def plain(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {
            "error": {
                "code": self.code,
                "what": self.what,
                "expected": self.expected,
                "todo": self.todo,
            }
        }


def too_busy(why: str, retry_after: int) -> Refusal:
    """Too much is being worked on already."""
    return Refusal(
        429,
        "too-busy",
        f"The server has as much to do as it takes on: {why}.",
        expected="fewer requests at a time",
        todo=f"try again in {retry_after} s",
        retry_after=retry_after,
    )


def client_gone() -> Refusal:
    """Nobody reads this; it is counted and logged as what happened."""
    return Refusal(499, "gone", "The client went away.")


def stopping() -> Refusal:
    """The server answers what it took in and takes no more."""
    return Refusal(
        503,
        "stopping",
        "The server is stopping.",
        expected="a server that runs",
        todo="try again when it runs again",
        retry_after=5,
    )


def timed_out(seconds: float, retry_after: int) -> Refusal:
    """The answer was not there in time."""
    return Refusal(
        503,
        "timed-out",
        f"No answer within {seconds:g} s.",
        expected="less load, or a larger serve.timeout",
        todo=f"try again in {retry_after} s",
        retry_after=retry_after,
    )
