"""Findings about the data in words: each sentence once, by hand, from its values."""

from __future__ import annotations

from typing import Any

import pytest

from candid.records import Finding, State
from candid.text.data_findings import finding_text, source_detail, tells_share

NEAR = {
    "splits": {"train": 3, "validation": 0, "test": 1},
    "images": 4,
    "pairs": 2,
    "all_pairs": 5,
    "threshold": 0.978,
    "complete": True,
    "by_chance": None,
}
MIXED = {"what": "formats", "kinds": 6, "common": "JPEG", "target": "hat", "telling": True}
FOUR = {"JPEG": 2000, "PNG": 3, "GIF": 2, "BMP": 1}
CHOSEN = {"validation": 20, "test": 30, "moved": None, "near": False}
MIRRORED = "identical copies aside. Mirrored and much cropped copies are not looked for."

FOUND = [
    ("UNREADABLE-FILES", {"count": 3, "causes": {"empty file": 2, "no file": 1}},
     "3 of 1,200 files cannot be read and are left out: empty file (2); no file (1)."),
    ("MISSING-LABELS", {"target": "hat"},
     "4 of 1,200 images have no hat; they are left out of training and of every figure."),
    ("ALIKE-VALUES", {"alike": [["hat", ["Yes", "yes"]]]},
     "Values that differ in case only count as different ones: hat: 'Yes' and 'yes'."),
    ("MIXED-FORMATS", MIXED | {"values": FOUR, "association": [0.3, 0.2, 0.41, 1200]},
     "There are 6 formats: JPEG (2,000), PNG (3), GIF (2), BMP (1) and 2 more. Being JPEG goes "
     "with hat (Cramér's V 0.30 [0.20, 0.41], n = 1,200)."),
    ("MIXED-SIZES", MIXED | {"kinds": 1, "values": {"8×8": 4}, "association": None},
     "There are 1 formats: 8×8 (4)."),
    ("BLANK-IMAGES", {"limit": 2.0},
     "4 images show nothing: their luma deviates by less than 2 of 255 levels."),
    ("CLASS-IMBALANCE",
     {"rarest": "no", "share": [0.1, 0.08, 0.12], "classes": {"yes": 1080, "no": 120}},
     "no has 10.0% [8.0%, 12.0%] of 1,200 training images; an even share were 50.0%. In all: "
     "yes 90.0%, no 10.0%."),
    ("TINY-CLASSES", {"few": 30, "groups": [["no", "test", 4]]},
     "Fewer than 30 images: no in test (4)."),
    ("LABEL-ABSENT-IN-SPLIT", {"classes": [["no", "test"], ["yes", "train"]]},
     "There is no no in test, no yes in train."),
    ("TINY-GROUPS", {"few": 30, "groups": [[f"hat {i}", "test", i] for i in range(8)]},
     "4 of 1,200 groups have fewer than 30 images in a split: hat 0 in test (0), hat 1 in test "
     "(1), hat 2 in test (2), hat 3 in test (3), hat 4 in test (4), hat 5 in test (5) and 2 more."),
    ("CONSTANT-ATTRIBUTES", {"attributes": {"hat": True, "age": False}},
     "hat, age (never known): the same for every image, so nothing can be compared by it."),
    ("DUPLICATES-WITHIN-SPLITS", {"images": 4, "surplus": 2, "same_bytes": 0},
     "4 images have an identical copy in their own split; 2 of them are surplus."),
    ("DUPLICATES-ACROSS-SPLITS", {"images": 4, "same_bytes": 2, "splits": {"train": 3, "test": 1}},
     "4 images have an identical copy in another split; 2 are copies byte for byte (3 in train, "
     "1 in test)."),
    ("NEAR-DUPLICATES-WITHIN-SPLITS", NEAR,
     "4 images are near-identical to one in their own split (2 pairs; 3 in train, 1 in test), "
     "identical copies aside. How many of them chance brought together was not measured."),
    ("NEAR-DUPLICATES-ACROSS-SPLITS", NEAR | {"by_chance": 0.4, "complete": False},
     "4 images are near-identical to one in another split (2 pairs; 3 in train, 1 in test), "
     "identical copies aside. At least: the search ended at a million pairs. A pair counts from a "
     "correlation of 0.98; chance alone would bring about 0 of all 5 pairs together, counted with "
     "one picture of each mirrored."),
    ("CONTRADICTORY-LABELS", {"images": 4, "target": "hat"},
     "4 images have an identical copy with another hat, of 1,200 that have a labelled copy."),
    ("NEAR-DUPLICATES-LABELLED-DIFFERENTLY", {"pairs": 4, "target": "hat"},
     "4 of 1,200 near-identical pairs have different values of hat."),
    ("PEOPLE-ACROSS-SPLITS", {"images": 9, "splits": {"train": 5, "test": 4}, "unknown": 7},
     "4 of 1,200 people stand in two splits or more, with 9 images (5 in train, 4 in test). 7 "
     "images of unknown people aside."),
    ("LABEL-COUNT", {"file": "list.txt", "said": 1200, "rows": 4},
     "list.txt says that it has 1,200 rows and has 4."),
    ("COLUMNS-LEFT-OUT", {"columns": {"a": "it is a name", "b": "it is empty"}},
     "Columns that were not read as attributes: a: it is a name; b: it is empty."),
    ("RANGES-AS-DATES", {"column": "age", "ranges": {"3-Sep": "3-9"}, "certain": True},
     "age: 3-Sep (3-9) in 4 of 1,200 rows: a spreadsheet takes ranges for dates; they were read "
     "as the ranges."),
    ("TRAINING-SAMPLED", {"run": 8},
     "Training reads all 1,200 training pictures from their shards, and all are counted. What else "
     "is told of training pictures here is of 4 of them, in runs of 8 neighbours drawn at random, "
     "and so is what is looked for between splits."),
    ("CLASSES-OF-SOME-SOURCES", {"lacking": [["no", ["a", "b"]], ["yes", ["c"]]]},
     "Classes that some of the data sets lack: 'no' not in a, b; 'yes' not in c."),
    ("PEOPLE-OF-SOME-SOURCES", {"sources": ["a", "b"]},
     "Nobody says who is in the pictures of a and b. Each counts as a person of its own there, so "
     "intervals are too narrow where that is wrong."),
    ("NO-TEST-SPLIT", {},
     "Nothing is set aside for test, so every figure stems from validation images."),
    ("VALIDATION-FROM-TRAIN", {"moved": 3, "near": True},
     "The data has train and test but no validation; 4 of its 1,200 training images became "
     "validation, by a hash of the person or the image's name, each class in the same shares. 3 "
     "images went along with their copies and near copies."),
    ("SPLIT-BY-HASH", CHOSEN,
     "The data has no split of its own; validation (20) and test (30 of 1,200 images) were chosen "
     "by a hash of the person or the image's name, each class in the same shares. Copies were not "
     "kept on one side: which there are shows once all images are packed."),
]  # fmt: skip

