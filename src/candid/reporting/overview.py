"""The report of a run that learned several labels: a table of them, and the way to each."""

from __future__ import annotations

import math
from urllib.parse import quote

from candid.config import changed_settings, to_toml
from candid.records import Exploration, Provenance
from candid.records.targets import Overview, TargetSummary
from candid.reporting.document import html_document
from candid.settings import Config
from candid.text import number as number_text
from candid.text import overview as text
from candid.text.inputs import name_of_data
from candid.text.model import public_settings


def render_overview(
    overview: Overview,
    provenance: Provenance,
    config: Config,
    *,
    exploration: Exploration | None = None,
) -> str:
    """Render the overview as a document like `candid.reporting.page.render`'s.

    It holds no pictures and no charts: so it is small, however many labels there are.

    Parameters
    ----------
    overview
        How the network does on each label.
    provenance, config
        Of the run.
    exploration
        What is in the data; None where nobody looked.
    """
    settings = public_settings(config, provenance)
    return html_document(
        "overview.html",
        scripts=("page.js",),
        overview=overview,
        rows=[t for t in order_targets(overview) if not t.is_number],
        numbers=[t for t in order_targets(overview) if t.is_number],
        number_words=number_text,
        link=_link,
        explained=overview.explained and config.explain.make,
        provenance=provenance,
        exploration=exploration,
        data_name=name_of_data(exploration, provenance),
        overview_words=text,
        config=to_toml(config, settings),
        changed_settings=changed_settings(config, settings),
        version=provenance.candid,
    )


def order_targets(overview: Overview) -> list[TargetSummary]:
    """The labels in the order of the page: what gains most on the commonest answer first."""

    def gain(target: TargetSummary) -> float:
        if target.is_number:
            value = 1 - target.metrics["mae"].value / target.metrics["median_mae"].value
            return -value if math.isfinite(value) else math.inf
        value = target.metrics["weighted_f1"].value - target.metrics["majority_f1"].value
        return -value if math.isfinite(value) else math.inf

    return sorted(overview.targets, key=gain)


def _link(target: TargetSummary) -> str:
    """The address of a label's own report, from the overview's."""
    return f"targets/{quote(target.folder)}/report.html"
