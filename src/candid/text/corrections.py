"""What is said of corrections: what they did to the data, and how far two people agree."""

from __future__ import annotations

from collections.abc import Iterator

from candid.records import Estimate
from candid.records.review import Agreement
from candid.text import words
from candid.text.wording import Values, Wording


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"


def _applied(v: Values) -> str:
    did = ", ".join(
        (
            f"{_many(v['label'], 'label was', 'labels were')} changed",
            f"{_many(v['leave_out'], 'image', 'images')} left out",
            f"{_many(v['same_image'], 'copy', 'copies')} left out",
            f"{_many(v['person'], 'identity', 'identities')} changed",
        )
    )
    whose = ", ".join(f"{name or 'nobody named'} {count:,}" for name, count in v["who"].items())
    more = f" Whose: {whose}." if whose else ""
    if v["disputed"]:
        more += f" {_many(v['disputed'], 'image is', 'images are')} disputed and left as they were."
    if v["missing"]:
        more += f" {_many(v['missing'], 'image', 'images')} that the file names are not here."
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
    yield f"{out}: {found.lines:,} decisions on {found.images:,} images"
    if not found.both:
        yield "  no image was decided in both files"
        return
    yield f"  decided in both: {found.both:,} images"
    yield f"  the same decision: {words.percent_interval(found.agreement)}, Wilson"
    yield f"  Cohen's kappa: {_kappa(found.kappa)}"
    for pair in found.apart[:10]:
        yield f"    {pair.first} and {pair.second}: {pair.count:,}"


def _kappa(kappa: Estimate) -> str:
    if kappa.value != kappa.value:
        return "undefined (only one decision occurs)"
    return f"{words.with_ends(kappa)}, {kappa.method}"


def applied_lines(changed: str, out: str, images: int) -> Iterator[str]:
    """What was written."""
    yield changed
    yield f"{out}: {images:,} images"
