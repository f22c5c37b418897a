"""The report: one HTML file that holds everything it shows and asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any

from candid.config import to_toml
from candid.records import AttributeSummary, Example, Finding, SplitEvaluation
from candid.reporting import (
    audit,
    comparison,
    explanation,
    explanation_view,
    external,
    network,
    prose,
    words,
)
from candid.reporting.inputs import ReportInput, attributes_of

if TYPE_CHECKING:
    from candid.records.compare import Comparison
    from candid.reporting.figures.chart import Figure

_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


def render(inputs: ReportInput) -> str:
    """Render the report as one HTML document that opens offline.

    The document loads nothing: styles, scripts, charts and pictures are inside it, and its content
    security policy forbids any connection and any script other than its own. Whatever comes from
    the data is escaped.

    Parameters
    ----------
    inputs
        The records of a run; parts that are absent are named as not checked.

    Returns
    -------
    str
        HTML, encodable as UTF-8.
    """
    from candid.reporting.figures.chart import MOST_CLASSES, vega_bundle

    scripts = {
        "theme": _asset("theme.js"),
        "vega": vega_bundle().replace("\r", ""),
        "page": _asset("page.js") + _asset("explanation.js") + _asset("audit.js"),
    }
    html = (
        _environment()
        .get_template("page.html")
        .render(
            inputs=inputs,
            words=words,
            prose=prose,
            charts=_charts(inputs),
            most_classes=MOST_CLASSES,
            styles=_asset("page.css") + _asset("explanation.css"),
            scripts=scripts,
            policy=_policy(scripts.values()),
            drawing=_drawing(inputs),
            picture=partial(_picture, inputs.pictures),
            thumbnail=partial(_picture, inputs.thumbnails),
            config=to_toml(inputs.config),
            attribute_tables=_attribute_tables(inputs),
            findings=_findings(inputs),
            galleries=_galleries(inputs),
            other_pictures=_other_pictures(inputs),
            explanation=explanation_view.view(inputs),
            inside=explanation_view.inside_view(inputs),
            words_of=explanation,
            audit_words=audit,
            external_words=external,
            compared=None if inputs.audit is None else inputs.audit.comparison,
            comparison_words=comparison,
        )
    )
    # A file name can hold bytes that are no text; they are shown, not fatal.
    return str(html).encode("utf-8", "backslashreplace").decode("utf-8")


def render_comparison(compared: Comparison, version: str) -> str:
    """Render what changed between two models as one HTML document that opens offline.

    Parameters
    ----------
    compared
        Two models on the same images.
    version
        Candid's, for the footer.

    Returns
    -------
    str
        HTML, encodable as UTF-8, under the same content security policy as a run's report.
    """
    from candid.reporting.figures import comparison as figures  # Altair takes a second
    from candid.reporting.figures.chart import vega_bundle

    scripts = {
        "theme": _asset("theme.js"),
        "vega": vega_bundle().replace("\r", ""),
        "page": _asset("page.js") + _asset("audit.js"),
    }
    html = (
        _environment()
        .get_template("compared.html")
        .render(
            compared=compared,
            comparison_words=comparison,
            charts=figures.charts(compared),
            version=version,
            styles=_asset("page.css"),
            scripts=scripts,
            policy=_policy(scripts.values()),
        )
    )
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
    environment.filters |= {
        "number": words.number,
        "significant": words.significant,
        "count": words.count,
        "percent": words.percent,
        "interval": words.interval,
        "support": words.support,
        "people": words.people,
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


def _policy(scripts: Any) -> str:
    """Allow what is inside the file and nothing else; each script by its digest."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _picture(pictures: Mapping[str, bytes], name: str) -> str | None:
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


# --- the parts -----------------------------------------------------------------------------------


