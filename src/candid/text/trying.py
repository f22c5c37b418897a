"""What the report says where a reader tries the model on a picture, and why no model is inside.

Everything here is plain text; what stands in braces is filled in by the page.
"""

from __future__ import annotations

from candid.records.embedded import EmbeddedModel
from candid.records.explanation import Explanation, Method
from candid.text import labelling, places, words
from candid.text.inputs import ReportInput
from candid.text.stories import stories_of, story_line

OTHER_NETWORK = (
    "The model is not inside this report: its page runs the networks “plain” and “deep” alone. "
    "candid predict and candid serve run any."
)
SEVERAL_LABELS = (
    "The model is not inside this report: its network learned several labels, and would lie in "
    "each of their reports. candid predict and candid serve run it."
)
NO_WEIGHTS = "The model is not inside this report: its weights were not there to be read."
NO_LIBRARY = (
    "The model is not inside this report: safetensors, which reads its weights, is not installed."
)
LEFT_OUT = "The model is not inside this report: report.model is off."


def too_large(weights: int, most: int) -> str:
    """Why a network with so many weights is left out."""
    return (
        f"The model is not inside this report: it has {words.count(weights)} weights, more than "
        f"the {words.count(most)} that a page should carry. candid predict and candid serve run it."
    )


def trying_lead(inputs: ReportInput) -> list[str]:
    """What the page does with a picture, and what an answer means."""
    embedded = inputs.embedded
    framed = "framed and " if embedded is not None and embedded.framing is not None else ""
    giver = "a program gave" if inputs.is_drawn else "annotators gave"
    return [
        f"The model lies in this file. A picture of one face that you choose is {framed}labelled "
        "here, by your browser: it goes nowhere, and this page may connect to nothing.",
        f"“{inputs.target}” is a label that {giver} to pictures. An answer is a guess at that "
        "label, not at who or what a person is.",
    ]


def failure_sentence(inputs: ReportInput) -> str:
    """For whom the model is known to fail, in one line."""
    audit = inputs.audit
    if audit is None or not audit.splits:
        return "For whom it fails was not measured."
    stories = stories_of(audit.splits[0])
    if not stories:
        return "No group that could be judged was seen to do worse than the rest."
    return f"Known to fail: {story_line(audit.splits[0], stories[0])}"


def map_sentence(method: Method | None, explanation: Explanation | None) -> str:
    """How the map is made, or why there is none."""
    if explanation is None:
        return "No map is drawn: no kind of map was checked on this model."
    if method is None:
        return (
            "No map is drawn: of the kinds that this page can make, none passed its checks on this "
            "model."
        )
    meaning = "speaks for the label, orange against it" if method.signed else "is where it looks"
    return f"{method.title}, which passed its checks on this model. Blue {meaning}."


def page_words(inputs: ReportInput, embedded: EmbeddedModel) -> dict[str, str | tuple[str, ...]]:
    """What the page says of a picture."""
    unsure = ""
    if embedded.threshold is not None:
        below = labelling.below_threshold(embedded.threshold)
        unsure = f"Not sure: {below}, so there is no answer."
    return {
        "answer": "It would be labelled {label}: {probability}",
        "unsure": unsure,
        "nearest": "The likelier label would be {label}, {probability}.",
        "unlike": "No answer: {why}.",
        "framed": "Framed: the square is what the model saw.",
        "unframed": "It lies as the training pictures do, and was not moved.",
        "unread": "This picture cannot be read.",
        "working": "Looking …",
        "broken": "This browser cannot run the model.",
        "fields": places.FIELDS,
        "mostOfMap": places.MOST_OF_MAP,
        "emptyMap": places.EMPTY_MAP,
    }


def look_words() -> dict[str, str]:
    """Why a picture does not look like the training pictures; "0 × 0" stands for its size."""
    return {
        "shape": labelling.another_shape(0, 0),
        "small": labelling.too_small(0, 0),
        "contrast": labelling.NO_CONTRAST,
        "kind": labelling.ANOTHER_KIND,
        "frame": labelling.NO_FRAME,
    }


def look_promise(embedded: EmbeddedModel) -> str:
    """Whether pictures are held against the training pictures."""
    if embedded.look is None:
        return "Whether a picture is like the training pictures is not checked here."
    return f"Pictures are held against the training pictures, which {embedded.look.told}."
