"""The addresses of the API: what each takes from a request and answers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute

from candid.explanation.drawing import SMALLEST, laid_over, png_bytes
from candid.inference.promise import alarm_said
from candid.serving import authorisation, schema
from candid.serving.bodies import read_body
from candid.serving.page import REPORT_POLICY
from candid.serving.refusals import Refusal, stopping
from candid.serving.service import MappedPicture, Service
from candid.serving.telemetry import CONTENT_TYPE
from candid.settings import MAP_METHODS
from candid.text.places import map_in_words

T = TypeVar("T")

ModelName = Annotated[
    str | None, Query(alias="model", description="A name from /v1/models; the first if none.")
]
_Method = Annotated[
    str, Query(description="How the map is made.", json_schema_extra={"enum": [*MAP_METHODS]})
]
_Class = Annotated[
    str | None, Query(alias="class", description="Whose map; the most probable class's.")
]
_Output = Annotated[
    Literal["array", "png"],
    Query(description="Numbers as JSON, or the picture with the map laid over it."),
]
_Strength = Annotated[
    float, Query(ge=0, le=1, description="png: how opaque the strongest place is.")
]


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


class Routes:
    """The answers of one service; the names of methods stand in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self) -> JSONResponse:
        """All models, and what a request may hold."""
        service = self._service
        limits = {k: getattr(service.config, f"max_{k}") for k in ("images", "bytes", "pixels")}
        described = [
            m.describe(maps=service.makes_maps(m), drift=service.drift(m))
            for m in service.models.values()
        ]
        return JSONResponse(schema.Models(models=described, limits=limits).model_dump())

    async def predict(self, request: Request, model: ModelName = None) -> Response:
        """A row for each picture."""
        service = self._service
        served = service.find(model)
        service.refuse_when_full()
        with service.memory.holding() as grow:
            pictures = await read_body(request, service.config, grow)
            rows = await _unless_gone(request, service.predict(served, pictures))
        request.scope["candid.note"] = {"model": served.name, "pictures": len(rows)}
        return JSONResponse(
            {
                "model": served.name,
                "target": served.target,
                "classes": served.classes,
                "results": rows,
                "drift": alarm_said(service.drift(served)),
            }
        )

    async def explain(
        self,
        request: Request,
        model: ModelName = None,
        method: _Method = "grad_cam",
        explained: _Class = None,
        output: _Output = "array",
        strength: _Strength = 0.6,
    ) -> Response:
        """A map of one picture."""
        service = self._service
        served = service.find(model)
        longest = served.classifier.input_side if output == "array" else SMALLEST

        async def work(picture: bytes) -> tuple[str, MappedPicture, dict[str, Any]]:
            found, row = await service.see(served, picture)
            name = found.prediction if explained is None else explained
            mapped = await service.map(served, picture, found.crop, method, name, longest=longest)
            return name, mapped, row

        with service.memory.holding() as grow:
            pictures = await read_body(request, service.config, grow)
            if len(pictures) > 1:
                raise Refusal("too-many-images", most=1)
            name, mapped, row = await _unless_gone(request, work(pictures[0]))
        request.scope["candid.note"] = {"model": served.name, "map": method}
        if output == "png":
            data = await asyncio.to_thread(_laid_over_png, mapped, strength)
            return Response(data, media_type="image/png")
        answer = _array_answer(mapped) | {
            "model": served.name,
            "method": method,
            "explained": name,
            "side": served.classifier.side,
            "result": row,
        }
        return JSONResponse(answer)

    async def health(self) -> JSONResponse:
        """Whether the server is alive."""
        return JSONResponse({"status": "alive"})

    async def ready(self) -> JSONResponse:
        """Whether it answers."""
        if not self._service.ready:
            raise stopping()
        return JSONResponse({"status": "ready"})

    async def metrics(self) -> Response:
        """Its figures."""
        return Response(self._service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def report(self, name: str) -> Response:
        """A model's report."""
        served = self._service.find(name)
        if served.report is None or not served.report.is_file():
            raise Refusal("no-report")
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(served.report, media_type="text/html", headers=headers)


def _array_answer(mapped: MappedPicture) -> dict[str, Any]:
    """A map, the picture that it lies on, and where on it the model looked."""
    return {
        "map": [[round(float(v), 5) for v in line] for line in mapped.shades],
        "words": map_in_words(mapped.shades),
        "signed": bool((mapped.shades < 0).any()),
        "frame": None if mapped.corners is None else mapped.corners.round(5).tolist(),
        "picture": base64.b64encode(png_bytes(mapped.pixels)).decode("ascii"),
    }


def _laid_over_png(mapped: MappedPicture, strength: float) -> bytes:
    return png_bytes(laid_over(mapped.pixels, mapped.shades, strength, mapped.corners))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work ends where the client goes away meanwhile."""
    task = asyncio.current_task()
    assert task is not None
    works = True

    def leave(_: object) -> None:
        if works and not gone.cancelled():
            task.cancel()

    gone = asyncio.ensure_future(request.receive())  # after the body, only "gone" can come
    gone.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone.done() or task.uncancel():  # ended from elsewhere, too
            raise
        raise Refusal("gone") from None
    finally:
        works = False
        gone.cancel()


def add_routes(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """Add all addresses; those that need a key stand behind `guard`."""
    routes = Routes(service)
    _add_models(app, routes, {"dependencies": guard, "tags": ["models"]})
    _add_state(app, routes, guard)


def _add_models(app: FastAPI, routes: Routes, models: dict[str, Any]) -> None:
    limited = schema.errors(401, 404, 408, 413, 415, 422, 429, 503)
    app.get(
        "/v1/models",
        response_model=schema.Models,
        summary="The models, and what is known of each",
        responses=schema.errors(401),
        **models,
    )(routes.models)
    app.router.add_api_route(
        "/v1/predict",
        routes.predict,
        methods=["POST"],
        response_model=schema.Answer,
        summary="Labels and calibrated probabilities of pictures",
        description="One row per picture, in their order. A picture that cannot be read becomes a "
        "row with an error; where none can be read, the answer is an error.",
        openapi_extra=schema.request_body(several=True),
        responses={200: {"content": {"application/json": {"example": schema.EXAMPLE}}}, **limited},
        route_class_override=_Quick,
        **models,
    )
    app.post(
        "/v1/explain",
        response_model=schema.MapAnswer,
        summary="What the model looks at in one picture",
        openapi_extra=schema.request_body(several=False),
        responses=_content("image/png", format="binary") | limited | schema.errors(501),
        **models,
    )(routes.explain)
    app.get(
        "/reports/{name}",
        summary="A model's report, to read",
        response_class=Response,
        responses=_content("text/html") | schema.errors(401, 404),
        **models,
    )(routes.report)


def _add_state(app: FastAPI, routes: Routes, guard: list[Any]) -> None:
    state: dict[str, Any] = {"tags": ["state"]}
    app.get(
        "/healthz",
        response_model=schema.ServerState,
        summary="Whether it is alive",
        responses=schema.errors(),
        **state,
    )(routes.health)
    app.get(
        "/readyz",
        response_model=schema.ServerState,
        summary="Whether it answers",
        responses=schema.errors(503),
        **state,
    )(routes.ready)
    app.get(
        "/metrics",
        dependencies=guard,
        summary="Figures for Prometheus",
        response_class=Response,
        responses=_content("text/plain") | schema.errors(401),
        **state,
    )(routes.metrics)


def _content(kind: str, **more: str) -> dict[int | str, dict[str, Any]]:
    """An answer that is text or bytes of a kind."""
    return {200: {"content": {kind: {"schema": {"type": "string", **more}}}}}
