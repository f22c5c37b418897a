"""The application: addresses, and what stands in front of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException

import candid
from candid.explanation.drawing import overlay_png
from candid.records import to_plain
from candid.serving import authorisation, schema
from candid.serving.access import Access
from candid.serving.bodies import read_pictures, too_many
from candid.serving.headers import SecurityHeaders
from candid.serving.heads import Heads, allowed_hosts
from candid.serving.limits import Limits
from candid.serving.metrics import CONTENT_TYPE
from candid.serving.page import REPORT_POLICY, add_page
from candid.serving.refusals import Refusal, client_gone, stopping
from candid.serving.served import Served
from candid.serving.service import Service, likeliest, png
from candid.settings import MAP_METHODS, ServeConfig

T = TypeVar("T")

_DESCRIPTION = """\
Predicts labels of face pictures with models that Candid trained: what annotators would have
written about a picture, never who or what a person is. Pictures are held in memory while a request
is worked on, and written nowhere.
"""

# Newer versions of FastAPI can report requests elsewhere; older ones pass over the argument.
_NO_TELEMETRY: Any = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)

ModelName = Annotated[
    str | None, Query(alias="model", description="A name from /v1/models; the first if none.")
]


def create_app(models: Sequence[Served], config: ServeConfig, *, key: str = "") -> FastAPI:
    """An ASGI application that answers for some models; for uvicorn, or to mount elsewhere.

    Parameters
    ----------
    models
        At least one; the first answers requests that name none.
    config
        Limits, batches, and by what names the server may be called.
    key
        What requests must carry, as `Authorization: Bearer KEY` or `X-API-Key: KEY`; "": nothing.
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
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        # Otherwise a wrong slash would be answered with an address that the Host header decides.
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
    )
    app.state.service = service
    guard = _guard(key)
    _add_api(app, service, guard)
    _add_state(app, service, guard)
    add_page(app, key, guard)
    _add_errors(app)
    _add_middleware(app, service, key)
    return app


def _add_middleware(app: FastAPI, service: Service, key: str) -> None:
    """What stands in front of the addresses, from the innermost to what a request meets first."""
    config = service.config
    app.add_middleware(
        Limits, most=config.connections, retry_after=lambda: service.batcher.retry_after
    )
    app.add_middleware(authorisation.Authorisation, key=key)
    app.add_middleware(Heads, hosts=allowed_hosts(config.host, config.hosts))
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


def _guard(key: str) -> list[Any]:
    """What stands before an address: the key, where there is one."""
    if not key:
        return []

    def check(
        request: Request,
        # For the description of the API alone.
        _: Annotated[Any, Depends(HTTPBearer(auto_error=False))],
        __: Annotated[Any, Depends(APIKeyHeader(name="X-API-Key", auto_error=False))],
    ) -> None:
        authorisation.require(request.scope)

    return [Depends(check)]


