"""A run's model, card and report on Hugging Face's Hub."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from candid.errors import ConfigError, RunError, resume_advice
from candid.pipeline.opening import Place, needs_torch, reopen_run
from candid.pipeline.steps import read_report_inputs
from candid.runs import Run
from candid.runs.refusals import refuse_untrained
from candid.storage.files import write_text
from candid.storage.hub import Kind, check_repo, make_repo, needs_token, upload
from candid.text.inputs import ReportInput, without_people
from candid.text.publishing import NO_DATA, NO_PICTURES, NO_SPACE


@dataclass(frozen=True, slots=True)
class PushedFile:
    """A file on the Hub, and its size."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class PushedRepo:
    """A repository on the Hub and its files; `url` and `commit` are "" if nothing was uploaded."""

    repo: str
    kind: Kind
    private: bool
    files: tuple[PushedFile, ...]
    url: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Pushed:
    """The uploads of `push`, made or planned, and what it left out."""

    repos: tuple[PushedRepo, ...]
    left_out: tuple[str, ...]
    dry_run: bool


def push(
    run: Run | Place,
    repo: str,
    *,
    space: bool = False,
    with_pictures: bool = False,
    private: bool = False,
    dry_run: bool = False,
    quiet: bool = True,
) -> Pushed:
    """Upload a run's model and its card to Hugging Face's Hub: `candid push` from Python.

    The model is what `export` writes for transformers, without data, pictures or predictions.

    Parameters
    ----------
    run
        A run that was evaluated.
    repo
        "owner/name"; it is made where it is not there.
    space, with_pictures
        Whether the report becomes a static Space of the same name; whether that is the run's own
        report, with pictures of people and the names of files, and not one without.
    private
        Whether only the owner may see them.
    dry_run
        Upload nothing, and say what would be: needs neither a token nor the network.
    quiet
        No progress bars.

    Raises
    ------
    RunError
        Where the run was not evaluated, lacks the report, or cannot be written for transformers.
    ConfigError
        For a name that no repository can have, or pictures without a Space to show them.
    DependencyError, OutputError
        Where the Hub's client is not installed; without a token or a permission, or where the Hub
        cannot be reached.
    """
    _check_request(repo, space, with_pictures)
    if not dry_run:
        needs_token()
    needs_torch()
    existing = _require_finished(reopen_run(run, quiet=quiet), with_report=with_pictures)
    left_out = [NO_DATA, *([] if with_pictures else [NO_PICTURES]), *([] if space else [NO_SPACE])]
    kinds: tuple[Kind, ...] = ("model", "space") if space else ("model",)
    with tempfile.TemporaryDirectory(prefix="candid-push-") as scratch:
        folders = {kind: Path(scratch) / kind for kind in kinds}
        inputs = without_people(read_report_inputs(existing))
        _write_folders(existing, inputs, repo, folders, with_pictures)
        if not dry_run:
            for kind in kinds:  # what one of them refuses, neither shall have begun
                make_repo(repo, kind, private=private)
        pushed = tuple(
            _upload_folder(folder, repo, kind, private, dry_run, quiet)
            for kind, folder in folders.items()
        )
    return Pushed(pushed, tuple(left_out), dry_run)


def _check_request(repo: str, space: bool, with_pictures: bool) -> None:
    check_repo(repo)
    if with_pictures and not space:
        raise ConfigError(
            "Pictures go with the report, and no Space is to show it.",
            expected="--with-pictures beside --space",
            todo="add --space, or leave --with-pictures out",
        )


def _require_finished(run: Run, *, with_report: bool) -> Run:
    """The run; raises RunError where it lacks a file that is uploaded."""
    refuse_untrained(run)
    for file in (run.evaluation, *([run.report] if with_report else [])):
        if not file.is_file():
            raise RunError(
                f"{run.path} has no {file.name}, which what is uploaded is made of.",
                expected="a run that went to its end",
                todo=resume_advice(run.path),
            )
    return run


def _write_folders(
    run: Run, inputs: ReportInput, repo: str, folders: dict[Kind, Path], with_pictures: bool
) -> None:
    """Write the model and its card; of a Space its card and page: the run's report or a new one."""
    from candid.inference.transformers_folder import write_transformers
    from candid.reporting.card import card
    from candid.reporting.page import render
    from candid.reporting.space import space_card

    write_transformers(run, folders["model"])
    write_text(folders["model"] / "README.md", card(inputs, repo=repo, space="space" in folders))
    if "space" in folders:
        folders["space"].mkdir()
        page = run.report.read_text("utf-8") if with_pictures else render(inputs)
        write_text(folders["space"] / "index.html", page)
        write_text(folders["space"] / "README.md", space_card(inputs, repo))


def _upload_folder(
    folder: Path, repo: str, kind: Kind, private: bool, dry_run: bool, quiet: bool
) -> PushedRepo:
    files = tuple(PushedFile(f.name, f.stat().st_size) for f in sorted(folder.iterdir()))
    if dry_run:
        return PushedRepo(repo, kind, private, files)
    upload_result = upload(folder, repo, kind, "Uploaded by candid push", quiet=quiet)
    return PushedRepo(repo, kind, private, files, upload_result.url, upload_result.commit)
