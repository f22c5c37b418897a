"""What candid predict does alike for one table and for shards."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from candid.inference.classify import Labeller
    from candid.inference.rows import Outcome


def this_command() -> str:
    """What to type to do the same again."""
    return shlex.join(sys.argv) if sys.argv[0].endswith("candid") else "the same command again"


def ready_labeller(
    run: Any, *, no_check: bool, crop: bool, detector: Path | None, quiet: bool, **how: Any
) -> Labeller:
    """What labels pictures, as these options say; one that cannot tell odd ones is told of."""
    from candid.stages.using import labeller

    ready = labeller(
        run,
        check=not no_check,
        crop=crop or detector is not None,
        detector=detector,
        quiet=quiet,
        **how,
    )
    if ready.typical is None and not no_check:  # also with --quiet: it is no progress, but a lack
        click.echo(
            "candid: this run does not know its training pictures by their look, so pictures of "
            f"another kind are not flagged; candid export {run.path} teaches it",
            err=True,
        )
    return ready


def say_tally(tally: Outcome, out: str, ready: Labeller) -> None:
    """Tell what became of the pictures."""
    c = ready.classifier
    faces = f", {tally.rows:,} rows" if tally.rows != tally.pictures else ""
    resumed = f" ({tally.resumed:,} of them before)" if tally.resumed else ""
    click.echo(f"{out}: {tally.pictures:,} pictures{resumed}{faces}")
    for name, number in tally.predictions.items():
        click.echo(f"  {c.target} = {name}: {number:,}")
    for reason, number in tally.reasons.items():
        click.echo(f"  no prediction, {reason}: {number:,}")
    if tally.errors:
        click.echo(f"  could not be read: {tally.errors:,}")
    if c.rule is not None:
        click.echo(f"  it abstains below {c.rule.threshold:.4g}. {c.rule.sentence}")
