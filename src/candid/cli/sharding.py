"""The face of candid predict where shards go into a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from candid.cli.labelling import ready_labeller, say_tally, this_command
from candid.cli.options import stoppable
from candid.cli.saying import print_json

if TYPE_CHECKING:
    from candid.inference.parts import Manifest

_SHOWN = 5


def into_folder(out: str | None, kind: str | None, *, ray: bool) -> str | None:
    """The folder where shards become one table each; None: all becomes one table.

    Raises
    ------
    OutputError
        Where a cluster has no folder to write to, or the folder is to hold no Parquet.
    """
    from candid.errors import OutputError
    from candid.inference.rows import FORMATS
    from candid.storage import places

    is_folder = out is not None and (out.endswith("/") or Path(out).is_dir())
    if not (ray or is_folder or (out is not None and places.is_url(out))):
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


def predict_shards(
    run: Any,
    inputs: list[str],
    out: str,
    *,
    ray: bool,
    quiet: bool,
    as_json: bool,
    no_check: bool,
    column: str,
    workers: int,
    force: bool,
    **how: Any,
) -> None:
    """Label shards; a shard that could not be read is exit code 1.

    Raises
    ------
    CheckFailed
        Where a shard could not be read, or not to its end.
    """
    from candid.progress import progress
    from candid.stages.shards import label_shards

    if ray:
        from candid.inference.cluster import needs_ray

        needs_ray()
    ready = ready_labeller(run, no_check=no_check, quiet=quiet, **how)
    with (
        progress("predict", unit="shards", quiet=quiet) as bar,
        stoppable(this_command()),
    ):

        def step(done: int, of: int) -> None:
            bar.expect(of)
            bar.update(done)

        manifest = label_shards(
            run,
            inputs,
            out,
            ray=ray,
            check=not no_check,
            column=column,
            workers=workers,
            force=force,
            quiet=quiet,
            ready=ready,
            bar=step,
            **how,
        )
    if as_json:
        print_json({"unlike_checked": ready.typical is not None} | _told(manifest, out))
    elif not quiet:
        say_tally(manifest.tally, out, ready)
        click.echo(f"  in {len(manifest.parts):,} parts; what became of each: manifest.json")
    _refuse_incomplete(manifest, out)


def _told(manifest: Manifest, out: str) -> dict[str, Any]:
    """The result as plain values, without every part."""
    from candid.records import to_plain

    return {
        "out": out,
        **to_plain(manifest.tally),
        "parts": len(manifest.parts),
        "failed": to_plain(manifest.failed),
        "damaged": [{"shard": part.shard, "reason": part.damaged} for part in manifest.damaged],
    }


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
