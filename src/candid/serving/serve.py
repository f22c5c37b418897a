"""`candid serve`: serves models and a page over HTTP, until it is stopped."""

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
    """Serve models until SIGINT or SIGTERM, then finish the accepted requests.

    The first model answers requests that name none. `quiet` logs only warnings; `started` is called
    with the URL once the server listens. Raises DependencyError where the extra "serve" is not
    installed; ConfigError where it cannot listen there, or the key's file has no key.
    """
    needs_server()
    from candid.serving.app import create_app
    from candid.serving.connections import max_connections, timeout_protocol
    from candid.serving.telemetry import log, start_logging

    key = read_key(config)
    with contextlib.closing(listen(config.host, config.port)) as sock:
        start_logging(quiet)
        raise_file_limit(2 * max_connections(config) + 256)

        def report_start(url: str) -> None:
            started(url)
            watched = [m.name for m in models if m.reference is not None]  # for drift
            log("started", url=url, models=[m.name for m in models], watched=watched, key=bool(key))

        app, seconds = create_app(models, config, key=key), max(1, round(config.timeout))
        _run(app, sock, report_start, seconds=seconds, lifespan="on", http=timeout_protocol(config))
        log("stopped")


def serve_page(
    app: Starlette, sock: socket.socket, *, started: Callable[[str], None] = lambda url: None
) -> None:
    """Serve an application at a listening socket, until SIGINT or SIGTERM.

    `started` is called with the URL.
    """
    _run(app, sock, started, seconds=2, lifespan="off")


def _run(
    app: Starlette,
    sock: socket.socket,
    started: Callable[[str], None],
    *,
    seconds: int,
    **options: Any,
) -> None:
    """Serve at a socket until a signal, and for at most `seconds` after it."""
    import uvicorn

    config = uvicorn.Config(
        app,
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=seconds,
        **options,
    )
    host, port = sock.getsockname()[:2]
    started(f"http://{f'[{host}]' if ':' in host else host}:{port}")
    with _suppress_reraised_signals():
        uvicorn.Server(config).run(sockets=[sock])


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
    """The key that requests must have, from its file or the environment; "": none.

    Raises ConfigError where the file cannot be read or has no key.
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
    """A listening socket.

    Raises ConfigError where the address is not this machine's, or the port is taken or not allowed.
    """
    try:
        addresses = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, address = addresses[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(1024)
        except BaseException:
            sock.close()
            raise
    except (OSError, UnicodeError) as error:
        is_port_problem = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        raise ConfigError(
            f"Cannot listen on {host!r}, port {port}: {getattr(error, 'strerror', error)}.",
            expected="an address of this machine and a port that is free",
            todo="name another port with --port (0: any that is free)" if is_port_problem
            else "name another address with --host, or another port with --port",
        ) from error  # fmt: skip
    return sock


def raise_file_limit(n: int) -> None:
    """Raise the process's limit of open files to `n`, as far as allowed."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # as on Windows
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft not in (resource.RLIM_INFINITY, hard) and soft < n:
            limit = n if hard == resource.RLIM_INFINITY else min(n, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


@contextlib.contextmanager
def _suppress_reraised_signals() -> Iterator[None]:
    """Ignore the signals that uvicorn raises again after its graceful shutdown."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {s: signal.signal(s, lambda *_: None) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
