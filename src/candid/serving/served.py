"""A model as the server has it: its name, what answers, and what is known of it, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.data.encoded import Budget
from candid.errors import DependencyError, RunError
from candid.inference.classifier import Classifier
from candid.inference.classify import Labeller
from candid.inference.drift import Drift, DriftReference
from candid.inference.promise import alarm_said, promise_after
from candid.inference.unfamiliar import Unfamiliar
from candid.records import Estimate
from candid.serving.schema import (
    About,
    DriftDescription,
    MapMethod,
    ModelDescription,
    RuleDescription,
)
from candid.settings import ExplainConfig
from candid.storage.files import numbered_name
from candid.text.explanation import MAP_WORDS

if TYPE_CHECKING:
    from candid.inference.several import SeveralLabeller
    from candid.serving.explaining import Explainer

MAPS = {
    name: MapMethod(name=name, title=title, about=about, signed=signed, badge=None)
    for name, (title, about, _, signed) in MAP_WORDS.items()
}


@dataclass(frozen=True, eq=False)
class Served:
    """One model that the server answers for."""

    name: str  # what requests call it by: letters, digits, dots, dashes
    classifier: Classifier  # what answers
    about: About = field(default_factory=About)  # what is known of it
    report: Path | None = None  # the report's file; None where there is none
    weights: Path | None = None  # where its weights lie, for maps; None: no maps
    # Method → whether its maps passed their checks on this model ("passed", "failed", "not
    # applicable"); empty where nobody checked.
    badges: dict[str, str] = field(default_factory=dict)
    explain: ExplainConfig = field(default_factory=ExplainConfig)  # how maps are made
    # Tells images like the training images from others, which get no answer; None: nobody looks.
    unfamiliar: Unfamiliar | None = None
    # Tells whether pictures are still like the validation images; None: nobody watches.
    reference: DriftReference | None = None
    # What answers, where it is for several labels in one way through the network; else None.
    several: SeveralLabeller | None = None

    @property
    def labels(self) -> list[str]:
        """What it predicts, where that is several labels."""
        return [] if self.several is None else [label.name for label in self.several.labels]

    @property
    def target(self) -> str:
        """The label, or the labels, that it predicts."""
        return ", ".join(self.labels) or self.classifier.target

    @property
    def classes(self) -> list[str]:
        """The label's values; none of several labels."""
        return [] if self.labels else list(self.classifier.classes)

    def labeller(self, max_pixels: int, budget: Budget) -> Labeller:
        """What makes answers of pictures, within limits."""
        limits: dict[str, Any] = {
            "max_pixels": min(max_pixels, self.classifier.max_pixels),
            "budget": budget,
        }
        if self.several is not None:
            return replace(self.several, **limits)
        return Labeller(self.classifier, self.unfamiliar, reference=self.reference, **limits)

    def explainer(self) -> Explainer:
        """What makes maps; loads the weights anew.

        Raises DependencyError where torch is not installed.
        """
        if self.weights is None:
            raise RunError(
                "The server knows no weights of this model.",
                expected="a run with model.safetensors",
                todo="serve such a run",
            )
        try:
            from candid.serving.explaining import Explainer
        except ModuleNotFoundError as error:
            raise DependencyError(
                f"Maps of what the model looks at need {error.name}, which is not installed.",
                expected="the extra 'train'",
                todo="pip install 'candid-faces[train]'",
            ) from error
        return Explainer(self.weights, self.classifier.card, self.explain)

    def describe(self, *, maps: bool, drift: Drift | None = None) -> ModelDescription:
        """What /v1/models says of it; `maps`: whether any are made; `drift` of its pictures."""
        model, rule, known = self.classifier, self.classifier.rule, self.badges.get
        return ModelDescription(
            name=self.name,
            target=self.target,
            classes=self.classes,
            labels=self.labels,
            side=model.side,
            fit=model.fit,
            network=model.card.network,
            parameters=model.card.parameters,
            engine=model.engine,
            rule=None if rule is None else
            RuleDescription(
                threshold=rule.threshold,
                sentence=promise_after(rule, drift),
            ),
            drift=None if drift is None else DriftDescription(
                pictures=drift.pictures,
                limits=drift.limits,
                log_capital=drift.log_capital,
                log_limit=drift.log_limit,
                alarm_after=drift.after,
                sentence=alarm_said(drift),
            ),
            unlike=None if self.unfamiliar is None else self.unfamiliar.told(),
            methods=[m.model_copy(update={"badge": known(m.name)}) for m in MAPS.values() if maps],
            about=self.about,
            report=None if self.report is None else f"/reports/{self.name}",
        )  # fmt: skip


def names_for(paths: Sequence[Path]) -> list[str]:
    """A name for each run, from its folder's name: unlike the others', and fit for an address."""
    names: list[str] = []
    for path in paths:
        kept = "".join(
            c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in path.resolve().name
        ).strip(".-")
        names.append(numbered_name(kept[:60] or "model", names.__contains__))
    return names


def is_defined(estimate: Estimate | None) -> bool:
    """Whether there is a figure."""
    return estimate is not None and math.isfinite(estimate.value)
