"""What batching is worth to a server, what happens past its limits, and whether its memory grows.

Starts `candid serve RUN` on loopback and sends it pictures one per request, each client the next as
soon as it has its answer: with batches of one, with the default batches, in turns; then the same
against a straightforward server, as one would write it without Candid (FastAPI, Pillow, torch, one
picture at a time); then more clients than the server takes on; then steadily for some minutes.

With 32 clients and rounds of 3 s, AMD EPYC, Python 3.11, ONNX Runtime 1.32 for Candid, torch 2.13
for the other; medians of requests/s and of the ratios within a round [extremes], and of processor
time per request in the server. CelebA, deep with mirrored pictures, --engine int8, --pictures: 200
of CelebA, 3 rounds, nothing else at work but the clients:

    two cores
        batches of one       549 requests/s    1                      2.3 ms    p50 58, p99 68 ms
        batches            1,018               1.82 [1.52, 1.91]      1.8 ms    p50 30, p99 78 ms
        straightforward      112               0.18 [0.17, 0.24]     15.3 ms    p50 286, p99 366 ms
    one core
        batches of one       477 requests/s    1                      1.9 ms    p50 67, p99 78 ms
        batches              924               1.94 [1.64, 1.98]      1.0 ms    p50 33, p99 78 ms
        straightforward      124               0.26 [0.21, 0.27]      7.8 ms    p50 246, p99 409 ms

So batches carry twice the requests of Candid's own batches of one, and 7 to 9 times those of the
straightforward server. On one core that much other work shared, where every hand-over between
threads waits, the same was three times; there processor time says more than the rate, as a server
with many threads gets more of the core:

    CelebA, deep with mirrored pictures, 64 pixels, 2 × 74 million multiply-adds, --engine int8,
    --pictures: 200 of CelebA, 3 rounds
        batches of one        29 requests/s    1                      3.3 ms
        batches              111               2.97 [2.94, 3.90]      1.2 ms    p50 281, p99 423 ms
        straightforward       60               2.09 [0.57, 4.23]      8.1 ms
    the same with soft noise, of which int8 is never sure, so that it looks twice; 2 rounds
        batches of one        52               1                      3.7 ms
        batches               65               1.25 [0.96, 1.55]      1.6 ms    p50 516, p99 583 ms
        straightforward       75               1.45 [1.42, 1.48]      7.5 ms
    the demo's model (plain, 48 pixels, 41 million multiply-adds), float32, noise; 2 rounds
        batches of one        20               1                      4.0 ms
        batches               51               2.64 [2.29, 2.99]      1.7 ms    p50 517, p99 1055 ms
        straightforward      107               5.42 [5.23, 5.61]      3.2 ms

What a batch shares is all but HTTP and the arithmetic itself: the two hand-overs between threads,
decoding in one go, the comparison with the training pictures (0.175 ms for one, 0.035 in a batch),
the start of the model. Inside the server, without reading HTTP, a request for a face costs 2.7 ms
alone and 0.88 in batches (3.1 times); it was 2.8 and 1.36 (2.0 times) when each picture was decoded
and compared in a hand-over of its own and FastAPI looked up the arguments of each request. With an
engine that costs nothing, 0.84 ms became 0.39. What remains is mostly arithmetic, which is hardly
cheaper in company (0.61 ms for a picture alone in int8, 0.47 in a batch of 32; in float32 3.9 and
2.9 ms), so in float32, and where int8 looks twice, three times stays out of reach. With httptools
and uvloop installed, which uvicorn then uses, 1.15 ms became 1.00 (faces; 2.70 [2.17, 3.20] times).

No request was refused or failed below the limit. With a queue of 16 and 16 clients 1,034 requests
were answered in 3 s and none refused; with 128 clients 689 were answered (p50 220, p99 351 ms) and
3,189 refused, all with 429 and Retry-After.

Over ten minutes of two clients and 360,702 requests to int8 the server held 179 MB at first and 180
MB from the first minute to the end.

    python bench/serve.py runs/first --seconds 3 --minutes 1 --pictures FOLDER
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

STRAIGHTFORWARD = """
import io, sys
from pathlib import Path
import numpy as np, torch, uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from starlette.concurrency import run_in_threadpool
from candid.models.model import load_network
from candid.records import ModelCard, read_record

