"""Uploads to Hugging Face's Hub, through its own client."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from candid.errors import ConfigError, OutputError, require_extra

Kind = Literal["model", "space"]

# As the Hub has it: letters, digits, "-", "_" and ".", the last three neither twice nor outermost.
_NAME = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(f"{_NAME}/{_NAME}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The URL of an uploaded folder, and its commit."""

    url: str
    commit: str


def check_repo(repo: str) -> None:
    """Raise a ConfigError where the Hub does not allow the name."""
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo or repo.endswith(".git"):
        raise ConfigError(
            f"{repo!r} is no name of a repository on the Hub.",
            expected="owner/name, each of letters, digits, -, _ and .",
            todo="name it so, such as your-name/smiling-faces",
        )


def needs_token() -> None:
    """Raise DependencyError without the Hub's client, OutputError without its token."""
    with require_extra("Hugging Face's Hub needs", "hub"):
        from huggingface_hub import get_token
    if get_token() is None:
        raise OutputError(
            "There is no token for Hugging Face's Hub.",
            expected="a token that may write, in HF_TOKEN or as hf auth login keeps it",
            todo="make one at https://huggingface.co/settings/tokens, then: hf auth login",
        )


def make_repo(repo: str, kind: Kind, *, private: bool) -> None:
    """Make a repository unless it exists; a Space is a static one.

    Raises OutputError where the Hub refuses or cannot be reached, or where it is to be private and
    exists as a public one.
    """
    from huggingface_hub import HfApi

    hub = HfApi(library_name="candid")
    with _translate_errors(repo):
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
    """Upload all files of a folder into an existing repository; its other files stay.

    Raises OutputError where the Hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    hub = HfApi(library_name="candid")
    with _translate_errors(repo), _no_progress_bars() if quiet else contextlib.nullcontext():
        commit = hub.upload_folder(
            repo_id=repo, folder_path=folder, repo_type=kind, commit_message=message
        )
    url = f"{hub.endpoint}/{'spaces/' if kind == 'space' else ''}{repo}"
    return Uploaded(url, str(commit.oid))


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Disable the progress bars of the Hub's client inside the block."""
    import huggingface_hub

    bars: Any = huggingface_hub.utils
    disabled = bars.are_progress_bars_disabled()
    bars.disable_progress_bars()
    try:
        yield
    finally:
        if not disabled:
            bars.enable_progress_bars()


@contextlib.contextmanager
def _translate_errors(repo: str) -> Iterator[None]:
    """Turn the client's errors inside the block into an OutputError."""
    from huggingface_hub.errors import HfHubHTTPError

    # The base class of the errors of the client's HTTP library, whichever it is.
    library = cast(type[Exception], HfHubHTTPError.__mro__[1])
    try:
        yield
    except (OSError, RuntimeError, library) as error:
        # Errors of parallel uploads are wrapped once more.
        cause = error.__cause__ if isinstance(error, RuntimeError) else error
        raise _build_error(repo, cause or error) from error


def _build_error(repo: str, error: BaseException) -> OutputError:
    from huggingface_hub import constants

    response = getattr(error, "response", None)
    message = " ".join(str(getattr(error, "server_message", None) or error).split())
    if response is None:
        return OutputError(
            f"Hugging Face's Hub cannot be reached at {constants.ENDPOINT}: {message}",
            expected="a way to it from this machine",
            todo="check the network, HF_ENDPOINT and HF_HUB_OFFLINE; --dry-run needs none",
        )
    if response.status_code in (401, 403):
        return OutputError(
            f"The Hub does not let this token write to {repo} ({response.status_code}: {message}).",
            expected="a token with the permission to write there",
            todo="check the owner's name, and make such a token at "
            "https://huggingface.co/settings/tokens",
        )
    return OutputError(
        f"The Hub did not take what was sent to {repo} ({response.status_code}: {message}).",
        expected="a repository that takes it",
        todo="try it again later, or look at what it says",
    )
