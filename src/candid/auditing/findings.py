"""From gaps that held to findings that a person can read: the surest first, each with pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from candid.auditing.cross_fit import CrossFit, confirmed, slices
from candid.auditing.gaps import Ledger
from candid.auditing.intersections import Intersections, conditions
from candid.auditing.rows import Rows
from candid.auditing.shortcuts import CONTRADICTS, Cues, shortcuts
from candid.auditing.single_groups import Measured, Singles
from candid.records import Example, Finding, Severity
from candid.records.audit import AuditFinding, Condition, Gap, Kind
from candid.records.metrics import worse_when

# The near end of the interval decides: 5 percentage points that are nearly sure are serious.
_SERIOUS, _WARNING = 0.05, 0.01


@dataclass(frozen=True, eq=False)
class Found:
    """A finding that is not yet in words, and how surprising it would be by chance."""

    surprise: float
    finding: AuditFinding


class Teller:
    """Puts what held into words."""

    def __init__(self, rows: Rows, ledger: Ledger, examples: int) -> None:
        self.rows, self.ledger, self.examples = rows, ledger, examples

    def all(
        self,
        singles: Singles,
        pairs: Intersections | None,
        halves: CrossFit,
        cues: Cues,
    ) -> list[AuditFinding]:
        """Every finding, the surest first."""
        found = self.singles(singles)
        if pairs is not None:
            found += self._pairs(pairs)
        told = {frozenset(f.finding.conditions) for f in found}
        found += [f for f in self._slices(halves) if frozenset(f.finding.conditions) not in told]
        found += self._shortcuts(cues)
        return [f.finding for f in sorted(found, key=lambda f: -f.surprise)]

    # --- what held ---

    def singles(self, singles: Singles) -> list[Found]:
        """Single groups, alone or within a label, that are worse off."""
        found = []
        for m, i in singles.places():
            best = self._worst(m, i)
            if best is None:
                continue
            metric, surprise = best
            a, v = m.values[i]
            mask = self.rows.attributes[a].data == v
            label = metric.split(":", 1)[1] if metric.startswith("error:") else None
            if label is not None:
                mask = mask & (
                    self.rows.predictions.label == self.rows.predictions.classes.index(label)
                )
            gap = self.ledger.gap(m.numbers[metric], i)
            condition = conditions(self.rows, ((a, v),))
            number = m.numbers[metric]
            left, right = self.ledger.values(number, i)
            found.append(
                Found(
                    surprise,
                    self._finding("group", condition, label, gap, mask, left, right),
                )
            )
        return found

    def _worst(self, m: Measured, i: int) -> tuple[str, float] | None:
        """The metric whose gap to the group's disadvantage is the most surprising; None without."""
        best: tuple[str, float] | None = None
        for metric, number in m.numbers.items():
            told = metric == "accuracy" or metric.startswith("error:")
            if not told or not (
                self.ledger.is_found(number)[i] and self.ledger.is_worse(number)[i]
            ):
                continue
            surprise = float(self.ledger.surprise(number)[i])
            if best is None or surprise > best[1]:
                best = (metric, surprise)
        return best

    def _pairs(self, pairs: Intersections) -> list[Found]:
        found = []
        for batch, i in pairs.found():
            key = self.rows.key(*batch.pairs[i])
            gap = self.ledger.gap(batch.gap, i)
            left, right = self.ledger.values(batch.gap, i)
            told = self._finding(
                "intersection",
                conditions(self.rows, key),
                None,
                gap,
                self.rows.mask(key),
                left,
                right,
                beyond=self.ledger.gap(batch.beyond, i),
            )
            # As sure as the less sure of the two things that it claims.
            surprise = min(
                float(self.ledger.surprise(number)[i]) for number in (batch.gap, batch.beyond)
            )
            found.append(Found(surprise, told))
        return found

    def _slices(self, halves: CrossFit) -> list[Found]:
        records = slices(halves, self.ledger)
        found = []
        for k in confirmed(halves, self.ledger):
            record, key = records[k], halves.found[k].key
            left, right = self.ledger.values(halves.gap, k)
            told = self._finding(
                "slice",
                record.conditions,
                None,
                record.gap,
                self.rows.mask(key),
                left,
                right,
                beyond=record.beyond,
            )
            number = halves.beyond[halves.several.index(k)]
            surprise = min(
                float(self.ledger.surprise(halves.gap)[k]), float(self.ledger.surprise(number)[0])
            )
            found.append(Found(surprise, told))
        return found

    def _shortcuts(self, cues: Cues) -> list[Found]:
        found = []
        for i, record in shortcuts(cues, self.ledger, self.rows):
            number = cues.number
            if number is None or not (
                self.ledger.is_found(number)[i] and self.ledger.is_worse(number)[i]
            ):
                continue
            against = cues.rows.attributes[i].data == CONTRADICTS
            cue = tuple(Condition(record.attribute, value) for value in record.cue)
            left, right = self.ledger.values(number, i)
            goes = "; ".join(f"{value} goes with {c}" for value, c in record.cue.items())
            detail = (
                f"{record.attribute} goes with the label (Cramér's V "
                f"{record.association.value:.2f}; {goes}). Where it contradicts the label, "
                f"{_percent(left)} are classified otherwise than labelled, where it agrees "
                f"{_percent(right)}, within the pictures labelled {' or '.join(record.within)}: "
                f"{self._difference(record.gap)}."
            )
            told = self._audit_finding(
                "shortcut",
                f"Leans on {record.attribute}, or on what goes with it",
                detail,
                cue,
                None,
                record.gap,
                against,
                "Look at what the maps show for these pictures, and train with more pictures that "
                "contradict the cue, or with weights by label and attribute.",
            )
            found.append(Found(float(self.ledger.surprise(number)[i]), told))
        return found

    # --- in words ---

    def _finding(
        self,
        kind: Kind,
        group: tuple[Condition, ...],
        label: str | None,
        gap: Gap,
        mask: NDArray[np.bool_],
        left: float,
        right: float,
        *,
        beyond: Gap | None = None,
    ) -> AuditFinding:
        name = named(group)
        error = gap.metric.startswith("error")
        mine, others = (left, right) if error else (1 - left, 1 - right)
        among = ("", "") if label is None else (f" and labelled {label}", f" labelled {label}")
        # What was measured from pixels nobody wrote.
        how = "with" if any("(measured)" in c.attribute for c in group) else "annotated"
        detail = (
            f"Of the pictures {how} {name}{among[0]}, {_percent(mine)} are classified "
            f"otherwise than labelled; of the others{among[1]}, {_percent(others)}: "
            f"{self._difference(gap)}."
        )
        if beyond is not None:
            detail += (
                f" It is also worse than the nearest larger group without it, by "
                f"{_points(beyond.value)} ({_range(beyond)})."
            )
        if kind == "slice":
            detail += (
                " Found by search on one half of the people; these figures are of the other half."
            )
        title = f"Worse for {name}" + ("" if label is None else f", labelled {label}")
        todo = (
            "Look at the surest mistakes and at the adjusted gap: it may be a gap of something "
            "that goes with it. More training pictures of this group, or weights by group, are the "
            "usual remedies; say so in the model card until then."
        )
        return self._audit_finding(kind, title, detail, group, label, gap, mask, todo)

    def _audit_finding(
        self,
        kind: Kind,
        title: str,
        detail: str,
        group: tuple[Condition, ...],
        label: str | None,
        gap: Gap,
        mask: NDArray[np.bool_],
        todo: str,
    ) -> AuditFinding:
        mistakes = surest_mistakes(self.rows, mask, self.examples)
        code = {
            "group": "GROUP-GAP",
            "intersection": "INTERSECTION-GAP",
            "slice": "SLICE",
            "shortcut": "SHORTCUT",
        }[kind]
        finding = Finding(
            code=code,
            title=title,
            state="found",
            severity=_severity(gap),
            detail=detail,
            count=int(np.count_nonzero(mask & self.rows.wrong)),
            of=int(np.count_nonzero(mask)),
            examples=tuple(e.id for e in mistakes),
            todo=todo,
        )
        return AuditFinding(kind, finding, group, label, gap, mistakes)

    def _difference(self, gap: Gap) -> str:
        people = "" if gap.people is None else f" of {gap.people:,} people"
        return (
            f"{_points(gap.value)} more mistakes ({_range(gap)}; {gap.n:,} pictures{people}; "
            f"p {_p(gap.p)}, {_p(gap.adjusted_p)} after Benjamini and Hochberg over "
            f"{self.ledger.looked_at:,} gaps)"
        )


