"""Models other than a run's: a function, an exported file, a server.

Each maps a batch of encoded images to a row per image: probabilities in the order of its classes,
or by their names; or None, where it has no answer (no face was found, it abstained).
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from candid.data.decode import decode, decode_whole
from candid.errors import ConfigError, PredictionsError, RunError
from candid.inference.framed_export import open_named_framer
from candid.models.onnx_file import OnnxEngine
from candid.records.framing import DETAIL
from candid.settings.named_parts import format_error, import_part, is_named_part
from candid.text.words import many

# Encoded images in; a row for each out.
Asked = Callable[[list[bytes]], list[Any]]

MAX_SIDE = 1024  # pixels per side of a function's images
_TIMEOUT = 60  # seconds for a server's response to a batch
_MAX_RESPONSE = 1 << 26  # bytes


def open_other(model: str | Callable[..., Any], *, max_pixels: int) -> Asked:
    """A model by function or its name, by an ONNX file of Candid's, or by a server's address.

    Raises ConfigError where it is none of these, or cannot be imported; RunError where the file is
    missing or no model.
    """
    if callable(model):
        return _ask_function(model, max_pixels)
    if model.startswith(("http://", "https://")):
        return _ask_server(model)
    if model.endswith(".onnx"):
        return _ask_file(Path(model), max_pixels)
    if is_named_part(model):
        return _ask_function(import_part(model, "The model"), max_pixels)
    raise ConfigError(
        f"{model!r} names no model.",
        expected="package.module:function, a file model.onnx, a file of outputs (JSON, CSV, "
        "Parquet), or the address of a server such as http://127.0.0.1:8000/v1/predict",
        todo="name one with --model",
    )


def _ask_function(function: Callable[..., Any], max_pixels: int) -> Asked:
    """A function of a list of uint8 arrays (height, width, 3) in the order RGB."""

    def ask(encoded: list[bytes]) -> list[Any]:
        pixels = [
            decode_whole(data, longest=MAX_SIDE, max_pixels=max_pixels).pixels for data in encoded
        ]
        try:
            rows = function(pixels)
        except Exception as error:  # custom code may raise anything
            raise PredictionsError(
                f"The model failed: {format_error(error)}.",
                expected="a row for each picture: probabilities, or None where it has no answer",
                todo="mend the function, or let it catch what a picture may raise",
            ) from error
        return _check_rows(rows, len(pixels))

    return ask


def _check_rows(rows: Any, n: int) -> list[Any]:
    if not isinstance(rows, Sequence | np.ndarray) or isinstance(rows, str) or len(rows) != n:
        got = f"a {type(rows).__name__}"
        if hasattr(rows, "__len__"):
            got = many(len(rows), "row", "rows")
        raise PredictionsError(
            f"The model gave {got} for {n:,} pictures.",
            expected="one row for each: probabilities, or None where it has no answer",
            todo="return a list, or an array (pictures, classes)",
        )
    return list(rows)


def _ask_file(path: Path, max_pixels: int) -> Asked:
    if not path.is_file():
        raise RunError(
            f"There is no {path}.", expected="a file that candid export wrote", todo="check it"
        )
    engine = OnnxEngine(path)
    framer = open_named_framer(engine, path.parent)
    info = json.loads(engine.metadata.get("candid.model", "{}"))
    if not {"classes", "side"} <= info.keys():
        raise RunError(
            f"{path} does not say what its classes are.",
            expected="an ONNX file that candid export wrote",
            todo="for another, write a function that runs it: --model package.module:function",
        )
    decoding = {"side": info["side"], "fit": engine.metadata.get("candid.fit", "stretch")}
    decoding |= {"max_pixels": max_pixels, "detail": 1 if framer is None else DETAIL}

    def ask(encoded: list[bytes]) -> list[Any]:
        pixels = np.stack([decode(data, **decoding).pixels for data in encoded])
        inputs = pixels if framer is None else framer(pixels)[0]
        return [dict(zip(info["classes"], row, strict=True)) for row in engine(inputs).tolist()]

    return ask


def _ask_server(address: str) -> Asked:
    """A server with the API of `candid serve`: see its OpenAPI document."""

    def ask(encoded: list[bytes]) -> list[Any]:
        images = [base64.b64encode(data).decode() for data in encoded]
        request = urllib.request.Request(
            address,
            json.dumps({"images": images}).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
                response = json.loads(reply.read(_MAX_RESPONSE))
            rows = [row["probabilities"] for row in response["results"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            detail = ""
            if isinstance(error, urllib.error.HTTPError):
                detail = f": {error.read(500).decode('utf-8', 'replace')}"
            raise RunError(
                f"{address} did not answer {len(encoded)} pictures: {error}{detail}",
                expected="an answer as candid serve gives it: results, with probabilities for each",
                todo="check the address, such as http://127.0.0.1:8000/v1/predict, and its log",
            ) from error
        return _check_rows(rows, len(encoded))

    return ask


def row_of(output: Any, classes: tuple[str, ...]) -> list[float] | None:
    """Probabilities in the order of the classes; None: no answer.

    Of two classes, one number is the probability of the second. Raises PredictionsError where they
    are no probabilities, or of other classes.
    """
    if output is None or (isinstance(output, list) and not output):
        return None
    if isinstance(output, Mapping):
        output = _order_by_class(output, classes)
    try:
        row = np.asarray(output, np.float64)
    except (TypeError, ValueError):
        raise _not_probabilities(output, classes) from None
    if row.ndim == 0 and len(classes) == 2:
        row = np.array([1 - row, row])
    if row.shape != (len(classes),):
        raise _not_probabilities(output, classes)
    if np.isnan(row).any():
        return None
    if (row < -1e-6).any() or not 0.98 <= row.sum() <= 1.02:
        raise _not_probabilities(output, classes)
    clipped = row.clip(0)
    probabilities: list[float] = (clipped / clipped.sum()).tolist()
    return probabilities


def number_of_row(output: Any) -> float | None:
    """A model's output for a number; None: no answer.

    Raises PredictionsError where it is no number.
    """
    if output is None or (isinstance(output, list) and not output):
        return None
    try:
        number = np.asarray(output, np.float64).reshape(-1)
    except (TypeError, ValueError):
        number = np.empty(0)
    if len(number) != 1 or np.isinf(number[0]):
        raise PredictionsError(
            f"The model gave {str(output)[:80]} for a picture.",
            expected="a number in the label's unit, or None for no answer",
            todo="return one number for each picture",
        )
    return None if np.isnan(number[0]) else float(number[0])


def _order_by_class(output: Mapping[Any, Any], classes: tuple[str, ...]) -> list[Any]:
    by_name = {str(name).strip().casefold(): value for name, value in output.items()}
    names = [name.strip().casefold() for name in classes]
    if by_name.keys() != {*names}:
        raise PredictionsError(
            f"The model speaks of the classes {', '.join(map(repr, map(str, output)))}.",
            expected=f"those of the labels: {', '.join(map(repr, classes))} (in any case)",
            todo="say which is which, such as --set 'data.class_names=[\"label=class\"]'",
        )
    return [by_name[name] for name in names]


def _not_probabilities(output: Any, classes: tuple[str, ...]) -> PredictionsError:
    return PredictionsError(
        f"The model gave {str(output)[:80]} for a picture.",
        expected=f"a probability for each of {', '.join(map(repr, classes))}, which sum to 1; or "
        "None for no answer",
        todo="return probabilities, in this order or by these names",
    )
