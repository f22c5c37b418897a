"""What all pages look like: the colours, letters and parts of the reports and the served pages."""

from __future__ import annotations

from importlib import resources


def shared_css() -> str:
    """The style sheet that every page begins with; what a page has beside it comes after."""
    return _text("shared.css")


def theme_js() -> str:
    """The script that every page begins with: light or dark, before anything is drawn."""
    return _text("theme.js")


def _text(name: str) -> str:
    return resources.files("candid.style").joinpath(name).read_text(encoding="utf-8")
