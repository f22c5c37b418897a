"""A run's model as a folder that transformers loads, without Candid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from candid.errors import RunError
from candid.inference.export_facts import facts
from candid.inference.standalone import standalone
from candid.records import ModelCard, read_record
from candid.records.framing import DETAIL
from candid.runs import Run, open_run
from candid.storage.files import write_text

MODULE = "modeling_candid"
NETWORKS = {"plain": "Plain", "deep": "deep", "vit": "ViT"}  # the builder of each


def write_transformers(run: Run, folder: Path) -> list[Path]:
    """Write config.json, the processor's, the weights, the code, and the card, if any.

    Raises RunError where the network is none of `NETWORKS`, or the run's files are damaged.
    """
    from candid.models.framing import framing_of
    from candid.models.model import load_whole_model
    from candid.models.weights import save_weights

    card = read_record(run.model_file, ModelCard)
    if card.network not in NETWORKS:
        raise RunError(
            f"The network {card.network!r} cannot be written for transformers.",
            expected=f"one of: {', '.join(NETWORKS)}",
            todo="export it as ONNX: candid export without --to",
        )
    framing = framing_of(run)
    model = load_whole_model(run.weights, card, run.network, framing)
    framing_options = None
    if framing is not None:
        framing_options = {"side": framing.side, "width": framing.width, "looks": framing.looks}
    folder.mkdir(parents=True, exist_ok=True)
    weights, code = folder / "model.safetensors", folder / f"{MODULE}.py"
    save_weights(weights, {f"pixels.{k}": v for k, v in model.state_dict().items()})
    write_text(code, model_code(card.network, framed=framing is not None))
    processor = folder / "preprocessor_config.json"
    fit, detail = open_run(run.path).settings.data.fit, 1 if framing is None else DETAIL
    _write_json(processor, _processor(card, fit, detail))
    paths = [weights, code, processor]
    if run.card.is_file():
        paths.append(folder / "README.md")
        write_text(paths[-1], run.card.read_text("utf-8"))
    config = folder / "config.json"
    _write_json(config, _config(run, card, framing_options))  # last: it makes the folder a model
    return [*paths, config]


def model_code(network: str, *, framed: bool) -> str:
    """`modeling_candid.py` for one network, with or without framing."""
    source = Path(__file__).with_name(f"{MODULE}.py").read_text("utf-8")
    source = source.replace("BUILDERS[config.network]", NETWORKS[network])
    module = "vit" if network == "vit" else "networks"
    source = source.replace("networks import BUILDERS", f"{module} import {NETWORKS[network]}")
    if not framed:
        source = source.replace("Framing(**config.framing) if config.framing else None", "None")
    return standalone(source)


def _config(run: Run, card: ModelCard, framing: dict[str, int] | None) -> dict[str, Any]:
    return {
        "architectures": ["CandidForImageClassification"],
        "auto_map": {
            "AutoConfig": f"{MODULE}.CandidConfig",
            "AutoModelForImageClassification": f"{MODULE}.CandidForImageClassification",
        },
        "model_type": "candid",
        "problem_type": "single_label_classification",
        "dtype": "float32",
        "network": card.network,
        "options": card.options,
        "side": card.side,
        "mean": list(card.mean),
        "std": list(card.std),
        "temperature": card.temperature,
        "flip_tta": card.flip_tta,
        "framing": framing,
        "id2label": {str(i): name for i, name in enumerate(card.classes)},
        "label2id": {name: i for i, name in enumerate(card.classes)},
        "about": facts(run, card),
    }


def _processor(card: ModelCard, fit: str, detail: int) -> dict[str, Any]:
    return {
        "auto_map": {"AutoImageProcessor": f"{MODULE}.CandidImageProcessor"},
        "image_processor_type": "CandidImageProcessor",
        "side": card.side,
        "fit": fit,
        "detail": detail,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
