"""The search for slices against all combinations, listed one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from auditing.audited import crowd, predictions
from candid.auditing.audit import audit_groups
from candid.auditing.rows import Rows
from candid.auditing.slices import find_slices, list_values, slice_scores
from candid.settings import AuditConfig
from candid.stats.bootstrap import resample


def rows(p):
    return Rows(p.with_bins(), resample(len(p), p.person, draws=50))


def brute_force(r, least, alpha):
    """GroupKey → score, n and mistakes of every combination of up to three values."""
    scores = {}
    for size in (1, 2, 3):
        for basis in itertools.combinations(list_values(r), size):
            mask = np.logical_and.reduce([r.attributes[a].data == v for a, v in basis])
            if len({a for a, _ in basis}) < size or mask.sum() < least:
                continue
            n, e = mask.sum(), (mask & r.predictions.wrong).sum()
            mean = r.predictions.wrong.mean()
            score = alpha * (e / n / mean - 1) - (1 - alpha) * (len(r) / n - 1)
            scores[tuple(sorted(basis))] = (score, n, e)
    return scores


@pytest.mark.parametrize(("seed", "alpha"), [(0, 0.95), (1, 0.8), (2, 0.99)])
def test_finds_the_best_of_all_combinations(seed, alpha):
    shares = {f"a{k}": s for k, s in enumerate((0.1, 0.3, 0.5, 0.7, 0.2, 0.05))}
    p = crowd(150, shares, seed, base=0.15, planted={("a1", "a2", "a3"): 0.9})
    r, least = rows(p), 12
    everything = brute_force(r, least, alpha)
    good = {}
    for key, (score, n, e) in everything.items():
        parts = [k for s in (1, 2) for k in itertools.combinations(key, s) if k != key]
        # A part that is too small to count cannot be: it holds the whole.
        if score > max((everything[k][0] for k in parts), default=0) and score > 0:
            good[key] = (score, n, e)
    best = sorted(good, key=lambda k: -good[k][0])[:8]
    found = find_slices(r, most=8, least=least, alpha=alpha, overlap=1)
    assert [f.key for f in found] == best or np.allclose(
        [f.score for f in found], [good[k][0] for k in best]
    )
    # What is pruned changes nothing: the more so the fewer are asked for.
    alone = find_slices(r, most=1, least=least, alpha=alpha, overlap=1)
    assert alone[0].score == pytest.approx(good[best[0]][0])
    for f in found:
        score, n, e = good[f.key]
        assert f.score == pytest.approx(score) and (f.n, f.mistakes) == (n, e)


def test_score_as_published():
    """Error twice the average in a tenth of the images, alpha 0.95: 0.95 · 1 - 0.05 · 9."""
    assert slice_scores(100, 20, 1000, 100, 0.95) == pytest.approx(0.5)
    assert slice_scores(1000, 100, 1000, 100, 0.95) == pytest.approx(0)
    assert slice_scores(0, 0, 1000, 100) == -np.inf


def test_the_same_mistakes_are_told_once():
    p = crowd(300, {"hat": 0.15, "b": 0.5}, 3, base=0.05, planted={("hat",): 0.4})
    hat = p.attributes["hat"].data
    shadow = np.where(np.random.default_rng(0).random(len(p)) < 0.95, hat, 1 - hat)
    p = predictions(
        p.label,
        p.prediction,
        attributes={"hat": hat, "shadow": shadow, "b": p.attributes["b"].data},
        person=p.person,
    )
    told = find_slices(rows(p), most=5, least=10)
    assert len([f for f in told if {a for a, _ in f.key} & {0, 1}]) == 1
    assert len(find_slices(rows(p), most=5, least=10, overlap=1)) > len(told)


def test_nothing_to_find():
    right = predictions([0, 1] * 30, [0, 1] * 30, attributes={"a": [0, 1] * 30})
    assert find_slices(rows(right), least=2) == []
    bare = predictions([0, 1] * 30, [0, 0] * 30)
    assert find_slices(rows(bare), least=2) == []
    tiny = predictions([0, 1, 1], [0, 1, 0], attributes={"a": [0, 1, 1]})
    assert find_slices(rows(tiny)) == []


def test_a_planted_slice_is_found_on_one_half_and_confirmed_on_the_other():
    shares = {"hat": 0.35, "young": 0.4, "smile": 0.5, "glasses": 0.3}
    p = crowd(1500, shares, 4, base=0.04, planted={("hat", "young"): 0.35})
    audited = audit_groups(p, AuditConfig(draws=100, more=False, pairs=False)).splits[0]
    best = audited.slices[0]
    assert {(c.attribute, c.value) for c in best.conditions} == {("hat", "yes"), ("young", "yes")}
    assert best.gap.state == "found" and best.beyond.state == "found"
    assert best.found_error > 0.2 and best.error.low < 0.35 < best.error.high
    # The halves share nobody: images of the slice on both sides add up to all of it.
    mask = (p.attributes["hat"].data == 1) & (p.attributes["young"].data == 1)
    assert best.found_n + best.n == mask.sum()
    assert "SLICE" in {f.finding.code for f in audited.findings}
