"""A served model: its name, its classifier, and its description."""

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
from candid.inference.promise import alarm_text, promise_after
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
    """A model that the server serves."""

    name: str  # in requests: letters, digits, dots, dashes
    classifier: Classifier
    about: About = field(default_factory=About)
    report: Path | None = None  # the report's file; None where there is none
    weights: Path | None = None  # the weights' file, for maps; None: no maps
    # Method → whether its maps passed their checks on this model ("passed", "failed", "not
    # applicable"); empty where they were not checked.
    badges: dict[str, str] = field(default_factory=dict)
    explain: ExplainConfig = field(default_factory=ExplainConfig)  # settings of maps
    # Flags images unlike the training images, which get no answer; None: no check.
    unfamiliar: Unfamiliar | None = None
    # Detects drift from the validation images; None: not watched.
    reference: DriftReference | None = None
    # The labeller for several labels, if the model has several; else None.
    several: SeveralLabeller | None = None

    @property
    def labels(self) -> list[str]:
        """The labels that it predicts, if several; else empty."""
        return [] if self.several is None else [label.name for label in self.several.labels]

    @property
    def target(self) -> str:
        """The name of the label, or of the labels, that it predicts."""
        return ", ".join(self.labels) or self.classifier.target

    @property
    def classes(self) -> list[str]:
        """The label's values; none of several labels."""
        return [] if self.labels else list(self.classifier.classes)

    def labeller(self, max_pixels: int, budget: Budget) -> Labeller:
        """The labeller of the model, with the server's limits."""
        limits: dict[str, Any] = {
            "max_pixels": min(max_pixels, self.classifier.max_pixels),
            "budget": budget,
        }
        if self.several is not None:
            return replace(self.several, **limits)
        return Labeller(self.classifier, self.unfamiliar, reference=self.reference, **limits)

    def explainer(self) -> Explainer:
        """The maker of maps; loads the weights.

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
        """The description for /v1/models; `maps`: whether any are made; `drift` of its images."""
        model, rule, badges = self.classifier, self.classifier.rule, self.badges.get
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
                sentence=alarm_text(drift),
            ),
            unlike=None if self.unfamiliar is None else self.unfamiliar.describe(),
            methods=[m.model_copy(update={"badge": badges(m.name)}) for m in MAPS.values() if maps],
            about=self.about,
            report=None if self.report is None else f"/reports/{self.name}",
        )  # fmt: skip


def names_for(paths: Sequence[Path]) -> list[str]:
    """A unique name for each run, from its folder's name, fit for a URL."""
    names: list[str] = []
    for path in paths:
        name = "".join(
            c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in path.resolve().name
        ).strip(".-")
        names.append(numbered_name(name[:60] or "model", names.__contains__))
    return names


def is_defined(estimate: Estimate | None) -> bool:
    """Whether an estimate has a finite value."""
    return estimate is not None and math.isfinite(estimate.value)
