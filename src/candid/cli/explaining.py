"""The verb that explains: what a network looks at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from candid.cli.options import FOLDER, cache_option, data_option, output_options, set_option
from candid.cli.saying import print_json

if TYPE_CHECKING:
    from candid.explanation.drawing import ExplainedPicture
    from candid.records.explanation import Explanation
    from candid.runs import RunFolder


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("pictures", nargs=-1, type=FOLDER, metavar="[PICTURES...]")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="A method, such as grad_cam; may be repeated. Default: those of explain.methods.",
)
@click.option(
    "--out",
    type=FOLDER,
    metavar="PNG",
    help="With pictures: where the maps are drawn; default: <picture>-explained.png.",
)
@set_option
@data_option
@cache_option
@output_options
def explain(
    run: Path,
    pictures: tuple[Path, ...],
    methods: tuple[str, ...],
    out: Path | None,
    overrides: tuple[str, ...],
    data: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """What a run's network looks at, and whether the maps are worth anything.

    Without pictures: over images of the run's data, into explanation.json and explanation.npz, and
    into the network, into inside.json and inside.npz. With pictures: their maps, as one PNG.
    """
    from candid import stages
    from candid.config import load_config, with_values
    from candid.runs import open_run, refuse_untrained

    folder, config = open_run(run)
    refuse_untrained(folder)
    if overrides:
        config = load_config(file=folder.config, overrides=overrides)
    if methods:
        config = with_values(config, {"explain": {"methods": list(methods)}})
    if not pictures:
        if out is not None:
            raise click.UsageError("--out is for pictures: the maps of a run lie in its folder.")
        stages.needs_torch()
        loaded = stages.reload(folder, config, cache, quiet, data)
        record = stages.explain(folder, loaded, config, quiet=quiet)
        stages.look_inside(folder, loaded, config, quiet=quiet)
        _say_explanation(record, folder, quiet, as_json)
        return
    path = out or Path(f"{pictures[0].stem}-explained.png")
    _refuse_input(path, pictures)
    explained = stages.explain_pictures(folder, pictures, config)
    stages.draw_explained(path, explained)
    _say_pictures(explained, path, quiet, as_json)


def _refuse_input(path: Path, pictures: tuple[Path, ...]) -> None:
    """Raise an OutputError where the drawing would replace a picture or another file."""
    from candid.errors import OutputError

    resolved = path.resolve()
    if any(resolved == p.resolve() for p in pictures) or path.is_dir():
        raise OutputError(
            f"The maps cannot be drawn to {path}.",
            expected="a PNG file that is none of the pictures",
            todo="name another place with --out",
        )


def _say_explanation(record: Explanation, run: RunFolder, quiet: bool, as_json: bool) -> None:
    from candid.records import to_plain

    if as_json:
        print_json(to_plain(record))
        return
    if quiet:
        return
    people = "" if record.people is None else f" of {record.people:,} people"
    click.echo(f"{record.n:,} {record.split} images{people} explained")
    for method in record.methods:
        failed = [c.code.lower() for c in method.checks if c.state == "failed"]
        why = f" ({', '.join(failed)})" if failed else ""
        click.echo(f"  {method.title}: {method.state}{why}")
    for region in record.regions:
        claims = [
            c.method for c in record.claims if c.region == region.name and c.state == "passed"
        ]
        losses = [m.excess_f1_loss for m in record.maskings if m.region == region.name]
        if not losses:
            continue
        least = min(losses, key=lambda e: e.value if e.value == e.value else 0.0)
        says = f"; {len(claims)} of {len(record.methods)} methods look there" if claims else ""
        click.echo(
            f"  without the {region.name}: F1 falls by {100 * least.value:.1f} points more than "
            f"by chance ({100 * least.low:.1f} to {100 * least.high:.1f}, the mildest of "
            f"{len(losses)} fills){says}"
        )
    for note in record.notes:
        click.echo(f"  note: {note}")
    click.echo(f"explanation: {run.explanation}")


def _say_pictures(
    explained: list[ExplainedPicture], path: Path, quiet: bool, as_json: bool
) -> None:
    if as_json:
        rows = [
            {
                "picture": one.name,
                "prediction": one.prediction,
                "probability": one.probability,
                "methods": {name: badge or None for name, badge in one.badges.items()},
            }
            for one in explained
        ]
        print_json({"out": str(path), "pictures": rows})
    elif not quiet:
        for one in explained:
            click.echo(f"{one.name}: {one.prediction} {one.probability:.4f}")
        click.echo(f"maps: {path}")