def _charts(inputs: ReportInput) -> dict[str, Figure]:
    """The charts that there is something to draw for, by name, in the page's order."""
    from candid.reporting.figures import audit as audited
    from candid.reporting.figures import comparison as compared
    from candid.reporting.figures import data, performance, training  # Altair takes a second
    from candid.reporting.figures import explanation as looks
    from candid.reporting.figures import external as elsewhere

    drawn: list[Figure | None] = []
    exploration = inputs.exploration
    if exploration is not None:
        light = "mean luma of an image (0 to 1)"
        spread = "standard deviation of luma (0 to 1)"
        drawn += [
            data.balance(exploration),
            data.attributes(exploration, _first_split(inputs)),
            data.histograms("brightness", "Brightness", exploration.brightness, light),
            data.histograms("contrast", "Contrast", exploration.contrast, spread),
        ]
    if inputs.history and not inputs.fit:
        validation = inputs.split("validation")
        n = None if validation is None else validation.n
        drawn += [training.loss_curve(inputs.history, n), training.f1_curve(inputs.history, n)]
    drawn.append(performance.scores(inputs.evaluation.splits))
    kinds: list[Callable[[SplitEvaluation], Figure | None]] = [
        performance.confusion,
        performance.roc,
        performance.precision_recall,
        lambda split: performance.reliability(split, inputs.evaluation.splits),
    ]
    drawn += [kind(split) for split in inputs.evaluation.splits if split.n for kind in kinds]
    drawn.append(elsewhere.sure_and_right(inputs.transfer))
    if inputs.audit is not None and inputs.audit.splits:
        drawn += [audited.gaps(inputs.audit.splits[0]), audited.pairs(inputs.audit.splits[0])]
        if inputs.audit.abstention is not None:
            drawn.append(audited.coverage(inputs.audit.abstention))
        if inputs.audit.comparison is not None:
            drawn += compared.charts(inputs.audit.comparison).values()
    if inputs.explanation is not None:
        drawn += [looks.region_shares(inputs.explanation), looks.region_masking(inputs.explanation)]
    return {figure.name: figure for figure in drawn if figure is not None}


def _first_split(inputs: ReportInput) -> str:
    exploration = inputs.exploration
    if exploration is None or not exploration.splits:
        return "train"
    return exploration.splits[0].split


def _drawing(inputs: ReportInput) -> str:
    if inputs.model is None or not inputs.model.layers:
        return ""
    return network.drawing(inputs.model.layers, inputs.model.side)


def _attribute_tables(inputs: ReportInput) -> dict[str, list[AttributeSummary]]:
    """The attributes of each split."""
    if inputs.exploration is None:
        return {}
    splits = dict.fromkeys(a.split for a in inputs.exploration.attributes)
    return {split: attributes_of(inputs.exploration, split) for split in splits}


_STATES = ("found", "too few to say", "not found", "not applicable")
_SEVERITIES = ("serious", "warning", "note")


def _findings(inputs: ReportInput) -> list[Finding]:
    """The findings, the most pressing first."""
    found = () if inputs.exploration is None else inputs.exploration.findings
    return sorted(found, key=lambda f: (_STATES.index(f.state), _SEVERITIES.index(f.severity)))


def _other_pictures(inputs: ReportInput) -> list[str]:
    placed = {f"mean-{name}" for name in inputs.classes} | {"difference", "augmented"}
    return sorted(set(inputs.pictures) - placed)


@dataclass(frozen=True)
class Gallery:
    """Images of one split that deserve a look."""

    split: str
    n: int
    mistakes: int
    surest_mistakes: tuple[Example, ...]
    least_sure: tuple[Example, ...]
    folded: bool


def _galleries(inputs: ReportInput) -> list[Gallery]:
    """The headline split's examples first, the other splits' folded below."""
    headline = inputs.headline
    splits = sorted((s for s in inputs.evaluation.splits if s.n), key=lambda s: s is not headline)
    return [
        Gallery(
            s.split,
            s.n,
            s.n - sum(row[i] for i, row in enumerate(s.confusion)),
            s.surest_mistakes,
            s.least_sure,
            folded=s is not headline,
        )
        for s in splits
    ]