run = Path(sys.argv[1])
card = read_record(run / "model.json", ModelCard)
network = load_network(run / "model.safetensors", card, torch.device("cpu"))
mean, std = (torch.tensor(v)[:, None, None] for v in (card.mean, card.std))
app = FastAPI()

def answer(data):
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((card.side, card.side))
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    x = ((x - mean) / std)[None]
    with torch.no_grad():
        logits = network(x)
        if card.flip_tta:
            logits = (logits + network(x.flip(3))) / 2
        p = torch.softmax(logits / card.temperature, 1)[0].tolist()
    return {"prediction": card.classes[max(range(len(p)), key=p.__getitem__)], "probabilities": p}

@app.post("/v1/predict")
async def predict(request: Request):
    return await run_in_threadpool(answer, await request.body())

config = uvicorn.Config(app, port=0, log_level="error", access_log=False)
socket = config.bind_socket()
socket.listen(1024)
print('{"url": "http://127.0.0.1:%d"}' % socket.getsockname()[1], flush=True)
uvicorn.Server(config).run([socket])
"""


@dataclass
class Load:
    """What the clients saw."""

    seconds: float = 0.0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    latencies: list[float] = field(default_factory=list)
    processor: float = 0.0  # seconds that the server used
    without_advice: int = 0  # refusals that did not say when to come back

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.statuses[200] / self.seconds

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        return float(np.quantile(self.latencies, share)) if self.latencies else float("nan")


@dataclass(frozen=True)
class Server:
    """Where it listens, and its process."""

    url: str
    process: int

    def processor(self) -> float:
        """Seconds of processor that it has used."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(*command: str) -> Iterator[Server]:
    """A server in a process of its own."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("the server did not start")
        yield Server(json.loads(line)["url"], process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def candid(run: Path, engine: str, **settings: object) -> tuple[str, ...]:
    words = [f"--set=serve.{name}={value}" for name, value in settings.items()]
    return ("-m", "candid", "serve", str(run), "--port=0", "--json", f"--set=serve.engine={engine}",
            *words)  # fmt: skip


def requests(n: int, folder: Path | None = None) -> list[bytes]:
    """Whole requests, each with another JPEG: of a folder, or of soft noise."""
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    bodies = [noise(i) for i in range(n)] if folder is None else [
        path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:n]
    ]  # fmt: skip
    return [head + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies]


def noise(seed: int, side: int = 64) -> bytes:
    """A JPEG of about as many bytes as a face's; int8 is sure of none, so it looks twice."""
    rng = np.random.default_rng(seed)
    spots = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    out = io.BytesIO()
    spots.resize((side, side), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


async def client(url: str, bodies: list[bytes], until: float, load: Load, first: int) -> None:
    host, port = url.removeprefix("http://").split(":")
    number = first
    reader = writer = None
    while time.perf_counter() < until:
        if writer is None:
            reader, writer = await asyncio.open_connection(host, int(port))
        assert reader is not None
        start = time.perf_counter()
        writer.write(bodies[number % len(bodies)])
        number += 7
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head[9:12])
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        load.statuses[status] += 1
        if status == 200:
            load.latencies.append(time.perf_counter() - start)
        else:
            load.without_advice += b"retry-after: " not in head
            await asyncio.sleep(0.02)  # a client that is refused does not hammer
        if b"connection: close" in head:
            writer.close()
            reader = writer = None
    if writer is not None:
        writer.close()


