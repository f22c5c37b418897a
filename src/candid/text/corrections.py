"""What is said of corrections: what they did to the data, and how far two people agree."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records import Estimate
from candid.records.review import Agreement
from candid.text import words
from candid.text.wording import Values, Wording


def _describe_corrections(v: Values) -> str:
    changes = ", ".join(
        (
            f"{words.many(v['label'], 'label was', 'labels were')} changed",
            f"{words.many(v['leave_out'], 'image', 'images')} left out",
            f"{words.many(v['same_image'], 'copy', 'copies')} left out",
            f"{words.many(v['person'], 'identity', 'identities')} changed",
        )
    )
    people = ", ".join(f"{name or 'nobody named'} {count:,}" for name, count in v["who"].items())
    rest = f" Whose: {people}." if people else ""
    if v["disputed"]:
        images, disputed = words.many(v["disputed"], "image is", "images are"), v["disputed"]
        rest += f" {images} disputed and left as {words.plural(disputed, 'it was', 'they were')}."
    if v["missing"]:
        is_not = words.plural(v["missing"], "is not", "are not")
        rest += f" {words.images(v['missing'])} that the file names {is_not} here."
    return f"By {v['file']}: {changes}.{rest}"


CORRECTION_WORDINGS = {
    "CORRECTIONS": Wording(
        "Corrections",
        _describe_corrections,
        todo=lambda v: (
            "Let another person decide what is disputed (candid corrections merge joins the files)."
            if v["disputed"]
            else "See whether the file belongs to these data."
            if v["missing"]
            else ""
        ),
    ),
}


def agreement_lines(agreement: Agreement, out: str) -> Iterator[str]:
    """How far two files agree on the images that both decided."""
    decisions = words.many(agreement.lines, "decision", "decisions")
    yield f"{out}: {decisions} on {words.images(agreement.images)}"
    if not agreement.both:
        yield "  no image was decided in both files"
        return
    yield f"  decided in both: {words.images(agreement.both)}"
    yield f"  the same decision: {words.percent_interval(agreement.agreement)}, Wilson"
    yield f"  Cohen's kappa: {_format_kappa(agreement.kappa)}"
    for pair in agreement.apart[:10]:
        yield f"    {pair.first} in the first file, {pair.second} in the second: {pair.count:,}"


def _format_kappa(kappa: Estimate) -> str:
    if kappa.value != kappa.value:
        return "undefined (only one decision occurs)"
    return f"{words.with_ends(kappa)}, {kappa.method}"


def applied_lines(changed: str, out: str, images: int) -> Iterator[str]:
    """What was written."""
    yield changed
    yield f"{out}: {words.images(images)}"
