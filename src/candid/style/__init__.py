"""What all pages look like: the colours, letters and parts of the reports and the served pages."""

from __future__ import annotations

from importlib import resources


def shared_css() -> str:
    """The style sheet that every page begins with; what a page has beside it comes after."""
    return resources.files("candid.style").joinpath("shared.css").read_text(encoding="utf-8")
