"""Permission to import what a run names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candid.records import ModelCard, read_record
from candid.records.targets import Targets
from candid.settings.named_parts import is_named_part, list_named_parts, trust

if TYPE_CHECKING:
    from candid.runs import Run


def trusted(run: Run, is_trusted: bool) -> Run:
    """The run; with `is_trusted`, this process may import the parts that its files name."""
    if not is_trusted:
        return run
    cards: list[ModelCard] = []
    if run.model_file.is_file():
        cards.append(read_record(run.model_file, ModelCard))
    if run.targets.is_file():
        cards.append(read_record(run.targets, Targets).model)
    names = [str(card.options.get("module", "")) for card in cards if card.network == "own"]
    for name in (*filter(is_named_part, names), *list_named_parts(run.settings).values()):
        trust(name)
    return run
