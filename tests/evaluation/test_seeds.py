"""What other seeds would have changed, against counting by hand and the evaluation's figures."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from candid.auditing.abstention import answering_rule
from candid.errors import PredictionsError
from candid.evaluation.performance import evaluate_predictions
from candid.evaluation.seeds import FIGURES, compare_seeds
from candid.predictions import Predictions
from candid.settings import AuditConfig, EvaluateConfig
from candid.text.seeds import seeds_clause, seeds_summary

EVALUATE = EvaluateConfig(draws=60, examples=5)


def trained(seeds=4, n=400, people=80, classes=2, planted=0.0):
    """What networks say that share what is hard; for one group luck decides more."""
    rng = np.random.default_rng(5)
    label = rng.integers(0, classes, n)
    hat = np.where(rng.random(n) < 0.4, "yes", "no")
    hard = rng.normal(0, 1, n)
    person, split = rng.integers(0, people, n), np.where(rng.random(n) < 0.3, "validation", "test")
    split = np.where(person % 3 == 0, "validation", "test")
    found = []
    for _ in range(seeds):
        luck = rng.normal(0, np.where(hat == "yes", 0.3 + planted, 0.3), n)
        logits = rng.normal(0, 0.1, (n, classes))
        logits[np.arange(n), label] += 2 * (1.2 + hard + luck)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        found.append(
            Predictions.from_arrays(
                label, p, person=person, split=split, groups={"hat": hat},
                classes=list(range(classes)),
            )
        )  # fmt: skip
    return found


@pytest.mark.parametrize("classes", [2, 3])
def test_figures_are_those_of_the_evaluation_and_changes_those_of_counting(classes):
    answers = trained(classes=classes)
    found = compare_seeds(answers, [3, 4, 5, 6], [], EVALUATE, AuditConfig())
    assert found.seeds == (3, 4, 5, 6) and [s.split for s in found.splits] == ["validation", "test"]
    for split in found.splits:
        for k, p in enumerate(answers):
            single = next(
                s for s in evaluate_predictions(p, EVALUATE).splits if s.split == split.split
            )
            for name in FIGURES:
                value = single.metrics[name].value
                assert split.figures[name].values[k] == pytest.approx(value, rel=1e-5)
                assert split.figures[name].mean.people == single.people == split.people
        f1 = split.figures["weighted_f1"]
        assert f1.mean.value == pytest.approx(np.mean(f1.values))
        assert f1.spread.value == pytest.approx(np.std(f1.values, ddof=1))
        rows = answers[0].split == split.split
        said = np.stack([p.prediction[rows] for p in answers])
        pairs = [np.mean(a != b) for a, b in itertools.combinations(said, 2)]
        changing = np.array([len(set(column)) > 1 for column in said.T])
        assert split.disagreement.value == pytest.approx(np.mean(pairs))
        assert split.changing.value == pytest.approx(changing.mean())
        people = answers[0].person[rows]
        assert split.changing_people is not None
        assert split.changing_people.value == len({*people[changing]}) / len({*people})
        ids = answers[0].ids[rows]
        for image in split.images:
            column = said[:, list(ids).index(image.example.id)].tolist()
            counted = {answers[0].classes[c]: column.count(c) for c in {*column}}
            assert image.answers == counted and len(counted) > 1


def test_a_group_that_luck_decides_is_found_and_no_other_is_made_up():
    calm, planted = (
        compare_seeds(trained(n=2000, people=400, planted=x), range(4), [], EVALUATE, AuditConfig())
        for x in (0.0, 1.0)
    )
    (hat,) = [g for g in planted.splits[1].groups if g.attribute == "hat"]
    assert (hat.value, hat.state) == ("yes", "found") and hat.difference.low > 0
    assert {g.state for g in calm.splits[1].groups} == {"not found"}
    few = compare_seeds(trained(n=60, people=9), range(4), [], EVALUATE, AuditConfig())
    assert {g.state for g in few.splits[0].groups} == {"too few to say"}
    said = " ".join(seeds_summary(planted))
    assert "The seed decides more often for hat: yes" in said
    assert "Over 4 seeds" in seeds_clause(planted, "test") and seeds_clause(planted, "train") == ""


def test_abstention_withholds_what_it_withholds():
    answers = trained(n=2000, people=400)
    own = answers[0]
    rule, _ = answering_rule(own[own.split == "validation"], 0.1)
    assert rule is not None and rule.threshold > 0
    found = compare_seeds(answers, range(4), [rule], EVALUATE, AuditConfig()).splits[1]
    test = own.split == "test"
    changing = np.any([p.prediction[test] != own.prediction[test] for p in answers], axis=0)
    promised, tenth = found.abstention
    unsure = own.confidence[test] < rule.threshold
    assert promised.withheld.value == pytest.approx(changing[unsure].mean())
    assert promised.given.value == pytest.approx(changing[~unsure].mean())
    assert promised.caught.value == pytest.approx(unsure[changing].mean())
    assert (promised.withheld.n, promised.given.n) == (unsure.sum(), (~unsure).sum())
    assert math.isnan(tenth.target_error)
    assert tenth.withheld.n == pytest.approx(0.1 * test.sum(), abs=1)
    assert tenth.withheld.low > tenth.given.high  # the doubtful ones are those that change


def test_what_cannot_be_compared_is_refused():
    answers = trained(n=60)
    with pytest.raises(PredictionsError, match="1 predictions"):
        compare_seeds(answers[:1], [0], [], EVALUATE, AuditConfig())
    other = dataclasses.replace(answers[1], ids=answers[1].ids[::-1])
    with pytest.raises(PredictionsError, match="seed 7 are of other images"):
        compare_seeds([answers[0], other], [0, 7], [], EVALUATE, AuditConfig())
