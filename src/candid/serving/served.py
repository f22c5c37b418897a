"""A model as the server has it: its name, what answers, and what is known of it, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from candid.inference.classifier import Classifier
from candid.records import Estimate
from candid.settings import ExplainConfig

if TYPE_CHECKING:
    from candid.inference.unfamiliar import Typical
    from candid.serving.explaining import Explainer


@dataclass(frozen=True, slots=True)
class MapWords:
    """What a kind of map is called and does; `signed`: it says for and against."""

    title: str
    about: str
    signed: bool


# As `candid.explanation.attribution` has them; it loads torch, too slow for a first look at a page.
MAPS = {
    "gradient": MapWords(
        "Gradient", "How much the score changes when a pixel changes a little.", False
    ),
    "smoothgrad": MapWords(
        "SmoothGrad", "The gradient, averaged over noisy copies of the image.", False
    ),
    "integrated_gradients": MapWords(
        "Integrated gradients",
        "The gradient, collected on the way from a grey image to this one.",
        True,
    ),
    "grad_cam": MapWords(
        "Grad-CAM", "Where a late layer's units answer that the class depends on.", True
    ),
    "occlusion": MapWords(
        "Occlusion", "How far the score falls when a patch is painted over.", True
    ),
    "rise": MapWords("RISE", "How the score goes with what random masks leave to see.", True),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure and what it means: "Labelled Male: answered so", 0.96 with its interval."""

    name: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Weakness:
    """Pictures that the model does worse on, as the audit found, or that nobody could say."""

    title: str
    detail: str
    severity: str


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a model, in sentences for a reader.

    Attributes
    ----------
    summary, uses, not_for, limits
        The words of the report.
    data_name
        What it was trained on.
    trained_on
        How many pictures of whom.
    picture_size
        Width and height that most of them have; None where unknown.
    split
        The split that the measures come from; "" where nothing was measured.
    measures
        How well it does there.
    audited
        Whether an audit looked for groups that it does worse on.
    weaknesses
        What the audit found, the worst first.
    weakness_note
        How much was looked at; or that nobody looked.
    is_drawn
        Whether a program drew the faces that it was trained on.
    """

    summary: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    not_for: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    data_name: str = ""
    trained_on: tuple[str, ...] = ()
    picture_size: tuple[int, int] | None = None
    split: str = ""
    measures: tuple[Measure, ...] = ()
    audited: bool = False
    weaknesses: tuple[Weakness, ...] = ()
    weakness_note: str = ""
    is_drawn: bool = False


@dataclass(frozen=True, eq=False)
class Served:
    """One model that the server answers for.

    Attributes
    ----------
    name
        What requests call it by: letters, digits, dots, dashes.
    classifier
        What answers.
    about
        What is known of it.
    report
        The report's file; None where there is none.
    weights
        Where its weights lie, for maps; None: no maps.
    badges
        Method → whether its maps passed their checks on this model ("passed", "failed",
        "not applicable"); empty where nobody checked.
    explain
        How maps are made.
    typical
        What tells pictures like the training pictures from others, which get no answer; None:
        nobody looks.
    """

    name: str
    classifier: Classifier
    about: About = field(default_factory=About)
    report: Path | None = None
    weights: Path | None = None
    badges: dict[str, str] = field(default_factory=dict)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    typical: Typical | None = None

    def explainer(self) -> Explainer:
        """What makes maps; loads the weights anew.

        Raises
        ------
        DependencyError
            Where torch is not installed.
        """
        from candid.errors import DependencyError, RunError

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
                todo="pip install 'candid[train]'",
            ) from error
        return Explainer(self.weights, self.classifier.card, self.explain)


def names_for(paths: Sequence[Path]) -> list[str]:
    """A name for each run, from its folder's name: unlike the others', and fit for an address."""
    names: list[str] = []
    for path in paths:
        kept = "".join(
            c if c.isascii() and (c.isalnum() or c in ".-_") else "-" for c in path.resolve().name
        ).strip(".-")
        plain = name = kept[:60] or "model"
        number = 2
        while name in names:
            name = f"{plain}-{number}"
            number += 1
        names.append(name)
    return names


def is_defined(estimate: Estimate | None) -> bool:
    """Whether there is a figure."""
    return estimate is not None and math.isfinite(estimate.value)
