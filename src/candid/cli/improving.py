"""The verb that tries remedies: improve."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

import candid
from candid.cli.options import (
    FOLDER,
    cache_option,
    data_option,
    is_quiet,
    option,
    output_options,
    path_option,
    show,
)


@click.command("improve")
@click.argument("run", type=FOLDER)
@option(
    "--group",
    "COLUMN",
    "An attribute whose groups are balanced; may be repeated. Default: those of the audit's"
    " findings.",
    "groups",
    multiple=True,
)
@click.option(
    "--train",
    is_flag=True,
    help="Train anew, too, each time with one change: corrections, copies left out, weights of"
    " classes and of groups, group DRO. Takes as long as RUN's training for each.",
)
@option(
    "--only",
    "NAME",
    "Of what trains anew, this alone, such as group-dro; may be repeated. Implies --train.",
    multiple=True,
)
@path_option("--corrections", "FILE", "Decisions of candid review to train anew with.")
@click.option(
    "--curve",
    is_flag=True,
    help="Instead, how many more people of a group would likely halve its gap: trained anew on a"
    " quarter and on half of them, twice RUN's training for each gap, of three at most.",
)
@click.option(
    "--aim",
    type=click.Choice(["worst group", "overall"]),
    default="worst group",
    show_default=True,
    help="What is to become better: the accuracy of the worst group, or of all images.",
)
@option(
    "--folds",
    "N",
    "Parts of the validation people; 3 at least.",
    type=int,
    default=5,
    show_default=True,
)
@option("--seed", "N", "Who is in which fold.", type=int, default=0)
@data_option
@cache_option
@output_options
def improve_command(
    run: Path,
    train: bool,
    only: tuple[str, ...],
    corrections: Path | None,
    curve: bool,
    aim: Literal["worst group", "overall"],
    folds: int,
    seed: int,
    **options: Any,
) -> None:
    """Try remedies for what the audit found; none may help.

    The last layer is fitted again, balanced by label and group; priors are shifted; groups are
    calibrated; the unsure are not answered. Each is judged on validation people who had no part in
    it, and the winner once on test. It lies in RUN/improve/<name>, a run that every verb opens.

    With --train, networks are trained anew from RUN's seed and settings with one change each; what
    was stopped goes on. The winner's config.toml is for candid run --config.
    """
    from candid.text.collecting import curve_lines
    from candid.text.improvement import improvement_lines

    if curve:
        if train or only or corrections is not None:
            raise click.UsageError("--curve measures curves and tries no remedies: not --train.")
        curves = candid.learning_curves(run, quiet=is_quiet(), **options)
        show(curves, curve_lines(curves))
        return
    improvement = candid.improve(
        run,
        train=train,
        only=only,
        corrections=corrections,
        aim=aim,
        folds=folds,
        seed=seed,
        quiet=is_quiet(),
        **options,
    )
    show(improvement, improvement_lines(improvement, str(run)))
