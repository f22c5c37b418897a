"""A run in notebooks: the figures of its labels."""

from __future__ import annotations

from candid.records import Evaluation, read_record
from candid.records.frames import html_of, in_short, with_figure
from candid.records.number import NumberEvaluation
from candid.records.targets import Overview
from candid.runs import Run
from candid.runs.refusals import is_number_run


def run_html(run: Run) -> str:
    """A table of HTML."""
    if run.overview.is_file():
        rows = [
            in_short(with_figure({"label": t.name, "figure": name}, e), "label", "figure")
            for t in read_record(run.overview, Overview).targets
            for name, e in t.metrics.items()
        ]
        return html_of(rows, str(run.path))
    if not run.evaluation.is_file():
        return html_of([{"run": str(run.path), "evaluation": "none yet"}])
    if is_number_run(run):
        return read_record(run.evaluation, NumberEvaluation).table(str(run.path))
    return read_record(run.evaluation, Evaluation).table(str(run.path))
