"""How verbs print a run that was just evaluated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from candid.cli.options import show

if TYPE_CHECKING:
    from candid.records import Evaluation
    from candid.records.number import NumberEvaluation
    from candid.runs import Run


def show_evaluation(run: Run) -> None:
    """Print the weighted F1 of each split, or of several labels, and where the report lies."""
    from candid.records import Evaluation, read_record
    from candid.records.seeds import Seeds
    from candid.records.targets import Overview
    from candid.runs.frames import source_frames
    from candid.text.external import alignment_sentences
    from candid.text.overview import lines

    if run.settings.data.is_several:
        overview = read_record(run.overview, Overview)
        classes, numbers = (
            [t for t in overview.targets if t.is_number is kind] for kind in (False, True)
        )
        f1_of = {t.name: t.metrics["weighted_f1"] for t in classes}
        summary: dict[str, Any] = {
            "run": str(run.path),
            "report": str(run.report),
            "targets": f1_of,
        }
        if numbers:
            summary["numbers"] = {t.name: t.metrics for t in numbers}
        show(summary, (*lines(overview), *_run_lines(run), f"report: {run.report}"))
        return
    evaluation = read_record(run.evaluation, Evaluation)
    f1 = {s.split: s.metrics["weighted_f1"] for s in evaluation.splits}
    result: dict[str, Any] = {"run": str(run.path), "report": str(run.report), "weighted_f1": f1}
    if run.seeds.is_file():
        result["seeds"] = read_record(run.seeds, Seeds)
    if (frames := source_frames(run)) is not None:
        result["source_frames"] = frames
    show(result, (*alignment_sentences(frames), *evaluation_lines(evaluation, run)))


def evaluation_lines(evaluation: Evaluation | NumberEvaluation, run: Run) -> Iterator[str]:
    """The weighted F1 of each split, or a number's mean error, and where the report lies."""
    from candid.records import read_record
    from candid.records.number import NumberEvaluation
    from candid.records.seeds import Seeds
    from candid.text import number, seeds
    from candid.text.console import f1_lines

    if isinstance(evaluation, NumberEvaluation):
        yield from number.number_lines(evaluation)
    else:
        yield from f1_lines(evaluation)
    if run.seeds.is_file():
        yield from seeds.seeds_lines(read_record(run.seeds, Seeds))
    yield from _run_lines(run)
    yield f"report: {run.report}" if run.report.is_file() else f"run: {run.path}"


def _run_lines(run: Run) -> Iterator[str]:
    """Serious findings in its data, and the part of the images that its network sees."""
    from candid.records import Exploration, ModelCard, read_record
    from candid.text.console import finding_lines
    from candid.text.window import part_seen

    if run.data.is_file():
        yield from finding_lines(read_record(run.data, Exploration), "serious")
    card = next((r.model_file for r in (run, *run.target_runs()) if r.model_file.is_file()), None)
    if card is not None and (part := part_seen(read_record(card, ModelCard))):
        yield part
