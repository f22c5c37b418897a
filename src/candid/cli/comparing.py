"""The verb that compares runs: compare."""

from __future__ import annotations

from pathlib import Path

import click

import candid
from candid.cli.auditing import audit_command
from candid.cli.options import FOLDER, is_quiet, output_options, path_option, set_option, show


@click.command("compare")
@click.argument("runs", type=FOLDER, nargs=-1, required=True, metavar="RUN RUN [RUN]...")
@path_option("--page", "FILE", "Write the comparison as HTML there. Default: into the last RUN.")
@set_option
@output_options
@click.pass_context
def compare_command(
    context: click.Context, runs: tuple[Path, ...], page: Path | None, overrides: tuple[str, ...]
) -> None:
    """Which of several models is better, and for whom, on the same images.

    RUN is a run's folder, or a file of predictions that Candid wrote. Two are compared as candid
    audit RUN RUN does, which audits the second, too. Of more, every pair is compared, and p-values
    are adjusted for all these looks: by Holm for all images, after Benjamini and Hochberg for
    classes and groups. The page goes into comparison-runs.html of the last RUN unless --page names
    it.
    """
    if len(runs) == 1:
        raise click.UsageError("One model cannot be compared: name another.")
    if len(runs) == 2:
        from candid.pipeline.comparing import require_own_format

        for run in runs:
            require_own_format(run)
        options = {"page": page, "overrides": overrides, "data": None, "cache": None}
        context.invoke(audit_command, path=runs[0], other=runs[1], **options)
        return
    from candid.text.comparison_runs import run_comparison_lines

    last = candid.Run(runs[-1])
    if page is None and runs[-1].is_dir():
        page = last.comparison_of_runs
    comparison = candid.compare(
        *runs, config=candid.load_config(overrides=overrides), page=page, quiet=is_quiet()
    )
    show(comparison, run_comparison_lines(comparison, "" if page is None else str(page)))
