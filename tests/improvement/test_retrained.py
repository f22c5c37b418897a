"""Networks trained anew, judged by images that chose nothing and beside another seed."""

from dataclasses import replace

import numpy as np
import pytest

from candid.errors import ConfigError
from candid.improvement.arena import build_arena
from candid.improvement.remedies import Remedy
from candid.improvement.retrained import (
    CONTROL,
    Evaluated,
    TrainingChange,
    build_remedy,
    chosen_changes,
    corrected_labels,
    out_of_fold,
    possible_changes,
)
from candid.improvement.tournament import Rules, hold_tournament
from candid.predictions import Predictions
from candid.settings import TrainConfig
from candid.stats.calibration import apply_temperature, fit_temperature
from candid.stats.metrics import weighted_f1_of_answers

N = 600


def answers(label, right, rng, strength=2.0):
    """Logits that give the label where `right`, else the other class."""
    said = np.where(right, label, 1 - label)
    z = np.zeros((len(label), 2))
    z[np.arange(len(label)), said] = strength + rng.random(len(label))
    return z


def arena_of(label, hat, z):
    said = Predictions.from_arrays(
        label,
        apply_temperature(z, 1.0),
        groups={"Hat": np.where(hat, "yes", "no")},
        person=np.arange(len(label)) // 2,
        classes=(0, 1),
        split=np.full(len(label), "validation"),
    )
    return build_arena(said, ["Hat"], folds=3, seed=0, confidence=0.95, smallest=10)


@pytest.fixture
def world():
    """Labels, a rare group, and the run as it is, which is often wrong about one cell of it."""
    rng = np.random.default_rng(1)
    label, hat = rng.integers(2, size=N), rng.random(N) < 0.3
    worst = hat & (label == 1)
    run = np.where(worst, rng.random(N) < 0.5, rng.random(N) < 0.9)
    return rng, label, hat, worst, arena_of(label, hat, answers(label, run, rng))


def test_each_fold_is_answered_by_the_step_that_is_best_without_it(world):
    rng, label, _, _, arena = world
    logits = np.stack([answers(label, rng.random(N) < p, rng) for p in (0.80, 0.81, 0.80)])
    # One step knows the first fold by heart and is poor elsewhere: that must not choose it.
    mine = arena.fold == 0
    logits[2][mine] = answers(label, np.ones(N, np.bool_), rng)[mine]
    logits[2][~mine] = answers(label, rng.random(N) < 0.6, rng)[~mine]
    found = out_of_fold(arena, Evaluated(np.array([1, 2, 3]), logits), "best")
    for k in range(3):
        inside = arena.fold == k
        f1 = [weighted_f1_of_answers(label[~inside], z[~inside].argmax(1)) for z in logits]
        best = logits[int(np.argmax(f1))]
        expected = apply_temperature(best[inside], fit_temperature(best[~inside], label[~inside]))
        np.testing.assert_allclose(found.probability[inside], expected)
    assert np.mean(found.wrong[mine]) > 0.1
    last = out_of_fold(arena, Evaluated(np.array([1, 2, 3]), logits), "last")
    assert np.mean(last.wrong[mine]) == 0


def test_what_another_seed_does_as_well_is_no_remedy(world):
    rng, label, _, worst, arena = world

    def remedy(kind, share):
        right = np.where(worst, rng.random(N) < share, rng.random(N) < 0.9)
        z = answers(label, right, rng)[None]
        name = CONTROL if kind == "another seed" else kind.replace(" ", "-")
        return build_remedy(arena, TrainingChange(name, kind), Evaluated(np.array([9]), z), "last")

    control, weights = remedy("another seed", 0.85), remedy("group weights", 0.87)
    rules = Rules(draws=50)
    (alone,), winner = hold_tournament(arena, [weights], rules)
    assert winner == "group-weights" and alone.beside_control is None
    outcomes, winner = hold_tournament(arena, [control, weights], rules)
    by_name = {o.name: o for o in outcomes}
    assert winner == "" and by_name["group-weights"].helps == "not found"
    assert by_name[CONTROL].helps == "not applicable"
    assert by_name["group-weights"].beside_control.p > 0.05 > by_name["group-weights"].aim.p
    better = remedy("group DRO", 0.99)
    outcomes, winner = hold_tournament(arena, [remedy("another seed", 0.55), better], rules)
    assert winner == "group-DRO"
    # What trains nothing is not held against the control.
    cheap = replace(better, name="shift", kind="prior shift", trained=False)
    assert isinstance(cheap, Remedy)
    outcomes, winner = hold_tournament(arena, [control, cheap], rules)
    assert winner == "shift" and outcomes[0].beside_control is None


def test_what_may_be_tried_depends_on_how_the_run_was_trained():
    plain = TrainConfig(mixup=0, cutmix=0, class_weights="none")
    changes, notes = possible_changes(plain, ["Hat"], corrections=True, in_steps=True)
    assert [c.name for c in changes] == [
        "another-seed", "corrections", "copies-dropped", "class-weights", "group-weights-Hat",
        "group-dro-Hat",
    ]  # fmt: skip
    assert not notes
    assert changes[0].settings == {"train": {"seed": plain.seed + 1}}
    assert [c.name for c in chosen_changes(changes, ["group-dro"])] == [CONTROL, "group-dro-Hat"]
    with pytest.raises(ConfigError, match="group-dor"):
        chosen_changes(changes, ["group-dor"])
    without = [c for c in changes if c.name != "corrections"]
    with pytest.raises(ConfigError, match="needs corrections") as lacking:
        chosen_changes(without, ["corrections"])
    assert "--corrections" in lacking.value.todo
    mixed = replace(plain, mixup=0.2, class_weights="inverse")
    changes, notes = possible_changes(mixed, ["Hat"], corrections=False, in_steps=True)
    assert [c.name for c in changes] == ["another-seed", "copies-dropped"]
    assert "mixture" in " ".join(notes) and "already" in " ".join(notes)


def test_corrected_labels_are_those_of_the_data_and_who_is_left_out_judges_nobody(world):
    *_, arena = world
    p = arena.before
    ids, label = p.ids[::-1][: N - 5], p.label[::-1][: N - 5].copy()
    label[0] = 1 - label[0]
    found = corrected_labels(p, ids, label, None)
    assert len(found) == N - 5
    assert {*p.ids.tolist()} - {*found.ids.tolist()} == {*p.ids[:5].tolist()}
    changed = found.label != p.label[5:]
    assert found.ids[changed].tolist() == [p.ids[-1]]
    assert (found.label_as_read == p.label[5:]).all()
