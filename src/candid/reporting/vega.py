"""Vega, Vega-Lite and Vega-Embed as one script that loads nothing (about 0.9 MB)."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_SNIPPET = "window.vegaEmbed = vegaEmbed;"  # the page calls this alone


@cache
def vega_bundle(vega_lite: str) -> str:
    """The script, with a version of Vega-Lite such as "6.1"; a second or more."""
    import vl_convert

    return str(vl_convert.javascript_bundle(_SNIPPET, vega_lite))


def write_vega_bundle(path: Path, vega_lite: str) -> None:
    """Write the script, for another process to read."""
    path.write_bytes(vega_bundle(vega_lite).encode())
