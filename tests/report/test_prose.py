from __future__ import annotations

import dataclasses

from candid.config import Config, with_values
from candid.report import prose


def test_changed_settings_are_those_that_differ() -> None:
    assert prose.changed_settings(Config()) == []
    config = with_values(Config(), {"train": {"steps": 9}, "data": {"attributes": ["Hat"]}})
    changed = {s.name: (s.value, s.default) for s in prose.changed_settings(config)}
    assert changed == {
        "train.steps": ("9", str(Config().train.steps)),
        "data.attributes": ("Hat", "(none)"),
    }


def titles(inputs: object) -> set[str]:
    return {u.title for u in prose.unchecked(inputs)}  # type: ignore[arg-type]


def test_what_is_absent_is_named_as_not_checked(make, plain) -> None:  # type: ignore[no-untyped-def]
    always = {"Other seeds", "Other data", "The annotators", "Groups of people"}
    assert titles(plain) == {*always, "What it looks at"}
    bare = make(people=None, splits=("validation",), explored=False, trained=False, n=200)
    assert titles(bare) == {
        *always,
        "What it looks at",
        "The data",
        "Training",
        "The test split",
        "Who is in the pictures",
    }
    nobody = make(people=None, n=200)  # one finding is not applicable: it must be told
    assert titles(nobody) - titles(plain) == {"Who is in the pictures", "People across splits"}


def test_an_audit_that_was_made_is_no_longer_missing(plain) -> None:  # type: ignore[no-untyped-def]
    audited = dataclasses.replace(plain, audit=object(), explanation=object())
    assert titles(plain) - titles(audited) == {"Groups of people", "What it looks at"}
    assert not any("No audit" in text for text in prose.limits(audited))
    assert any("too little data" in text for text in prose.limits(audited))


def test_the_summary_counts_as_the_records_do(plain) -> None:  # type: ignore[no-untyped-def]
    test = plain.split("test")
    text = " ".join(prose.summary(plain))
    assert f"{100 * test.metrics['accuracy'].value:.1f} of 100" in text
    most = max(c.support for c in test.classes)
    assert f"agree in {100 * most / test.n:.1f} of 100" in text
    assert "near duplicates across splits" in text
    assert "“Male”" in text


def test_the_summary_of_nothing_says_so(make) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(prose.summary(make(splits=())))
    assert "nothing is known" in text and "of 100" not in text


def test_validation_flatters_only_where_it_was_used(plain, make) -> None:  # type: ignore[no-untyped-def]
    assert "choose the weights" in prose.validation_caveat(plain)
    unused = dataclasses.replace(
        plain,
        config=with_values(plain.config, {"train": {"keep": "last"}}),
        evaluation=dataclasses.replace(plain.evaluation, temperature=1.0),
    )
    assert prose.validation_caveat(unused) == ""
    alone = make(splits=("validation",), n=200)
    assert "test images" not in prose.validation_caveat(alone)
