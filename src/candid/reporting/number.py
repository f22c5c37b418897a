"""The report and the model card of a label that is a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from candid.config import changed_settings, to_toml
from candid.records import HistoryRow, ModelCard, Provenance
from candid.records.audit import Audit
from candid.records.explanation import Explanation, ExplanationArrays
from candid.records.external_number import NumberTransfer
from candid.records.inside import Inside
from candid.records.number import NumberEvaluation
from candid.reporting import explanation_view, markdown
from candid.reporting.document import html_document
from candid.reporting.sections import number_sections
from candid.settings import Config
from candid.text import comparison, explanation, external_numbers, inside, places
from candid.text import number as text
from candid.text.inputs import name_of_data
from candid.text.metrics import metric_text
from candid.text.model import public_settings
from candid.text.window import view_sentence

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from candid.reporting.figures.chart import Figure


@dataclass(frozen=True)
class NumberInput:
    """Everything that the report of a number shows.

    `audit` is None where nobody audited, `explanation` and its `maps` where nobody explained,
    `inside` where nobody looked, with `inside_pictures` by the names of `candid.records.inside`,
    `transfer` where nobody looked at pictures from elsewhere.
    """

    config: Config
    provenance: Provenance
    evaluation: NumberEvaluation
    model: ModelCard
    history: Sequence[HistoryRow] = ()
    audit: Audit | None = None
    explanation: Explanation | None = None
    maps: ExplanationArrays | None = None
    inside: Inside | None = None
    inside_pictures: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    transfer: NumberTransfer | None = None

    @property
    def data_name(self) -> str:
        """What to call the data."""
        return name_of_data(None, self.provenance)


def render_number(inputs: NumberInput) -> str:
    """Render the report as a document like `candid.reporting.page.render`'s."""
    from candid.reporting.figures.comparison import comparison_charts  # Altair takes a second
    from candid.reporting.figures.explanation import number_masking, region_shares
    from candid.reporting.figures.number import number_charts

    evaluation, explained = inputs.evaluation, inputs.explanation
    has_pictures = explained is not None or inputs.inside is not None
    settings = public_settings(inputs.config, inputs.provenance)
    charts: list[Figure | None] = [*number_charts(evaluation, inputs.history)]
    compared = None if inputs.audit is None else inputs.audit.comparison
    if compared is not None:
        charts += comparison_charts(compared).values()
    if explained is not None:
        charts += [region_shares(explained), number_masking(explained)]
    return html_document(
        "number.html",
        scripts=(
            "page.js",
            *(("audit.js",) if compared else ()),
            *(("explanation.js",) if explained else ()),
        ),
        styles=("page.css", *(("explanation.css",) if has_pictures else ())),
        inputs=inputs,
        how_it_answers=(
            text.network_description(evaluation, len(inputs.model.classes)),
            view_sentence(inputs.model),
        ),
        charts={figure.name: figure for figure in charts if figure is not None},
        explanation=explanation_view.build_view(inputs.explanation, inputs.maps),
        inside=explanation_view.build_inside_view(inputs.inside, inputs.inside_pictures),
        words_of=explanation,
        inside_words=inside,
        places=places,
        trial=None,
        elsewhere_words=external_numbers,
        compared=compared,
        comparison_words=comparison,
        **number_sections(evaluation, inputs.audit),
        provenance=inputs.provenance,
        config=to_toml(inputs.config, settings),
        changed_settings=changed_settings(inputs.config, settings),
        version=inputs.provenance.candid,
    )


def number_card(inputs: NumberInput) -> str:
    """Write the model card: what it predicts, how well, for whom worse, and what to know."""
    evaluation, audit = inputs.evaluation, inputs.audit
    sentences = [*text.number_summary(evaluation, inputs.data_name)]
    if audit is not None and audit.splits:
        sentences.append(text.number_audit_summary(audit))
    limits = [*evaluation.notes, text.NOT_EQUAL_GROUPS]
    explained = ""
    if inputs.explanation is None:
        limits.append(text.NOT_EXPLAINED)
    else:
        explained = " ".join(explanation.explanation_lead(inputs.explanation, inputs.model))
    transfer = external_numbers.number_transfer_sentences(inputs.transfer)
    comparison_part = []
    if audit is not None and audit.comparison is not None:
        changes = comparison.comparison_summary(audit.comparison)
        comparison_part = [f"## Beside another model\n\n{markdown.bullets(changes)}"]
    rows = [
        [metric_text(name).name, text.figure_in_unit(e), text.interval_in_unit(e), f"{e.n:,}"]
        for split in ([evaluation.headline] if evaluation.headline else [])
        for name, e in split.metrics.items()
    ]
    title = f"{evaluation.target} on {inputs.data_name}, {inputs.model.network} network"
    parts = [
        f"# {markdown.text(title)}",
        " ".join(markdown.text(sentence) for sentence in sentences),
        markdown.table(["Figure", "Value", "Interval", "Images"], rows),
        f"## How far from home\n\n{markdown.bullets(transfer)}",
        *comparison_part,
        *([f"## What it looks at\n\n{markdown.text(explained)}"] if explained else []),
        f"## Limits\n\n{markdown.bullets(limits)}",
        f"Made by Candid {inputs.provenance.candid} with seed {inputs.provenance.seed}.",
    ]
    return "\n\n".join(parts) + "\n"
