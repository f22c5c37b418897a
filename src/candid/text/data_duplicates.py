"""What is said of images and people that stand in the data more than once."""

from __future__ import annotations

from collections.abc import Callable

from candid.text import words
from candid.text.wording import Values, Wording, count_by_split


def beside(splits: tuple[str, str], labels: tuple[str, str], correlation: float | None) -> str:
    """Where two images stand, and how they are labelled; of near duplicates, how alike they are."""
    text = f"{splits[0]} and {splits[1]}: {labels[0]} and {labels[1]}"
    return text if correlation is None else f"{text}, correlation {correlation:.3f}"


def _within_detail(v: Values) -> str:
    return (
        f"{v['images']:,} images have an identical copy in their own split; {v['surplus']:,} of "
        f"them {words.plural(v['surplus'], 'is', 'are')} surplus{_same_bytes_clause(v)}."
    )


def _across_detail(v: Values) -> str:
    return (
        f"{v['images']:,} images have an identical copy in another split{_same_bytes_clause(v)} "
        f"({count_by_split(v['splits'])})."
    )


def _same_bytes_clause(v: Values) -> str:
    if not v["same_bytes"]:
        return ""
    return f"; {words.many(v['same_bytes'], 'is a copy', 'are copies')} byte for byte"


def _near_detail(scope: str) -> Callable[[Values], str]:
    def describe(v: Values) -> str:
        return (
            f"{words.many(v['images'], 'image is', 'images are')} near-identical to one in {scope} "
            f"({words.many(v['pairs'], 'pair', 'pairs')}; "
            f"{count_by_split(v['splits'])}), identical copies aside. {_search_sentences(v)}"
        )

    return describe


def _search_sentences(v: Values) -> str:
    """How sure near duplicates are, in a sentence or two."""
    more = "" if v["complete"] else "At least: the search ended at a million pairs. "
    if v["by_chance"] is None:
        return f"{more}How many of them chance brought together was not measured."
    return (
        f"{more}A pair counts from a correlation of {v['threshold']:.2f}; chance alone would "
        f"bring about {v['by_chance']:.0f} of all {v['all_pairs']:,} pairs together, counted "
        "with one picture of each mirrored."
    )


def _no_near_detail(scope: str) -> str:
    return (
        f"No image is near-identical to one in {scope}, identical copies aside. Mirrored and much "
        "cropped copies are not looked for."
    )


def _people_detail(v: Values) -> str:
    return (
        f"{words.count(v['count'])} of {words.persons(v['of'])} "
        f"{words.plural(v['count'], 'stands', 'stand')} in two splits or more, with "
        f"{words.images(v['images'])} ({count_by_split(v['splits'])}).{_unknown_people(v)}"
    )


def _unknown_people(v: Values) -> str:
    return f" {words.images(v['unknown'])} of unknown people aside." if v["unknown"] else ""


DUPLICATE_WORDINGS = {
    "DUPLICATES-WITHIN-SPLITS": Wording(
        "Identical pictures within a split",
        _within_detail,
        "No two images of one split have identical pixels.",
        "keep one of each; copies count twice in training and in every figure",
    ),
    "DUPLICATES-ACROSS-SPLITS": Wording(
        "Identical pictures in two splits",
        _across_detail,
        "No picture of one split has an identical copy in another.",
        "remove the copies from train; a model can know them by heart",
    ),
    "NEAR-DUPLICATES-WITHIN-SPLITS": Wording(
        "Near-identical pictures within a split",
        _near_detail("their own split"),
        _no_near_detail("their own split"),
        "look at the examples; where they are one picture, keep one of each",
    ),
    "NEAR-DUPLICATES-ACROSS-SPLITS": Wording(
        "Near-identical pictures in two splits",
        _near_detail("another split"),
        _no_near_detail("another split"),
        "look at the examples; where they are one picture, remove it from train",
    ),
    "CONTRADICTORY-LABELS": Wording(
        "One picture, two labels",
        "{images:,} images have an identical copy with another {target}, of {of:,} that have a "
        "labelled copy.",
        "Identical pictures have the same {target}.",
        "look at them and mend the labels; each such pair holds at least one error",
    ),
    "NEAR-DUPLICATES-LABELLED-DIFFERENTLY": Wording(
        "Near-identical pictures, different labels",
        "{pairs:,} of {of:,} near-identical {of:pair|pairs} {pairs:has|have} different values of "
        "{target}.",
        "Near-identical pictures have the same {target}.",
        "look at them; where they are one picture, mend the labels",
        tells_share="found",
    ),
    "PEOPLE-ACROSS-SPLITS": Wording(
        "People in two splits",
        _people_detail,
        lambda v: f"None of {words.persons(v['of'])} stands in two splits.{_unknown_people(v)}",
        "split by person; otherwise the test measures how well people are recognised",
        tells_share="found",
    ),
}