ABSENT = [
    ("UNREADABLE-FILES", {}, "All 1,200 files can be read."),
    ("MIXED-CHANNELS", MIXED, "All 1,200 usable images are alike: JPEG."),
    ("CLASS-IMBALANCE", {"classes": {"yes": 480, "no": 720}},
     "Every class has at least half of its even share of 1,200 training images: yes 40.0%, no "
     "60.0%."),
    ("NEAR-DUPLICATES-ACROSS-SPLITS", {},
     f"No image is near-identical to one in another split, {MIRRORED}"),
    ("PEOPLE-ACROSS-SPLITS", {"unknown": 0}, "None of 1,200 people stands in two splits."),
    ("ROWS-CONTRADICT", {},
     "0 of 1,200 images have rows with different labels; they count as unlabelled."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "values", "said"), FOUND, ids=[code for code, *_ in FOUND])
def test_what_was_found(code: str, values: dict[str, Any], said: str) -> None:
    count = values.get("count", 4)
    assert finding_text(code, "found", values | {"count": count, "of": 1200}).detail == said
    check_share(code, "found", said, count)


@pytest.mark.parametrize(("code", "values", "said"), ABSENT, ids=[code for code, *_ in ABSENT])
def test_what_was_not(code: str, values: dict[str, Any], said: str) -> None:
    text = finding_text(code, "not found", values | {"count": 0, "of": 1200})
    assert (text.detail, text.todo) == (said, "")
    check_share(code, "not found", said, 0)


