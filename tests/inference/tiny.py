"""A finished run with a small network of random weights, made in a moment; and faces to label."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from candid.config import load_config
from candid.models.networks import build
from candid.models.weights import save_weights
from candid.records import ModelCard, Provenance, write_record
from candid.runs import Run, create

SIDE = 16
CLASSES = ("no", "yes")


def tiny_run(
    path: Path,
    *,
    network: str = "plain",
    classes: tuple[str, ...] = CLASSES,
    flip_tta: bool = False,
    temperature: float = 1.7,
    seed: int = 0,
    data: str = "",
    **options: int | str,
) -> Run:
    """A run whose model answers something for every picture, and neither always the same."""
    config = load_config()
    config = replace(config, data=replace(config.data, side=SIDE, target="Hat", layout="folder"))
    about = Provenance("0", "", "", {}, 0, None, {}, {}, data or str(path / "gone"), "none")
    run = create(path, config, about)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build(network, side=SIDE, n_classes=len(classes), **options)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(1.5).add_(0.02 * torch.randn_like(parameter))
    save_weights(run.weights, net.state_dict())
    write_record(
        run.model_file,
        ModelCard(
            network=network,
            options=dict(options),
            target="Hat",
            classes=classes,
            side=SIDE,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.25, 0.3),
            temperature=temperature,
            parameters=sum(p.numel() for p in net.parameters()),
            multiply_adds=0,
            layers=(),
            step=1,
            kept="last",
            flip_tta=flip_tta,
        ),
    )
    return run


def always_framed(run: Run, frame: tuple[float, ...]) -> None:
    """Give a run a framing network that finds the same frame in every picture, in one look."""
    from candid.models.framing import Framing, save_framing
    from candid.records import Estimate
    from candid.records.framing import FramingCard

    framing = Framing(SIDE, width=2, looks=1).eval()
    with torch.no_grad():
        framing.head.weight.zero_()
        framing.head.bias.copy_(torch.tensor(frame) / framing.units)
    framing.limit.fill_(1e-3)
    save_framing(run.framing_weights, framing)
    share = Estimate(0.9, 0.8, 0.95, n=10, method="Wilson")
    write_record(run.framing, FramingCard(1, SIDE, 2, 1, 1, 10, 0.4, 0.1, share, share, used=True))


def pixels(n: int, *, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """(n, side, side, 3) smooth pictures, each its own."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 4, 4, 3), dtype=np.uint8)
    return np.stack(
        [
            np.asarray(Image.fromarray(c).resize((side, side), Image.Resampling.BICUBIC))
            for c in coarse
        ]
    )


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, kind)
    return out.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path
