"""What a verb prints when it is done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from candid.records import Estimate, Evaluation, Exploration
    from candid.runs import RunFolder


def say_evaluation(evaluation: Evaluation, run: RunFolder, quiet: bool, as_json: bool) -> None:
    """The weighted F1 of each split, and where the report lies."""
    from candid.records import to_plain

    f1 = {s.split: s.metrics["weighted_f1"] for s in evaluation.splits}
    if as_json:
        plain = {split: to_plain(estimate) for split, estimate in f1.items()}
        print_json({"run": str(run.path), "report": str(run.report), "weighted_f1": plain})
    elif not quiet:
        for split, estimate in f1.items():
            click.echo(f"weighted F1 on {split}: {told(estimate)}")
        click.echo(f"report: {run.report}" if run.report.is_file() else f"run: {run.path}")


def say_exploration(exploration: Exploration, quiet: bool, as_json: bool) -> None:
    """What is in the data, in a few lines."""
    from candid.records import to_plain

    if as_json:
        print_json(to_plain(exploration))
        return
    if quiet:
        return
    people = "" if exploration.people is None else f", {exploration.people:,} people"
    click.echo(f"{exploration.name} ({exploration.layout}): {exploration.n:,} images{people}")
    for split in exploration.splits:
        click.echo(f"  {split.split}: {split.n:,} images")
        for name, share in zip(exploration.classes, split.shares, strict=True):
            click.echo(f"    labelled {name}: {100 * share.value:.1f}% "
                       f"({100 * share.low:.1f} to {100 * share.high:.1f})")  # fmt: skip
    for finding in exploration.findings:
        if finding.state == "found":
            click.echo(f"  {finding.severity}: {finding.code}: {finding.detail}")


def told(estimate: Estimate) -> str:
    """A figure with its interval, and what it was computed from."""
    people = "" if estimate.people is None else f" of {estimate.people:,} people"
    return (
        f"{estimate.value:.4f} ({100 * estimate.confidence:g}% interval {estimate.low:.4f} to "
        f"{estimate.high:.4f}; {estimate.n:,} images{people}; {estimate.method})"
    )


def print_json(value: Any) -> None:
    """One line of JSON, undefined figures as null."""
    click.echo(json.dumps(value, allow_nan=False))  # ASCII, so that any terminal can show it
