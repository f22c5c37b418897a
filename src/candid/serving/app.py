"""The application: its endpoints and middleware."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import Response
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

import candid
from candid.serving.authorisation import Authorisation, require
from candid.serving.middleware import Access, HostCheck, Limits, SecurityHeaders, allowed_hosts
from candid.serving.page import add_page
from candid.serving.refusals import Refusal, refusal_for_status
from candid.serving.routes import add_routes
from candid.serving.served import Served
from candid.serving.service import Service
from candid.settings import ServeConfig

_DESCRIPTION = """\
Predicts labels of face pictures with models that Candid trained: what annotators would have
written about a picture, never who or what a person is. Pictures are held in memory while a request
is worked on, and written nowhere.
"""

# Newer versions of FastAPI can report requests elsewhere; older ones pass over the argument.
_NO_TELEMETRY: Any = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)


def create_app(models: Sequence[Served], config: ServeConfig, *, key: str = "") -> FastAPI:
    """An ASGI application that serves models; for uvicorn, or to mount elsewhere.

    Parameters
    ----------
    models
        At least one; the first answers requests that name none.
    config
        Limits, batches, and allowed host names.
    key
        What requests must have, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "": nothing.
    """
    service = Service(models, config)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        try:
            yield
        finally:
            await service.stop()

    app = FastAPI(
        title="Candid",
        version=candid.__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # it would load external scripts
        redoc_url=None,
        # Redirects would use the Host header.
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.service = service
    guard = _guard() if key else []
    add_routes(app, service, guard)
    add_page(app, key, guard)
    _add_errors(app)
    _add_middleware(app, service, key)
    return app


def _add_middleware(app: FastAPI, service: Service, key: str) -> None:
    """Add middleware, from the innermost to the outermost."""
    config = service.config
    app.add_middleware(
        Limits, limit=config.connections, retry_after=lambda: service.batcher.retry_after
    )
    app.add_middleware(Authorisation, key=key)
    app.add_middleware(HostCheck, hosts=allowed_hosts(config.host, config.hosts))
    app.add_middleware(Access, metrics=service.metrics)
    app.add_middleware(SecurityHeaders)
    if config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", "Content-Type"],
            expose_headers=["Retry-After"],
        )


def _guard() -> list[Any]:
    """The dependency of endpoints that need the key."""

    def check(
        request: Request,
        # Only for the API's description.
        _: Annotated[Any, Depends(HTTPBearer(auto_error=False))],
        __: Annotated[Any, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))],
    ) -> None:
        require(request.scope)

    return [Depends(check)]


def _add_errors(app: FastAPI) -> None:
    """Give all errors the same form."""

    async def handle_refusal(_: Request, error: Exception) -> Response:
        return (error if isinstance(error, Refusal) else refusal_for_status(500)).response()

    async def handle_invalid(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        message = "; ".join(f"{p['loc'][-1]}: {p['msg']}" for p in problems)
        return Refusal("invalid-parameter", problems=message[:500]).response()

    async def handle_http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return refusal_for_status(500).response()
        response = refusal_for_status(error.status_code).response()
        response.headers.update(error.headers or {})  # such as Allow
        return response

    app.add_exception_handler(Refusal, handle_refusal)
    app.add_exception_handler(RequestValidationError, handle_invalid)
    app.add_exception_handler(HTTPException, handle_http)
    app.add_exception_handler(Exception, handle_refusal)
