"""Models that are not Candid's: a function, an exported file, a server; pictures to probabilities.

Each is asked in batches of encoded pictures, and gives for every one a row: probabilities in the
order of its classes, or by their names; or nothing, where it has no answer (no face was found, it
abstained).
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
from candid.settings.named_parts import imported_part, is_named_part, said_by
from candid.text.words import many

# Pictures (encoded) in; a row for each out.
Asked = Callable[[list[bytes]], list[Any]]

LONGEST = 1024  # pixels per side of what a function is shown, at most
_SECONDS = 60  # that a server may take for a batch
_LARGEST = 1 << 26  # bytes of its answer


def open_other(model: str | Callable[..., Any], *, max_pixels: int) -> Asked:
    """What answers: a function or its name, an ONNX file of Candid's, the address of a server.

    Raises ConfigError where it is none of these, or cannot be imported; RunError where the file is
    missing or no model.
    """
    if callable(model):
        return _of_function(model, max_pixels)
    if model.startswith(("http://", "https://")):
        return _of_server(model)
    if model.endswith(".onnx"):
        return _of_file(Path(model), max_pixels)
    if is_named_part(model):
        return _of_function(imported_part(model, "The model"), max_pixels)
    raise ConfigError(
        f"{model!r} names no model.",
        expected="package.module:function, a file model.onnx, a file of outputs (JSON, CSV, "
        "Parquet), or the address of a server such as http://127.0.0.1:8000/v1/predict",
        todo="name one with --model",
    )


def _of_function(function: Callable[..., Any], max_pixels: int) -> Asked:
    """It is given a list of uint8 arrays (height, width, 3) in the order RGB."""

    def ask(encoded: list[bytes]) -> list[Any]:
        pixels = [
            decode_whole(data, longest=LONGEST, max_pixels=max_pixels).pixels for data in encoded
        ]
        try:
            found = function(pixels)
        except Exception as error:  # whatever the code of somebody else raises
            raise PredictionsError(
                f"The model failed: {said_by(error)}.",
                expected="a row for each picture: probabilities, or None where it has no answer",
                todo="mend the function, or let it catch what a picture may raise",
            ) from error
        return _rows(found, len(pixels))

    return ask


def _rows(found: Any, n: int) -> list[Any]:
    if not isinstance(found, Sequence | np.ndarray) or isinstance(found, str) or len(found) != n:
        what = f"a {type(found).__name__}"
        if hasattr(found, "__len__"):
            what = many(len(found), "row", "rows")
        raise PredictionsError(
            f"The model gave {what} for {n:,} pictures.",
            expected="one row for each: probabilities, or None where it has no answer",
            todo="return a list, or an array (pictures, classes)",
        )
    return list(found)


def _of_file(path: Path, max_pixels: int) -> Asked:
    if not path.is_file():
        raise RunError(
            f"There is no {path}.", expected="a file that candid export wrote", todo="check it"
        )
    engine = OnnxEngine(path)
    framer = open_named_framer(engine, path.parent)
    about = json.loads(engine.about.get("candid.model", "{}"))
    if not {"classes", "side"} <= about.keys():
        raise RunError(
            f"{path} does not say what its classes are.",
            expected="an ONNX file that candid export wrote",
            todo="for another, write a function that runs it: --model package.module:function",
        )
    how = {"side": about["side"], "fit": engine.about.get("candid.fit", "stretch")}
    how |= {"max_pixels": max_pixels, "detail": 1 if framer is None else DETAIL}

    def ask(encoded: list[bytes]) -> list[Any]:
        pixels = np.stack([decode(data, **how).pixels for data in encoded])
        seen = pixels if framer is None else framer(pixels)[0]
        return [dict(zip(about["classes"], row, strict=True)) for row in engine(seen).tolist()]

    return ask


def _of_server(address: str) -> Asked:
    """One that answers as `candid serve` does: see its OpenAPI document."""

    def ask(encoded: list[bytes]) -> list[Any]:
        images = [base64.b64encode(data).decode() for data in encoded]
        request = urllib.request.Request(
            address,
            json.dumps({"images": images}).encode(),
            {"Content-Type": "application/json", "Accept": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                plain = json.loads(answer.read(_LARGEST))
            rows = [row["probabilities"] for row in plain["results"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            detail = ""
            if isinstance(error, urllib.error.HTTPError):
                detail = f": {error.read(500).decode('utf-8', 'replace')}"
            raise RunError(
                f"{address} did not answer {len(encoded)} pictures: {error}{detail}",
                expected="an answer as candid serve gives it: results, with probabilities for each",
                todo="check the address, such as http://127.0.0.1:8000/v1/predict, and its log",
            ) from error
        return _rows(rows, len(encoded))

    return ask


def row_of(found: Any, classes: tuple[str, ...]) -> list[float] | None:
    """Probabilities in the order of the classes; None: no answer.

    Of two classes, one number is the probability of the second. Raises PredictionsError where they
    are no probabilities, or of other classes.
    """
    if found is None or (isinstance(found, list) and not found):
        return None
    if isinstance(found, Mapping):
        found = _in_order(found, classes)
    try:
        row = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise _no_probabilities(found, classes) from None
    if row.ndim == 0 and len(classes) == 2:
        row = np.array([1 - row, row])
    if row.shape != (len(classes),):
        raise _no_probabilities(found, classes)
    if np.isnan(row).any():
        return None
    if (row < -1e-6).any() or not 0.98 <= row.sum() <= 1.02:
        raise _no_probabilities(found, classes)
    clear = row.clip(0)
    scaled: list[float] = (clear / clear.sum()).tolist()
    return scaled


def number_of_row(found: Any) -> float | None:
    """What a model says of a number; None: no answer.

    Raises PredictionsError where it is no number.
    """
    if found is None or (isinstance(found, list) and not found):
        return None
    try:
        number = np.asarray(found, np.float64).reshape(-1)
    except (TypeError, ValueError):
        number = np.empty(0)
    if len(number) != 1 or np.isinf(number[0]):
        raise PredictionsError(
            f"The model gave {str(found)[:80]} for a picture.",
            expected="a number in the label's unit, or None for no answer",
            todo="return one number for each picture",
        )
    return None if np.isnan(number[0]) else float(number[0])


def _in_order(found: Mapping[Any, Any], classes: tuple[str, ...]) -> list[Any]:
    there = {str(name).strip().casefold(): value for name, value in found.items()}
    wanted = [name.strip().casefold() for name in classes]
    if there.keys() != {*wanted}:
        raise PredictionsError(
            f"The model speaks of the classes {', '.join(map(repr, map(str, found)))}.",
            expected=f"those of the labels: {', '.join(map(repr, classes))} (in any case)",
            todo="say which is which, such as --set 'data.class_names=[\"label=class\"]'",
        )
    return [there[name] for name in wanted]


def _no_probabilities(found: Any, classes: tuple[str, ...]) -> PredictionsError:
    return PredictionsError(
        f"The model gave {str(found)[:80]} for a picture.",
        expected=f"a probability for each of {', '.join(map(repr, classes))}, which sum to 1; or "
        "None for no answer",
        todo="return probabilities, in this order or by these names",
    )
