"""The verb that puts a run on Hugging Face's Hub: push."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import candid
from candid.cli.options import FOLDER, is_quiet, output_options, show


@click.command("push")
@click.argument("run", type=FOLDER)
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--space", is_flag=True, help="The report, too, as a static Space of that name.")
@click.option(
    "--with-pictures",
    is_flag=True,
    help="Its pictures of people, too, and what it says of single ones; else it has neither.",
)
@click.option("--private", is_flag=True, help="For the owner's eyes alone.")
@click.option("--dry-run", is_flag=True, help="Upload nothing; say what would go and what not.")
@output_options
def push_command(run: Path, repo: str, **options: Any) -> None:
    """Put a run's model and its card on Hugging Face's Hub.

    The model is what candid export RUN --to transformers writes, and the card its README.md. It
    needs a token that may write: hf auth login, or HF_TOKEN.
    """
    from candid.text.publishing import left_out_lines, repo_lines

    pushed = candid.push(run, repo, quiet=is_quiet(), **options)
    lines = [
        line
        for repository in pushed.repos
        for line in repo_lines(
            repository.repo,
            repository.kind,
            repository.url,
            [(file.name, file.bytes) for file in repository.files],
            repository.private,
        )
    ]
    show(pushed, (*lines, *left_out_lines(pushed.left_out)))