class _Quick(APIRoute):
    """A route that finds out for itself what FastAPI would look up anew for every request.

    FastAPI describes it as any other; but what it needs of a request is a key and a model's name,
    and asking for them in the general way costs as much as a small picture.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            authorisation.require(request.scope)
            answer: Response = await self.endpoint(request, request.query_params.get("model"))
            return answer

        return handle


# --- predictions and maps ------------------------------------------------------------------------


def _add_api(app: FastAPI, service: Service, guard: list[Any]) -> None:
    limited = schema.errors(401, 404, 408, 413, 415, 422, 429, 503)

    @app.get(
        "/v1/models",
        response_model=schema.Models,
        dependencies=guard,
        tags=["models"],
        summary="The models, and what is known of each",
        responses=schema.errors(401),
    )
    async def models() -> JSONResponse:
        limits = {k: getattr(service.config, f"max_{k}") for k in ("images", "bytes", "pixels")}
        described = [_described(service, served) for served in service.models.values()]
        return JSONResponse({"models": described, "limits": limits})

    async def predict(request: Request, model: ModelName = None) -> Response:
        served = service.find(model)
        service.refuse_when_full()
        with service.memory.holding() as holding:
            pictures = await read_pictures(request, service.config, holding)
            rows = await _unless_gone(request, service.predict(served, pictures))
        request.scope["candid.note"] = {"model": served.name, "pictures": len(rows)}
        return JSONResponse(
            {
                "model": served.name,
                "target": served.classifier.target,
                "classes": list(served.classifier.classes),
                "results": rows,
            }
        )

    app.router.add_api_route(
        "/v1/predict",
        predict,
        methods=["POST"],
        response_model=schema.Answer,
        dependencies=guard,
        tags=["models"],
        summary="Labels and calibrated probabilities of pictures",
        description="One row per picture, in their order. A picture that cannot be read becomes a "
        "row with an error; where none can be read, the answer is an error.",
        openapi_extra=schema.request_body(several=True),
        responses={
            200: {"content": {"application/json": {"example": schema.EXAMPLE}}},
            **limited,
        },
        route_class_override=_Quick,
    )

    @app.post(
        "/v1/explain",
        response_model=schema.MapAnswer,
        dependencies=guard,
        tags=["models"],
        summary="What the model looks at in one picture",
        openapi_extra=schema.request_body(several=False),
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **limited,
            **schema.errors(501),
        },
    )
    async def explain(
        request: Request,
        model: ModelName = None,
        method: Annotated[
            str,
            Query(description="How the map is made.", json_schema_extra={"enum": [*MAP_METHODS]}),
        ] = "grad_cam",
        explained: Annotated[
            str | None, Query(alias="class", description="Whose map; the most probable class's.")
        ] = None,
        output: Annotated[
            Literal["array", "png"],
            Query(description="Numbers as JSON, or the picture with the map laid over it."),
        ] = "array",
        strength: Annotated[
            float, Query(ge=0, le=1, description="png: how opaque the strongest place is.")
        ] = 0.6,
    ) -> Response:
        served = service.find(model)
        with service.memory.holding() as holding:
            pictures = await read_pictures(request, service.config, holding)
            if len(pictures) > 1:
                raise too_many(1)
            answer = await _unless_gone(
                request, _explained(service, served, pictures, method, explained)
            )
        request.scope["candid.note"] = {"model": served.name, "map": method}
        if output == "array":
            pixels = answer.pop("pixels")
            answer["map"] = [[round(float(v), 5) for v in row] for row in answer["map"]]
            return JSONResponse(answer | {"picture": png(pixels)})
        data = await asyncio.to_thread(overlay_png, answer["pixels"], answer["map"], strength)
        return Response(data, media_type="image/png")


async def _explained(
    service: Service, served: Served, pictures: list[bytes], method: str, explained: str | None
) -> dict[str, Any]:
    (picture,) = pictures
    seen, row = await service.see(served, picture)
    name = likeliest(row) if explained is None else explained
    shades = await service.map(served, seen.pixels, method, name)
    return {
        "model": served.name,
        "method": method,
        "explained": name,
        "signed": bool((shades < 0).any()),
        "side": served.classifier.side,
        "map": shades,
        "pixels": seen.pixels,
        "result": row,
    }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work ends where the client goes away meanwhile."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())  # after the body, only "gone" can come
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise client_gone()
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


def _described(service: Service, served: Served) -> dict[str, Any]:
    model, about = served.classifier, served.about
    measures = [to_plain(m.estimate) | {"name": m.name} for m in about.measures]
    kept = schema.Figure.model_fields
    return {
        "name": served.name,
        "target": model.target,
        "classes": list(model.classes),
        "side": model.side,
        "fit": model.fit,
        "network": model.card.network,
        "parameters": model.card.parameters,
        "engine": model.engine,
        "rule": None if model.rule is None else
        {"threshold": model.rule.threshold, "sentence": model.rule.sentence},
        "unlike": None if served.typical is None else served.typical.told(),
        "methods": service.methods(served),
        "about": asdict(about)
        | {"measures": [{k: v for k, v in m.items() if k in kept} for m in measures]},
        "report": None if served.report is None else f"/reports/{served.name}",
    }  # fmt: skip


# --- how the server is ---------------------------------------------------------------------------


def _add_state(app: FastAPI, service: Service, guard: list[Any]) -> None:
    @app.get("/healthz", response_model=schema.State, tags=["state"], summary="Whether it is alive",
             responses=schema.errors())  # fmt: skip
    async def health() -> JSONResponse:
        return JSONResponse({"status": "alive"})

    @app.get(
        "/readyz",
        response_model=schema.State,
        tags=["state"],
        summary="Whether it answers",
        responses=schema.errors(503),
    )
    async def ready() -> JSONResponse:
        if not service.ready:
            raise stopping()
        return JSONResponse({"status": "ready"})

    @app.get(
        "/metrics",
        dependencies=guard,
        tags=["state"],
        summary="Figures for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **schema.errors(401),
        },
    )
    async def metrics() -> Response:
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @app.get(
        "/reports/{name}",
        dependencies=guard,
        tags=["models"],
        summary="A model's report, to read",
        response_class=Response,
        responses={
            200: {"content": {"text/html": {"schema": {"type": "string"}}}},
            **schema.errors(401, 404),
        },
    )
    async def report(name: str) -> Response:
        served = service.find(name)
        if served.report is None or not served.report.is_file():
            raise Refusal(
                404, "no-report", "This model has no report.",
                expected="a run that was reported", todo="candid report RUN",
            )  # fmt: skip
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(served.report, media_type="text/html", headers=headers)


# --- errors --------------------------------------------------------------------------------------


def _add_errors(app: FastAPI) -> None:
    """Every error has the same form, whoever raised it."""

    async def refused(_: Request, error: Exception) -> Response:
        return error.response() if isinstance(error, Refusal) else _unknown(500).response()

    async def invalid(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        told = "; ".join(f"{p['loc'][-1]}: {p['msg']}" for p in problems)
        return Refusal(
            422, "invalid-parameter", "A parameter of the address is not what it should be.",
            expected=told[:500], todo="see /openapi.json",
        ).response()  # fmt: skip

    async def http(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        response = _unknown(status).response()
        if isinstance(error, HTTPException):
            response.headers.update(error.headers or {})  # such as Allow
        return response

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, refused)


def _unknown(status: int) -> Refusal:
    what = {
        404: ("not-found", "There is nothing at this address.", "an address of /openapi.json"),
        405: ("wrong-method", "This address is not asked in this way.", "the method of Allow"),
        500: ("broken", "Something in the server went wrong.", "an answer"),
    }
    code, sentence, expected = what.get(status, ("refused", "The request was refused.", ""))
    todo = "look at the server's log" if status == 500 else "see /openapi.json"
    return Refusal(status, code, sentence, expected=expected, todo=todo)
