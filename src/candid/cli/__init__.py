"""The verbs. Everything heavy is imported inside its verb, so that `candid --help` is quick."""

from __future__ import annotations

import io
import sys
from typing import NoReturn

import click

import candid
from candid.cli.auditing import audit_command, evaluate_command, report_command
from candid.cli.calibrating import calibrate_command
from candid.cli.checking import check_command
from candid.cli.comparing import compare_command
from candid.cli.correcting import corrections_group
from candid.cli.explaining import explain_command
from candid.cli.exporting import export_command
from candid.cli.improving import improve_command
from candid.cli.listing import cache_command, runs_group
from candid.cli.making import demo_command, explore_command, run_command, train_command
from candid.cli.predicting import predict_command
from candid.cli.publishing import push_command
from candid.cli.reviewing import review_command
from candid.cli.serving import serve_command
from candid.cli.tuning import tune_command
from candid.errors import CandidError
from candid.garbage import collect_rarely

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(candid.__version__, prog_name="candid")
def cli() -> None:
    """Labelled face images in; a classifier and the whole truth about it out."""


for _command in (
    demo_command,
    run_command,
    runs_group,
    cache_command,
    explore_command,
    train_command,
    evaluate_command,
    audit_command,
    compare_command,
    calibrate_command,
    explain_command,
    check_command,
    review_command,
    improve_command,
    corrections_group,
    report_command,
    serve_command,
    predict_command,
    export_command,
    push_command,
    tune_command,
):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command line and exit: 0 well, 1 a check failed, 2 bad input, 130 interrupted."""
    collect_rarely()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no name is worth a traceback
    try:
        cli.main(arguments, prog_name="candid", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        for note in getattr(stop.__cause__ or stop, "__notes__", ()):  # how to go on
            click.echo(f"candid: {note}", err=True)
        click.echo("candid: interrupted; images that were packed are kept", err=True)
        sys.exit(130)
    except CandidError as error:
        _fail(error)
    except OSError as error:  # what nothing nearer to it could explain better
        _fail(
            CandidError(
                f"The system refuses: {error}",
                expected="files and folders that this user can read and write",
                todo="check the path, its permissions and the disk",
            )
        )
    except Exception as error:
        _fail_in_part(error)
        raise
    sys.exit(0)


def _fail_in_part(error: Exception) -> None:
    """Exit where an error came through a part of the user's own: it is no bug here."""
    from candid.settings.named_parts import find_user_line, format_error

    if line := find_user_line(error):
        _fail(
            CandidError(
                f"A part of your own failed: {format_error(error, line)}.",
                expected="code that takes whatever it is given here",
                todo="mend it, and give the same command again",
            )
        )


def _fail(error: CandidError) -> NoReturn:
    click.echo(f"candid: {error}", err=True)
    sys.exit(error.exit_code)
