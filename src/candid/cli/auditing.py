"""The verbs that look at a run, or at anybody's predictions: evaluate, audit, report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import candid
from candid.cli.options import (
    FOLDER,
    answer_options,
    answering_options,
    calibration_option,
    is_quiet,
    labels_config,
    labels_options,
    option,
    output_options,
    path_option,
    refuse_options,
    run_options,
    set_option,
    show,
)
from candid.cli.showing import evaluation_lines

if TYPE_CHECKING:
    from candid.pipeline.data_places import Where
    from candid.records.audit import Audit
    from candid.records.external import Transfer
    from candid.records.external_number import NumberTransfer
    from candid.runs import Run


@click.command("evaluate")
@click.argument("run", type=FOLDER)
@click.argument("others", type=FOLDER, nargs=-1, metavar="[DATA]...")
@labels_options
@option(
    "--split", "NAME", "DATA: train, validation or test; default: all, of RUN's own data its test."
)
@option("--name", "NAME", "DATA: what to call it; default: its folder's name.")
@answering_options
@option(
    "--abstain-below",
    "P",
    "DATA: no answer below P; default: as the audit found.",
    type=click.FloatRange(0, 1),
)
@calibration_option
@run_options
def evaluate_command(
    run: Path, others: tuple[Path, ...], data: Path | None, cache: Path | None, **options: Any
) -> None:
    """How well a run's model does, from its predictions; makes them where there are none.

    With DATA, labelled pictures from elsewhere in any layout, how well it does there: every picture
    is answered as candid predict would, and transfer.json and transfer/<name>.parquet are added to
    the run. candid report then shows it.
    """
    if not others:
        refuse_options("data", "cache")
        evaluation = candid.evaluate(run, data=data, cache=cache, quiet=is_quiet())
        show(evaluation, evaluation_lines(evaluation, candid.Run(run)))
        return
    from candid.pipeline.opening import sole_label_run

    config = labels_config(run, options)
    transfer = candid.transfer(
        run, others, config, home=data, cache=cache, quiet=is_quiet(), **answer_options(options)
    )
    show(transfer, _transfer_lines(transfer, len(others), sole_label_run(candid.Run(run))))


def _transfer_lines(transfer: Transfer | NumberTransfer, n_sources: int, run: Run) -> Iterator[str]:
    """The figures of the last `n_sources` data sets."""
    from candid.records.external import Transfer
    from candid.text.external import transfer_sentences
    from candid.text.external_numbers import number_transfer_sentences

    if isinstance(transfer, Transfer):
        yield from transfer_sentences(replace(transfer, sources=transfer.sources[-n_sources:]))
    else:
        yield from number_transfer_sentences(
            replace(transfer, sources=transfer.sources[-n_sources:])
        )
    yield f"in {run.transfer}; candid report {run.path} shows it"


@click.command("report")
@click.argument("run", type=FOLDER)
@output_options
def report_command(run: Path) -> None:
    """Write the report and the model card again, from a run's files."""
    path = candid.report(run)
    show({"report": str(path), "card": str(candid.Run(run).card)}, (f"report: {path}",))


