from __future__ import annotations

import dataclasses

from candid.text import model
from conftest import Words


def titles(inputs: object) -> set[str]:
    return {u.title for u in model.unchecked(inputs)}  # type: ignore[arg-type]


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
    assert not any("No audit" in text for text in model.limits(audited))
    assert any("too little data" in text for text in model.limits(audited))


def test_the_summary_counts_as_the_records_do(plain) -> None:  # type: ignore[no-untyped-def]
    test = plain.split("test")
    text = " ".join(model.model_summary(plain))
    assert f"{100 * test.metrics['accuracy'].value:.1f} of 100" in text
    most = max(c.support for c in test.classes)
    assert f"agree in {100 * most / test.n:.1f} of 100" in text
    assert f"({most:,} of the same {test.n:,})" in text
    assert "“Near duplicates across splits”" in text
    error = test.metrics["calibration_error"]
    assert (
        f"off by {100 * error.value:.1f} percentage points on average "
        f"(95% interval: {100 * error.low:.1f} to {100 * error.high:.1f})."
    ) in text
    assert "“Male”" in text


def test_the_summary_of_nothing_says_so(make) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(model.model_summary(make(splits=())))
    assert "nothing is known" in text and "of 100" not in text


def test_validation_flatters_only_where_it_was_used(plain, make) -> None:  # type: ignore[no-untyped-def]
    assert "choose the weights" in model.validation_caveat(plain)
    unused = dataclasses.replace(
        plain,
        model=dataclasses.replace(plain.model, kept="last"),
        evaluation=dataclasses.replace(plain.evaluation, temperature=1.0),
    )
    assert model.validation_caveat(unused) == ""
    alone = make(splits=("validation",), n=200)
    assert "test images" not in model.validation_caveat(alone)


def test_of_a_model_from_elsewhere_nothing_is_claimed(make) -> None:  # type: ignore[no-untyped-def]
    foreign = make(splits=("validation",), explored=False, trained=False, n=200)
    foreign = dataclasses.replace(
        foreign, evaluation=dataclasses.replace(foreign.evaluation, temperature=1.0)
    )
    assert model.validation_caveat(foreign) == ""
    assert "not trained on" not in " ".join(model.model_summary(foreign))
    reason = next(u.reason for u in model.unchecked(foreign) if u.title == "The test split")
    assert "flattering" not in reason and "not known" in reason
    own = make(splits=("validation",), n=200)
    assert "not trained on" in " ".join(model.model_summary(own))
    reason = next(u.reason for u in model.unchecked(own) if u.title == "The test split")
    assert "flattering" in reason


def test_training_images_flatter(make) -> None:  # type: ignore[no-untyped-def]
    fitted = make(splits=("train",), n=200)
    assert "also trained on" in " ".join(model.model_summary(fitted))
    reason = next(u.reason for u in model.unchecked(fitted) if u.title == "The test split")
    assert "was trained on, and flatter it" in reason
    assert "The figures" not in model.unchecked(make(splits=()))[-1].reason


def test_drawn_faces_have_no_annotators_and_say_nothing_of_people(make, plain) -> None:  # type: ignore[no-untyped-def]
    drawn = make(Words(command="candid demo --out x", data="synthetic-faces"), n=200)
    assert drawn.is_drawn and not plain.is_drawn
    everything = " ".join(
        [
            *model.model_summary(drawn),
            *model.uses(drawn),
            *model.not_for(drawn),
            *(u.reason for u in model.unchecked(drawn)),
        ]
    )
    assert "annotators" not in everything and "the program that drew the faces" in everything
    assert any("A program drew every face" in text for text in model.limits(drawn))
    assert "The annotators" in titles(plain) - titles(drawn)
    assert not any("program" in text for text in model.limits(plain))
    other = make(Words(command="candid run demo"), n=200)
    assert not other.is_drawn
    # A run of one's own on drawn faces: the data say so.
    told = dataclasses.replace(
        other, exploration=dataclasses.replace(other.exploration, synthetic=True)
    )
    assert told.is_drawn


def test_many_classes_are_counted_and_few_are_named_as_they_are(make) -> None:  # type: ignore[no-untyped-def]
    many = make(Words(classes=tuple(f"class {i}" for i in range(30))), n=900, splits=("test",))
    assert "each of 30 values" in model.model_purpose(
        many
    ) and "class 7" not in model.model_purpose(many)
    two = make(Words(classes=("black and white", "sepia")), n=200)
    assert "“black and white” or “sepia”" in model.model_purpose(two)
