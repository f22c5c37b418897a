"""Run folders of which one file is damaged, tampered with, missing, or no file at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

from hostile import mutate
from hostile.kit import SETTINGS, Kit
from hostile.tables import QUICK

ARRAYS = (
    *("model.safetensors", "predictions.parquet", "history.parquet", "pictures.parquet"),
    *(
        "explanation.npz",
        "inside.npz",
        "unfamiliar.npz",
        "drift.npz",
        "checkpoint/state.safetensors",
    ),
)
RECORDS = (
    *("data.json", "evaluation.json", "audit.json", "explanation.json", "inside.json"),
    "provenance.json",
)


def _commands(rng: Random, kit: Kit, run: Path, name: str) -> list[list[str]]:
    picture = str(next((kit.faces / "images").iterdir()))
    out = run.parent
    ways = {
        "report": ["report", str(run)],
        "evaluate": ["evaluate", str(run), "--cache", str(kit.root / "cache")],
        "audit": ["audit", str(run), *QUICK],
        "predict": ["predict", str(run), picture, "--out", str(out / "out.csv")],
        "explain": [
            "explain",
            str(run),
            picture,
            "--method",
            "gradient",
            "--out",
            str(out / "m.png"),
        ],
        "resume": ["run", "--resume", str(run), "--cache", str(kit.root / "cache"), "--quiet"],
    }
    readers = {
        "model.safetensors": ("predict", "explain"),
        "model.json": ("predict", "explain", "report"),
        "unfamiliar.npz": ("predict",),
        "drift.npz": ("predict",),
        "predictions.parquet": ("evaluate", "audit", "report"),
        "checkpoint/state.safetensors": ("resume",),
        "config.toml": ("evaluate", "predict"),
        "audit.json": ("predict", "report"),
    }
    return [ways[rng.choice(readers.get(name, ("report",)))]]


def _copy(kit: Kit, path: Path) -> Path:
    return Path(shutil.copytree(kit.run, path / "run"))


def damaged(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    run, name = _copy(kit, path), rng.choice(ARRAYS)
    file = run / name
    file.write_bytes(mutate.spoil(file.read_bytes(), rng))
    if name.startswith("checkpoint"):  # as of a run that was killed
        for left in ("model.safetensors", "model.json", "predictions.parquet"):
            (run / left).unlink()
    return _commands(rng, kit, run, name)


def tampered_record(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    run, name = _copy(kit, path), rng.choice(RECORDS)
    (run / name).write_bytes(mutate.spoil_json((run / name).read_bytes(), rng))
    return _commands(rng, kit, run, name)


_MODEL: tuple[dict[str, Any], ...] = (
    *({"options": {"width": "8"}}, {"options": {"nothing": 1}}, {"options": {"depth": 10**9}}),
    *(
        {"network": "deep", "options": {"width": 10**6}},
        {"network": "deep", "options": {"depth": -1}},
    ),
    *(
        {"network": "deep", "options": {"ensemble_size": 10**6}},
        {"network": "timm"},
        {"network": "own"},
    ),
    *({"network": "vit", "options": {"width": 0}}, {"side": 10**6}, {"side": 0}, {"side": -16}),
    *(
        {"mean": [None] * 3},
        {"std": [0, 0, 0]},
        {"std": [1e-300] * 3},
        {"mean": []},
        {"std": [1] * 9},
    ),
    *({"temperature": 0}, {"temperature": -1}, {"temperature": None}, {"temperature": 1e308}),
    *({"classes": []}, {"classes": ["a"]}, {"classes": ["a", "a"]}, {"classes": ["x"] * 10**5}),
)


def tampered_model(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    run = _copy(kit, path)
    data = (run / "model.json").read_bytes()
    if rng.random() < 0.6:
        data = json.dumps(json.loads(data) | rng.choice(_MODEL)).encode()
    else:
        data = mutate.spoil_json(data, rng)
    (run / "model.json").write_bytes(data)
    (run / "model.onnx").unlink(missing_ok=True)
    return _commands(rng, kit, run, "model.json")


def tampered_settings(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    run = _copy(kit, path)
    lines = (run / "config.toml").read_text("utf-8").split("\n")
    place = rng.choice([i for i, line in enumerate(lines) if " = " in line])
    name = lines[place].partition(" = ")[0]
    odd = rng.choice(
        (
            "-1",
            "0",
            "nan",
            "inf",
            "1e308",
            "99999999999999999999",
            '"x"',
            "[[]]",
            "{}",
            "true",
            '"\\u0000"',
            "=",
            "[" * 500,
        )
    )
    lines[place] = f"{name} = {odd}"
    text = "\n".join(lines)
    if rng.random() < 0.2:
        text += f"\n[{rng.choice(('train', 'nothing', 'a.b'))}]\nx = 1\n"
    data = text.encode(rng.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")
    (run / "config.toml").write_bytes(mutate.spoil(data, rng) if rng.random() < 0.2 else data)
    return _commands(rng, kit, run, "config.toml")


def missing(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    run = _copy(kit, path)
    name = rng.choice((*ARRAYS, *RECORDS, "model.json", "config.toml"))
    file = run / name
    file.unlink()
    strange = rng.choice(("gone", "fifo", "zero", "folder", "huge"))
    if strange == "fifo":
        os.mkfifo(file)
    elif strange == "zero":
        file.symlink_to("/dev/zero")
    elif strange == "folder":
        file.mkdir()
    elif strange == "huge":  # of zeros that take no room
        with file.open("wb") as empty:
            empty.truncate(20 << 30)
    return _commands(rng, kit, run, name)


def a_setting(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    """Settings on the command line that nobody means."""
    name = rng.choice(SETTINGS[1::2]).partition("=")[0]
    odd = rng.choice(
        ("-1", "0", "nan", "inf", "99999999999999999999", "x", "[]", "", "=", "\0", "1e-300")
    )
    return [[*kit.explore(kit.faces, path), "--set", f"{name}={odd}"]]


KINDS = {
    "damaged": damaged,
    "record": tampered_record,
    "model-json": tampered_model,
    "settings": tampered_settings,
    "missing": missing,
    "a-setting": a_setting,
}
