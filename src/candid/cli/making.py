"""The verbs that make a run: demo, run, explore, train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from candid.cli.options import (
    FOLDER,
    cache_option,
    config_of,
    open_or_start,
    out_option,
    output_options,
    refuse_settings,
    resume_option,
    resuming,
    set_option,
    settings_options,
    stoppable,
)
from candid.cli.saying import print_json, say_evaluation, say_exploration


@click.command()
@click.option(
    "--out",
    type=FOLDER,
    default=Path("candid-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where faces and run go.",
)
@click.option(
    "--images",
    type=click.IntRange(60, 1_000_000),
    default=3000,
    show_default=True,
    help="Faces to draw.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The same seed draws the same faces."
)
@set_option
@output_options
def demo(
    out: Path, images: int, seed: int, overrides: tuple[str, ...], quiet: bool, as_json: bool
) -> None:
    """Draw synthetic faces and run everything on them; no data is needed."""
    from candid import stages
    from candid.config import load_config
    from candid.data.synthetic import demo_world, write_faces

    stages.needs_torch()
    settings = (f"train.seed={seed}", *_DEMO, *overrides)
    config = load_config(overrides=settings)
    world = demo_world(images, side=config.data.side, seed=seed)
    faces = write_faces(out / "synthetic-faces", world, quiet=quiet)
    run, config, data = stages.open_or_begin(
        out / "run", config, faces, cache=out / "cache", quiet=quiet
    )
    with stoppable("the same command again"):
        evaluation = stages.everything(run, data, config, quiet=quiet)
    say_evaluation(evaluation, run, quiet, as_json)


# Enough to learn from 3,000 drawn faces in a minute or so on two cores.
_DEMO = (
    "data.target=Face",
    "data.side=48",
    "train.steps=200",
    "train.batch_size=128",
    "train.evaluations=20",
    "explain.images=100",
    "explain.check_images=24",
)


@click.command("run")
@click.argument("data", type=FOLDER, required=False)
@settings_options
@out_option
@resume_option
@cache_option
@output_options
def run_verb(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Explore, train, evaluate and report: the main job.

    DATA is a folder of labelled images or a table of them.
    """
    from candid import stages

    if resume is not None and not stages.launched():
        refuse_settings(settings)
        if _say_finished(resume, quiet, as_json):
            return
    with stages.together() as speaks:
        run, config, loaded = open_or_start(data, out, resume, cache, quiet, settings)
        go_on = resuming("run", run, data)
        if stages.launched():  # what is left after training is done by one process
            with stoppable(go_on):
                stages.train(run, loaded, config, quiet=quiet)
    if not speaks:
        return
    with stoppable(go_on):
        evaluation = stages.everything(run, loaded, config, quiet=quiet)
    say_evaluation(evaluation, run, quiet, as_json)


def _say_finished(resume: Path, quiet: bool, as_json: bool) -> bool:
    """Whether a run has nothing left to do; then that and its result are told."""
    from candid import stages
    from candid.records import Evaluation, read_record
    from candid.runs import open_run

    run, config = open_run(resume)
    if not stages.all_whole(run, config):
        return False
    if not quiet and not as_json:
        click.echo(f"{run.path} is finished: nothing was done again")
    say_evaluation(read_record(run.evaluation, Evaluation), run, quiet, as_json)
    return True


@click.command()
@click.argument("data", type=FOLDER)
@settings_options
@click.option("--out", type=FOLDER, metavar="FOLDER", help="Write data.json and pictures there.")
@click.option(
    "--findings",
    type=FOLDER,
    metavar="PARQUET",
    help="Write every image behind the findings there, copies in pairs; --out does, too.",
)
@click.option(
    "--augmented", type=FOLDER, metavar="PNG", help="Draw what augmentation makes of some images."
)
@cache_option
@output_options
def explore(
    data: Path,
    out: Path | None,
    findings: Path | None,
    augmented: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """What is in the data: sizes, balance, people, duplicates, attributes."""
    from candid import stages
    from candid.runs import refuse_full

    if out is not None and findings is not None:
        raise click.UsageError("--out writes findings.parquet, too: leave --findings out.")
    config = config_of(**settings)
    if out is not None:
        refuse_full(out)
    if augmented is not None:
        stages.needs_torch()
    loaded = stages.load(data, config, cache=cache, quiet=quiet)
    if augmented is not None:
        stages.draw_augmented(augmented, loaded, config)
    if out is not None:
        run, config = stages.begin(out, config, loaded)
        exploration = stages.explore(run, loaded, config, quiet=quiet)
    else:
        exploration, _ = stages.look(loaded, config, findings=findings, quiet=quiet)
    say_exploration(exploration, quiet, as_json)


@click.command()
@click.argument("data", type=FOLDER, required=False)
@settings_options
@out_option
@resume_option
@cache_option
@output_options
def train(
    data: Path | None,
    out: Path | None,
    resume: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a network from scratch; no report."""
    from candid import stages
    from candid.records import to_plain

    with stages.together() as speaks:
        run, config, loaded = open_or_start(data, out, resume, cache, quiet, settings)
        with stoppable(resuming("train", run, data)):
            card = stages.train(run, loaded, config, quiet=quiet)
            if speaks and not run.typical.is_file():
                stages.know_pictures(run, loaded, config)
    if not speaks:
        return
    if as_json:
        print_json({"run": str(run.path), "model": to_plain(card)})
    elif not quiet:
        click.echo(f"model: {run.weights} ({card.network}, step {card.step}, {card.kept} weights)")
        click.echo(f"next:  candid evaluate {run.path}")
