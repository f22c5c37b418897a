"""A run's model inside its own report."""

from __future__ import annotations

from candid.errors import DependencyError
from candid.records import ModelCard, read_record
from candid.records.embedded import EmbeddedModel, FlatLook
from candid.runs import Run, has_framing
from candid.text import trying as text

_MOST_WEIGHTS = 8_000_000  # what a page should carry: about 10 MB of them, and 12 as text


def embed_model(run: Run) -> EmbeddedModel | str:
    """The model for the report's page, or a sentence that says why not; may raise RunError."""
    from candid.inference.abstaining import abstention_rule
    from candid.models.flat import flat_framing, flat_network

    config = run.settings
    if config.report.model == "off":
        return text.LEFT_OUT
    if not (run.model_file.is_file() and run.weights.is_file()):
        return text.NO_WEIGHTS
    card = read_record(run.model_file, ModelCard)
    if card.head is not None:
        return text.SEVERAL_LABELS
    if card.parameters > _MOST_WEIGHTS:
        return text.too_large(card.parameters, _MOST_WEIGHTS)
    try:
        network = flat_network(run.weights, card)
        framing = flat_framing(run.framing_weights) if has_framing(run) else None
    except DependencyError:
        return text.NO_LIBRARY
    if network is None:
        return text.OTHER_NETWORK
    rule = abstention_rule(run, None, config.predict.target_error)
    return EmbeddedModel(
        network=network,
        framing=framing,
        look=_flatten_unfamiliar(run),
        fit=config.data.fit,
        max_pixels=config.data.max_pixels,
        threshold=None if rule is None else rule.threshold,
        promise="" if rule is None else rule.sentence,
    )


def _flatten_unfamiliar(run: Run) -> FlatLook | None:
    from candid.inference.unfamiliar import read_unfamiliar

    unfamiliar = read_unfamiliar(run.unfamiliar)
    if unfamiliar is None:
        return None
    return FlatLook(
        weight=tuple(unfamiliar.weight.tolist()),
        limit=unfamiliar.limit,
        narrowest=unfamiliar.narrowest,
        widest=unfamiliar.widest,
        smallest=unfamiliar.smallest,
        faintest=unfamiliar.faintest,
        told=unfamiliar.describe(),
    )
