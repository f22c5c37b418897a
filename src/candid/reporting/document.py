"""One HTML file that holds everything it shows and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from candid.reporting.packed import Deflated, deflate
from candid.style import page_templates, shared_css, theme_js
from candid.text import data_findings, words

if TYPE_CHECKING:
    from candid.reporting.figures.chart import Figure

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
# As the templates have it: whatever comes from the data is escaped, and cannot look like these.
_PICTURE = re.compile(r'<img src="(data:image/[^"]+)"')
_MAIN = '<main id="main">'
_CLEAR = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="


def html_document(
    template: str,
    *,
    scripts: Sequence[str],
    styles: Sequence[str] = ("page.css",),
    charts: Mapping[str, Figure] | None = None,
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
    charts
        Its charts by name, for which it holds Vega; None: it never has any.
    compiles
        Whether its scripts run WebAssembly, which lies in it like all else.
    values
        What the template names. Whatever is not marked as trusted there is escaped.
    """
    packs, vega = {}, []
    if charts is not None:
        code, library = _vega()
        specs = json.dumps({name: figure.spec for name, figure in charts.items()}, allow_nan=False)
        packs, vega = {"packed-vega": library, "packed-charts": deflate(specs.encode())}, [code]
    running = {
        "theme": theme_js(),
        "page": "".join(map(_asset, ("packed.js", *scripts))),
    }
    html = (
        _environment()
        .get_template(template)
        .render(
            styles=shared_css() + "".join(map(_asset, styles)),
            scripts=running,
            packs=packs,
            charts=charts,
            policy=_policy((*running.values(), *vega), compiles),
            **values,
        )
    )
    html = _deduplicate_images(str(html))
    # A file name can hold bytes that are no text; they are shown, not fatal.
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _vega() -> tuple[str, Deflated]:
    """Vega as one script, and packed."""
    from candid.reporting.figures.chart import vega_bundle  # Altair takes a second

    code = vega_bundle().replace("\r", "")
    return code, deflate(code.encode())


def _deduplicate_images(html: str) -> str:
    """Store pictures that the page shows several times once: as CSS backgrounds.

    Each remains an element with its own alt text; what is in front of the background is clear.
    """
    counts = Counter(_PICTURE.findall(html))
    numbers = {uri: i for i, uri in enumerate(u for u, count in counts.items() if count > 1)}

    def replace_image(match: re.Match[str]) -> str:
        number = numbers.get(match[1])
        if number is None:
            return match[0]
        return f'<img class="again" style="--shown:var(--p{number})" src="{_CLEAR}"'

    variables = "".join(f"--p{number}:url({uri});" for uri, number in numbers.items())
    return _PICTURE.sub(replace_image, html).replace(_MAIN, f'{_MAIN[:-1]} style="{variables}">', 1)


def _environment() -> Any:
    from markupsafe import Markup

    environment = page_templates("candid.reporting", "templates")
    environment.globals["words"] = words
    environment.tests["tells_share"] = data_findings.tells_share
    environment.filters |= {
        "number": words.number,
        "figure_of": words.figure_of,
        "share_of": words.share_of,
        "significant": words.significant,
        "count": words.count,
        "percent": words.percent,
        "interval": words.interval,
        "support": words.support,
        "people": words.persons,
        "method": words.method,
        "duration": _format_duration,
        "day": _format_day,
        "capitalize_first": lambda text: text[:1].upper() + text[1:],
        "sentence": words.sentence,
        # Only drawings, scripts and styles that this package made go through here.
        "trusted": Markup,
        "json": lambda value: Markup(_to_script_json(value)),
    }
    return environment


def _asset(name: str) -> str:
    return (resources.files("candid.reporting") / "templates" / name).read_text(encoding="utf-8")


def _policy(scripts: Any, compiles: bool) -> str:
    """Allow what is inside the file and nothing else; each script by its digest."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    sources = " ".join(f"'sha256-{digest}'" for digest in digests)
    sources += " 'wasm-unsafe-eval'" if compiles else ""
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {sources}; "
        "base-uri 'none'; form-action 'none'"
    )


def _to_script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def data_uri(pictures: Mapping[str, bytes], name: str) -> str | None:
    """A picture as a data URI; None where there is none or its format is unknown."""
    encoded = pictures.get(name, b"")
    kind = next((k for magic, k in _MAGIC.items() if encoded.startswith(magic)), None)
    if kind is None:
        return None
    return f"data:{kind};base64,{base64.b64encode(encoded).decode('ascii')}"


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _format_day(moment: str) -> str:
    """The day of a moment in ISO 8601; what is no such moment stays as it is."""
    try:
        date = datetime.fromisoformat(moment)
    except ValueError:
        return moment
    return f"{date.day} {date:%B %Y}"
