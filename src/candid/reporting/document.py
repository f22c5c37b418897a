"""One HTML file that holds everything it shows and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from candid.style import shared_css
from candid.text import data_findings, words

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


def html_document(
    template: str,
    *,
    scripts: Sequence[str],
    styles: Sequence[str] = ("page.css",),
    draws: bool = True,
    compiles: bool = False,
    **values: Any,
) -> str:
    """Fill a template into a document that opens offline: HTML, encodable as UTF-8.

    Parameters
    ----------
    template
        Its file; it extends `document.html`.
    scripts, styles
        Files that it needs, beside those that every document has.
    draws
        Whether it has charts, whose library is nearly all of its size.
    compiles
        Whether its scripts run WebAssembly, which lies in it like all else.
    values
        What the template names. Whatever is not marked as trusted there is escaped.
    """
    vega = ""
    if draws:
        from candid.reporting.figures.chart import vega_bundle  # Altair takes a second

        vega = vega_bundle().replace("\r", "")
    code = {
        "theme": _asset("theme.js"),
        "vega": vega,
        "page": "".join(map(_asset, scripts)),
    }
    html = (
        _environment()
        .get_template(template)
        .render(
            styles=shared_css() + "".join(map(_asset, styles)),
            scripts=code,
            policy=_policy(code.values(), compiles),
            **values,
        )
    )
    # A file name can hold bytes that are no text; they are shown, not fatal.
    return str(html).encode("utf-8", "backslashreplace").decode("utf-8")


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("candid.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["words"] = words
    environment.tests["tells_share"] = data_findings.tells_share
    environment.filters |= {
        "number": words.number,
        "significant": words.significant,
        "count": words.count,
        "percent": words.percent,
        "interval": words.interval,
        "support": words.support,
        "people": words.persons,
        "method": words.method,
        "duration": _duration,
        "day": _day,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "sentence": words.sentence,
        # Only drawings, scripts and styles that this package made go through here.
        "trusted": Markup,
        "json": lambda value: Markup(_script_json(value)),
    }
    return environment


def _asset(name: str) -> str:
    return (resources.files("candid.reporting") / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: Any, compiles: bool) -> str:
    """Allow what is inside the file and nothing else; each script by its digest."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    allowed += " 'wasm-unsafe-eval'" if compiles else ""
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def embedded(pictures: Mapping[str, bytes], name: str) -> str | None:
    """A picture as a data URI; None where there is none, or where it is no picture."""
    encoded = pictures.get(name, b"")
    kind = next((k for magic, k in _MAGIC.items() if encoded.startswith(magic)), None)
    if kind is None:
        return None
    return f"data:{kind};base64,{base64.b64encode(encoded).decode('ascii')}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _day(moment: str) -> str:
    """The day of a moment in ISO 8601; what is no such moment stays as it is."""
    try:
        when = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{when.day} {when:%B %Y}"
