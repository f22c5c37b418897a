"""Figures of fairness in words, for a reader who is no statistician."""

from __future__ import annotations

import math

from candid.records.fairness import FairnessFigure
from candid.text import words

# By the standard name: its title, and the share that it compares.
_COMPARED = {
    "demographic_parity": ("Demographic parity", "share of images that are classified {0}"),
    "equal_opportunity": (
        "Equal opportunity",
        "share of images labelled {0} that are classified {0}",
    ),
    "equalized_odds": (
        "Equalised odds",
        "share of images that are classified {0}, among those labelled so or among the others",
    ),
    "predictive_parity": (
        "Predictive parity",
        "share of images classified {0} that are labelled so",
    ),
}
# By the figure's name: its heading, the share, and whether it is a ratio.
_FIGURES = {
    f"{name}_{kind}": (f"{title} {kind}", share, kind == "ratio")
    for name, (title, share) in _COMPARED.items()
    for kind in ("difference", "ratio")
} | {
    "accuracy_max_min": (
        "Largest difference in accuracy (max - min)",
        "share of images that are classified as labelled",
        False,
    )
}


def fairness_sentence(figure: FairnessFigure) -> str:
    """What a figure means."""
    e, about = figure.estimate, figure.attribute
    kind = words.confidence(e.confidence)
    if figure.name == "worst_group_accuracy":
        return (
            f"Worst group's accuracy: among the groups of {about}, the model does "
            f"worst on {figure.lowest}: {words.share_of(e)} are classified as labelled "
            f"({kind} {words.hundredths_interval(e)})."
        )
    heading, share, is_ratio = _FIGURES[figure.name]
    compared = share.format(figure.about)
    if math.isnan(e.value):
        return f"{heading}: undefined, because the {compared} cannot be computed in any two groups."
    if is_ratio:
        return (
            f"{heading}: the {compared} is, for {about}: {figure.lowest}, {words.figure_of(e)} of "
            f"what it is for {about}: {figure.highest} ({kind} {words.interval(e)}); 1 would be "
            "equal."
        )
    return (
        f"{heading}: the {compared} is up to {words.hundredths_of(e)} percentage points higher "
        f"for {about}: {figure.highest} than for {about}: {figure.lowest} "
        f"({kind} {words.hundredths_interval(e)}); 0 would be equal."
    )
