"""The verb that labels pictures: predict."""

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
    from candid.runs import Run

_ENGINES = ("auto", "onnx", "int8", "torch", "ray", "ray:onnx", "ray:int8", "ray:torch")
_LISTED = 5


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
    **options: Any,
) -> None:
    """Label pictures: files, folders, globs, URLs, tar or Parquet files, or - for a list of paths.

    One row per picture: a prediction, calibrated probabilities, or why there is none; exit code 2
    where not one can be read. A job that was stopped goes on with the same command. Where --out is
    a folder (one that is there, a name that ends in a slash, or a URL), each tar or Parquet file
    becomes a table in it.
    """
    from candid.inference.rows import format_of
    from candid.inference.sources import resolve
    from candid.runs.refusals import answering_run, refuse_untrained

    ray, inner = engine.startswith("ray"), engine.removeprefix("ray").lstrip(":") or "auto"
    shards = _shards_folder(out, kind, ray=ray)
    form = None if shards else format_of(Path(out or f"-.{'jsonl' if is_json() else 'csv'}"), kind)
    inputs = resolve(pictures)
    folder = answering_run(candid.open_run(run))
    refuse_untrained(folder, several=True)
    options |= {"engine": inner, "check": not options.pop("no_check"), "quiet": is_quiet()}
    job: dict[str, Any] = {"column": column, "workers": workers}
    if shards is not None:
        _predict_shards(folder, inputs, shards, options, ray=ray, force=force, **job)
    elif out is None:
        _predict_rows(folder, inputs, form, options, **job)
    else:
        _predict_table(folder, inputs, Path(out), form, options, force=force, **job)


def _predict_table(
    run: Run, inputs: list[str], out: Path, form: Any, options: dict[str, Any], **job: Any
) -> None:
    from candid.pipeline.labelling import label_pictures
    from candid.pipeline.stopping import resume_hint

    labeller = _open_labeller(run, options | {"watch": True})
    rule = labeller.classifier.rule
    is_promised = rule is not None and rule.target_error is not None
    if is_promised and labeller.reference is None and labeller.unfamiliar is not None:
        reason = f"this run does not know their scores; candid export {run.path} makes them"
        if labeller.classifier.engine == "int8":
            reason = "int8 answers a little otherwise than the model that scored these"
        click.echo(
            "candid: nobody watches whether the pictures drift away from the validation pictures: "
            + reason,
            err=True,
        )
    with _show_progress(labeller, inputs) as (stdin, bar), resume_hint(_this_command()):
        tally = label_pictures(labeller, inputs, out, form, listed=stdin, bar=bar, **job)
    show(
        tally,
        _tally_lines(tally, str(out), labeller),
        plain=lambda tally: _to_plain(labeller, tally, out=str(out)),
    )
    _refuse_unread(tally, str(out))


def _predict_rows(
    run: Run, inputs: list[str], form: Any, options: dict[str, Any], *, column: str, workers: int
) -> None:
    """Write a row per picture to standard output."""
    from candid.inference.classify import label
    from candid.inference.label_file import no_pictures, none_read
    from candid.inference.rows import open_writer
    from candid.pipeline.labelling import frame_items

    labeller = _open_labeller(run, options)
    with _show_progress(labeller, inputs) as (stdin, bar):
        labeller, pictures = frame_items(labeller, inputs, stdin, column=column)
        rows = label(labeller, pictures, workers=workers, bar=bar)
        with contextlib.closing(rows) as blocks:
            first = next(blocks, None)
            if first is None:
                raise no_pictures()
            with open_writer(sys.stdout, form, labeller.columns.schema(), {}) as writer:
                column_index, unread, images = labeller.columns.names.index("error"), True, 0
                for block in chain([first], blocks):
                    writer.write(block.rows)
                    images += block.items
                    unread = unread and all(row[column_index] is not None for row in block.rows)
    if unread:
        raise none_read(images, "the rows")


def _predict_shards(
    run: Run, inputs: list[str], out: str, options: dict[str, Any], *, ray: bool, **job: Any
) -> None:
    """Label shards; exit code 1 if one could not be read, 2 if no picture could."""
    from candid.inference.cluster import needs_ray
    from candid.pipeline.shards import label_shards
    from candid.pipeline.stopping import resume_hint
    from candid.progress import progress
    from candid.text.console import in_parts

    if ray:
        needs_ray()
    labeller = _open_labeller(run, options)
    with (
        progress("predict", unit="shards", quiet=is_quiet()) as bar,
        resume_hint(_this_command()),
    ):

        def step(done: int, total: int) -> None:
            bar.expect(total)
            bar.update(done)

        options |= {"labeller": labeller, "bar": step, "ray": ray}
        manifest = label_shards(run, inputs, out, **options, **job)
    show(
        manifest,
        (*_tally_lines(manifest.tally, out, labeller), in_parts(len(manifest.parts))),
        plain=lambda m: _to_plain(labeller, m.tally, out=out, **_plain_parts(m)),
    )
    _refuse_unread(manifest.tally, out)
    _refuse_incomplete(manifest, out)


