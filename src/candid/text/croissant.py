"""What `croissant.json` says of a data set in words, its responsible-AI part with it."""

from __future__ import annotations

from collections.abc import Sequence

from candid.records import Exploration
from candid.text import words

USES = (
    "Studying how classifiers of faces behave: how often they are right, and for whom they fail.",
    "Not for deciding anything about a person, and not for people who have not agreed to have "
    "their faces analysed.",
)
PREPROCESSING = "None: pictures and labels are as they were found, but for corrections named above."
_MOST_ATTRIBUTES = 12


def description(e: Exploration) -> str:
    """How many images of how many people, and what their label is."""
    images = "drawn faces" if e.synthetic else "images of faces"
    people = "" if e.people is None else f" of {words.persons(e.people)}"
    classes = words.conjoin([f"“{c}”" for c in e.classes])
    return f"{words.count(e.n)} {images}{people}, each with the label “{e.target}”: {classes}."


def missing(e: Exploration) -> str:
    """What has no label, or no picture."""
    return (
        f"{words.count(e.unlabelled)} of {words.images(e.n)} "
        f"{words.plural(e.unlabelled, 'has', 'have')} no label, and "
        f"{words.count(e.unreadable)} cannot be read."
    )


def limitations(e: Exploration) -> list[str]:
    """What the checks found."""
    findings = [f for f in e.findings if f.state == "found"]
    return [f"{f.title} ({f.severity}). {f.detail}" for f in findings]


def biases(e: Exploration) -> list[str]:
    """The shares of the classes, and which annotations go with the label, with their intervals."""
    sentences = [
        f"{split.split}: “{name}” is the label of {words.share_with_ends(share)} of "
        f"{words.count(split.n)} images."
        for split in e.splits
        for name, share in zip(e.classes, split.shares, strict=True)
        if split.n
    ]
    attributes = [a for a in e.attributes if a.split == "train" and a.association.value >= 0]
    attributes = sorted(attributes, key=lambda a: -a.association.value)[:_MOST_ATTRIBUTES]
    return sentences + [
        f"train: {a.attribute} is “{a.value}” in {words.share_with_ends(a.prevalence)}; Cramér's V "
        f"with the label is {words.with_ends(a.association)}."
        for a in attributes
    ]


def personal(e: Exploration, attributes: Sequence[str]) -> list[str]:
    """What it holds that is about people."""
    if e.synthetic:
        return ["None: a program drew every face."]
    sentences = ["Pictures of faces, by which people can be recognised."]
    if e.people is not None:
        sentences.append("A number that tells which pictures show the same person.")
    annotations = [e.target, *attributes]
    return [*sentences, f"Annotations about them: {', '.join(annotations)}."]
