"""`candid serve`: models answer over HTTP, and a page shows them, until it is stopped."""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.errors import ConfigError, DependencyError
from candid.settings import ServeConfig

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from candid.serving.served import Served  # needs the extra "serve"

KEY_VARIABLE = "CANDID_API_KEY"


def serve_models(
    models: Sequence[Served],
    config: ServeConfig,
    *,
    quiet: bool = False,
    started: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer for some models until SIGINT or SIGTERM, then for what was taken in by then.

    The first model answers requests that name none. `quiet` logs only what is wrong; `started` is
    told the address once the server listens. Raises DependencyError where the extra "serve" is not
    installed; ConfigError where it cannot listen there, or there is no key in the key's file.
    """
    needs_server()
    from candid.serving.app import create_app
    from candid.serving.connections import most_connections, punctual
    from candid.serving.telemetry import log, start_logging

    key = read_key(config)
    with contextlib.closing(listen(config.host, config.port)) as listening:
        start_logging(quiet)
        allow_files(2 * most_connections(config) + 256)

        def told(url: str) -> None:
            started(url)
            watched = [m.name for m in models if m.reference is not None]  # for drift
            log("started", url=url, models=[m.name for m in models], watched=watched, key=bool(key))

        app, seconds = create_app(models, config, key=key), max(1, round(config.timeout))
        _run(app, listening, told, seconds=seconds, lifespan="on", http=punctual(config))
        log("stopped")


def serve_page(
    app: Starlette, listening: socket.socket, *, started: Callable[[str], None] = lambda url: None
) -> None:
    """Answer for an application at a socket that listens, until SIGINT or SIGTERM.

    `started` is told the address.
    """
    _run(app, listening, started, seconds=2, lifespan="off")


def _run(
    app: Starlette,
    listening: socket.socket,
    started: Callable[[str], None],
    *,
    seconds: int,
    **how: Any,
) -> None:
    """Answer at a socket until a signal, and for so many seconds after it."""
    import uvicorn

    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=seconds,
        **how,
    )
    host, port = listening.getsockname()[:2]
    started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with _ended_by_signals():
        uvicorn.Server(config).run(sockets=[listening])


def needs_server() -> None:
    """Raise a DependencyError where a library of the server is not installed."""
    try:
        for library in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
            importlib.import_module(library)
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"The server needs {error.name}, which is not installed.",
            expected="the extra 'serve'",
            todo="pip install 'candid-faces[serve]'",
        ) from error


def read_key(config: ServeConfig) -> str:
    """The key that requests must carry, from its file or the environment; "": none.

    Raises ConfigError where the file cannot be read or holds no key.
    """
    if not config.key_file:
        return os.environ.get(KEY_VARIABLE, "").strip()
    path = Path(config.key_file)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            f"Cannot read the key in {path}: {reason}.",
            expected="a file with one line: the key",
            todo="set serve.key_file",
        ) from error
    if not key or not key.isascii() or len(key.split()) != 1:
        raise ConfigError(
            f"{path} holds no key.",
            expected="one word of letters, digits and signs",
            todo="write one into it, such as: openssl rand -hex 24",
        )
    return key


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises ConfigError where the address is not this machine's, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(1024)
        except BaseException:
            listening.close()
            raise
    except (OSError, UnicodeError) as error:
        of_port = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        raise ConfigError(
            f"Cannot listen on {host!r}, port {port}: {getattr(error, 'strerror', error)}.",
            expected="an address of this machine and a port that is free",
            todo="name another port with --port (0: any that is free)" if of_port
            else "name another address with --host, or another port with --port",
        ) from error  # fmt: skip
    return listening


def allow_files(n: int) -> None:
    """Let the process open so many files, as far as it may; connections and reports are some."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # as on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft not in (resource.RLIM_INFINITY, hard) and soft < n:
            most = n if hard == resource.RLIM_INFINITY else min(n, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Uvicorn ends well on a signal, then raises it anew; the end that was asked for is enough."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
