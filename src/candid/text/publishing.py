"""What is said of a run that is put on Hugging Face's Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

NO_SPACE = "report.html: it goes with --space, as a Space of the same name"
NO_PICTURES = (
    "pictures of people, maps over them, and what the report says of single ones: they go with "
    "--with-pictures"
)
NO_DATA = "predictions.parquet and all else in the run's folder, at any rate"


def repo_lines(
    repo: str, kind: str, url: str, files: Sequence[tuple[str, int]], private: bool
) -> Iterator[str]:
    """A repository, and the files that went there or would go."""
    size = sum(size for _, size in files)
    visibility = ", private" if private else ""
    destination = url or f"would go to the {kind} {repo}"
    yield f"{destination}: {len(files)} files, {size / 1e6:.2f} MB{visibility}"
    for name, size in files:
        yield f"  {size:>12,} {name}"


def left_out_lines(files: Sequence[str]) -> Iterator[str]:
    """What stays here."""
    for file in files:
        yield f"stays here: {file}"
