"""The report: one HTML file that holds everything it shows and asks nobody for anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from candid.config import changed_settings, to_toml
from candid.records import AttributeSummary, Finding
from candid.reporting import explanation_view, network, trying
from candid.reporting.document import data_uri, html_document
from candid.reporting.mean_faces import mean_face_texts
from candid.reporting.sections import answer_sections, audit_charts, performance_charts
from candid.text import (
    comparison,
    comparison_runs,
    explanation,
    external,
    improvement,
    inside,
    places,
    seeds,
    tuning,
    verdict,
)
from candid.text import model as prose
from candid.text import trying as trying_words
from candid.text.inputs import ReportInput, attributes_by_association
from candid.text.window import view_sentence

if TYPE_CHECKING:
    from candid.records.compare import Comparison
    from candid.records.compare_runs import RunComparison
    from candid.records.tuning import Tuning
    from candid.reporting.figures.chart import Figure

# What runs the model inside, each on what stands before it.
_TRIAL_SCRIPTS = ("try_network.js", "try_picture.js", "try_looks.js", "try.js")


def render(inputs: ReportInput) -> str:
    """Render the report as one HTML document that opens offline, encodable as UTF-8.

    The document loads nothing: styles, scripts, charts and pictures are inside it, and its content
    security policy forbids any connection and any script other than its own. Whatever comes from
    the data is escaped.

    Parameters
    ----------
    inputs
        The records of a run; parts that are absent are named as not checked.
    """
    settings = prose.public_settings(inputs.config, inputs.provenance)
    trial, model = trying.page_trial(inputs), inputs.model
    return html_document(
        "page.html",
        scripts=("page.js", "explanation.js", "audit.js", *(_TRIAL_SCRIPTS if trial else ())),
        styles=("page.css", "explanation.css", *(("try.css",) if trial else ())),
        compiles=trial is not None,
        trial=trial,
        map_method=trying.map_method(inputs),
        trying_words=trying_words,
        inputs=inputs,
        prose=prose,
        view_sentence=view_sentence,
        verdict_words=verdict,
        charts=_charts(inputs),
        drawing=network.draw_layers(model.layers, model.side) if model and model.layers else "",
        picture=partial(data_uri, inputs.pictures),
        config=to_toml(inputs.config, settings),
        changed_settings=changed_settings(inputs.config, settings),
        attribute_tables=_attribute_tables(inputs),
        extremes=_extremes,
        findings=_findings(inputs),
        other_pictures=_remaining_pictures(inputs),
        mean_face_texts=mean_face_texts(inputs),
        places=places,
        explanation=explanation_view.build_view(inputs.explanation, inputs.maps),
        inside=explanation_view.build_inside_view(inputs.inside, inputs.inside_pictures),
        words_of=explanation,
        inside_words=inside,
        compared=None if inputs.audit is None else inputs.audit.comparison,
        comparison_words=comparison,
        external_words=external,
        improvement_words=improvement,
        seed_words=seeds,
        curves=inputs.curves,
        check=inputs.check,
        **answer_sections(
            inputs.evaluation,
            inputs.audit,
            inputs.headline,
            caveats=prose.caveats(inputs),
            sources=inputs.sources,
            thumbnails=inputs.thumbnails,
        ),
    )


def render_comparison(compared: Comparison, version: str) -> str:
    """Render what changed between two models as a document like `render`'s.

    Parameters
    ----------
    compared
        Two models on the same images.
    version
        Candid's, for the footer.
    """
    from candid.reporting.figures import comparison as figures  # Altair takes a second

    return html_document(
        "compared.html",
        scripts=("page.js", "audit.js"),
        compared=compared,
        comparison_words=comparison,
        charts=figures.comparison_charts(compared),
        version=version,
    )


def render_run_comparison(compared: RunComparison, version: str) -> str:
    """Render what differs between several models as a document like `render`'s.

    Parameters
    ----------
    compared
        Several models on the same images.
    version
        Candid's, for the footer.
    """
    from candid.reporting.figures import comparison as figures  # Altair takes a second

    chart = figures.pair_changes(compared)
    return html_document(
        "compared_runs.html",
        scripts=("page.js", "audit.js"),
        comparison=compared,
        comparison_words=comparison,
        several_words=comparison_runs,
        charts={} if chart is None else {chart.name: chart},
        version=version,
    )


def render_search(result: Tuning) -> str:
    """Render what a search over settings found as a document like `render`'s."""
    from candid.reporting.figures import tuning as figures  # Altair takes a second

    return html_document(
        "tuning.html",
        scripts=("page.js",),
        tuning=result,
        best=result.best,
        charts=figures.search_charts(result),
        tuning_words=tuning,
    )


