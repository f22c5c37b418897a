"""What all pages look like: the colours, letters and parts of the reports and the served pages."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_DARK = "    /* dark.css */\n"


def shared_css() -> str:
    """The style sheet that every page begins with; what a page has beside it comes after.

    The dark colours stand in it twice, since CSS cannot say "chosen, or the system's where nothing
    was chosen" of one block, and are written once, in `dark.css`.
    """
    return _text("shared.css").replace(_DARK, _text("dark.css"))


def theme_js() -> str:
    """The script that every page begins with: light or dark, before anything is drawn."""
    return _text("theme.js")


def page_templates(package: str, folder: str) -> Environment:
    """The templates in a package's folder, beside the parts that all pages share (`parts.html`).

    Whatever they are filled with is escaped, and what they name must be there.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader(
            [PackageLoader(package, folder), PackageLoader("candid.style", "parts")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text(name: str) -> str:
    return resources.files("candid.style").joinpath(name).read_text(encoding="utf-8")
