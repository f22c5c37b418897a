"""The verbs about what earlier work left: runs, and the cache of packed images."""

from __future__ import annotations

import re
from pathlib import Path

import click

import candid
from candid.cli.options import (
    FOLDER,
    cache_option,
    is_json,
    is_quiet,
    option,
    output_options,
    show,
    trackers,
)

_ORDERS = ("started", "run", "f1", "accuracy", "mae", "worst", "seconds", "size")
_LIST = "list"


class _ListUnlessNamed(click.Group):
    """A group that lists unless the first word is one of its verbs: `candid runs [FOLDER]`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Put `list` before anything that is no verb."""
        if not args or args[0] not in {*self.commands, *context.help_option_names}:
            args = [_LIST, *args]
        return super().parse_args(context, args)


@click.group("runs", cls=_ListUnlessNamed)
def runs_group() -> None:
    """The runs below a folder as a table, and their removal.

    candid runs [FOLDER] is short for candid runs list [FOLDER]; a folder that is called as a verb
    here goes by ./rm, for example.
    """


@runs_group.command(_LIST)
@click.argument("folder", type=FOLDER, default=Path("runs"))
@click.option(
    "--sort",
    "order",
    type=click.Choice(_ORDERS),
    default="started",
    show_default=True,
    help="The latest, the best, the widest gap or the largest first; run: by name; mae: of numbers,"
    " the smallest error first.",
)
@option("--target", "NAME", "Only of this label; a pattern such as 'smil*' will do.", default="")
@option("--recipe", "NAME", "Only of this recipe, or this network.", default="")
@option("--data", "NAME", "Only of this data set.", default="")
@output_options
def runs_command(folder: Path, order: str, **filters: str) -> None:
    """The runs below FOLDER (default: runs) as a table: what each learned, how well, at what price.

    Accuracy and weighted F1 with their intervals, of the test images where there are some, or the
    mean absolute error of a number; the group that the audit found furthest behind the rest, in
    points of accuracy; seconds of all its steps; the size of its files. Of a run that learned
    several labels, a line for each. A run that is unfinished or damaged is listed as such.
    """
    from candid.text.listing import run_lines

    run_list = candid.list_runs(folder, order=order, **filters)  # type: ignore[arg-type]
    show(run_list, run_lines(run_list))


@runs_group.command("rm")
@click.argument("runs", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def remove_command(runs: tuple[Path, ...], yes: bool) -> None:
    """Remove the folders of runs, for good; asks first.

    Only what is a run of Candid is removed: no link, no label's part of a run, and no folder
    with other things in it, such as other runs. Where one of several cannot be removed, none is.
    """
    from candid.pipeline.removing import removable, remove_runs
    from candid.text.listing import removed_lines

    sizes = removable(runs)
    if not yes:
        if is_json():
            raise click.UsageError("--json asks nothing: add --yes.")
        for path, size in sizes.items():
            click.echo(f"{path}  {size}", err=True)
        try:
            agreed = click.confirm("Remove them?" if len(sizes) > 1 else "Remove it?", err=True)
        except click.Abort as stop:  # Ctrl+C, or nobody there to answer
            click.echo(err=True)
            stop.add_note("nothing was removed; --yes asks nothing")
            raise
        if not agreed:
            click.echo("nothing was removed", err=True)
            return
    removed = [str(path) for path in remove_runs(runs)]
    show({"removed": removed}, removed_lines(removed))


def _bytes(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Parse 20GB, 500 MB or a number of bytes."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", value.strip(), re.IGNORECASE)
    if match is None:
        raise click.BadParameter("a size such as 20GB or 500MB is expected")
    return int(float(match[1]) * 1000 ** " kmgt".index(match[2].lower() or " "))


@click.command("cache")
@option(
    "--prune-older", "DAYS", "Prune what was not used for so long.", type=click.FloatRange(min=0)
)
@option("--prune-above", "SIZE", "Prune what was not used for longest until this is left: 20GB.",
        callback=_bytes)  # fmt: skip
@click.option("--yes", is_flag=True, help="Remove what is to be pruned; else it is only listed.")
@cache_option
@output_options
def cache_command(
    prune_older: float | None, prune_above: int | None, yes: bool, cache: Path | None
) -> None:
    """The packed images that runs share: of what data, how big, made when, last used when.

    A pack that is pruned is made again by the next run that needs it. One that a process is writing
    to is left alone.
    """
    from candid.text.packs import pack_lines

    if yes and prune_older is None and prune_above is None:
        raise click.UsageError("--yes removes what is to be pruned: say --prune-older or"
                               " --prune-above.")  # fmt: skip
    packs = candid.list_packs(cache, prune_older=prune_older, prune_above=prune_above, remove=yes)
    show(packs, pack_lines(packs))


@runs_group.command("log")
@click.argument("run", type=FOLDER)
@click.option(
    "--to",
    type=trackers,
    metavar="TRACKER",
    multiple=True,
    required=True,
    help="tensorboard, mlflow, wandb or trackio; may be repeated.",
)
@output_options
def log_command(run: Path, to: tuple[str, ...]) -> None:
    """Log a run that is there to TensorBoard, MLflow, Weights & Biases or Trackio.

    Its settings, the history of its training, and the figures of its evaluation with their
    intervals; what was logged of it before is replaced. candid run --log does so as they come.
    """
    from candid.text.listing import logged_line

    logged = candid.log_run(run, to, quiet=is_quiet())
    show(logged, [logged_line(str(run), to, logged["steps"], logged["figures"])])