async def press(server: Server, bodies: list[bytes], clients: int, seconds: float) -> Load:
    load = Load()
    start, before = time.perf_counter(), server.processor()
    jobs = [client(server.url, bodies, start + seconds, load, 31 * i) for i in range(clients)]
    await asyncio.gather(*jobs)
    load.seconds = time.perf_counter() - start
    load.processor = server.processor() - before
    return load


def resident(url: str) -> float:
    """Megabytes that the server holds, by its own account."""
    import httpx

    for line in httpx.get(f"{url}/metrics").text.splitlines():
        if line.startswith("process_resident_memory_bytes"):
            return float(line.split()[1]) / 1e6
    return float("nan")


def batching(
    run: Path, engine: str, bodies: list[bytes], clients: int, seconds: float, rounds: int
) -> None:
    kinds = {
        "batches of one": candid(run, engine, batch=1, wait_milliseconds=0),
        "batches": candid(run, engine),
        "straightforward": ("-c", STRAIGHTFORWARD, str(run)),
    }
    loads: dict[str, list[Load]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, command in kinds.items():
            with server(*command) as up:
                asyncio.run(press(up, bodies, clients, min(1.0, seconds)))  # warm
                loads[name].append(asyncio.run(press(up, bodies, clients, seconds)))
    print(f"{clients} clients, {rounds} rounds of {seconds:g} s")
    for name, found in loads.items():
        rate = statistics.median(load.rate for load in found)
        ratios = [b.rate / a.rate for a, b in zip(loads["batches of one"], found, strict=True)]
        cost = statistics.median(1000 * x.processor / x.statuses[200] for x in found)
        bad = sum(sum(load.statuses.values()) - load.statuses[200] for load in found)
        print(
            f"  {name:18s} {rate:8.0f} requests/s   {statistics.median(ratios):5.2f} "
            f"[{min(ratios):.2f}, {max(ratios):.2f}]   "
            f"{cost:6.2f} ms of processor each   "
            f"p50 {1000 * statistics.median(load.quantile(0.5) for load in found):6.1f} ms   "
            f"p99 {1000 * statistics.median(load.quantile(0.99) for load in found):6.1f} ms   "
            f"refused or failed: {bad}"
        )


def overload(run: Path, engine: str, bodies: list[bytes], seconds: float) -> None:
    with server(*candid(run, engine, queue=16, max_images=16, connections=64)) as up:
        for clients in (16, 128):
            load = asyncio.run(press(up, bodies, clients, seconds))
            print(
                f"queue of 16, 64 requests at a time, {clients} clients: "
                f"{dict(sorted(load.statuses.items()))}, {load.without_advice} refusals without "
                f"Retry-After; answered in p50 {1000 * load.quantile(0.5):.1f} ms, "
                f"p99 {1000 * load.quantile(0.99):.1f} ms"
            )


def memory(run: Path, engine: str, bodies: list[bytes], clients: int, minutes: float) -> None:
    with server(*candid(run, engine)) as up:
        asyncio.run(press(up, bodies, clients, 3))
        held, answered = [resident(up.url)], 0
        for _ in range(10):
            load = asyncio.run(press(up, bodies, clients, 6 * minutes))
            answered += load.statuses[200]
            held.append(resident(up.url))
    told = " ".join(f"{m:.0f}" for m in held)
    print(f"{minutes:g} minutes, {answered:,} requests: resident MB {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run")
    parser.add_argument("--engine", default="auto", choices=("auto", "onnx", "int8", "torch"))
    parser.add_argument("--pictures", type=Path, help="a folder of JPEGs to send, not noise")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=0.5, help="of the look at memory")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, Python {sys.version.split()[0]}")
    model = given.run, given.engine, requests(200, given.pictures)
    batching(*model, given.clients, given.seconds, given.rounds)
    overload(*model, given.seconds)
    memory(*model, given.clients, given.minutes)


if __name__ == "__main__":
    main()