# --- the parts -----------------------------------------------------------------------------------


def _charts(inputs: ReportInput) -> dict[str, Figure]:
    """The charts that there is something to draw for, by name, in the page's order."""
    from candid.reporting.figures.chart import skip_validation  # Altair takes a second

    with skip_validation():
        return {figure.name: figure for figure in _figures(inputs) if figure is not None}


def _figures(inputs: ReportInput) -> list[Figure | None]:
    """All charts in order, None for each that there is nothing to draw for."""
    from candid.reporting.figures import data, training
    from candid.reporting.figures.comparison import comparison_charts
    from candid.reporting.figures.explanation import region_masking, region_shares
    from candid.reporting.figures.external import accuracy_by_confidence

    figures: list[Figure | None] = []
    exploration = inputs.exploration
    if exploration is not None:
        light = "mean luma of an image (0 to 1)"
        spread = "standard deviation of luma (0 to 1)"
        split = exploration.splits[0].split if exploration.splits else "train"
        figures += [
            data.balance(exploration),
            data.attributes(exploration, split),
            data.histograms("brightness", "Brightness", exploration.brightness, light),
            data.histograms("contrast", "Contrast", exploration.contrast, spread),
        ]
    if inputs.history and not inputs.fit:
        validation = inputs.split("validation")
        n = None if validation is None else validation.n
        figures += [training.loss_curve(inputs.history, n), training.f1_curve(inputs.history, n)]
    figures += performance_charts(inputs.evaluation)
    figures.append(accuracy_by_confidence(inputs.transfer))
    figures += audit_charts(inputs.audit)
    if inputs.audit is not None and inputs.audit.comparison is not None:
        figures += comparison_charts(inputs.audit.comparison).values()
    if inputs.explanation is not None:
        e = inputs.explanation
        figures += [region_shares(e), region_masking(e)]
    return figures


def _attribute_tables(inputs: ReportInput) -> dict[str, list[AttributeSummary]]:
    """The attributes of each split."""
    if inputs.exploration is None:
        return {}
    splits = dict.fromkeys(a.split for a in inputs.exploration.attributes)
    return {split: attributes_by_association(inputs.exploration, split) for split in splits}


def _extremes(shares: Sequence[float]) -> list[int]:
    """Where the least and the largest share stand; nothing where none is defined."""
    defined = [i for i, share in enumerate(shares) if math.isfinite(share)]
    return [end(defined, key=shares.__getitem__) for end in (min, max)] if defined else []


_STATES = ("found", "too few to say", "not found", "not applicable")
_SEVERITIES = ("serious", "warning", "note")


def _findings(inputs: ReportInput) -> list[Finding]:
    """The findings, the most pressing first."""
    findings = () if inputs.exploration is None else inputs.exploration.findings
    return sorted(findings, key=lambda f: (_STATES.index(f.state), _SEVERITIES.index(f.severity)))


def _remaining_pictures(inputs: ReportInput) -> list[str]:
    names = {f"mean-{name}" for name in inputs.classes} | {"difference", "augmented"}
    return sorted(set(inputs.pictures) - names)