ONE = [
    ("UNREADABLE-FILES", {"causes": {"no file": 1}}, 30,
     "1 of 30 files cannot be read and is left out: no file (1)."),
    ("MISSING-LABELS", {"target": "hat"}, 30,
     "1 of 30 images has no hat; it is left out of training and of every figure."),
    ("MISSING-LABELS", {"target": "hat"}, 1,
     "1 of 1 image has no hat; it is left out of training and of every figure."),
    ("BLANK-IMAGES", {"limit": 2.0}, 30,
     "1 image shows nothing: its luma deviates by less than 2 of 255 levels."),
    ("TINY-GROUPS", {"few": 30, "groups": [["hat", "test", 1]]}, 30,
     "1 of 30 groups has fewer than 30 images in a split: hat in test (1)."),
    ("DUPLICATES-WITHIN-SPLITS", {"images": 2, "surplus": 1, "same_bytes": 1}, 30,
     "2 images have an identical copy in their own split; 1 of them is surplus; 1 is a copy byte "
     "for byte."),
    ("NEAR-DUPLICATES-LABELLED-DIFFERENTLY", {"pairs": 1, "target": "hat"}, 30,
     "1 of 30 near-identical pairs has different values of hat."),
    ("PEOPLE-ACROSS-SPLITS", {"images": 2, "splits": {"train": 1, "test": 1}, "unknown": 1}, 30,
     "1 of 30 people stands in two splits or more, with 2 images (1 in train, 1 in test). 1 image "
     "of unknown people aside."),
    ("LABELS-WITHOUT-IMAGE", {}, 30,
     "1 of 30 rows names a picture that is not there; it is left out."),
    ("IMAGES-WITHOUT-LABEL", {}, 30,
     "1 of 30 pictures has no row that describes it; it is left out."),
    ("ROWS-REPEATED", {}, 30,
     "1 of 30 images has more than one row; each counts once, with its first row."),
    ("ROWS-CONTRADICT", {}, 30,
     "1 of 30 images has rows with different labels; it counts as unlabelled."),
    ("CLASSES-EXCLUDED", {}, 30,
     "1 of 30 rows is of a class that data.exclude_classes names; it is left out."),
    ("FILES-LEFT-OUT", {}, 30, "1 of 30 files does not end like a picture and was left out."),
    ("NAMES-NOT-READ", {}, 30,
     "1 of 30 pictures is not named age_gender_race_date; it is left out."),
]  # fmt: skip


@pytest.mark.parametrize(("code", "values", "of", "said"), ONE)
def test_of_one_the_verb_agrees(code: str, values: dict[str, Any], of: int, said: str) -> None:
    assert finding_text(code, "found", values | {"count": 1, "of": of}).detail == said


def check_share(code: str, state: State, said: str, count: int) -> None:
    """The report adds how many of how many where the sentence does not say it."""
    finding = Finding(code, "", state, "note", said, count, 1200)
    assert tells_share(finding) == (f"{count:,} of 1,200" in said)


def test_headings_and_remedies_may_depend_on_values() -> None:
    values = {"count": 1, "of": 9, "few": 30, "groups": [["no", "test", 4]]}
    assert finding_text("TINY-CLASSES", "found", values).title.startswith(
        "Classes with fewer than 30 "
    )
    mixed = MIXED | {"values": FOUR, "association": None, "count": 1, "of": 9}
    for telling, todo in ((True, "make them alike"), (False, "see whether")):
        said = finding_text("MIXED-SIZES", "found", mixed | {"telling": telling})
        assert said.todo.startswith(todo)


def test_what_could_not_be_looked_for_says_why() -> None:
    values = {"count": 0, "of": 0, "why": "one-split"}
    text = finding_text("DUPLICATES-ACROSS-SPLITS", "not applicable", values)
    assert text == ("Identical pictures in two splits", "There is only one split.", "")
    few = finding_text("CLASS-IMBALANCE", "too few to say", {"count": 0, "of": 12})
    assert few.detail == "There are 12 training images."


def test_of_several_data_sets_it_says_of_which() -> None:
    assert source_detail("No test images.", "lfw") == "lfw: No test images."


def test_what_an_older_run_found_is_taken_as_it_is() -> None:
    assert not tells_share(Finding("OF-OLD", "", "found", "note", "7 of 9 were odd.", 7, 9))
