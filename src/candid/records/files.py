"""Records to and from JSON: NaN here is `null` there."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from candid.errors import RunError, resume_advice
from candid.storage.files import FORMAT, check_format, read_bytes, reading, write_json

if TYPE_CHECKING:
    from cattrs import Converter

Record = TypeVar("Record")


@runtime_checkable
class _Validated(Protocol):
    """A record that can check its own values."""

    def problem(self) -> str: ...


def to_plain(record: Any) -> Any:
    """Dicts, lists, strings and numbers, with None for NaN and infinities."""
    return _converter().unstructure(record)


def from_plain(kind: type[Record], plain: Any) -> Record:
    """Build a record from `to_plain`'s output; unknown keys are ignored, missing are errors."""
    return _converter().structure(plain, kind)


def write_record(path: Path, record: Any) -> None:
    """Write a record and the number of its format as JSON, whole or not at all."""
    write_json(path, {"format": FORMAT} | to_plain(record))


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a record that `write_record` wrote.

    Raises
    ------
    RunError
        Where the file is missing, is not JSON, has another format, or does not hold such a record
        or one with figures that cannot be.
    """
    with reading(
        path,
        expected=f"a record of the kind {kind.__name__}, from a stage that was finished",
        todo=resume_advice(path.parent),
    ):
        plain = json.loads(read_bytes(path))
        check_format(path, plain.get("format"))
        record = from_plain(kind, plain)
    if isinstance(record, _Validated) and (problem := record.problem()):
        raise RunError(
            f"{path} holds what cannot be: {problem}.",
            expected=f"a record of the kind {kind.__name__} as Candid writes it",
            todo="take the file from where the run was made, or start a new run",
        )
    return record


@cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.gen import make_dict_unstructure_fn, override

    from candid.records.explanation import Explanation
    from candid.records.inside import Inside
    from candid.records.model import ModelCard, Provenance
    from candid.records.targets import TargetLabel, TargetSummary

    converter = Converter()

    converter.register_unstructure_hook(float, lambda x: float(x) if math.isfinite(x) else None)
    converter.register_structure_hook(float, lambda x, _: math.nan if x is None else float(x))
    converter.register_structure_hook(int | float | str, lambda value, _: value)
    # A file has no place for what a model is not (one of several labels, a number), nor for the
    # weights that a run did not begin with.
    omitted = override(omit_if_default=True)
    for kind, names in (
        (ModelCard, ("head", "number")),
        (Provenance, ("initial",)),
        (TargetLabel, ("number",)),
        (TargetSummary, ("is_number",)),
        (Explanation, ("number",)),
        (Inside, ("number",)),
    ):
        overrides: dict[str, Any] = dict.fromkeys(names, omitted)
        converter.register_unstructure_hook(
            kind, make_dict_unstructure_fn(kind, converter, **overrides)
        )
    return converter
