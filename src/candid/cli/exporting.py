"""The verb that writes a model for others: export."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import FOLDER, is_quiet, path_option, run_options, show

if TYPE_CHECKING:
    from candid.pipeline.exporting import Exported, TransformersFolder


@click.command("export")
@click.argument("run", type=FOLDER)
@path_option(
    "--out",
    "FOLDER|FILE.onnx",
    "Where the files go, or the name of the model's, with which the others' begin; default: the "
    "run.",
)
@click.option("--int8", is_flag=True, help="A quantised model, too: smaller and quicker.")
@click.option(
    "--to",
    type=click.Choice(("onnx", "transformers")),
    default="onnx",
    show_default=True,
    help="For whom: ONNX Runtime, or a folder for Hugging Face's transformers.",
)
@run_options
def export_command(run: Path, out: Path | None, **options: Any) -> None:
    """Write a run's model as ONNX: uint8 RGB in, calibrated probabilities out.

    It is held to the original on validation pictures; a difference is an error. Where the run
    brings pictures to the frame of the training pictures first, the network that does so is
    written beside it, and the model's metadata name it (candid.framing).

    With --to transformers: a folder that transformers.pipeline("image-classification") runs with
    trust_remote_code=True, with the run's own probabilities.
    """
    quiet = is_quiet()

    def without_data(error: Exception) -> None:
        if not quiet:
            click.echo(f"candid: checked on noise alone. {error}", err=True)

    exported = candid.export(run, out=out, quiet=quiet, without_data=without_data, **options)
    show(exported, _export_lines(exported))


def _export_lines(exported: Exported | TransformersFolder) -> Iterator[str]:
    from candid.pipeline.exporting import Exported
    from candid.text.console import (
        export_lines,
        framing_export_lines,
        look_line,
        quantised_lines,
        transformers_lines,
    )

    if not isinstance(exported, Exported):
        yield from transformers_lines(exported.folder, exported.files, exported.bytes)
        return
    yield from export_lines(
        exported.onnx, exported.onnx_bytes, exported.checked, exported.largest_difference
    )
    if exported.framing is not None:
        yield from framing_export_lines(
            exported.framing,
            exported.framing_bytes,
            exported.framing_checked,
            exported.framing_other,
            exported.framing_largest_difference,
        )
    if exported.int8 is not None and exported.f1_change is not None:
        yield from quantised_lines(
            exported.int8, exported.int8_bytes, exported.f1, exported.int8_f1, exported.f1_change
        )
    if exported.unfamiliar:
        yield look_line(exported.unfamiliar)
