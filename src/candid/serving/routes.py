"""The API's endpoints."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, TypeVar

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.routing import APIRoute

from candid.explanation.drawing import SMALLEST, overlay_map, png_bytes
from candid.inference.promise import alarm_text
from candid.serving import authorisation, schema
from candid.serving.bodies import read_body
from candid.serving.page import REPORT_POLICY
from candid.serving.refusals import Refusal, stopping_refusal
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


class _FastRoute(APIRoute):
    """A route without FastAPI's dependency resolution, which costs as much as a small image.

    It is described as any other, and needs only a key and a model's name.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            authorisation.require(request.scope)
            answer: Response = await self.endpoint(request, request.query_params.get("model"))
            return answer

        return handle


class Routes:
    """The endpoints of a service; the methods' names and docstrings are in the OpenAPI document."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def models(self) -> JSONResponse:
        """All models, and what a request may hold."""
        service = self._service
        limits = {k: getattr(service.config, f"max_{k}") for k in ("images", "bytes", "pixels")}
        descriptions = [
            m.describe(maps=service.makes_maps(m), drift=service.drift(m))
            for m in service.models.values()
        ]
        return JSONResponse(schema.Models(models=descriptions, limits=limits).model_dump())

    async def predict(self, request: Request, model: ModelName = None) -> Response:
        """A row for each picture."""
        service = self._service
        served = service.find(model)
        service.refuse_when_full()
        with service.memory.holding() as grow:
            pictures = await read_body(request, service.config, grow)
            rows = await _until_disconnect(request, service.predict(served, pictures))
        request.scope["candid.note"] = {"model": served.name, "pictures": len(rows)}
        return JSONResponse(
            {
                "model": served.name,
                "target": served.target,
                "classes": served.classes,
                "results": rows,
                "drift": alarm_text(service.drift(served)),
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
            answer, row = await service.classify(served, picture)
            name = answer.prediction if explained is None else explained
            mapped = await service.map(served, picture, answer.crop, method, name, longest=longest)
            return name, mapped, row

        with service.memory.holding() as grow:
            pictures = await read_body(request, service.config, grow)
            if len(pictures) > 1:
                raise Refusal("too-many-images", most=1)
            name, mapped, row = await _until_disconnect(request, work(pictures[0]))
        request.scope["candid.note"] = {"model": served.name, "map": method}
        if output == "png":
            data = await asyncio.to_thread(_overlay_png, mapped, strength)
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
            raise stopping_refusal()
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
    """A map, its image, and the corners of the model's input."""
    return {
        "map": [[round(float(v), 5) for v in line] for line in mapped.shades],
        "words": map_in_words(mapped.shades),
        "signed": bool((mapped.shades < 0).any()),
        "frame": None if mapped.corners is None else mapped.corners.round(5).tolist(),
        "picture": base64.b64encode(png_bytes(mapped.pixels)).decode("ascii"),
    }


def _overlay_png(mapped: MappedPicture, strength: float) -> bytes:
    return png_bytes(overlay_map(mapped.pixels, mapped.shades, strength, mapped.corners))


async def _until_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The work's result; the work is cancelled if the client disconnects."""
    task = asyncio.current_task()
    assert task is not None
    is_running = True

    def cancel(_: object) -> None:
        if is_running and not disconnect.cancelled():
            task.cancel()

    # After the body, only a disconnect can come.
    disconnect = asyncio.ensure_future(request.receive())
    disconnect.add_done_callback(cancel)
    try:
        return await work
    except asyncio.CancelledError:
        if not disconnect.done() or task.uncancel():  # cancelled from elsewhere, too
            raise
        raise Refusal("gone") from None
    finally:
        is_running = False
        disconnect.cancel()


def add_routes(app: FastAPI, service: Service, guard: list[Any]) -> None:
    """Add all endpoints; those that need a key depend on `guard`."""
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
        route_class_override=_FastRoute,
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
    """The description of a response of text or bytes."""
    return {200: {"content": {kind: {"schema": {"type": "string", **more}}}}}
