"""What is said of a model that is not Candid's: when it had no answer."""

from __future__ import annotations

from collections.abc import Sequence

from candid.records import Estimate
from candid.text import words


def no_answer(all_images: Estimate, count: int, groups: Sequence[tuple[str, Estimate]]) -> str:
    """For how many images it had no answer, and in which groups most often."""
    sentence = (
        f"The model had no answer for {count:,} of {all_images.n:,} images "
        f"({words.share_of(all_images)}, {words.interval(all_images, share=True)}): "
        "an outcome of its own, beside right and wrong. These images are in no other figure here."
    )
    if not groups:
        return sentence
    listed = "; ".join(
        f"{name} {words.share_of(e)} of {e.n:,} ({words.interval(e, share=True)})"
        for name, e in groups
    )
    return f"{sentence} Most often: {listed}."


def unread(count: int, total: int) -> str:
    """How many pictures could not be read."""
    verb = words.plural(count, "was", "were")
    pictures = f"{words.count(count)} of {words.many(total, 'picture', 'pictures')}"
    return f"{pictures} could not be read and {verb} not shown to the model."


def read_as(library: str, hard: bool) -> str:
    """Which library's format the outputs have, and whether they lack probabilities."""
    text = f"Outputs were read as {library} writes them."
    if not hard:
        return text
    return (
        f"{text} They are answers without probabilities, so areas under curves, losses and "
        "calibration are undefined."
    )


def several_faces(count: int) -> str:
    """Where a picture has several faces."""
    pictures = words.many(count, "picture", "pictures")
    return f"Of {pictures} with several faces the largest counts, or the first."


def no_face_note(library: str, count: int) -> str:
    """Where a library answers of a picture in which it found no face."""
    return (
        f"For {words.many(count, 'picture', 'pictures')} {library} says that no face was found and "
        "answers all the same; these answers count."
    )


def unmatched_outputs(count: int) -> str:
    """Where a file of outputs speaks of other pictures, too."""
    if count == 1:
        return "1 output is of a picture that is not in the data or has no label."
    return f"{count:,} outputs are of pictures that are not in the data or have no label."
