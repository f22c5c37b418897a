"""What the commands print of an audit: lines that agree with each other and with the record."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

import candid
from auditing.audited import crowd, predictions
from candid.auditing.audit import audit_groups
from candid.pipeline.auditing import audit_predictions
from candid.records.audit import Audit
from candid.records.collecting import MOST_WANTED
from candid.settings import AuditConfig
from candid.text.audit import collection_sentences
from candid.text.console import audit_lines

QUICK = AuditConfig(draws=100, slices=0, more=False)


def lines(found: Audit) -> list[str]:
    return [line.strip() for line in audit_lines(found, "", "")]


def states(found: Audit) -> dict[str, tuple[float, str]]:
    """Of each line of the table of groups: the gap in points, and what it is called."""
    rows = [re.split(r"\s{2,}", line) for line in lines(found)]
    head = next(i for i, row in enumerate(rows) if row[0] == "group")
    table = [row for row in rows[head + 1 :] if len(row) == len(rows[head])]
    return {row[0]: (float(row[5]), row[-1]) for row in table}


def test_a_line_is_called_found_for_the_gap_that_it_shows() -> None:
    """In a group women are wrong more often, and men less: its accuracy is as all others'."""
    n = 4000
    label, hat = np.arange(n) % 2, np.arange(n) // 2 % 2
    wrong = np.where(hat == 1, np.where(label == 0, 40, 11), 25) > np.arange(n) // 4 % 100
    found = audit_groups(
        predictions(label, np.where(wrong, 1 - label, label), attributes={"hat": hat}), QUICK
    )
    hats = next(g for g in found.splits[0].groups if g.conditions[0].value == "yes")
    assert hats.state == "found" and hats.gaps["accuracy"].state == "not found"
    shown = states(found)
    assert shown["hat: yes"][1] == "not found" and shown["hat: yes, labelled Female"][1] == "found"
    assert next(iter(shown)) == "hat: yes, labelled Female"


def test_a_gap_that_is_no_finding_is_not_called_nothing() -> None:
    """The model is less sure of some, whom it mistakes as often as others."""
    rng = np.random.default_rng(0)
    n = 1200
    label, hat, wrong = rng.integers(0, 2, n), np.arange(n) % 2, np.arange(n) % 20 < 2
    p = predictions(
        label,
        np.where(wrong, 1 - label, label),
        attributes={"hat": hat},
        sure=np.where(hat, 0.6, 0.9) + rng.uniform(-0.05, 0.05, n),
    )
    found = audit_groups(p, QUICK)
    split = found.splits[0]
    assert not split.findings and split.gaps_found > 0
    said = "\n".join(lines(found))
    assert "nothing found" not in said and "no finding among" in said
    assert "halve" not in said  # of a gap that nobody was told of
    nothing = replace(found, splits=(replace(split, gaps_found=0),))
    assert f"nothing found among {split.gaps_looked_at} gaps" in "\n".join(lines(nothing))


def test_what_to_collect_says_no_number_that_was_cut_and_nothing_of_training() -> None:
    rng = np.random.default_rng(1)
    p = crowd(900, {"hat": 0.4}, 0, planted={("hat",): 0.3})
    words = tuple(f"S{i}" for i in range(45))
    states = predictions(
        p.label,
        p.prediction,
        attributes={"hat": p.attributes["hat"].data, "state": (words, rng.integers(0, 45, len(p)))},
    )
    split = audit_groups(states, QUICK).splits[0]
    assert len(split.wanted) == MOST_WANTED and split.findings
    *_, more, curve = collection_sentences(split)
    assert more == "at least 35 more groups are too small for a gap of 5 points to be seen."
    assert "learned from" not in curve and "--curve" in curve
    fewer = collection_sentences(replace(split, wanted=split.wanted[:7]))
    assert "2 more groups are too small for a gap of 5 points to be seen." in fewer
    hopeless = tuple(replace(w, more_people=None) for w in split.wanted[:3])
    (first, _) = collection_sentences(replace(split, wanted=hopeless))
    assert all(w.value in first for w in hopeless) and "no number would show" in first


@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_is_not_told_as_an_accuracy(sign) -> None:
    a = crowd(400, {"hat": 0.4}, 0, base=0.3)
    better = replace(a, probability=np.eye(2)[np.where(np.arange(len(a)) % 4, a.label, 0)])
    before, after = (a, better) if sign > 0 else (better, a)
    found = audit_predictions(after[10:], QUICK, before=before, names=("a.csv", "b.csv"))
    right = [float((~p[10:].wrong).mean()) for p in (before, after)]
    (told,) = [line for line in lines(found) if line.startswith("a.csv → b.csv")]
    assert f"accuracy {right[0]:.4f} → {right[1]:.4f}, {right[1] - right[0]:+.4f} (" in told
    assert "note: 10 labelled images are in a.csv alone and do not count." in lines(found)


def test_rows_without_a_label_are_counted_once(tmp_path) -> None:
    file = tmp_path / "t.csv"
    rows = "".join(f"{'' if i % 10 == 0 else 'ab'[i % 2]},0.{1 + i % 8}\n" for i in range(100))
    file.write_text("label,p_b\n" + rows)
    named = candid.Columns("label", ("p_b",))
    found = candid.audit(file, columns=named)
    assert sum("no label" in note for note in found.notes) == 1
    assert "10 of 100 images have no label and do not count." in found.notes


def test_what_has_no_value_is_counted_by_name() -> None:
    label = np.arange(60) % 2
    attributes = {f"a{k}": np.where(np.arange(60) < k, -1, label) for k in range(8)}
    found = audit_groups(predictions(label, label, attributes=attributes), QUICK)
    (said,) = [note for note in found.splits[0].notes if "no value" in note]
    assert said.startswith(
        "Of 60 images, some have no value for a1 (1), a2 (2), a3 (3), a4 (4), a5 (5) and 2 others:"
    )
    whole = audit_groups(predictions(label, label, attributes={"a": label}), QUICK)
    assert not any("no value" in note for note in whole.splits[0].notes)
