"""The whole audit on predictions made by hand: what it must find, and what it must not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from auditing.audited import crowd, predictions
from candid.auditing.audit import audit_groups
from candid.auditing.conditions import failures, parse
from candid.errors import ConfigError, PredictionsError
from candid.records import from_plain, read_record, to_plain, write_record
from candid.records.audit import Audit
from candid.records.audit_file import write_audit
from candid.settings import AuditConfig

SHARES = {"hat": 0.15, "glasses": 0.3, "young": 0.7, "smile": 0.5, "beard": 0.25}
QUICK = AuditConfig(draws=100, more=False)


def only(p, config=QUICK):
    return audit_groups(p, config).splits[0]


def group(split, *conditions, label=None):
    wanted = set(conditions)
    return next(
        g
        for g in (*split.groups, *split.intersections)
        if {(c.attribute, c.value) for c in g.conditions} == wanted and g.label == label
    )


# --- what it must find ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_group_comes_first(seed):
    split = only(crowd(900, SHARES, seed, planted={("hat",): 0.25}))
    first = split.findings[0]
    assert [(c.attribute, c.value) for c in first.conditions] == [("hat", "yes")]
    assert first.kind == "group" and first.finding.state == "found"
    assert first.gap.state == "found" and first.finding.severity == "serious"
    assert (
        first.finding.count == sum(m is not None for m in first.mistakes)
        or first.finding.count > 12
    )
    hat = group(split, ("hat", "yes"))
    assert hat.state == "found" and hat.gaps["accuracy"].high < -0.05
    assert group(split, ("hat", "no")).state == "not found"  # it does better, not worse


def test_nothing_is_found_on_unbiased_data():
    """At most 1 of 12 seeds may find something (0.3% of such tests would see more by chance)."""
    clean = [not only(crowd(300, SHARES, seed)).findings for seed in range(12)]
    assert sum(clean) >= 11


def test_the_planted_group_among_the_attributes_of_synthetic_faces():
    """Attributes as correlated as those of faces: the planted one comes first all the same."""
    from candid.data.synthetic import FaceWorld, plan

    drawn = plan(FaceWorld(n=2500, people=1250, seed=3))
    rng = np.random.default_rng(3)
    glasses = drawn.attributes["Eyeglasses"].data == 1
    label = np.asarray(drawn.label)
    wrong = rng.random(len(label)) < np.where(glasses, 0.3, 0.04)
    p = replace(
        predictions(label, np.where(wrong, 1 - label, label), person=drawn.person),
        attributes=drawn.attributes,
    )
    first = only(p).findings[0]
    assert [(c.attribute, c.value) for c in first.conditions] == [("Eyeglasses", "yes")]


def test_a_pair_is_a_finding_of_its_own_only_where_it_is_worse_than_both():
    both = only(crowd(1500, SHARES, 5, planted={("glasses", "beard"): 0.4}))
    kinds = {f.kind: {(c.attribute, c.value) for c in f.conditions} for f in both.findings[::-1]}
    assert kinds["intersection"] == {("glasses", "yes"), ("beard", "yes")}
    pair = group(both, ("glasses", "yes"), ("beard", "yes"))
    assert pair.beyond.state == "found" and pair.beyond.value < -0.2
    alone = only(crowd(900, SHARES, 6, planted={("hat",): 0.3}))
    assert not [f for f in alone.findings if f.kind == "intersection"]
    assert alone.intersections
    for g in alone.intersections:
        assert g.beyond.value < 0 or g.beyond.p == 1 or g.beyond.state == "too few to say"
    # … although the gap of the pair to all others is there.
    assert group(alone, ("hat", "yes"), ("smile", "yes")).gaps["accuracy"].state == "found"


def test_mistakes_within_a_label():
    rng = np.random.default_rng(0)
    label, hat = rng.integers(0, 2, 1200), rng.random(1200) < 0.3
    wrong = rng.random(1200) < np.where(hat & (label == 1), 0.3, 0.03)
    p = predictions(label, np.where(wrong, 1 - label, label), attributes={"hat": hat})
    split = only(p)
    first = split.findings[0]
    assert first.label == "Male" and first.gap.metric == "error:Male"
    within = group(split, ("hat", "yes"), label="Male")
    mine = hat & (label == 1)
    assert within.n == mine.sum() and within.state == "found"
    assert within.metrics["accuracy"].value == pytest.approx(1 - wrong[mine].mean())
    gap = within.gaps["accuracy"]
    expected = wrong[~hat & (label == 1)].mean() - wrong[mine].mean()
    assert gap.value == pytest.approx(expected) and gap.low < gap.value < gap.high
    error = group(split, ("hat", "yes")).gaps["error:Male"]
    assert (gap.value, gap.low, gap.p) == (-error.value, -error.high, error.p)
    assert within.share.value == pytest.approx(mine.sum() / (label == 1).sum())
    assert group(split, ("hat", "yes"), label="Female").state == "not found"
    assert {m.label for m in first.mistakes} == {"Male"}


# --- what it says --------------------------------------------------------------------------------


def test_counts_shares_and_gaps_by_hand():
    p = crowd(200, SHARES, 7, base=0.1)
    split = only(p)
    hat, right = p.attributes["hat"].data == 1, p.prediction == p.label
    g = group(split, ("hat", "yes"))
    assert (g.n, g.people) == (hat.sum(), len(np.unique(p.person[hat])))
    assert g.share.value == pytest.approx(hat.mean())
    assert g.prevalence["c1"].value == pytest.approx((p.label[hat] == 1).mean())
    gap = g.gaps["accuracy"]
    assert gap.value == pytest.approx(right[hat].mean() - right[~hat].mean(), abs=1e-12)
    assert (gap.n, gap.rest_n) == (hat.sum(), (~hat).sum())
    assert (gap.people, gap.rest_people) == (g.people, len(np.unique(p.person[~hat])))
    opposite = group(split, ("hat", "no")).gaps["accuracy"]
    assert opposite.value == pytest.approx(-gap.value, abs=1e-12)
    assert opposite.p == pytest.approx(gap.p, rel=1e-6) and opposite.state == gap.state
    pair = group(split, ("hat", "yes"), ("smile", "no"))
    both = hat & (p.attributes["smile"].data == 0)
    assert pair.n == both.sum()
    assert pair.gaps["accuracy"].value == pytest.approx(
        right[both].mean() - right[~both].mean(), abs=1e-12
    )
    assert split.intersections_looked_at <= 10 * 9 / 2 - 5
    k = [(c.attribute, c.value) for c in split.grid.conditions].index(("hat", "yes"))
    j = [(c.attribute, c.value) for c in split.grid.conditions].index(("smile", "no"))
    assert split.grid.n[k][j] == split.grid.n[j][k] == pair.n
    assert split.grid.n[k][k] == g.n


def test_opposite_values_count_once_and_the_audit_says_how_many_it_looked_at():
    p = crowd(150, {"hat": 0.4, "young": 0.5}, 8, base=0.1)
    split = only(p, AuditConfig(draws=100, more=False, slices=0, shortcut_association=1))
    # Two attributes by accuracy, F1, confidence, overconfidence, two errors, area; four pairs by
    # accuracy and by what they are beyond their parts.
    assert split.gaps_looked_at == 2 * 7 + 4 * 2
    assert split.threshold == pytest.approx(0.05 / 22) and split.gaps_found == 0
    assert any("22 gaps were looked at" in note for note in split.notes)


def test_groups_too_small_say_so_and_do_not_count():
    p = crowd(200, {"hat": 0.4}, 9, base=0.1)
    few = np.zeros(len(p), int)
    few[p.person < 6] = 1
    p = predictions(
        p.label, p.prediction, attributes={"few": few, "none": few * 0}, person=p.person
    )
    split = only(p)
    g = group(split, ("few", "yes"))
    assert g.state == "too few to say" and g.people == 6
    gap = g.gaps["accuracy"]
    assert math.isnan(gap.p) and gap.state == "too few to say" and not math.isnan(gap.value)
    empty = group(split, ("none", "yes"))
    assert empty.n == 0 and empty.state == "too few to say"
    assert math.isnan(empty.metrics["accuracy"].value) and math.isnan(empty.gaps["accuracy"].value)
    assert split.too_few == 4 and split.gaps_looked_at == 0 and math.isnan(split.threshold)


def test_what_could_not_be_seen_is_said():
    p = crowd(400, {"rare": 0.04, "half": 0.5}, 10, base=0.05)
    split = only(p)
    rare, half = (group(split, (name, "yes")).gaps["accuracy"] for name in ("rare", "half"))
    assert rare.state == half.state == "not found"
    assert rare.smallest_visible > 2 * half.smallest_visible > 0.02


def test_same_seed_same_audit_and_another_seed_the_same_figures():
    p = crowd(150, SHARES, 11, base=0.1)
    assert json.dumps(to_plain(audit_groups(p, QUICK))) == json.dumps(
        to_plain(audit_groups(p, QUICK))
    )
    one, two = only(p), only(p, AuditConfig(draws=100, more=False, seed=1))
    a, b = (group(s, ("hat", "yes")).gaps["accuracy"] for s in (one, two))
    assert a.value == b.value and a.low != b.low


def test_json_keeps_everything():
    found = audit_groups(
        crowd(150, SHARES, 12, base=0.1, planted={("hat",): 0.4}), AuditConfig(draws=50)
    )
    plain = json.loads(json.dumps(to_plain(found), allow_nan=False))
    assert to_plain(from_plain(Audit, plain)) == plain
    assert found.noise and found.confounding and found.abstention


# --- what comes in -------------------------------------------------------------------------------


def test_validation_too_and_in_the_order_that_was_asked_for():
    p = crowd(200, {"hat": 0.4}, 13)
    split = np.where(p.person % 2, "validation", "test")
    p = predictions(
        p.label, p.prediction, attributes={"hat": p.attributes["hat"].data}, split=split
    )
    assert [s.split for s in audit_groups(p, QUICK).splits] == ["test"]
    both = AuditConfig(draws=50, more=False, splits=("validation", "test"))
    assert [(s.split, s.n) for s in audit_groups(p, both).splits] == [
        (name, (split == name).sum()) for name in ("validation", "test")
    ]
    train = audit_groups(p, AuditConfig(draws=50, more=False, splits=("train",)))
    assert [s.split for s in train.splits] == ["test"]
    assert "So test was audited instead." in train.notes


def test_three_classes_one_of_them_absent():
    p = crowd(300, {"hat": 0.4}, 14, base=0.2, classes=3)
    p = p[p.label != 2]
    split = only(p)
    g = group(split, ("hat", "yes"))
    assert math.isnan(g.metrics["error:c2"].value) and g.gaps["error:c2"].state == "too few to say"
    assert g.metrics["false:c2"].value == pytest.approx(
        (p.prediction[p.attributes["hat"].data == 1] == 2).mean()
    )
    assert math.isnan(g.metrics["roc_auc"].value) and g.metrics["accuracy"].value < 1
    assert any("labelled c2" in note for note in split.notes)


def test_one_image_and_no_attributes():
    split = only(predictions([1], [0], attributes={"hat": [1]}))
    assert split.n == 1 and not split.findings and split.gaps_looked_at == 0
    assert split.metrics["accuracy"].value == 0
    bare = audit_groups(predictions([1, 0, 1], [0, 0, 1]), QUICK)
    assert bare.splits[0].groups == () and any("no attributes" in n for n in bare.notes)


def test_missing_values_count_on_neither_side():
    rng = np.random.default_rng(15)
    label, hat = rng.integers(0, 2, 500), rng.integers(-1, 2, 500)
    answer = np.where(rng.random(500) < 0.2, 1 - label, label)
    split = only(predictions(label, answer, attributes={"hat": hat, "b": rng.integers(0, 2, 500)}))
    right = answer == label
    gap = group(split, ("hat", "yes")).gaps["accuracy"]
    assert gap.value == pytest.approx(right[hat == 1].mean() - right[hat == 0].mean())
    assert (gap.n, gap.rest_n) == ((hat == 1).sum(), (hat == 0).sum())
    assert any("no value for hat" in note for note in split.notes)


def test_images_of_which_nobody_knows_the_person_are_told():
    rng = np.random.default_rng(17)
    label = rng.integers(0, 2, 300)
    answer = np.where(rng.random(300) < 0.2, 1 - label, label)
    p = predictions(label, answer, attributes={"hat": rng.integers(0, 2, 300)})
    person = np.where(np.arange(300) < 40, -1, np.arange(300) // 3)
    split = only(replace(p, person=person))
    assert split.people == 40 + len(np.unique(person[40:]))
    assert sum("who is in 40 of 300 images of test: each" in note for note in split.notes) == 1
    assert not any("who is in" in note for note in only(p).notes if "each counts" in note)


def test_numbers_are_cut_at_their_quartiles_and_names_are_left_out():
    rng = np.random.default_rng(16)
    label = rng.integers(0, 2, 300)
    names = (tuple(f"n{k}" for k in range(60)), rng.integers(0, 60, 300))
    p = predictions(label, label, attributes={"age": rng.uniform(0, 90, 300), "name": names})
    found = audit_groups(p, QUICK)
    ages = [g for g in found.splits[0].groups if g.label is None]
    assert len(ages) == 4 and all(g.conditions[0].attribute == "age" for g in ages)
    assert sum(g.n for g in ages) == 300 and min(g.n for g in ages) >= 74
    assert any("looks like a name" in note for note in found.notes)


def test_unlabelled_images_are_told():
    p = crowd(100, {"hat": 0.4}, 17)
    label = p.label.copy()
    label[:7] = -1
    found = audit_groups(
        predictions(label, p.prediction, attributes={"hat": p.attributes["hat"].data}), QUICK
    )
    assert (
        found.splits[0].n == len(p) - 7 and f"7 of {len(p)} images have no label" in found.notes[0]
    )


def test_answers_alone_have_no_area_and_no_confidence():
    p = crowd(200, SHARES, 18, base=0.2)
    hard = predictions(
        p.label,
        p.prediction,
        attributes={"hat": p.attributes["hat"].data},
        sure=np.ones(len(p)),
        hard=True,
    )
    found = audit_groups(hard, AuditConfig(draws=50))
    g = found.splits[0].groups[0]
    for name in ("roc_auc", "confidence", "overconfidence", "calibration_error"):
        assert math.isnan(g.metrics[name].value)
        assert name == "calibration_error" or g.gaps[name].state == "too few to say"
    assert not math.isnan(g.metrics["accuracy"].value)
    assert found.abstention is None and any("abstention" in note for note in found.notes)


@pytest.mark.parametrize(
    "change",
    [
        {"probability": np.full((10, 2), 0.7)},
        {"label": np.full(10, 5, np.int16)},
        {"label": np.full(10, -1, np.int16)},
    ],
)
def test_impossible_predictions_are_refused(change):
    p = replace(predictions([0, 1] * 5, [0, 1] * 5), **change)
    with pytest.raises(PredictionsError):
        audit_groups(p, QUICK)


def test_unknown_attributes_are_refused():
    p = crowd(30, {"Eyeglasses": 0.4}, 19)
    with pytest.raises(ConfigError, match="did you mean 'Eyeglasses'"):
        audit_groups(p, AuditConfig(attributes=("Eyeglases",)))
    with pytest.raises(ConfigError, match=r"audit\.splits"):
        AuditConfig(splits=("tests",))


# --- conditions ----------------------------------------------------------------------------------


def test_conditions_fail_where_they_hold():
    found = audit_groups(crowd(900, SHARES, 0, planted={("hat",): 0.25}), QUICK)
    split = found.splits[0]
    gap = -group(split, ("hat", "yes")).gaps["accuracy"].value
    found_gaps = [
        (-g.gaps["accuracy"].high, *(gap.low for m, gap in g.gaps.items() if m.startswith("error")))
        for g in split.groups
        if g.label is None and g.conditions[0].value == "yes" and g.conditions[0].attribute == "hat"
    ]
    near = max(found_gaps[0])
    told = failures(found, parse([f"gap>{gap - 0.001}"]))
    assert len(told) == 1 and "hat: yes" in told[0] and "on test" in told[0]
    assert failures(found, parse([f"gap>{gap + 0.1}", "accuracy<0.5,findings>=1000"])) == []
    assert failures(found, parse([f"gap.low>={near - 1e-6}"]))
    assert not failures(found, parse([f"gap.low>={near + 1e-6}"])) and near + 1e-6 < gap
    assert failures(found, parse(["serious>0"])) and failures(found, parse(["findings>=1"]))
    worst = min(f.estimate.value for f in split.fairness if f.name == "worst_group_accuracy")
    assert failures(found, parse([f"worst_group_accuracy<{worst + 1e-6}"]))
    assert not failures(found, parse([f"worst_group_accuracy<{worst - 1e-6}"]))
    unbiased = audit_groups(crowd(100, {"hat": 0.4}, 1), QUICK)
    assert failures(unbiased, parse(["gap>0"])) == []  # nothing found is no gap


def test_an_undefined_figure_does_not_pass():
    bare = audit_groups(predictions([1, 0, 1], [0, 0, 1]), QUICK)
    told = failures(bare, parse(["demographic_parity_difference>0.1"]))
    assert len(told) == 1 and "cannot be checked" in told[0]


@pytest.mark.parametrize("word", ["gap", "gap>", "gap>x", "gap=0.1", "gap>0.1>0.2", "", "gap>nan"])
def test_what_is_no_condition_is_refused(word):
    with pytest.raises(ConfigError):
        parse([word])


def test_an_unknown_figure_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        parse(["acuracy<0.9"])


def test_what_is_written_is_short_and_holds_what_matters(tmp_path):
    """Thresholds to the bit, the rest to six digits; files with every digit are still read."""
    found = audit_groups(crowd(400, SHARES, 0, planted={("hat",): 0.3}), AuditConfig(draws=50))
    write_audit(tmp_path / "audit.json", found)
    write_record(tmp_path / "long.json", found)
    short, whole = (read_record(tmp_path / n, Audit) for n in ("audit.json", "long.json"))
    assert to_plain(whole) == to_plain(found)
    ours, theirs = (list(leaves(to_plain(a))) for a in (short, found))
    assert [k for k, _ in ours] == [k for k, _ in theirs]  # draws of 0 come back
    different = 0
    for (key, a), (_, b) in zip(ours, theirs, strict=True):
        different += a != b
        if not isinstance(b, float) or key.endswith(("threshold", "least_probability")):
            assert a == b, key
        else:
            assert a == pytest.approx(b, rel=5e-6), key
    assert different > 1000
    sizes = [(tmp_path / n).stat().st_size for n in ("audit.json", "long.json")]
    assert sizes[0] < 0.85 * sizes[1]


def leaves(value, key=""):
    """Every figure and word of a record, with the name of its field."""
    inner = value.items() if isinstance(value, dict) else ((key, v) for v in value)
    for name, part in inner:
        if isinstance(part, dict | list | tuple):
            yield from leaves(part, str(name))
        else:
            yield str(name), part
