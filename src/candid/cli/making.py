"""The verbs that make a run: demo, run, explore, train."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import (
    begin_arguments,
    begin_options,
    cache_option,
    config_of_options,
    data_argument,
    is_json,
    is_quiet,
    no_explain_option,
    output_options,
    path_option,
    seeds_option,
    set_option,
    settings_options,
    short_settings,
    show,
)
from candid.cli.showing import show_evaluation

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where

# Enough to learn from 3,000 drawn faces in half a minute or so on two cores.
_DEMO = (
    "data.target=Face",
    "data.side=48",
    "network.width=16",
    "train.steps=200",
    "train.batch_size=128",
    "train.evaluations=20",
    "train.checkpoints=1",
    "train.threads=1",  # quicker than two here, as the network that frames has the other core
    "explain.images=100",
    "explain.check_images=24",
)


@click.command("demo")
@path_option(
    "--out", "FOLDER", "Where faces and run go.", default=Path("candid-demo"), show_default=True
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
@no_explain_option
@output_options
def demo_command(out: Path, images: int, seed: int, overrides: tuple[str, ...]) -> None:
    """Draw synthetic faces and run everything on them; no data is needed."""
    from candid.config import with_values

    config = candid.load_config(overrides=(f"train.seed={seed}", *_DEMO, *overrides))
    config = with_values(config, short_settings())
    if config.train.threads == 1:
        # Two processes have a core each: NumPy, not imported yet, would have its products wait for
        # the other's core, and busily so. The audit took three times as long.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from candid.pipeline.stopping import resume_hint

    with resume_hint("the same command again"):
        run = candid.demo(out, images=images, seed=seed, config=config, quiet=is_quiet())
    show_evaluation(run)


@click.command("run")
@begin_options
@no_explain_option
@seeds_option
@output_options
def run_command(resume: Path | None, log: tuple[str, ...], **options: Any) -> None:
    """Explore, train, evaluate and report: the main job.

    DATA is a folder of labelled images or a table of them. Several become one data set: images,
    results and gaps are told apart by the attribute "source".
    """
    from candid.pipeline.opening import is_main_process

    shows = is_main_process() and not is_quiet() and not is_json()
    is_complete = resume is not None and shows and not log and candid.open_run(resume).is_finished()
    run = candid.run(**begin_arguments(resume=resume, log=log, **options))
    if is_complete:
        from candid.text.console import finished

        click.echo(finished(str(resume), same_data=options["data"] is not None))
    if is_main_process():
        show_evaluation(run)


@click.command("explore")
@data_argument(required=True)
@settings_options
@path_option("--out", "FOLDER", "Write data.json and pictures there.")
@path_option(
    "--findings",
    "PARQUET",
    "Write every image behind the findings there, copies in pairs; --out does, too.",
)
@path_option("--augmented", "PNG", "Draw what augmentation makes of some images.")
@path_option(
    "--croissant",
    "JSON",
    "Describe the data as MLCommons' Croissant, with its responsible-AI part; a table of the labels"
    " goes beside it.",
)
@cache_option
@output_options
def explore_command(
    data: Where, out: Path | None, findings: Path | None, **options: Path | None
) -> None:
    """What is in the data: sizes, balance, people, duplicates, attributes."""
    if out is not None and findings is not None:
        raise click.UsageError("--out writes findings.parquet, too: leave --findings out.")
    options |= {"out": out, "findings": findings}
    exploration = candid.explore(data, config_of_options(), quiet=is_quiet(), **options)
    from candid.text.console import exploration_lines

    show(exploration, exploration_lines(exploration))


@click.command("train")
@begin_options
@output_options
def train_command(**options: Any) -> None:
    """Train a network, from scratch or with --from; no report."""
    from candid.pipeline.loading import network_card
    from candid.pipeline.opening import is_main_process
    from candid.runs.frames import source_frames
    from candid.text.console import training_lines
    from candid.text.external import alignment_sentences

    run = candid.train(predictions=False, **begin_arguments(**options))
    if not is_main_process():
        return
    card, frames = network_card(run), source_frames(run)
    result = {"run": str(run.path), "model": card}
    show(
        result if frames is None else result | {"source_frames": frames},
        (*alignment_sentences(frames), *training_lines(card, str(run.path), str(run.weights))),
    )
