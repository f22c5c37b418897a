"""axe-core in a page: what it says against it.

It is no part of this project, whose licence is another: `CANDID_AXE` names its `axe.min.js`, or it
lies in a `node_modules` above, where `npm install axe-core` leaves it; tests skip elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reporting.browser import Browser

_PLACES = [
    Path(os.environ.get("CANDID_AXE", "")),
    *(p / "node_modules" / "axe-core" / "axe.min.js" for p in Path(__file__).resolve().parents),
]
_FILE = next((p for p in _PLACES if p.is_file()), None)
needs_axe = pytest.mark.skipif(
    _FILE is None, reason="no axe-core: npm install axe-core, or set CANDID_AXE"
)


def axe_is_there() -> bool:
    """Whether `violations` can be asked for."""
    return _FILE is not None


# The marks of a chart are one picture with words of its own.
_RUN = """
axe.run({include: [[%r]], exclude: [['.static'], ['.live']]}, {resultTypes: ['violations']})
  .then((found) => found.violations.map(
    (v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).slice(0, 3)}`))
"""


def violations(browser: Browser, within: str = "html") -> list[str]:
    """What axe-core finds in what shows of the page, or of a part of it."""
    if _FILE is None:
        raise RuntimeError("there is no axe-core")
    browser.value(f"if (!window.axe) {{ {_FILE.read_text('utf-8')} }} 1")
    found: list[str] = browser.value(_RUN % within)
    return found