@click.command("audit")
@click.argument("path", type=FOLDER, metavar="RUN|FILE|DATA")
@click.argument("other", type=FOLDER, required=False, metavar="[RUN|FILE]")
@option("--label", "COLUMN", "FILE: the column with what was annotated.")
@option(
    "--prediction",
    "COLUMN",
    "FILE: a probability, or one per class (repeat, or p_*), or the answer.",
    multiple=True,
)
@option(
    "--group",
    "COLUMN",
    "FILE: an attribute to audit; may be repeated. Default: every other column.",
    "groups",
    multiple=True,
)
@option("--person", "COLUMN", "FILE: who is in the image.")
@option("--split", "COLUMN", "FILE: train, validation or test.")
@option("--id", "COLUMN", "FILE: the image's name.", "ids")
@option("--positive", "CLASS", "FILE: the class that a single probability is of.")
@click.option(
    "--scale",
    type=click.Choice(["probability", "percent", "logit"]),
    help="FILE: what predictions are. Default: probability.",
)
@click.option(
    "--number",
    is_flag=True,
    help="FILE: label and prediction are numbers, such as ages; gaps are in mean absolute error.",
)
@option(
    "--fail-on",
    "CONDITION",
    'Exit with 1 where it holds, such as "gap>0.05"; may be repeated.',
    "conditions",
    multiple=True,
)
@click.option(
    "--tone", is_flag=True, help="RUN: measure skin tone from the pictures, and audit it."
)
@option(
    "--model",
    "MODEL",
    "DATA: somebody's model to ask: package.module:function, a file model.onnx that Candid"
    " exported, or the address of a server such as http://127.0.0.1:8000/v1/predict; or a file of"
    " outputs (JSON, CSV, Parquet) as DeepFace, InsightFace, FairFace or human write them.",
)
@path_option("--keep", "PARQUET", "DATA with --model: write what the model says there.")
@path_option("--out", "FILE", "Write the audit as JSON there.")
@path_option(
    "--page",
    "FILE",
    "FILE, DATA with --model: write all that was found there as one HTML file to read. Of two: what"
    " changed; default for a RUN: its comparison.html.",
)
@set_option
@run_options
def audit_command(
    path: Path,
    other: Path | None,
    conditions: tuple[str, ...],
    tone: bool,
    out: Path | None,
    page: Path | None,
    model: str | None,
    keep: Path | None,
    overrides: tuple[str, ...],
    data: Where | None,
    cache: Path | None,
    **columns: Any,
) -> None:
    """For whom a model fails, and how sure that is.

    Of a RUN, or of a FILE with anyone's predictions (CSV, TSV, JSON lines, Parquet), or of a folder
    of Parquet files, which are summed up row by row in flat memory. With two, what changed from the
    first to the second on the same images; the second is audited. What is found of a FILE is
    printed; --page writes it as one page to read, --out as JSON.

    With --model, of somebody's model on labelled pictures: DATA is a folder or table of them, and
    --set data.target=NAME says which label. Pictures for which it has no answer are counted.
    """
    from candid.auditing.conditions import parse
    from candid.pipeline.audit_page import require_page
    from candid.records.audit_file import plain_audit, write_audit
    from candid.text.console import audit_lines

    demands = parse(conditions)
    require_page(page, out)
    _refuse_beside_model(model, keep, other is not None or tone or any(columns.values()))
    audited = path if other is None else other
    run = candid.Run(audited)
    if tone and not run.config.is_file():
        kind = "folder of tables" if audited.is_dir() else "file of predictions"
        raise click.UsageError(f"--tone needs a run: a {kind} has no pictures.")
    is_run = run.config.is_file() and model is None
    file = candid.open_run(audited).config if is_run else None
    audit = candid.audit(
        audited,
        candid.load_config(file=file, overrides=overrides),
        before=None if other is None else path,
        columns=candid.Columns(**columns),
        tone=tone,
        model=model,
        keep=keep,
        page=page,
        data=data,
        cache=cache,
        quiet=is_quiet(),
    )
    if out is not None:
        write_audit(out, audit)
    shows_hint = page is None and other is None and not is_run
    page = _comparison_page(run) if page is None and other is not None else page
    paths = [str(file) if file is not None else "" for file in (out, page)]
    show(audit, audit_lines(audit, *paths, hint=shows_hint), plain=plain_audit)
    _refuse_failures(audit, demands)


def _comparison_page(run: Run) -> Path | None:
    """The page for what changed between two, in the second's folder; None for a file."""
    from candid.pipeline.opening import sole_label_run

    return sole_label_run(run).comparison if run.path.is_dir() else None


def _refuse_beside_model(model: str | None, keep: Path | None, has_others: bool) -> None:
    """Raise a UsageError for options that do not go with --model, or without it."""
    if model is not None and has_others:
        raise click.UsageError("--model asks about one DATA: no second one, no --tone, no columns.")
    if keep is not None and model is None:
        raise click.UsageError("--keep is for what --model says.")


def _refuse_failures(audit: Audit, demands: Any) -> None:
    from candid.auditing.conditions import failures
    from candid.errors import CheckFailed

    if failed := failures(audit, demands):
        raise CheckFailed(
            " ".join(failed),
            expected=", ".join(f"not {demand}" for demand in demands),
            todo="look at the findings, or change the condition",
        )
