"""The model inside the report: what its page needs to label a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from candid.records.embedded import EmbeddedModel, FlatNetwork
from candid.records.explanation import Method
from candid.reporting.packed import Deflated, deflate
from candid.text import trying as text
from candid.text.inputs import ReportInput

# The kinds of maps that the page can make, those that add up first.
_METHODS = ("integrated_gradients", "occlusion", "gradient")


@dataclass(frozen=True)
class PageTrial:
    """The data of the section."""

    about: dict[str, Any]  # what the scripts are told (JSON): networks, limits, words
    # weights, kernel: the weights of both networks, one after the other, and the matrix product
    weights: Deflated
    kernel: Deflated


def page_trial(inputs: ReportInput) -> PageTrial | None:
    """The data of the section; None where there is no model inside."""
    embedded, card = inputs.embedded, inputs.model
    if embedded is None or card is None:
        return None
    parts = [embedded.network.weights]
    framing = None
    if embedded.framing is not None:
        f = embedded.framing
        parts.append(f.network.weights)
        framing = {
            "network": _network_values(f.network, len(parts[0])),
            "lookSide": f.look_side,
            "looks": f.looks,
            "units": f.units,
            "centre": f.centre,
            "precision": f.precision,
            "limit": f.limit,
            "restLimit": min(f.rest_limit, 1e300),  # JSON has no infinity
        }
    about = {
        "network": _network_values(embedded.network, 0),
        "framing": framing,
        "look": _look_values(embedded),
        "classes": card.classes,
        "side": card.side,
        "detail": 1 if framing is None else 2,
        "fit": embedded.fit,
        "maxPixels": embedded.max_pixels,
        "mean": card.mean,
        "std": card.std,
        "temperature": card.temperature,
        "flip": card.flip_tta,
        "threshold": embedded.threshold,
        "map": _map_values(inputs, card.side),
        "words": text.page_words(inputs, embedded),
    }
    kernel = (resources.files("candid.reporting") / "templates" / "product.wasm").read_bytes()
    weights = deflate(b"".join(parts), repeats=False)
    return PageTrial(about, weights, deflate(kernel))


def map_method(inputs: ReportInput) -> Method | None:
    """How the page makes its map: a kind that passed its checks on this model; None: none did."""
    methods = () if inputs.explanation is None else inputs.explanation.methods
    passed = {m.name: m for m in methods if m.state == "passed"}
    return next((passed[name] for name in _METHODS if name in passed), None)


def _map_values(inputs: ReportInput, side: int) -> dict[str, Any] | None:
    method, config = map_method(inputs), inputs.config.explain
    if method is None:
        return None
    nodes, weights = np.polynomial.legendre.leggauss(config.integration_steps)
    window = max(1, round(config.occlusion_window * side))
    stride = max(1, min(window, round(config.occlusion_stride * side)))
    return {
        "method": method.name,
        "title": method.title,
        "path": np.stack([(1 + nodes) / 2, weights / 2], axis=1).tolist(),
        "window": window,
        "stride": stride,
    }


def _network_values(network: FlatNetwork, begins: int) -> dict[str, Any]:
    return {
        "input": network.input,
        "layers": network.layers,
        "tensors": [
            {"rows": t.rows, "columns": t.columns, "bits": t.bits, "at": begins + t.at}
            for t in network.tensors
        ],
    }


def _look_values(embedded: EmbeddedModel) -> dict[str, Any] | None:
    look = embedded.look
    if look is None:
        return None
    return {
        "weight": look.weight,
        "limit": look.limit if math.isfinite(look.limit) else None,
        "narrowest": look.narrowest,
        "widest": look.widest,
        "smallest": look.smallest,
        "faintest": look.faintest,
        "words": text.look_words(),
    }
