"""The verbs about files of decisions: corrections apply, corrections merge."""

from __future__ import annotations

from pathlib import Path

import click

import candid
from candid.cli.options import (
    FOLDER,
    config_of_labels,
    option,
    output_options,
    path_option,
    set_option,
    show,
)


@click.group("corrections")
def corrections_group() -> None:
    """Decisions about images: write them into labels, or bring two people's together."""


@corrections_group.command("apply")
@click.argument("data", type=FOLDER)
@click.argument("file", type=FOLDER)
@path_option(
    "--out",
    "FILE",
    "Where the labels go: a name that ends with .csv or .jsonl, or list_attr_celeba.txt.",
    required=True,
)
@option("--target", "NAME", "The label that was corrected; else the layout's own.")
@option("--layout", "NAME", "How the data lies; else recognised.")
@path_option("--image-folder", "FOLDER", "Where the pictures of a table lie; else beside it.")
@set_option
@output_options
def apply_command(
    data: Path, file: Path, out: Path, overrides: tuple[str, ...], **options: str | Path | None
) -> None:
    """Write labels as the corrections in FILE have them; DATA stays as it is."""
    from candid.text.corrections import applied_lines

    config = config_of_labels(overrides, **options)
    finding, images, files = candid.apply_corrections(data, file, out, config)
    paths = [str(path) for path in files]
    show(
        {"files": paths, "images": images, "corrections": finding},
        applied_lines(finding.detail, ", ".join(paths), images),
    )


@corrections_group.command("merge")
@click.argument("first", type=FOLDER)
@click.argument("second", type=FOLDER)
@path_option("--out", "FILE", "Where the decisions of both go.", required=True)
@output_options
def merge_command(first: Path, second: Path, out: Path) -> None:
    """Bring two files together, and say how far they agree."""
    from candid.text.corrections import agreement_lines

    agreement = candid.merge_corrections(first, second, out)
    show(agreement, agreement_lines(agreement, str(out)))
