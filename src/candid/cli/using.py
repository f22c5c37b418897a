"""The verbs that put a model to use: predict, export."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from candid.cli.labelling import ready_labeller, say_tally, this_command
from candid.cli.options import FOLDER, cache_option, data_option, output_options, stoppable
from candid.cli.saying import print_json
from candid.cli.sharding import into_folder, predict_shards

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.stages.using import Exported

_ENGINES = ("auto", "onnx", "int8", "torch", "ray", "ray:onnx", "ray:int8", "ray:torch")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@click.option(
    "--out",
    metavar="FILE|FOLDER/",
    help="The table, or a folder or URL for one Parquet file per shard; without: standard output.",
)
@click.option(
    "--format",
    "kind",
    metavar="NAME",
    help="csv, jsonl or parquet; else by the ending of --out.",
)
@click.option(
    "--engine", type=click.Choice(_ENGINES), default="auto", show_default=True,
    help="What computes; auto: ONNX Runtime where it is installed. ray: on a cluster of Ray.",
)  # fmt: skip
@click.option(
    "--abstain-below",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="No prediction where the highest probability is below P; 0: always one; without: as the "
    "audit found.",
)
@click.option(
    "--no-check", is_flag=True, help="Do not flag pictures that are unlike the training data."
)
@click.option("--crop", is_flag=True, help="Find the faces in photographs; one row per face.")
@click.option(
    "--detector",
    type=FOLDER,
    metavar="ONNX",
    help="A YuNet model to find them with, instead of OpenCV's own detector.",
)
@click.option("--column", default="", metavar="NAME", help="Parquet: the column with the pictures.")
@click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    default=0,
    help="Threads, or tasks on a cluster; 0, the default: one per core.",
)
@click.option("--force", is_flag=True, help="Replace the table, or begin anew.")
@data_option
@cache_option
@output_options
def predict(
    run: Path,
    pictures: tuple[str, ...],
    out: str | None,
    kind: str | None,
    engine: str,
    quiet: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Label pictures: files, folders, globs, URLs, tar or Parquet files, or - for a list of paths.

    One row per picture: a prediction, calibrated probabilities, or why there is none. A job that
    was stopped goes on with the same command. Where --out is a folder (one that is there, a name
    that ends in a slash, or a URL), each tar or Parquet file becomes a table in it.
    """
    from candid.inference.rows import format_of
    from candid.inference.sources import resolve
    from candid.runs import open_run, refuse_untrained

    ray, inner = engine.startswith("ray"), engine.removeprefix("ray").lstrip(":") or "auto"
    shards = into_folder(out, kind, ray=ray)
    form = None if shards else format_of(Path(out or f"-.{'jsonl' if as_json else 'csv'}"), kind)
    inputs = resolve(pictures)
    folder, _ = open_run(run)
    refuse_untrained(folder)
    if shards is not None:
        predict_shards(folder, inputs, shards, ray=ray, engine=inner, quiet=quiet,
                       as_json=as_json, **how)  # fmt: skip
        return
    table = None if out is None else Path(out)
    _predict_table(folder, inputs, table, form, engine=inner, quiet=quiet, as_json=as_json, **how)


def _predict_table(
    folder: Any,
    inputs: list[str],
    out: Path | None,
    form: Any,
    *,
    column: str,
    workers: int,
    force: bool,
    quiet: bool,
    as_json: bool,
    **how: Any,
) -> None:
    from candid.inference.sources import LIST
    from candid.records import to_plain
    from candid.stages.using import label_pictures, one_thread_each

    ready = ready_labeller(folder, quiet=quiet, **how)
    listed = sys.stdin.buffer if LIST in inputs else None
    with one_thread_each(ready.classifier.engine), _bar(inputs, listed, quiet) as bar:
        if out is None:
            _print_rows(ready, inputs, listed, column, form, workers, bar)
            return
        with stoppable(this_command()):
            tally = label_pictures(
                ready,
                inputs,
                out,
                form,
                listed=listed,
                column=column,
                force=force,
                workers=workers,
                bar=bar,
            )
    if as_json:
        print_json({"out": str(out), "unlike_checked": ready.typical is not None} | to_plain(tally))
    elif not quiet:
        say_tally(tally, str(out), ready)


@contextlib.contextmanager
def _bar(
    inputs: list[str], listed: BinaryIO | None, quiet: bool
) -> Iterator[Callable[[int], object]]:
    """Rate and time left, where somebody watches."""
    from candid.inference.sources import count_images
    from candid.progress import progress

    total = None if quiet else count_images(inputs, listed)  # counting costs a little
    with progress("predict", total, unit="pictures", quiet=quiet) as bar:
        yield bar.update


def _print_rows(
    ready: Labeller,
    inputs: list[str],
    listed: BinaryIO | None,
    column: str,
    form: Any,
    workers: int,
    bar: Callable[[int], object],
) -> None:
    from candid.inference.classify import label, no_pictures
    from candid.inference.rows import open_writer
    from candid.inference.sources import items

    rows = label(ready, items(inputs, listed, column=column), workers=workers, bar=bar)
    with contextlib.closing(rows) as blocks:
        first = next(blocks, None)
        if first is None:
            raise no_pictures()
        with open_writer(sys.stdout, form, ready.columns.schema(), {}) as writer:
            writer.write(first.rows)
            for block in blocks:
                writer.write(block.rows)


# --- export --------------------------------------------------------------------------------------


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, metavar="FOLDER", help="Where the files go; default: the run.")
@click.option("--int8", is_flag=True, help="A quantised model, too: smaller and quicker.")
@data_option
@cache_option
@output_options
def export(
    run: Path,
    out: Path | None,
    int8: bool,
    data: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a run's model as ONNX: uint8 RGB in, calibrated probabilities out.

    It is held to the original on validation pictures; a difference is an error.
    """
    from candid import stages
    from candid.errors import DataError, RunError
    from candid.models.onnx_file import needs_onnx
    from candid.records import to_plain
    from candid.runs import open_run, refuse_untrained
    from candid.stages.using import export as write

    stages.needs_torch()
    needs_onnx("onnx", "onnxscript", "onnxruntime")
    folder, config = open_run(run)
    refuse_untrained(folder)
    loaded = None
    try:
        loaded = stages.reload(folder, config, cache, quiet, data)
    except (RunError, DataError) as error:
        if int8:
            raise
        if not quiet:
            click.echo(f"candid: checked on noise alone. {error}", err=True)
    done = write(folder, config, loaded, out=out, int8=int8)
    if as_json:
        print_json(to_plain(done))
    elif not quiet:
        _say_exported(done)


def _say_exported(done: Exported) -> None:
    on = f"{done.checked:,} validation pictures" if done.checked else "noise"
    click.echo(f"{done.onnx}: {done.onnx_bytes / 1e6:.1f} MB")
    click.echo(
        f"  the same labels as torch on {on}, "
        f"and probabilities within {done.largest_difference:.1g}"
    )
    if done.int8 is not None and done.f1_change is not None:
        e = done.f1_change
        people = "" if e.people is None else f" of {e.people:,} people"
        click.echo(f"{done.int8}: {done.int8_bytes / 1e6:.1f} MB")
        click.echo(
            f"  weighted F1 on validation {done.int8_f1:.4f} instead of {done.f1:.4f}: "
            f"{e.value:+.4f} ({100 * e.confidence:g}% interval {e.low:+.4f} to {e.high:+.4f}; "
            f"{e.n:,} images{people}; {e.method})"
        )
    if done.typical:
        click.echo(f"pictures unlike the training data: predict {done.typical}")
