"""What is said of corrections: what they did to the data, and how far two people agree."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records import Estimate
from candid.records.review import Agreement
from candid.text import words
from candid.text.wording import Values, Wording


def _applied(v: Values) -> str:
    did = ", ".join(
        (
            f"{words.many(v['label'], 'label was', 'labels were')} changed",
            f"{words.many(v['leave_out'], 'image', 'images')} left out",
            f"{words.many(v['same_image'], 'copy', 'copies')} left out",
            f"{words.many(v['person'], 'identity', 'identities')} changed",
        )
    )
    whose = ", ".join(f"{name or 'nobody named'} {count:,}" for name, count in v["who"].items())
    more = f" Whose: {whose}." if whose else ""
    if v["disputed"]:
        image, was = words.many(v["disputed"], "image is", "images are"), v["disputed"]
        more += f" {image} disputed and left as {words.agreeing(was, 'it was', 'they were')}."
    if v["missing"]:
        is_not = words.agreeing(v["missing"], "is not", "are not")
        more += f" {words.images(v['missing'])} that the file names {is_not} here."
    return f"By {v['file']}: {did}.{more}"


CORRECTION_WORDINGS = {
    "CORRECTIONS": Wording(
        "Corrections",
        _applied,
        todo=lambda v: (
            "Let another person decide what is disputed (candid corrections merge joins the files)."
            if v["disputed"]
            else "See whether the file belongs to these data."
            if v["missing"]
            else ""
        ),
    ),
}


def agreement_lines(found: Agreement, out: str) -> Iterator[str]:
    """How far two files agree on the images that both decided."""
    decisions = words.many(found.lines, "decision", "decisions")
    yield f"{out}: {decisions} on {words.images(found.images)}"
    if not found.both:
        yield "  no image was decided in both files"
        return
    yield f"  decided in both: {words.images(found.both)}"
    yield f"  the same decision: {words.percent_interval(found.agreement)}, Wilson"
    yield f"  Cohen's kappa: {_kappa(found.kappa)}"
    for pair in found.apart[:10]:
        yield f"    {pair.first} in the first file, {pair.second} in the second: {pair.count:,}"


def _kappa(kappa: Estimate) -> str:
    if kappa.value != kappa.value:
        return "undefined (only one decision occurs)"
    return f"{words.with_ends(kappa)}, {kappa.method}"


def applied_lines(changed: str, out: str, images: int) -> Iterator[str]:
    """What was written."""
    yield changed
    yield f"{out}: {words.images(images)}"
