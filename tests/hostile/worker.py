"""Runs hostile cases in one process: a seed a line comes in, what became of it goes out as JSON.

PYTHONPATH=tests python -m hostile.worker KIT SEED ...
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from hostile.cases import made_by, named, rng_of
from hostile.kit import Kit

_ANSWER_SECONDS = 15.0


def main() -> None:
    """Do the seeds of the arguments, or else of standard input."""
    kit, seeds = Kit(Path(sys.argv[1])), sys.argv[2:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    import candid.cli  # noqa: F401 - what loading takes is no case's

    answers.write("ready\n")
    answers.flush()
    with contextlib.ExitStack() as stack:
        server: list[str] = []
        for line in seeds or sys.stdin:
            answers.write(json.dumps(_case(int(line), kit, stack, server)) + "\n")
            answers.flush()


def _case(seed: int, kit: Kit, stack: contextlib.ExitStack, server: list[str]) -> dict[str, Any]:
    name = named(seed)
    make, rng = made_by(name), rng_of(seed)
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        if name.startswith("requests/"):
            if not server:
                server.append(stack.enter_context(_server(kit)))
            data = make(rng)
            spent = _begin()
            faults = _ask(server[0], data)
        else:
            commands = make(rng, kit, Path(folder))
            spent = _begin()
            for words in commands:
                faults += _call(words)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
    return {
        "seed": seed,
        "case": name,
        "faults": faults,
        "seconds": time.process_time() - spent,
        "peak": _peak(),
    }


def _begin() -> float:
    """The processor's time; the peak of memory begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return time.process_time()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _call(words: list[str]) -> list[str]:
    """What is wrong with how a command line ends: it may refuse, but in our words."""
    from candid.cli import main as candid

    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            candid(words)
        except SystemExit as stop:
            code = stop.code
        except BaseException:
            return [f"{' '.join(words)[:500]}\n{traceback.format_exc()[-2500:]}"]
    said = err.getvalue()
    if "Traceback" in said or code not in (0, 1, 2) or (code == 2 and not said.strip()):
        return [f"{' '.join(words)[:500]}\nexit {code}: {said[-2500:]}"]
    return []


@contextlib.contextmanager
def _server(kit: Kit) -> Any:
    """A real server for the kit's model; whatever it logs as an error is heard by `_ask`."""
    from candid.pipeline.serving import load_served
    from candid.settings import ServeConfig
    from serving.served import running

    logging.getLogger().addHandler(_HEARD)
    models = load_served([kit.model], ServeConfig(), None)
    with running(*models, timeout=1.0, max_bytes=2_000_000, max_images=8) as url:
        yield url


class _Heard(logging.Handler):
    """Keeps records with a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or record.levelno >= logging.ERROR:
            self.told.append(f"{record.getMessage()}\n{record.exc_text or ''}")
            if record.exc_info:
                self.told.append("".join(traceback.format_exception(*record.exc_info))[-2500:])


_HEARD = _Heard()


def _ask(url: str, data: bytes) -> list[str]:
    """What is wrong with how the server takes these bytes, and a good request after them."""
    _HEARD.told.clear()
    answer = _spoken(url, data)
    faults = [
        f"answered {line!r}" for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 5")
    ]
    ready = _spoken(url, b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    if not ready.startswith(b"HTTP/1.1 200"):
        faults.append(f"not ready after it: {ready[:300]!r}")
    return faults + _HEARD.told


def _spoken(url: str, data: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    got = b""
    with socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS) as line:
        try:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)
            while part := line.recv(1 << 16):
                got += part
        except TimeoutError:
            got += b"\r\nHTTP/1.1 599 no answer"
        except OSError:  # hung up on before all was said, as is its right
            pass
    return got


if __name__ == "__main__":
    main()
