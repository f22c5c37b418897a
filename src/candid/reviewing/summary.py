"""What the decisions of a reviewer amount to: figures with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from candid.records import Estimate
from candid.records.review import ReasonCounts, ReviewSummary, Showing, Why
from candid.stats.intervals import wilson_share
from candid.tables.corrections import Correction, active_corrections

_WHY: tuple[Why, ...] = ("likely wrong", "person", "slice", "strange")
_NO_LABEL: tuple[Why, ...] = ("copy", "unreadable")  # without a question about the label


@dataclass(frozen=True, slots=True)
class Review:
    """All showings, and the number of labelled images."""

    showings: Sequence[Showing]
    labelled: int
    confidence: float = 0.95


def group_decisions(
    corrections: Sequence[Correction], who: str
) -> tuple[dict[str, list[Correction]], dict[frozenset[str], Correction]]:
    """One reviewer's standing decisions: of each image in order, and the last of each pair."""
    images: dict[str, list[Correction]] = {}
    pairs: dict[frozenset[str], Correction] = {}
    for c in active_corrections(c for c in corrections if c.who == who):
        if c.kind in ("label", "cannot say", "leave out"):
            images.setdefault(c.id, []).append(c)
        elif c.kind in ("same image", "not the same"):
            pairs[frozenset((c.id, c.now))] = c
    return images, pairs


def is_decided(
    showing: Showing,
    images: dict[str, list[Correction]],
    pairs: dict[frozenset[str], Correction],
) -> bool:
    """Whether a showing is decided."""
    if showing.other:
        return frozenset((showing.image, showing.other)) in pairs
    return len(images.get(showing.image, ())) >= showing.time


def summarise(review: Review, corrections: Sequence[Correction], who: str) -> ReviewSummary:
    """The figures of one reviewer; only what was decided without seeing the label is judged."""
    images, pairs = group_decisions(corrections, who)
    why: dict[str, Why] = {s.image: s.why for s in review.showings if s.why not in _NO_LABEL}
    first = {image: images[image][0] for image in why if image in images}
    blind = {image: c for image, c in first.items() if c.kind == "label" and c.blind}
    suspect = [c.now != c.was for image, c in blind.items() if why[image] != "decoy"]
    decoy = [c.now != c.was for image, c in blind.items() if why[image] == "decoy"]
    suspected = sum(reason != "decoy" for reason in why.values())
    suspects, decoys = (wilson_share(sum(m), len(m), review.confidence) for m in (suspect, decoy))
    unsuspected = review.labelled - suspected
    repeated = [answers for image, answers in images.items() if len(answers) > 1 and image in why]
    same = sum((s[0].kind, s[0].now) == (s[1].kind, s[1].now) for s in repeated)
    kinds = [c.kind for c in first.values()]
    unread = (images.get(s.image) for s in review.showings if s.why == "unreadable")
    files = [answers[-1].kind for answers in unread if answers]
    return ReviewSummary(
        who=who,
        decided=sum(is_decided(s, images, pairs) for s in review.showings),
        shown=len(review.showings),
        suspects=suspects,
        suspected=suspected,
        decoys=decoys,
        unsuspected=unsuspected,
        labels=_overall(suspects, suspected, decoys, unsuspected),
        consistency=wilson_share(same, len(repeated), review.confidence),
        reasons=tuple(_reason(one, why, blind) for one in _WHY if one in why.values()),
        cannot_say=kinds.count("cannot say"),
        left_out=kinds.count("leave out"),
        not_blind=kinds.count("label") - len(blind),
        copies=sum(c.kind == "same image" for c in pairs.values()),
        not_copies=sum(c.kind == "not the same" for c in pairs.values()),
        files_out=files.count("leave out"),
        files_kept=len(files) - files.count("leave out"),
    )


def _reason(reason: Why, why: dict[str, Why], judged: dict[str, Correction]) -> ReasonCounts:
    decisions = [c for image, c in judged.items() if why[image] == reason]
    return ReasonCounts(reason, len(decisions), sum(c.now != c.was for c in decisions))


def _overall(suspects: Estimate, suspected: int, decoys: Estimate, unsuspected: int) -> Estimate:
    """The share of all labels that are otherwise; see `ReviewSummary.labels`.

    Decoys are a simple random sample of the images that nobody suspected, so their interval needs
    no people; suspects that were judged are counted, and nothing is drawn there.
    """
    n_wrong = suspects.value * suspects.n if suspects.n else 0.0
    rest, total = suspected - suspects.n, suspected + unsuspected
    if not total or not decoys.n:
        nan = math.nan
        return Estimate(nan, nan, nan, decoys.n, "stratified", confidence=decoys.confidence)
    worst = max(suspects.high, decoys.high) if suspects.n else 1.0
    likely = (suspects.value + decoys.value) / 2 if suspects.n else decoys.value
    value, low, high = (
        (n_wrong + rest * of_rest + unsuspected * of_others) / total
        for of_rest, of_others in (
            (likely, decoys.value),
            (min(decoys.low, suspects.low if suspects.n else 0.0), decoys.low),
            (worst, decoys.high),
        )
    )
    n, method = suspects.n + decoys.n, "stratified, Wilson of the decoys"
    return Estimate(value, low, high, n, method, confidence=decoys.confidence)