# --- what these have in common -------------------------------------------------------------------


def _this_command() -> str:
    """The command line, to be given again."""
    return shlex.join(sys.argv) if sys.argv[0].endswith("candid") else "the same command again"


def _open_labeller(run: Run, options: dict[str, Any]) -> Labeller:
    """The labeller that the options name; warns where it cannot flag odd pictures."""
    from candid.pipeline.labelling import open_labeller
    from candid.text.console import look_unavailable

    crop = options["crop"] or options["detector"] is not None
    labeller = open_labeller(run, **options | {"crop": crop})
    # Also with --quiet: it is no progress, but a lack.
    if labeller.unfamiliar is None and options["check"] and not options["calibration"]:
        click.echo(f"candid: {look_unavailable(str(run.path))}", err=True)
    return labeller


@contextlib.contextmanager
def _show_progress(
    labeller: Labeller, inputs: list[str]
) -> Iterator[tuple[BinaryIO | None, Callable[[int], object]]]:
    """Standard input where it is an input, and the progress callback; one thread per call."""
    from candid.inference.sources import LIST, count_images
    from candid.pipeline.labelling import single_threaded
    from candid.progress import progress

    stdin = sys.stdin.buffer if LIST in inputs else None
    total = None if is_quiet() else count_images(inputs, stdin)  # counting costs a little
    with (
        single_threaded(),
        progress("predict", total, unit="pictures", quiet=is_quiet()) as bar,
    ):
        yield stdin, bar.update


def _tally_lines(tally: Outcome, out: str, labeller: Labeller) -> Iterator[str]:
    """The summary of a job."""
    from candid.inference.promise import describe_drift, promise_here
    from candid.text.console import abstains_below, outcome_lines
    from candid.text.labelling import UNLIKE, framed_from, perhaps_photographs

    n_unlike, n_answers = tally.reasons.get(UNLIKE, 0), tally.answered + tally.abstained
    crop_hint = "" if labeller.finder is not None else perhaps_photographs(n_unlike, n_answers)
    yield from outcome_lines(tally, out, labeller.classifier.target)
    if (rule := labeller.classifier.rule) is not None:
        yield abstains_below(rule.threshold, promise_here(labeller, tally).sentence)
    for line in (crop_hint, framed_from(tally.frame), describe_drift(tally)):
        if line:
            yield f"  {line}"


def _to_plain(labeller: Labeller, tally: Outcome, *, out: str, **extra: Any) -> dict[str, Any]:
    """A result as plain values."""
    from candid.inference.promise import promise_here
    from candid.records import to_plain

    check = {"unlike_checked": labeller.unfamiliar is not None}
    promise = {"promise": to_plain(promise_here(labeller, tally))}
    return {"out": out, **check, **to_plain(tally), **promise, **extra}


def _plain_parts(manifest: Manifest) -> dict[str, Any]:
    from candid.records import to_plain

    return {
        "parts": len(manifest.parts),
        "failed": to_plain(manifest.failed),
        "damaged": [{"shard": part.shard, "reason": part.damaged} for part in manifest.damaged],
    }


def _shards_folder(out: str | None, kind: str | None, *, ray: bool) -> str | None:
    """The folder for a table per shard; None: all becomes one table."""
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
    """Raise a DataError where none of the pictures could be read."""
    from candid.inference.label_file import none_read

    if tally.images and tally.errors == tally.images:
        raise none_read(tally.images, out)


def _refuse_incomplete(manifest: Manifest, out: str) -> None:
    from candid.errors import CheckFailed

    failed = [f"{f.shard}: {f.reason}" for f in manifest.failed]
    damaged = [f"{part.shard}: {part.damaged}" for part in manifest.damaged]
    if not failed and not damaged:
        return
    total = len(manifest.parts) + len(failed)
    names = "\n".join(f"    {line}" for line in (failed + damaged)[:_LISTED])
    n_unlisted = len(failed) + len(damaged) - _LISTED
    raise CheckFailed(
        f"Of {total:,} shards {len(failed):,} could not be read, and {len(damaged):,} not to the "
        f"end:\n{names}" + (f"\n    … and {n_unlisted:,} more" if n_unlisted > 0 else ""),
        expected="shards that can be read whole",
        todo=f"mend or fetch them again, then give the same command: it does these alone "
        f"({out}/manifest.json names all)",
    )
