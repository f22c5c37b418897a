from dataclasses import replace

import numpy as np
import pytest

from candid.auditing.number_gaps import audit_number
from candid.errors import ConfigError
from candid.predictions.numbers import NumberPredictions
from candid.records.model import NumberCard
from candid.settings import AuditConfig
from candid.table import Attribute
from candid.text.number import behind, number_audit_lines, number_audit_summary

CARD = NumberCard((10.0, 50.0), (25.0, 38.0, 50.0))
BRIEF = AuditConfig(draws=200)


def made(n=600, seed=0, factor=1.0, per_person=1):
    """Five attributes of two or three values; the second of "kind" is off `factor` times as far."""
    rng = np.random.default_rng(seed)
    people = n // per_person
    kind = np.repeat(rng.integers(0, 3, people), per_person).astype(np.int16)
    error = np.repeat(rng.normal(0, 5, people), per_person) * np.where(kind == 1, factor, 1)
    value = rng.uniform(20, 60, n)
    others = {
        f"other {i}": Attribute(
            f"other {i}", "binary", ("no", "yes"), rng.integers(-1, 2, n).astype(np.int16)
        )
        for i in range(4)
    }
    return NumberPredictions(
        target="age",
        card=CARD,
        ids=np.array([str(i) for i in range(n)]),
        split=np.full(n, "test"),
        value=value,
        predicted=value + error,
        low=value,
        high=value,
        person=np.arange(n) // per_person,
        attributes={"kind": Attribute("kind", "categorical", ("a", "b", "c"), kind)} | others,
    )


def test_the_planted_gap_is_found_first_and_no_other():
    audit = audit_number(made(factor=2), BRIEF)
    split = audit.splits[0]
    found = behind(audit)
    assert [g.conditions[0].value for g, _ in found] == ["b"]
    gap = found[0][1]
    p = made(factor=2)
    off, inside = np.abs(p.predicted - p.value), p.attributes["kind"].data == 1
    assert gap.value == pytest.approx(off[inside].mean() - off[~inside].mean(), rel=1e-4)
    assert gap.low > 0 and gap.p < 1e-4 and gap.n == inside.sum()
    assert split.gaps_looked_at == 3 + 4  # of two values, one mirrors the other
    assert all(g.state == "not found" for g in split.groups if g.conditions[0].attribute != "kind")
    said = number_audit_summary(audit)
    assert said.startswith("1 group was found to be predicted worse") and "It is kind: b" in said
    told = [*number_audit_lines(split)]
    assert any("kind: b" in line for line in told)
    mae = split.metrics["mae"]
    assert f"95% interval {mae.low:.2f} to {mae.high:.2f}; {mae.n} images" in told[1]
    assert told[1].endswith(f"; {mae.method})")


def test_intervals_are_those_of_welch():
    p = made(n=900, seed=2)
    split = audit_number(p, AuditConfig(draws=1000)).splits[0]
    off, inside = np.abs(p.predicted - p.value), p.attributes["kind"].data == 0
    error = np.hypot(*(x.std(ddof=1) / np.sqrt(len(x)) for x in (off[inside], off[~inside])))
    gap = split.groups[0].gaps["mae"]
    assert gap.high - gap.low == pytest.approx(2 * 1.964 * error, rel=0.1)
    # The 2.8 standard errors of a power of 80% at 5%, and more at the threshold of many gaps.
    assert np.isnan(gap.smallest_visible) or gap.smallest_visible > 2.7 * error


def test_without_a_gap_nothing_is_found_nineteen_times_in_twenty():
    few = AuditConfig(draws=100)
    found = [audit_number(made(n=300, seed=seed), few).splits[0].gaps_found for seed in range(20)]
    assert sum(n > 0 for n in found) <= 3


def test_ten_images_of_a_person_are_not_ten_people():
    together = audit_number(made(n=600, seed=3, factor=1.6, per_person=20), BRIEF).splits[0]
    assert together.people == 30
    assert together.gaps_found == 0
    alone = made(n=600, seed=3, factor=1.6, per_person=20)
    alone = type(alone)(**{**vars(alone), "person": None})
    assert audit_number(alone, BRIEF).splits[0].gaps_found > 0


def test_groups_that_are_too_small_say_so_and_unknown_values_have_no_part():
    p = made(n=120)
    p.attributes["kind"].data[:] = 0
    p.attributes["kind"].data[:5] = 1
    groups = audit_number(p, BRIEF).splits[0].groups
    assert groups[1].state == "too few to say" and groups[1].n == 5
    known = p.attributes["other 0"].data >= 0
    other = next(g for g in groups if g.conditions[0].attribute == "other 0")
    assert other.gaps["mae"].n + other.gaps["mae"].rest_n == known.sum()


def test_without_attributes_there_is_the_figure_and_no_gap():
    audit = audit_number(replace(made(), attributes={}), BRIEF)
    split = audit.splits[0]
    p = made()
    assert split.metrics["mae"].value == pytest.approx(np.abs(p.predicted - p.value).mean())
    assert split.groups == () and split.gaps_looked_at == 0 and behind(audit) == []
    assert number_audit_summary(audit) and number_audit_lines(split)


def test_images_of_which_nobody_knows_the_person_are_told():
    person = np.where(np.arange(600) < 40, -1, np.arange(600) // 3)
    split = audit_number(replace(made(), person=person), BRIEF).splits[0]
    assert sum("who is in 40 of 600 images of test: each" in note for note in split.notes) == 1


def test_attributes_are_those_that_are_named():
    p = made(n=120)
    only = audit_number(p, AuditConfig(draws=50, attributes=("other 1",)))
    assert {g.conditions[0].attribute for g in only.splits[0].groups} == {"other 1"}
    with pytest.raises(ConfigError, match=r"audit\.attributes names 'kin'"):
        audit_number(p, AuditConfig(attributes=("kin",)))