def named(group: Sequence[Condition]) -> str:
    """A group in words: "Eyeglasses: yes and Young: no"."""
    return " and ".join(f"{c.attribute}: {c.value}" for c in group)


def surest_mistakes(rows: Rows, mask: NDArray[np.bool_], most: int) -> tuple[Example, ...]:
    """The mistakes among some images that the model was surest of; equals in order of their ids."""
    p = rows.predictions
    here = np.flatnonzero(mask & rows.wrong)
    confidence = p.probability.max(axis=1)
    here = here[np.lexsort((p.ids[here], -confidence[here]))][:most]
    return tuple(
        Example(
            id=str(p.ids[i]),
            label=p.classes[p.label[i]],
            prediction=p.classes[p.prediction[i]],
            confidence=float(confidence[i]),
            label_probability=float(p.probability[i, p.label[i]]),
        )
        for i in here
    )


def _severity(gap: Gap) -> Severity:
    way = worse_when(gap.metric)
    near = gap.low if way > 0 else -gap.high
    if near >= _SERIOUS:
        return "serious"
    return "warning" if near >= _WARNING else "note"


def _points(value: float) -> str:
    return f"{abs(100 * value):.1f} percentage points"


def _range(gap: Gap) -> str:
    ends = sorted((abs(gap.low), abs(gap.high))) if gap.low * gap.high > 0 else (gap.low, gap.high)
    return f"{100 * gap.confidence:g}% interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def _percent(share: float) -> str:
    return "undefined" if math.isnan(share) else f"{100 * share:.1f}%"


def _p(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"= {p:.2g}"
