"""The verbs that put a model to use: predict, export."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from candid.cli.options import FOLDER, cache_option, output_options, stoppable
from candid.cli.saying import print_json

if TYPE_CHECKING:
    from candid.deploy.predict import Labeller, Tally
    from candid.stages.using import Exported

_ENGINES = ("auto", "onnx", "int8", "torch")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@click.option("--out", type=FOLDER, metavar="FILE", help="The table; without: standard output.")
@click.option(
    "--format",
    "kind",
    metavar="NAME",
    help="csv, jsonl or parquet; else by the ending of --out.",
)
@click.option(
    "--engine", type=click.Choice(_ENGINES), default="auto", show_default=True,
    help="What computes; auto: ONNX Runtime where it is installed.",
)  # fmt: skip
@click.option(
    "--abstain-below",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="No label where the highest probability is below P; 0: always a label; without: as the "
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
    help="Threads; 0, the default: one per core.",
)
@click.option("--force", is_flag=True, help="Replace the table, or begin anew.")
@cache_option
@output_options
def predict(
    run: Path,
    pictures: tuple[str, ...],
    out: Path | None,
    kind: str | None,
    column: str,
    workers: int,
    force: bool,
    quiet: bool,
    as_json: bool,
    **how: Any,
) -> None:
    """Label pictures: files, folders, globs, tar or Parquet files, or - for a list of paths.

    One row per picture: its label, calibrated probabilities, or why there is no label. A job that
    was stopped goes on with the same command.
    """
    from candid.deploy.rows import format_of
    from candid.deploy.sources import LIST, resolve
    from candid.runs import open_run
    from candid.stages.using import label_pictures, one_thread_each

    form = format_of(out or Path("-.jsonl" if as_json else "-.csv"), kind)
    inputs = resolve(pictures)
    folder, _ = open_run(run)
    ready = _labeller(folder, quiet=quiet, **how)
    listed = sys.stdin.buffer if LIST in inputs else None
    with one_thread_each(ready.classifier.engine), _bar(inputs, listed, quiet) as bar:
        if out is None:
            _print_rows(ready, inputs, listed, column, form, workers, bar)
            return
        again = shlex.join(sys.argv) if sys.argv[0].endswith("candid") else "the same command again"
        with stoppable(again):
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
    _say_tally(tally, out, ready, quiet, as_json)


def _labeller(
    run: Any, *, no_check: bool, crop: bool, detector: Path | None, quiet: bool, **how: Any
) -> Labeller:
    from candid.stages.using import labeller

    ready = labeller(
        run,
        check=not no_check,
        crop=crop or detector is not None,
        detector=detector,
        quiet=quiet,
        **how,
    )
    if ready.typical is None and not no_check and not quiet:
        click.echo(
            "candid: this run does not know its training pictures by their look, so pictures of "
            f"another kind are not flagged; candid export {run.path} teaches it",
            err=True,
        )
    return ready


@contextlib.contextmanager
def _bar(
    inputs: list[str], listed: BinaryIO | None, quiet: bool
) -> Iterator[Callable[[int], object]]:
    """Rate and time left, where somebody watches."""
    from tqdm import tqdm

    from candid.deploy.sources import count

    shown = not quiet and sys.stderr.isatty()
    total = count(inputs, listed) if shown else None  # counting costs a little
    with tqdm(total=total, desc="predict", unit=" pictures", disable=not shown) as bar:
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
    from candid.deploy.predict import label, no_pictures
    from candid.deploy.rows import open_writer
    from candid.deploy.sources import items

    rows = label(ready, items(inputs, listed, column=column), workers=workers, bar=bar)
    with contextlib.closing(rows) as blocks:
        first = next(blocks, None)
        if first is None:
            raise no_pictures()
        with open_writer(sys.stdout, form, ready.columns.schema(), {}) as writer:
            writer.write(first.rows)
            for block in blocks:
                writer.write(block.rows)


def _say_tally(tally: Tally, out: Path, ready: Labeller, quiet: bool, as_json: bool) -> None:
    from candid.records import to_plain

    if as_json:
        print_json({"out": str(out)} | to_plain(tally))
        return
    if quiet:
        return
    c = ready.classifier
    faces = f", {tally.rows:,} rows" if tally.rows != tally.pictures else ""
    resumed = f" ({tally.resumed:,} of them before)" if tally.resumed else ""
    click.echo(f"{out}: {tally.pictures:,} pictures{resumed}{faces}")
    for name, number in tally.labels.items():
        click.echo(f"  {c.target} = {name}: {number:,}")
    for reason, number in tally.reasons.items():
        click.echo(f"  no label, {reason}: {number:,}")
    if tally.errors:
        click.echo(f"  could not be read: {tally.errors:,}")
    if c.rule is not None:
        click.echo(f"  it abstains below {c.rule.threshold:.4g}. {c.rule.sentence}")


# --- export --------------------------------------------------------------------------------------


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FOLDER, metavar="FOLDER", help="Where the files go; default: the run.")
@click.option("--int8", is_flag=True, help="A quantised model, too: smaller and quicker.")
@cache_option
@output_options
def export(
    run: Path, out: Path | None, int8: bool, cache: Path | None, quiet: bool, as_json: bool
) -> None:
    """Write a run's model as ONNX: uint8 RGB in, calibrated probabilities out.

    It is held to the original on validation pictures; a difference is an error.
    """
    from candid import stages
    from candid.deploy.onnx_file import needs_onnx
    from candid.errors import DataError, RunError
    from candid.records import to_plain
    from candid.runs import open_run
    from candid.stages.using import export as write

    stages.needs_torch()
    needs_onnx("onnx", "onnxscript", "onnxruntime")
    folder, config = open_run(run)
    try:
        data = stages.reload(folder, config, cache, quiet)
    except (RunError, DataError) as error:
        if int8:
            raise
        data = None
        if not quiet:
            click.echo(f"candid: checked on noise alone. {error}", err=True)
    done = write(folder, config, data, out=out, int8=int8)
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
