"""The page of an audit: a model's answers, however they came, in the look of the report."""

from __future__ import annotations

from typing import Any

from candid.config import ChangedSetting, changed_settings
from candid.records import Evaluation
from candid.records.number import NumberEvaluation
from candid.reporting.document import html_document
from candid.reporting.sections import (
    answer_sections,
    audit_charts,
    number_sections,
    performance_charts,
)
from candid.settings import Config
from candid.text import audited, number
from candid.text.inputs import AuditInput
from candid.text.model import no_identity

# The settings that an audit reads; of [data], how labels and text are read.
_SETTINGS = ("audit.", "data.", "evaluate.examples", "evaluate.tolerance")
_ELSEWHERE = "the audit’s JSON (--out)"


def render_audit(inputs: AuditInput, evaluation: Evaluation) -> str:
    """Render an audit as a document like `candid.reporting.page.render`'s.

    Parameters
    ----------
    inputs
        The audit, and where its answers are from.
    evaluation
        How good they are; what was not measured, it lacks.
    """
    from candid.reporting.figures.chart import skip_validation  # Altair takes a second

    audit = inputs.audit
    headline = next((s for s in evaluation.splits if s.split == audit.splits[0].split), None)
    with skip_validation():
        figures = [*performance_charts(evaluation), *audit_charts(audit)]
    sections = answer_sections(
        evaluation,
        audit,
        headline,
        caveats=audited.performance_notes(evaluation),
        thumbnails=inputs.thumbnails,
        pictured=bool(inputs.thumbnails),
        elsewhere=_ELSEWHERE,
        notes_open=True,
    )
    return html_document(
        "audited.html",
        scripts=("page.js", "audit.js"),
        charts={figure.name: figure for figure in figures if figure is not None},
        listed=any(s.surest_mistakes or s.least_sure for s in evaluation.splits),
        curves=None,
        check=None,
        **_page_values(inputs),
        **sections,
    )


def render_number_audit(inputs: AuditInput, evaluation: NumberEvaluation) -> str:
    """Render the audit of a number as a document like `render_audit`'s."""
    from candid.reporting.figures.number import number_charts  # Altair takes a second

    return html_document(
        "audited_number.html",
        scripts=("page.js",),
        charts={figure.name: figure for figure in number_charts(evaluation)},
        summary=[*number.number_summary(evaluation, inputs.source.title, "the model")],
        how_it_answers=(number.table_description(evaluation),),
        **_page_values(inputs),
        **number_sections(evaluation, inputs.audit),
    )


def _page_values(inputs: AuditInput) -> dict[str, Any]:
    """The template values that classes and numbers have in common."""
    return {
        "inputs": inputs,
        "page_words": audited,
        "no_identity": no_identity(inputs.audit.target),
        "unchecked": audited.audit_unchecked(inputs),
        "facts": audited.audit_facts(inputs),
        "provenance": inputs.provenance,
        "changed_settings": _audit_settings(inputs.config),
        "version": inputs.provenance.candid,
    }


def _audit_settings(config: Config) -> list[ChangedSetting]:
    """The settings that an audit reads and that are not at their defaults."""
    return [s for s in changed_settings(config) if s.name.startswith(_SETTINGS)]
