"""A server with a model whose answers a test can compute: how bright a picture is."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from PIL import Image

from candid.inference.abstaining import Rule
from candid.inference.classifier import Classifier
from candid.records import ModelCard
from candid.serving.app import create_app
from candid.serving.connections import timeout_protocol
from candid.serving.serve import listen
from candid.serving.served import Served
from candid.settings import ServeConfig

SIDE = 16
CARD = ModelCard(
    network="plain",
    options={},
    target="Light",
    classes=("dark", "bright"),
    side=SIDE,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    temperature=1.0,
    parameters=1,
    multiply_adds=1,
    layers=(),
    step=1,
    kept="best",
)


@dataclass
class Brightness:
    """Probability of "bright": the mean of all pixels. `gate` holds its answers up."""

    name: str = "onnx"
    seconds: float = 0.0
    gate: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)
    broken: bool = False
    calls: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def __call__(self, pixels: Any) -> Any:
        self.calls += 1
        assert self.gate.wait(30)
        if self.broken:
            raise RuntimeError("the engine broke")
        time.sleep(self.seconds)
        self.batches.append(len(pixels))
        p = pixels.mean((1, 2, 3)) / 255
        return np.stack([1 - p, p], 1).astype(np.float32)


def model(
    engine: Any = None, *, name: str = "first", rule: Rule | None = None, **more: Any
) -> Served:
    """A served model that knows bright from dark."""
    classifier = Classifier(CARD, "stretch", 10_000_000, rule, engine or Brightness())
    return Served(name=name, classifier=classifier, **more)


class Ramp:
    """Maps that grow from left (against) to right (for): what is painted can be computed."""

    def map(self, pixels: Any, method: str, explained: int) -> Any:
        shades = np.tile(np.linspace(-1, 1, SIDE, dtype=np.float32), (SIDE, 1))
        return shades if method != "gradient" else np.abs(shades)


class WithMaps(Served):
    """Maps without torch."""

    def explainer(self) -> Any:
        return Ramp()


def with_maps(**more: Any) -> Served:
    """A model whose maps are ramps."""
    plain = model(**more)
    return WithMaps(plain.name, plain.classifier, plain.about, plain.report, Path("weights"))


@contextlib.contextmanager
def running(*models: Served, key: str = "", **settings: Any) -> Iterator[str]:
    """The address of a real server on a free port; ends it and sees that it ended well."""
    config = ServeConfig(**({"port": 0, "timeout": 20.0, "decoders": 2} | settings))
    app = create_app(models or [model()], config, key=key)
    with contextlib.closing(listen(config.host, 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                app, http=timeout_protocol(config), ws="none", lifespan="on", access_log=False,
                log_config=None, timeout_graceful_shutdown=10,
            )
        )  # fmt: skip
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@contextlib.contextmanager
def lines_to(address: str, n: int = 1, *, buffer: int = 0) -> Iterator[list[socket.socket]]:
    """Connections whose bytes a test writes and reads itself; `buffer`: bytes that wait for it."""
    host, port = address.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(n):
            line = stack.enter_context(socket.socket())
            if buffer:
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            line.settimeout(20)
            line.connect((host, int(port)))
            lines.append(line)
        yield lines


def picture(shade: int = 200, *, size: tuple[int, int] = (20, 30), kind: str = "PNG") -> bytes:
    """An even grey picture: its brightness is shade / 255 at any size."""
    out = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(out, kind)
    return out.getvalue()
