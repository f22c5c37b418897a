"""The verbs that put a model to use: predict, export."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

import candid
from candid.cli.options import (
    FOLDER,
    alone_option,
    calibration_option,
    is_json,
    is_quiet,
    option,
    path_option,
    run_options,
    show,
)

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.inference.parts import Manifest
    from candid.inference.rows import Outcome
    from candid.pipeline.exporting import Exported, TransformersFolder
    from candid.runs import Run

_ENGINES = ("auto", "onnx", "int8", "torch", "ray", "ray:onnx", "ray:int8", "ray:torch")
_SHOWN = 5


@click.command("predict")
@click.argument("run", type=FOLDER)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURES...")
@option(
    "--out",
    "FILE|FOLDER/",
    "The table, or a folder or URL for one Parquet file per shard; without: standard output.",
)
@option("--format", "NAME", "csv, jsonl or parquet; else by the ending of --out.", "kind")
@click.option(
    "--engine",
    type=click.Choice(_ENGINES),
    default="auto",
    show_default=True,
    help="What computes; auto: ONNX Runtime where it is installed. ray: on a cluster of Ray.",
)
@option(
    "--abstain-below",
    "P",
    "No prediction where the highest probability is below P; 0: always one; without: as the "
    "audit found.",
    type=click.FloatRange(0, 1),
)
@click.option(
    "--no-check", is_flag=True, help="Do not flag pictures that are unlike the training data."
)
@click.option("--crop", is_flag=True, help="Find the faces in photographs; one row per face.")
@path_option(
    "--detector",
    "ONNX",
    "Find them with a YuNet model, or, with the word opencv, with OpenCV's own detector; without: "
    "with the run's framing network, or OpenCV's detector where it has none.",
)
@calibration_option
@alone_option
@option("--column", "NAME", "Parquet: the column with the pictures.", default="")
@click.option(
    "--workers",
    type=click.IntRange(0, 1024),
    default=0,
    help="Threads, or tasks on a cluster; 0, the default: one per core.",
)
@click.option("--force", is_flag=True, help="Replace the table, or begin anew.")
@run_options
def predict_command(
    run: Path,
    pictures: tuple[str, ...],
    out: str | None,
    kind: str | None,
    engine: str,
    column: str,
    workers: int,
    force: bool,
    **how: Any,
) -> None:
    """Label pictures: files, folders, globs, URLs, tar or Parquet files, or - for a list of paths.

    One row per picture: a prediction, calibrated probabilities, or why there is none; exit code 2
    where not one can be read. A job that was stopped goes on with the same command. Where --out is
    a folder (one that is there, a name that ends in a slash, or a URL), each tar or Parquet file
    becomes a table in it.
    """
    from candid.inference.rows import format_of
    from candid.inference.sources import resolve
    from candid.runs.refusals import refuse_untrained, run_that_answers

    ray, inner = engine.startswith("ray"), engine.removeprefix("ray").lstrip(":") or "auto"
    shards = _folder_for_shards(out, kind, ray=ray)
    form = None if shards else format_of(Path(out or f"-.{'jsonl' if is_json() else 'csv'}"), kind)
    inputs = resolve(pictures)
    folder = run_that_answers(candid.open_run(run))
    refuse_untrained(folder, several=True)
    how |= {"engine": inner, "check": not how.pop("no_check"), "quiet": is_quiet()}
    job: dict[str, Any] = {"column": column, "workers": workers}
    if shards is not None:
        _predict_shards(folder, inputs, shards, how, ray=ray, force=force, **job)
    elif out is None:
        _predict_rows(folder, inputs, form, how, **job)
    else:
        _predict_table(folder, inputs, Path(out), form, how, force=force, **job)


def _predict_table(
    run: Run, inputs: list[str], out: Path, form: Any, how: dict[str, Any], **job: Any
) -> None:
    from candid.pipeline.labelling import label_pictures
    from candid.pipeline.stopping import stoppable

    ready = _labeller(run, how | {"watch": True})
    rule = ready.classifier.rule
    promised = rule is not None and rule.target_error is not None
    if promised and ready.reference is None and ready.unfamiliar is not None:
        why = f"this run does not know their scores; candid export {run.path} makes them"
        if ready.classifier.engine == "int8":
            why = "int8 answers a little otherwise than the model that scored these"
        click.echo(
            "candid: nobody watches whether the pictures drift away from the validation pictures: "
            + why,
            err=True,
        )
    with _working(ready, inputs) as (listed, bar), stoppable(_this_command()):
        tally = label_pictures(ready, inputs, out, form, listed=listed, bar=bar, **job)
    show(
        tally,
        _tally_lines(tally, str(out), ready),
        plain=lambda tally: _checked(ready, tally, out=str(out)),
    )
    _refuse_unread(tally, str(out))


def _predict_rows(
    run: Run, inputs: list[str], form: Any, how: dict[str, Any], *, column: str, workers: int
) -> None:
    """Write a row per picture to standard output."""
    from candid.inference.classify import label
    from candid.inference.label_file import no_pictures, none_read
    from candid.inference.rows import open_writer
    from candid.pipeline.labelling import framed_items

    ready = _labeller(run, how)
    with _working(ready, inputs) as (listed, bar):
        ready, pictures = framed_items(ready, inputs, listed, column=column)
        rows = label(ready, pictures, workers=workers, bar=bar)
        with contextlib.closing(rows) as blocks:
            first = next(blocks, None)
            if first is None:
                raise no_pictures()
            with open_writer(sys.stdout, form, ready.columns.schema(), {}) as writer:
                at, unread, images = ready.columns.names.index("error"), True, 0
                for block in chain([first], blocks):
                    writer.write(block.rows)
                    images += block.items
                    unread = unread and all(row[at] is not None for row in block.rows)
    if unread:
        raise none_read(images, "the rows")


def _predict_shards(
    run: Run, inputs: list[str], out: str, how: dict[str, Any], *, ray: bool, **job: Any
) -> None:
    """Label shards; one that could not be read is exit code 1, not one picture that could is 2."""
    from candid.inference.cluster import needs_ray
    from candid.pipeline.shards import label_shards
    from candid.pipeline.stopping import stoppable
    from candid.progress import progress
    from candid.text.console import in_parts

    if ray:
        needs_ray()
    ready = _labeller(run, how)
    with (
        progress("predict", unit="shards", quiet=is_quiet()) as bar,
        stoppable(_this_command()),
    ):

        def step(done: int, of: int) -> None:
            bar.expect(of)
            bar.update(done)

        manifest = label_shards(run, inputs, out, ray=ray, ready=ready, bar=step, **how, **job)
    show(
        manifest,
        (*_tally_lines(manifest.tally, out, ready), in_parts(len(manifest.parts))),
        plain=lambda manifest: _checked(ready, manifest.tally, out=out, **_parts(manifest)),
    )
    _refuse_unread(manifest.tally, out)
    _refuse_incomplete(manifest, out)


# --- what these have in common -------------------------------------------------------------------


def _this_command() -> str:
    """What to type to do the same again."""
    return shlex.join(sys.argv) if sys.argv[0].endswith("candid") else "the same command again"


def _labeller(run: Run, how: dict[str, Any]) -> Labeller:
    """What labels pictures, as the options say; one that cannot tell odd ones is told of."""
    from candid.pipeline.labelling import labeller
    from candid.text.console import no_look

    ready = labeller(run, **how | {"crop": how["crop"] or how["detector"] is not None})
    if (
        ready.unfamiliar is None and how["check"] and not how["calibration"]
    ):  # also with --quiet: it is no progress, but a lack
        click.echo(f"candid: {no_look(str(run.path))}", err=True)
    return ready


@contextlib.contextmanager
def _working(
    ready: Labeller, inputs: list[str]
) -> Iterator[tuple[BinaryIO | None, Callable[[int], object]]]:
    """Standard input where it is an input, and what to tell of progress; one thread per call."""
    from candid.inference.sources import LIST, count_images
    from candid.pipeline.labelling import one_thread_each
    from candid.progress import progress

    listed = sys.stdin.buffer if LIST in inputs else None
    total = None if is_quiet() else count_images(inputs, listed)  # counting costs a little
    with (
        one_thread_each(),
        progress("predict", total, unit="pictures", quiet=is_quiet()) as bar,
    ):
        yield listed, bar.update


def _tally_lines(tally: Outcome, out: str, ready: Labeller) -> Iterator[str]:
    """What became of the pictures."""
    from candid.inference.promise import drift_said, promise_here
    from candid.text.console import abstains_below, outcome_lines
    from candid.text.labelling import UNLIKE, framed_from, perhaps_photographs

    unlike, answers = tally.reasons.get(UNLIKE, 0), tally.answered + tally.abstained
    crop = "" if ready.finder is not None else perhaps_photographs(unlike, answers)
    yield from outcome_lines(tally, out, ready.classifier.target)
    if (rule := ready.classifier.rule) is not None:
        yield abstains_below(rule.threshold, promise_here(ready, tally).sentence)
    for line in (crop, framed_from(tally.frame), drift_said(tally)):
        if line:
            yield f"  {line}"


def _checked(ready: Labeller, tally: Outcome, *, out: str, **more: Any) -> dict[str, Any]:
    """A result as plain values."""
    from candid.inference.promise import promise_here
    from candid.records import to_plain

    checked = {"unlike_checked": ready.unfamiliar is not None}
    promise = {"promise": to_plain(promise_here(ready, tally))}
    return {"out": out, **checked, **to_plain(tally), **promise, **more}


def _parts(manifest: Manifest) -> dict[str, Any]:
    from candid.records import to_plain

    return {
        "parts": len(manifest.parts),
        "failed": to_plain(manifest.failed),
        "damaged": [{"shard": part.shard, "reason": part.damaged} for part in manifest.damaged],
    }


def _folder_for_shards(out: str | None, kind: str | None, *, ray: bool) -> str | None:
    """The folder where shards become one table each; None: all becomes one table."""
    from candid.errors import OutputError
    from candid.inference.rows import FORMATS
    from candid.storage import filesystem

    is_folder = out is not None and (out.endswith("/") or Path(out).is_dir())
    if not (ray or is_folder or (out is not None and filesystem.is_url(out))):
        return None
    if out is None or (not is_folder and Path(out).suffix.removeprefix(".").lower() in FORMATS):
        raise OutputError(
            "No folder for the labels is named." if out is None else f"{out} is one table.",
            expected="a folder or URL, for one Parquet file per shard",
            todo="name one, such as --out labels/",
        )
    if kind is not None and FORMATS.get(kind.lower()) != "parquet":
        raise OutputError(
            f"Shards are not labelled as {kind!r}.",
            expected="Parquet, where each shard becomes a table in a folder",
            todo="leave --format out, or write one table: --out labels.csv",
        )
    return out.rstrip("/") or "/"


def _refuse_unread(tally: Outcome, out: str) -> None:
    """Raise a DataError where not one of the pictures could be read."""
    from candid.inference.label_file import none_read

    if tally.images and tally.errors == tally.images:
        raise none_read(tally.images, out)


def _refuse_incomplete(manifest: Manifest, out: str) -> None:
    from candid.errors import CheckFailed

    failed = [f"{f.shard}: {f.reason}" for f in manifest.failed]
    damaged = [f"{part.shard}: {part.damaged}" for part in manifest.damaged]
    if not failed and not damaged:
        return
    of = len(manifest.parts) + len(failed)
    named = "\n".join(f"    {line}" for line in (failed + damaged)[:_SHOWN])
    more = len(failed) + len(damaged) - _SHOWN
    raise CheckFailed(
        f"Of {of:,} shards {len(failed):,} could not be read, and {len(damaged):,} not to the "
        f"end:\n{named}" + (f"\n    … and {more:,} more" if more > 0 else ""),
        expected="shards that can be read whole",
        todo=f"mend or fetch them again, then give the same command: it does these alone "
        f"({out}/manifest.json names all)",
    )


# --- export --------------------------------------------------------------------------------------


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
def export_command(run: Path, out: Path | None, **how: Any) -> None:
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

    done = candid.export(run, out=out, quiet=quiet, without_data=without_data, **how)
    show(done, _export_lines(done))


def _export_lines(done: Exported | TransformersFolder) -> Iterator[str]:
    from candid.pipeline.exporting import Exported
    from candid.text.console import (
        export_lines,
        framing_export_lines,
        look_line,
        quantised_lines,
        transformers_lines,
    )

    if not isinstance(done, Exported):
        yield from transformers_lines(done.folder, done.files, done.bytes)
        return
    yield from export_lines(done.onnx, done.onnx_bytes, done.checked, done.largest_difference)
    if done.framing is not None:
        yield from framing_export_lines(
            done.framing,
            done.framing_bytes,
            done.framing_checked,
            done.framing_other,
            done.framing_largest_difference,
        )
    if done.int8 is not None and done.f1_change is not None:
        yield from quantised_lines(
            done.int8, done.int8_bytes, done.f1, done.int8_f1, done.f1_change
        )
    if done.unfamiliar:
        yield look_line(done.unfamiliar)
