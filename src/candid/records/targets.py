"""Several labels that one network learned (`targets.json`), and how it does on each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from candid.records import Estimate, Split
from candid.records.audit import Gap
from candid.records.model import ModelCard, NumberCard


@dataclass(frozen=True, slots=True)
class TargetLabel:
    """One label, and where in the run and in the network it has its place.

    Attributes
    ----------
    name, classes
        As in a table: "Smiling", ("not Smiling", "Smiling").
    folder
        What its folder below `targets/` is called.
    first
        The first of the network's outputs that are its classes'; the others follow.
    weight
        What its loss counts for in training, beside those of the others.
    number
        How its outputs are read where it is a number, whose classes are bins; else None, and not in
        the file.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    first: int
    weight: float
    number: NumberCard | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """What a network with several labels gives (`targets.json`).

    Attributes
    ----------
    labels
        In the order of the network's outputs.
    model
        The whole network; its classes are all outputs, "<label>: <class>".
    left_out
        Annotations that were asked for with all others and cannot be learned, and why.
    """

    labels: tuple[TargetLabel, ...]
    model: ModelCard
    left_out: dict[str, str] = field(default_factory=dict)

    def card(self, label: TargetLabel, temperature: float = 1.0) -> ModelCard:
        """The network with the outputs of one of its labels alone."""
        return replace(
            self.model,
            target=label.name,
            classes=label.classes,
            temperature=temperature,
            head=(label.first, len(self.model.classes)),
            number=label.number,
        )

    def problem(self) -> str:
        """What no training can have written, in words; "" where all is possible."""
        first = 0
        for label in self.labels:
            if label.first != first:
                return f"the outputs of {label.name!r} begin at {label.first}, not at {first}"
            first += len(label.classes)
        if first != len(self.model.classes):
            return f"the labels have {first} classes and the network {len(self.model.classes)}"
        return self.model.problem()


@dataclass(frozen=True, slots=True)
class WorstGroup:
    """The group with the largest gap in accuracy that an audit found, against the rest.

    Of a number, that in mean absolute error. `together`: whether the gap also holds where the looks
    of all labels are accounted for; None where nobody did.
    """

    name: str
    gap: Gap
    together: bool | None = None


@dataclass(frozen=True, slots=True)
class TargetSummary:
    """How a network does on one of its labels, on the split that speaks for it.

    `metrics` are those of `SplitEvaluation`, of a number (`is_number`) those of `NumberSplit`;
    `worst` is None where the audit found no gap, or where nobody audited, which `audited` says.
    """

    name: str
    folder: str
    classes: tuple[str, ...]
    split: Split
    n: int
    people: int | None
    metrics: dict[str, Estimate]
    audited: bool
    gaps_found: int
    gaps_looked_at: int
    worst: WorstGroup | None
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Together:
    """The audits of all labels corrected together (`candid.stats.multiple_testing.over_families`).

    Attributes
    ----------
    audited, selected
        Labels that were audited, and those that keep some gap.
    level
        What a gap's adjusted p may be in these; NaN where there is none.
    false_discovery_rate
        The share of false gaps, averaged over the labels that keep some, is at most this.
    """

    audited: int
    selected: int
    level: float
    false_discovery_rate: float


@dataclass(frozen=True, slots=True)
class Overview:
    """How a network does on each of several labels (`overview.json`), in order of its outputs.

    `explained` says whether each was explored and explained, too, as a single label is; `together`
    what is left of their gaps where those of all labels are corrected together, None where fewer
    than two were audited.
    """

    targets: tuple[TargetSummary, ...]
    left_out: dict[str, str]
    explained: bool
    parameters: int
    network: str
    together: Together | None = None
