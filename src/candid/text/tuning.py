"""What is said of a search over settings."""

from __future__ import annotations

import math

from candid.records import Estimate
from candid.records.tuning import Tuning
from candid.text import words


def setting_name(name: str) -> str:
    """A setting's name, in words that can be broken into lines."""
    return name.replace(".", " ").replace("_", " ")


def setting_value(setting: object) -> str:
    """A setting as a table shows it."""
    return words.significant(setting) if isinstance(setting, float) else str(setting)


def search_summary(tuning: Tuning) -> list[str]:
    """The result of a search in a few sentences."""
    finished = sum(t.state == "finished" for t in tuning.trials)
    stopped = len(tuning.trials) - finished
    sentences = [
        f"{words.count(len(tuning.trials))} settings were tried on “{tuning.data}”: "
        f"{words.count(finished)} to the end, {words.count(stopped)} stopped early, together "
        f"{words.count(tuning.images)} images through training."
    ]
    best = tuning.best
    if best.is_start:
        sentences.append(
            "None of the finalists was better than the settings that the search began with, so "
            "these stay."
        )
    elif tuning.difference is not None:
        sentences.append(
            f"With fresh seeds, the best reached {_format_mean(best.mean)} on validation, "
            f"{_format_difference(tuning.difference)} than the settings that the search began with."
        )
    else:
        sentences.append(
            f"The best reached {words.number(best.search_f1, 4)} on validation, once: with no "
            "other seed, part of that is luck."
        )
    return sentences


def _format_difference(difference: Estimate) -> str:
    size = words.number(abs(difference.value), words.decimals(difference, 4))
    text = f"{size} {'more' if difference.value >= 0 else 'less'}"
    if not math.isfinite(difference.low):
        return f"{text} (one seed: no interval)"
    verdict = "" if difference.low > 0 or difference.high < 0 else ", which could be chance"
    return f"{text} (95% interval {words.interval(difference, 4)}, {difference.method}{verdict})"


def _format_mean(estimate: Estimate) -> str:
    """A figure with its interval, where there is one."""
    if not math.isfinite(estimate.low):
        return words.figure_of(estimate, 4)
    return words.with_ends(estimate, 4)


def search_warning(tuning: Tuning) -> list[str]:
    """What choosing on validation does to the figures."""
    texts = [
        f"Everything was chosen on the same {words.count(tuning.n_validation)} validation images: "
        "the highest of many figures is high partly by chance, so validation F1 flatters the "
        "winner. Repeating the finalists takes the luck of the seed out of it, not that of the "
        "images."
    ]
    if tuning.test is None:
        texts.append("There is no test split, so nothing here tells how much it flatters.")
    else:
        texts.append(
            "The test images were looked at once, after everything had been chosen. Do not choose "
            "by that figure: whoever searches again because of it needs other test images."
        )
    return texts


def finalist_name(number: int, is_start: bool) -> str:
    """What to call a finalist."""
    return "where it began" if is_start else f"trial {number}"
