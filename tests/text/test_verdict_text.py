"""The first screen: one sentence, four answers, at most three things to do."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from auditing.audited import crowd
from candid.auditing.audit import audit_groups
from candid.config import with_values
from candid.records import Convergence
from candid.records.improvement import Improvement
from candid.settings import AuditConfig
from candid.text.stories import stories_of, story_sentence
from candid.text.verdict import answers, next_actions, verdict
from reporting.conftest import build


@pytest.fixture(scope="module")
def plain() -> Any:
    return build(n=400)


@pytest.fixture(scope="module")
def audited(plain: Any) -> Any:
    p = crowd(700, {"hat": 0.15, "young": 0.7}, 1, planted={("hat",): 0.3})
    return dataclasses.replace(plain, audit=audit_groups(p, AuditConfig(draws=60, slices=0)))


def commands(inputs: Any) -> list[str]:
    return [command for action in next_actions(inputs) for command in action.commands]


def test_one_sentence_says_how_often_for_whom_and_where(plain: Any, audited: Any) -> None:
    accuracy = 100 * plain.split("test").metrics["accuracy"].value
    said = verdict(plain)
    assert said.startswith(f"Right in {accuracy:.0f} of 100 new pictures like its own; ")
    assert "nobody measured for whom it fails; untried elsewhere." in said
    assert "surely wrong more often for some people" in verdict(audited)
    split = dataclasses.replace(audited.audit.splits[0], findings=(), stories=())
    equal = dataclasses.replace(audited, audit=dataclasses.replace(audited.audit, splits=(split,)))
    assert "not seen to do worse for any group" in verdict(equal)
    assert "trained on" in verdict(build(splits=("train",), n=200))
    assert "nothing is known" in verdict(build(splits=(), n=200))


def test_four_answers_each_with_its_figure_and_its_place(plain: Any, audited: Any) -> None:
    good, whom, far, looks = answers(audited)
    f1 = plain.split("test").metrics["weighted_f1"]
    assert good.figure == f"{f1.value:.3f}" and f"{f1.low:.3f} to {f1.high:.3f}" in good.interval
    assert "The commonest answer: " in " ".join(good.notes)
    split = audited.audit.splits[0]
    assert whom.notes[0] == story_sentence(split, stories_of(split)[0]) and len(whom.notes) <= 3
    gap = split.findings[stories_of(split)[0].findings[0]].gap
    assert whom.figure == f"+{100 * abs(gap.value):.1f}"
    assert (good.section, whom.section, far.section) == ("performance", "audit", "transfer")
    # Where nobody looked, there is no figure, and it is said.
    for nobody in (far, looks, answers(plain)[1]):
        assert nobody.figure == "" and nobody.notes[0].startswith("Nobody looked")


def test_what_to_do_comes_from_the_records_alone(plain: Any, audited: Any) -> None:
    assert commands(plain) == ["candid evaluate . DATA", "candid audit .", "candid explain ."]
    assert audited.audit.noise.found > 0
    assert commands(audited) == [
        "candid review .",
        "candid run --repeat . --set data.corrections=corrections.csv --out ../corrected",
        "candid evaluate . DATA",
        "candid improve .",
    ]
    tried = Improvement(
        "Face", audited.classes, "", "worst group", (), False, 5, 400, None, (), (), "", None, "",
        0.05, 0,
    )  # fmt: skip
    none_helped = dataclasses.replace(audited, improvement=tried)
    assert commands(none_helped)[-1] == "candid review . --queue slice"
    sure = dataclasses.replace(audited.audit, noise=None)
    assert "candid review ." not in commands(dataclasses.replace(audited, audit=sure))
    falling = Convergence("still-falling", "It still fell.", "")
    evaluation = dataclasses.replace(audited.evaluation, convergence=falling)
    longer = next_actions(dataclasses.replace(audited, evaluation=evaluation))
    steps = 2 * audited.config.train.steps
    again = f"candid run --repeat . --set train.steps={steps} --out"
    assert longer[0].commands == (f"{again} ../longer",)
    several = with_values(audited.config, {"data": {"target": "", "targets": ("Face", "Hat")}})
    of_several = dataclasses.replace(audited, config=several, evaluation=evaluation)
    assert next_actions(of_several)[0].commands == (f"{again} ../../../longer",)
    (mended,) = [c for a in next_actions(of_several) for c in a.commands if "corrections" in c]
    assert "--set 'data.targets=[]' --set data.target=Male --set data.corrections=" in mended
    assert len(longer) == 3
    assert next_actions(build(splits=(), n=200)) == []


def test_of_a_model_from_elsewhere_nothing_is_asked_that_needs_its_weights() -> None:
    foreign = build(splits=("test",), explored=False, trained=False, n=200)
    assert commands(foreign) == ["candid audit ."]
