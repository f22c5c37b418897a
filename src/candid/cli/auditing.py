"""The verb that audits: audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from candid.cli.options import FOLDER, cache_option, data_option, output_options, set_option
from candid.cli.saying import print_json, told

if TYPE_CHECKING:
    from candid.records.audit import Audit, SplitAudit

_MOST_TOLD = 10


@click.command()
@click.argument("path", type=FOLDER, metavar="RUN|FILE")
@click.argument("other", type=FOLDER, required=False, metavar="[RUN|FILE]")
@click.option("--label", metavar="COLUMN", help="FILE: the column with what was annotated.")
@click.option(
    "--prediction",
    "predictions",
    multiple=True,
    metavar="COLUMN",
    help="FILE: a probability, or one per class (repeat, or p_*), or the answer.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="COLUMN",
    help="FILE: an attribute to audit; may be repeated. Default: every other column.",
)
@click.option("--identity", metavar="COLUMN", help="FILE: who is in the image.")
@click.option("--split", metavar="COLUMN", help="FILE: train, validation or test.")
@click.option("--id", "ids", metavar="COLUMN", help="FILE: the image's name.")
@click.option(
    "--positive", metavar="CLASS", help="FILE: the class that a single probability is of."
)
@click.option(
    "--scale",
    type=click.Choice(["probability", "percent", "logit"]),
    help="FILE: what predictions are. Default: probability.",
)
@click.option(
    "--fail-on",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help='Exit with 1 where it holds, such as "gap>0.05"; may be repeated.',
)
@click.option(
    "--tone", is_flag=True, help="RUN: measure skin tone from the pictures, and audit it."
)
@click.option("--out", type=FOLDER, metavar="FILE", help="Write the audit as JSON there.")
@click.option(
    "--page",
    type=FOLDER,
    metavar="FILE",
    help="Of two: write what changed as HTML there. Default for a RUN: its comparison.html.",
)
@set_option
@data_option
@cache_option
@output_options
def audit(
    path: Path,
    other: Path | None,
    conditions: tuple[str, ...],
    tone: bool,
    out: Path | None,
    page: Path | None,
    overrides: tuple[str, ...],
    data: Path | None,
    cache: Path | None,
    quiet: bool,
    as_json: bool,
    **columns: Any,
) -> None:
    """For whom a model fails, and how sure that is.

    Of a RUN, or of a FILE with anyone's predictions (CSV, TSV, Parquet), or of a folder of Parquet
    files, which are summed up row by row in flat memory. With two, what changed from the first to
    the second on the same images; the second is audited.
    """
    from candid.auditing import conditions as demands
    from candid.errors import CheckFailed
    from candid.records.audit import plain, write_audit
    from candid.runs import open_run
    from candid.stages.auditing import write_comparison

    wanted = demands.parse(conditions)
    if page is not None and other is None:
        raise click.UsageError("--page shows what changed between two models: name both.")
    found = _audited(path, other, tone, overrides, data, cache, quiet, columns)
    if out is not None:
        write_audit(out, found)
    if page is not None and found.comparison is not None:
        write_comparison(page, found.comparison)
    if page is None and other is not None and other.is_dir():
        page = open_run(other)[0].comparison
    if as_json:
        print_json(plain(found))
    elif not quiet:
        _say(found, out, page)
    failed = demands.failures(found, wanted)
    if failed:
        raise CheckFailed(
            " ".join(failed),
            expected=", ".join(f"not {demand}" for demand in wanted),
            todo="look at the findings, or change the condition",
        )


def _audited(
    path: Path,
    other: Path | None,
    tone: bool,
    overrides: tuple[str, ...],
    where: Path | None,
    cache: Path | None,
    quiet: bool,
    columns: dict[str, Any],
) -> Audit:
    """The audit of the last path, compared with the first where there are two."""
    from candid import stages
    from candid.config import load_config
    from candid.predictions.choosing import Columns
    from candid.predictions.opening import tables_in
    from candid.runs import open_run, refuse_untrained
    from candid.stages.auditing import audit_predictions, read_any
    from candid.stages.summing import audit_folder

    named = Columns(
        label=columns["label"],
        prediction=columns["predictions"],
        groups=columns["groups"],
        identity=columns["identity"],
        split=columns["split"],
        ids=columns["ids"],
        positive=columns["positive"],
        scale=columns["scale"],
    )
    audited = path if other is None else other
    if other is None and tables_in(path):
        if tone:
            raise click.UsageError("--tone needs a run: a folder of tables has no pictures.")
        return audit_folder(path, named, load_config(overrides=overrides).audit, quiet=quiet)
    if audited.is_dir():
        run, config = open_run(audited)
        config = load_config(file=run.config, overrides=overrides)
        if named.named():
            read_any(audited, named)  # says why columns cannot be named for a run
        if not run.predictions.is_file():
            refuse_untrained(run)
        data = None
        if tone or not run.predictions.is_file():
            data = stages.reload(run, config, cache, quiet, where)
        if not run.predictions.is_file() and data is not None:
            stages.predict(run, data, config, quiet=quiet)
        return stages.audit(
            run,
            config,
            data if tone else None,
            before=None if other is None else read_any(path, Columns()),
            names=(path.name, audited.name),
            quiet=quiet,
        )
    if tone:
        raise click.UsageError("--tone needs a run: a file of predictions has no pictures.")
    config = load_config(overrides=overrides)
    before = None if other is None else _before(path, named)
    return audit_predictions(
        read_any(audited, named),
        config.audit,
        source=audited.name,
        before=before,
        names=(path.name, audited.name),
    )


def _before(path: Path, columns: Any) -> Any:
    """The first of two models; the columns that are named hold for a table alone."""
    from candid.predictions.choosing import Columns
    from candid.predictions.from_table import written_by_candid
    from candid.stages.auditing import read_any

    ours = path.is_dir() or (path.is_file() and written_by_candid(path))
    return read_any(path, Columns() if ours else columns)


def _say(audit: Audit, out: Path | None, page: Path | None) -> None:
    """What a reader should know in a minute."""
    for split in audit.splits:
        _say_split(split)
    if audit.comparison is not None:
        c = audit.comparison
        accuracy = c.overall.metrics["accuracy"].difference
        click.echo(f"{c.a} → {c.b} on {c.n:,} images of {c.split}: accuracy {told(accuracy)}")
        click.echo(f"  {c.overall.lost:,} images became wrong, {c.overall.gained:,} became right")
        changed = [g for g in c.groups if g.state == "found"]
        for g in changed[:_MOST_TOLD]:
            difference = g.metrics["accuracy"].difference
            among = "" if g.label is None else f", labelled {g.label}"
            click.echo(f"  {g.attribute}: {g.value}{among}: accuracy {told(difference)}")
        if not changed:
            click.echo(f"  no group of {c.looked_at:,} changed for sure")
        if page is not None:
            click.echo(f"comparison: {page}")
    if audit.abstention is not None:
        for target in audit.abstention.targets[:1]:
            click.echo(f"abstention: {target.sentence}")
    for note in audit.notes:
        click.echo(f"note: {note}")
    if out is not None:
        click.echo(f"audit: {out}")


def _say_split(split: SplitAudit) -> None:
    people = "" if split.people is None else f" of {split.people:,} people"
    click.echo(f"{split.split}: {split.n:,} images{people}")
    click.echo(f"  accuracy {told(split.metrics['accuracy'])}")
    findings = split.findings
    if not findings:
        click.echo(f"  nothing found among {split.gaps_looked_at:,} gaps")
    for found in findings[:_MOST_TOLD]:
        finding = found.finding
        click.echo(f"  {finding.severity}: {finding.code}: {finding.detail}")
    if len(findings) > _MOST_TOLD:
        click.echo(f"  … and {len(findings) - _MOST_TOLD:,} more findings")
    seen = [
        g.gaps["accuracy"].smallest_visible
        for g in split.groups
        if g.label is None and g.gaps["accuracy"].state == "not found"
    ]
    known = sorted(x for x in seen if x == x)
    if known:
        click.echo(
            f"  half of the {len(known):,} groups without a finding would have shown a gap of "
            f"{100 * known[len(known) // 2]:.1f} percentage points or more in 80% of cases"
        )
    if split.too_few:
        click.echo(f"  {split.too_few:,} groups have too few people to say anything")
    for note in split.notes:
        click.echo(f"  note: {note}")
