"""Folders to Hugging Face's Hub, through its own client; what refuses is told in three parts."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from candid.errors import ConfigError, OutputError, needing

Kind = Literal["model", "space"]

# As the Hub has it: letters, digits, "-", "_" and ".", the last three neither twice nor outermost.
_NAME = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(f"{_NAME}/{_NAME}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """Where a folder lies now, and the commit that put it there."""

    url: str
    commit: str


def check_repo(repo: str) -> None:
    """Raise a ConfigError where the Hub could not have a repository of this name."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise ConfigError(
            f"{repo!r} is no name of a repository on the Hub.",
            expected="owner/name, each of letters, digits, -, _ and .",
            todo="name it so, such as your-name/smiling-faces",
        )


def needs_token() -> None:
    """Raise where the Hub's client is not installed, or has no token to write with.

    Raises DependencyError or OutputError for either.
    """
    with needing("Hugging Face's Hub needs", "hub"):
        from huggingface_hub import get_token
    if get_token() is None:
        raise OutputError(
            "There is no token for Hugging Face's Hub.",
            expected="a token that may write, in HF_TOKEN or as hf auth login keeps it",
            todo="make one at https://huggingface.co/settings/tokens, then: hf auth login",
        )


def make_repo(repo: str, kind: Kind, *, private: bool) -> None:
    """Make a repository unless it is there; a Space is a static one.

    Raises OutputError where the Hub refuses or cannot be reached; or is to be private and is there,
    open to all.
    """
    from huggingface_hub import HfApi

    hub = HfApi(library_name="candid")
    with _told(repo):
        hub.create_repo(
            repo,
            repo_type=kind,
            # None: as the owner's settings say.
            private=True if private else None,
            exist_ok=True,
            space_sdk="static" if kind == "space" else None,
        )
        is_open = private and not hub.repo_info(repo, repo_type=kind).private
    if is_open:
        raise OutputError(
            f"The {kind} {repo} is there and open to all, and was to be private.",
            expected="a private repository, or none",
            todo="make it private on its page of settings, or name another",
        )


def upload(folder: Path, repo: str, kind: Kind, message: str, *, quiet: bool) -> Uploaded:
    """Put all files of a folder into a repository that is there; what else lies there stays.

    Raises OutputError where the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    hub = HfApi(library_name="candid")
    with _told(repo), _silent() if quiet else contextlib.nullcontext():
        done = hub.upload_folder(
            repo_id=repo, folder_path=folder, repo_type=kind, commit_message=message
        )
    where = f"{hub.endpoint}/{'spaces/' if kind == 'space' else ''}{repo}"
    return Uploaded(where, str(done.oid))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """No progress bars of the Hub's client inside."""
    import huggingface_hub

    bars: Any = huggingface_hub.utils
    were = bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        yield
    finally:
        if not were:
            bars.enable_progress_bars()


@contextlib.contextmanager
def _told(repo: str) -> Iterator[None]:
    """Turn what the Hub's client raises inside into an OutputError."""
    from huggingface_hub.errors import HfHubHTTPError

    # The base of what the client's HTTP library raises, whichever it is.
    library = cast(type[Exception], HfHubHTTPError.__mro__[1])
    try:
        yield
    except (OSError, RuntimeError, library) as error:
        # What is uploaded side by side is wrapped once more.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        raise _refused(repo, cause or error) from error


def _refused(repo: str, error: BaseException) -> OutputError:
    from huggingface_hub import constants

    response = getattr(error, "response", None)
    said = " ".join(str(getattr(error, "server_message", None) or error).split())
    if response is None:
        return OutputError(
            f"Hugging Face's Hub cannot be reached at {constants.ENDPOINT}: {said}",
            expected="a way to it from this machine",
            todo="check the network, HF_ENDPOINT and HF_HUB_OFFLINE; --dry-run needs none",
        )
    if response.status_code in (401, 403):
        return OutputError(
            f"The Hub does not let this token write to {repo} ({response.status_code}: {said}).",
            expected="a token with the permission to write there",
            todo="check the owner's name, and make such a token at "
            "https://huggingface.co/settings/tokens",
        )
    return OutputError(
        f"The Hub did not take what was sent to {repo} ({response.status_code}: {said}).",
        expected="a repository that takes it",
        todo="try it again later, or look at what it says",
    )
