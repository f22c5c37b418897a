"""Each check once where it fires and once where it must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from by_hand import dataset, store, texture

from candid.data import checks
from candid.data.dataset import Dataset
from candid.data.duplicate_findings import duplicate_checks
from candid.data.duplicates import Copies, exact_groups, near_pairs
from candid.data.store import Store
from candid.predictions import Attribute
from candid.records import Finding

THREE = ("train", "validation", "test")


def copied(pixels: list[np.ndarray], **columns: object) -> tuple[Dataset, Store, Copies]:
    data = dataset([b""] * len(pixels), **columns)  # type: ignore[arg-type]
    packed = store(np.stack(pixels))
    groups = exact_groups(packed)
    one_each = np.unique(groups, return_index=True)[1]
    return data, packed, Copies(groups, near_pairs(packed, one_each))


def repeated(code: str, data: Dataset, packed: Store, copies: Copies) -> Finding:
    return {f.code: f for f in duplicate_checks(data, packed, copies)}[code]


def people(**columns: object) -> Finding:
    data, packed, copies = copied([A, B, C, D, E, F], **columns)
    return repeated("PEOPLE-ACROSS-SPLITS", data, packed, copies)


def many(n: int, **columns: object) -> tuple[Dataset, Store]:
    """A dataset and store in which pixels play no part."""
    data = dataset([b""] * n, **columns)  # type: ignore[arg-type]
    return data, store(np.zeros((n, 8, 8, 3), np.uint8))


def almost(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(99).integers(-6, 7, picture.shape)
    return np.clip(picture.astype(int) + noise, 0, 255).astype(np.uint8)


def absent(finding: Finding) -> None:
    assert finding.state == "not found"
    assert finding.count == 0
    assert finding.of > 0
    assert finding.detail
    assert not finding.examples


def found(finding: Finding, count: int, of: int) -> None:
    assert (finding.state, finding.count, finding.of) == ("found", count, of)
    assert finding.detail
    assert finding.todo


# --- the same picture more than once -------------------------------------------------------------

A, B, C, D, E, F = (texture(i) for i in range(6))


def test_duplicates_within_splits() -> None:
    split = ["train", "train", "train", "test", "test", "train"]
    data, packed, copies = copied([A, B, A, A, C, A], split=split)
    got = repeated("DUPLICATES-WITHIN-SPLITS", data, packed, copies)
    found(got, 3, 6)
    assert "2 of them are surplus" in got.detail
    assert got.examples == ("00000.png", "00002.png", "00005.png")
    data, packed, copies = copied([A, B, C, A], split=["train"] * 3 + ["test"])
    absent(repeated("DUPLICATES-WITHIN-SPLITS", data, packed, copies))


def test_duplicates_across_splits() -> None:
    split = ["train", "train", "test", "test", "validation"]
    data, packed, copies = copied([A, B, A, C, A], split=split)
    got = repeated("DUPLICATES-ACROSS-SPLITS", data, packed, copies)
    found(got, 3, 5)
    assert "1 in train, 1 in validation, 1 in test" in got.detail
    assert got.severity == "serious"
    packed = replace(packed, digests=np.asarray(["x", "y", "x", "z", "w"]))
    assert (
        "2 are copies byte for byte"
        in repeated("DUPLICATES-ACROSS-SPLITS", data, packed, copies).detail
    )
    data, packed, copies = copied([A, A, B, C], split=["train", "train", "test", "test"])
    absent(repeated("DUPLICATES-ACROSS-SPLITS", data, packed, copies))
    data, packed, copies = copied([A, A])
    assert repeated("DUPLICATES-ACROSS-SPLITS", data, packed, copies).state == "not applicable"


def test_near_duplicates_within_splits() -> None:
    split = ["train", "train", "train", "test"]
    data, packed, copies = copied([A, almost(A), B, almost(B)], split=split)
    got = repeated("NEAR-DUPLICATES-WITHIN-SPLITS", data, packed, copies)
    found(got, 2, 4)
    assert got.examples == ("00000.png", "00001.png")
    data, packed, copies = copied([A, B, C, almost(A)], split=split)
    absent(repeated("NEAR-DUPLICATES-WITHIN-SPLITS", data, packed, copies))


def test_near_duplicates_across_splits() -> None:
    split = ["train", "train", "train", "test"]
    data, packed, copies = copied([A, almost(A), B, almost(B)], split=split)
    found(repeated("NEAR-DUPLICATES-ACROSS-SPLITS", data, packed, copies), 2, 4)
    data, packed, copies = copied([A, almost(A), B, C], split=split)
    absent(repeated("NEAR-DUPLICATES-ACROSS-SPLITS", data, packed, copies))
    data, packed, copies = copied([A, almost(A)])
    assert repeated("NEAR-DUPLICATES-ACROSS-SPLITS", data, packed, copies).state == "not applicable"
    data, packed, copies = copied([A])
    assert repeated("NEAR-DUPLICATES-WITHIN-SPLITS", data, packed, copies).state == "not applicable"


def test_identical_copies_are_not_near_duplicates_too() -> None:
    data, packed, copies = copied([A, A, B, B])
    absent(repeated("NEAR-DUPLICATES-WITHIN-SPLITS", data, packed, copies))


def test_contradictory_labels() -> None:
    data, packed, copies = copied([A, A, B, B, C, C, C], label=[0, 1, 1, 1, -1, 0, 0])
    got = repeated("CONTRADICTORY-LABELS", data, packed, copies)
    found(got, 2, 6)
    assert got.examples == ("00000.png", "00001.png")
    data, packed, copies = copied([A, A, B, B, C], label=[0, 0, 1, -1, 0])
    absent(repeated("CONTRADICTORY-LABELS", data, packed, copies))


def test_near_duplicates_labelled_differently() -> None:
    data, packed, copies = copied([A, almost(A), B, almost(B)], label=[0, 1, 0, 0])
    found(repeated("NEAR-DUPLICATES-LABELLED-DIFFERENTLY", data, packed, copies), 1, 2)
    data, packed, copies = copied([A, almost(A), B, almost(B)], label=[0, 0, 0, -1])
    absent(repeated("NEAR-DUPLICATES-LABELLED-DIFFERENTLY", data, packed, copies))


# --- people --------------------------------------------------------------------------------------


def test_people_across_splits() -> None:
    split = ["train", "train", "validation", "test", "test", "train"]
    got = people(split=split, person=[7, 8, 7, 9, -1, -1])
    found(got, 1, 3)
    assert got.examples == ("00000.png", "00002.png")
    assert "2 images of unknown people aside" in got.detail
    absent(people(split=split, person=[7, 7, 8, 9, -1, -1]))
    for person in (None, [-1] * 6):
        assert people(split=split, person=person).state == "not applicable"
    assert people(person=[1, 2, 3, 4, 5, 6]).state == "not applicable"


# --- files and labels ----------------------------------------------------------------------------


def test_unreadable_files() -> None:
    data, packed = many(10)
    usable = np.arange(10) < 8
    reasons = {8: "empty file (0 bytes)", 9: "no picture"}
    bad = replace(packed, usable=usable, reasons=reasons, causes={8: "empty file"})
    got = checks.unreadable_files(data, bad)
    found(got, 2, 10)
    assert "empty file (1)" in got.detail
    assert got.examples == ("00008.png", "00009.png")
    assert got.severity == "serious"
    absent(checks.unreadable_files(data, packed))


def test_missing_labels() -> None:
    got = checks.missing_labels(many(4, label=[0, -1, 1, -1])[0])
    found(got, 2, 4)
    assert got.examples == ("00001.png", "00003.png")
    absent(checks.missing_labels(many(4, label=[0, 0, 1, 1])[0]))


def test_alike_values() -> None:
    attribute = Attribute("hair", "categorical", ("black", "Red", "red"), np.zeros(4, np.int16))
    data = replace(many(4)[0], classes=("Male", "female", "male"), attributes={"hair": attribute})
    got = checks.alike_values(data)
    found(got, 2, 6)
    assert got.severity == "warning"
    assert "hair: 'Red' and 'red', " in got.detail
    assert ": 'Male' and 'male'" in got.detail
    assert "ALIKE-VALUES" in {f.code for f in checks.check_data(data, many(4)[1])}
    absent(checks.alike_values(many(4)[0]))


def test_mixed_sizes() -> None:
    data, packed = many(40)
    widths = np.where(np.arange(40) < 5, 99, 8).astype(np.int32)
    got = checks.mixed_sizes(data, replace(packed, widths=widths))
    found(got, 5, 40)
    assert "8×8 (35), 99×8 (5)" in got.detail
    assert got.severity == "note"
    absent(checks.mixed_sizes(data, packed))


def test_mixed_channels() -> None:
    data, packed = many(4)
    got = checks.mixed_channels(data, replace(packed, modes=np.asarray(["RGB", "L", "RGB", "P"])))
    found(got, 2, 4)
    absent(checks.mixed_channels(data, packed))
    nothing = replace(packed, usable=np.zeros(4, np.bool_))
    assert checks.mixed_channels(data, nothing).state == "not applicable"


def test_mixed_formats_that_go_with_the_label_are_serious() -> None:
    data, packed = many(200)  # labels alternate
    rng = np.random.default_rng(0)
    with_label = np.where((np.arange(200) % 2 == 0) ^ (rng.random(200) < 0.1), "JPEG", "PNG")
    got = checks.mixed_formats(data, replace(packed, formats=with_label))
    assert got.severity == "serious"
    assert "goes with Face" in got.detail
    independent = np.where(np.arange(200) % 4 < 2, "JPEG", "PNG")
    got = checks.mixed_formats(data, replace(packed, formats=independent))
    found(got, 100, 200)
    assert got.severity == "note"
    assert "does not surely go with Face" in got.detail
    absent(checks.mixed_formats(data, packed))


def test_blank_images() -> None:
    pixels = np.stack([A, B, np.full_like(A, 200), C])
    data = dataset([b""] * 4)
    got = checks.blank_images(data, store(pixels))
    found(got, 1, 4)
    assert got.examples == ("00002.png",)
    absent(checks.blank_images(data, store(pixels[[0, 1, 3, 3]])))


# --- how many of what ----------------------------------------------------------------------------


def test_class_imbalance() -> None:
    label = [0] * 90 + [1] * 10
    got = checks.class_imbalance(*many(100, label=label))
    found(got, 10, 100)
    assert "Square has 10.0%" in got.detail
    assert got.severity == "note"
    assert checks.class_imbalance(*many(200, label=[0] * 195 + [1] * 5)).severity == "warning"
    absent(checks.class_imbalance(*many(100, label=[0] * 70 + [1] * 30)))
    # Validation and test do not count, and a handful says nothing.
    split = ["train"] * 60 + ["test"] * 40
    absent(checks.class_imbalance(*many(100, label=[0, 1] * 30 + [0] * 40, split=split)))
    assert checks.class_imbalance(*many(10, label=[0] * 10)).state == "too few to say"


def test_tiny_classes() -> None:
    split = ["train"] * 80 + ["test"] * 40
    got = checks.tiny_classes(*many(120, label=[0, 1] * 40 + [0] * 35 + [1] * 5, split=split))
    found(got, 1, 4)
    assert "Square in test (5)" in got.detail
    absent(checks.tiny_classes(*many(80, label=[0, 1] * 40)))
    absent(checks.tiny_classes(*many(40, label=[0] * 40)))  # none at all is another finding


def test_label_absent_in_split() -> None:
    split = ["train"] * 4 + ["validation"] * 4
    got = checks.absent_classes(*many(8, label=[0, 1, 0, 1, 0, 0, 0, -1], split=split))
    found(got, 1, 4)
    assert "no Square in validation" in got.detail
    absent(checks.absent_classes(*many(8, label=[0, 1] * 4, split=split)))
    # A class whose only image cannot be read is absent, too.
    data, packed = many(4, label=[0, 0, 0, 1])
    found(checks.absent_classes(data, replace(packed, usable=np.arange(4) < 3)), 1, 2)


def test_tiny_groups() -> None:
    split = ["train"] * 80 + ["test"] * 40
    hat = [0, 1] * 40 + [0] * 30 + [1] * 10
    got = checks.tiny_groups(*many(120, split=split, attributes={"Hat": hat}))
    found(got, 1, 4)
    assert "Hat yes in test (10)" in got.detail
    absent(checks.tiny_groups(*many(80, attributes={"Hat": [0, 1] * 40})))
    assert checks.tiny_groups(*many(80)).state == "not applicable"
    assert checks.tiny_groups(*many(3, numbers={"Age": [1, 2, 3]})).state == "not applicable"


def test_constant_attributes() -> None:
    attributes = {"Hat": [0, 0, 0, -1], "Glasses": [0, 1, 0, 1], "Beard": [-1] * 4}
    numbers = {"Age": [3.0, 3.0, np.nan, 3.0], "Tone": [1.0, 2.0, 3.0, 4.0]}
    got = checks.constant_attributes(*many(4, attributes=attributes, numbers=numbers))
    found(got, 3, 5)
    assert "Hat, Beard (never known), Age" in got.detail
    absent(checks.constant_attributes(*many(4, attributes={"Glasses": [0, 1, 0, 1]})))
    assert checks.constant_attributes(*many(4)).state == "not applicable"


# --- all of them ---------------------------------------------------------------------------------


def test_all_checks_run_and_the_gravest_comes_first() -> None:
    split = ["train", "train", "test", "validation"]
    data, packed, _ = copied([A, A, A, B], split=split, label=[0, 1, 0, 1])
    got = checks.check_data(data, packed, quiet=True)
    codes = [f.code for f in got]
    assert len(codes) == len(set(codes)) == 19
    assert all(code == code.upper() and " " not in code for code in codes)
    states = [f.state for f in got]
    order = ["found", "too few to say", "not found", "not applicable"]
    assert states == sorted(states, key=order.index)
    assert got[0].severity == "serious"
    by_code = {f.code: f for f in got}
    assert by_code["DUPLICATES-ACROSS-SPLITS"].count == 3
    assert by_code["CONTRADICTORY-LABELS"].count == 3
    assert by_code["PEOPLE-ACROSS-SPLITS"].state == "not applicable"


@pytest.mark.parametrize("n", [1, 2])
def test_hardly_any_data_breaks_no_check(n: int) -> None:
    data, packed, _ = copied([A, B][:n], attributes={"Hat": [-1, 0][:n]})
    assert len(checks.check_data(data, packed, quiet=True)) == 19
    nothing = replace(packed, usable=np.zeros(n, np.bool_), reasons=dict.fromkeys(range(n), "bad"))
    assert len(checks.check_data(data, nothing, quiet=True)) == 19


def test_order_of_the_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    pictures = [texture(int(k)) for k in rng.integers(0, 12, 24)]
    columns = {
        "split": [THREE[k] for k in rng.integers(0, 3, 24)],
        "label": rng.integers(-1, 2, 24).tolist(),
        "person": rng.integers(-1, 9, 24).tolist(),
    }
    straight = {
        f.code: (f.state, f.count, f.of) for f in checks.check_data(*_all(pictures, columns))
    }
    order = rng.permutation(24)
    turned = _all(
        [pictures[k] for k in order],
        {name: [values[k] for k in order] for name, values in columns.items()},
    )
    assert {f.code: (f.state, f.count, f.of) for f in checks.check_data(*turned)} == straight


def _all(pictures: list[np.ndarray], columns: dict[str, list[object]]) -> tuple[Dataset, Store]:
    return copied(pictures, **columns)[:2]
