"""Exploring is held to counting with masks, to NumPy over whole arrays, and to planted effects."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import dataset, png, store, texture
from drawn import real

from candid.data.dataset import Dataset
from candid.data.exploration import data_fingerprint, explore_images
from candid.data.layouts import load_dataset
from candid.data.store import Store, pack
from candid.predictions import Attribute
from candid.records import Exploration, from_plain, read_record, to_plain, write_record
from candid.settings import DataConfig
from candid.stats.intervals import wilson
from candid.tables.attributes import bin_attribute

SPLITS = ("train", "validation", "test")


def world(n: int = 300, side: int = 16, **changes: object) -> tuple[Dataset, Store]:
    rng = np.random.default_rng(0)
    label = rng.integers(-1, 2, n)
    columns = {
        "label": label.tolist(),
        "split": [SPLITS[k] for k in rng.integers(0, 3, n)],
        "person": rng.integers(-1, 60, n).tolist(),
        "attributes": {
            "Hat": rng.integers(-1, 2, n).tolist(),
            "Cue": np.where(rng.random(n) < 0.9, label, 1 - label).clip(0, 1).tolist(),
        },
        "numbers": {"Age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 90, n)).tolist()},
    }
    data = dataset([b""] * n, **(columns | changes))  # type: ignore[arg-type]
    pixels = rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8)
    usable = rng.random(n) < 0.95
    reasons = {int(row): "bad" for row in np.flatnonzero(~usable)}
    return data, store(pixels, usable=usable.tolist(), reasons=reasons)


def test_everything_is_counted_as_masks_count_it() -> None:
    data, packed = world()
    got, _ = explore_images(data, packed, draws=50, quiet=True)
    assert (got.n, got.unreadable) == (300, int((~packed.usable).sum()))
    assert got.unlabelled == int((data.label < 0).sum())
    assert data.person is not None
    assert got.people == len({int(i) for i in data.person if i >= 0})
    assert [s.split for s in got.splits] == list(SPLITS)
    for summary in got.splits:
        mask = packed.usable & (data.split == summary.split) & (data.label >= 0)
        counts = tuple(int((data.label[mask] == c).sum()) for c in (0, 1))
        assert (summary.n, summary.counts) == (int(mask.sum()), counts)
        for share, count in zip(summary.shares, counts, strict=True):
            assert share.value == pytest.approx(count / mask.sum())
            assert share.low < share.value < share.high
    rows = {(a.attribute, a.value, a.split): a for a in got.attributes}
    assert len(rows) == len(got.attributes) == (2 + 2 + 4) * 3
    hat = data.attributes["Hat"].data
    for split in SPLITS:
        mask = packed.usable & (data.split == split) & (data.label >= 0)
        row = rows["Hat", "yes", split]
        known = mask & (hat >= 0)
        assert row.prevalence.value == pytest.approx((hat[known] == 1).mean())
        assert row.prevalence.n == row.association.n == known.sum()
        for c in (0, 1):
            mine = known & (data.label == c)
            assert row.class_shares[c] == pytest.approx((hat[mine] == 1).mean())
            e = row.class_estimates[c]
            assert (e.value, e.n) == (row.class_shares[c], mine.sum())
            assert data.person is not None and e.people is not None
            people = data.person[mine]
            assert e.people == len(set(people[people >= 0])) + (people < 0).sum()
            assert e.low < e.value < e.high and "person" in e.method
    assert rows["Cue", "yes", "train"].association.low > 0.5
    assert rows["Hat", "yes", "train"].association.low < 0.2
    assert sum(rows["Age", v, "test"].prevalence.value for v in _values(got, "Age")) == (
        pytest.approx(1)
    )


def _values(got: Exploration, attribute: str) -> set[str]:
    return {a.value for a in got.attributes if a.attribute == attribute}


def test_intervals_are_by_person_where_people_are_known() -> None:
    data, packed = world()
    known, _ = explore_images(data, packed, draws=50, quiet=True)
    unknown, _ = explore_images(replace(data, person=None), packed, draws=50, quiet=True)
    train, plain = known.splits[0], unknown.splits[0]
    assert train.people is not None
    assert train.shares[0].people == train.people
    assert "person" in train.shares[0].method
    assert "person" in known.attributes[0].association.method
    assert plain.people is None
    assert unknown.people is None
    assert plain.shares[0].method == "Wilson"
    hat = next(a for a in unknown.attributes if (a.attribute, a.value) == ("Hat", "yes"))
    e = hat.class_estimates[1]
    ends = [float(end) for end in wilson(round(e.value * e.n), e.n)]
    assert [e.low, e.high] == pytest.approx(ends)
    assert e.method == "Wilson" and e.people is None
    low, high = wilson(plain.counts[0], plain.n)
    assert (plain.shares[0].low, plain.shares[0].high) == (float(low), float(high))


def test_mean_faces_and_their_difference_are_numpys() -> None:
    data, packed = world()
    _, images = explore_images(data, packed, draws=50, quiet=True)
    train = packed.usable & (data.split == "train")
    means = [packed.pixels[train & (data.label == c)].astype(float).mean(0) for c in (0, 1)]
    np.testing.assert_allclose(images.mean, means, atol=1e-3)
    np.testing.assert_allclose(images.difference[1], means[1] - means[0], atol=1e-3)
    np.testing.assert_allclose(images.difference[0], means[0] - means[1], atol=1e-3)
    drawn = images.pictures()
    assert set(drawn) == {"mean-Round", "mean-Square", "difference"}
    np.testing.assert_array_equal(drawn["mean-Round"], np.rint(images.mean[0]))
    extreme = np.unravel_index(np.abs(images.difference[1]).argmax(), (16, 16, 3))
    assert drawn["difference"][extreme] in (0, 255)


def test_a_class_without_training_images_has_no_face_and_no_samples() -> None:
    data, packed = world(label=[0] * 200 + [1] * 100, split=["train"] * 200 + ["test"] * 100)
    got, images = explore_images(data, packed, draws=50, quiet=True)
    assert np.isnan(images.mean[1]).all()
    assert set(images.pictures()) == {"mean-Round"}
    assert images.samples["Square"] == ()
    assert [s.split for s in got.splits] == ["train", "test"]
    assert got.splits[0].counts[1] == 0
    assert np.isnan(got.attributes[0].association.value)
    assert np.isnan(got.attributes[0].class_shares[1])


def test_samples_are_drawn_from_train_by_the_seed() -> None:
    data, packed = world()
    samples = [
        explore_images(data, packed, draws=50, seed=s, quiet=True)[1].samples for s in (1, 1, 2)
    ]
    assert samples[0] == samples[1] != samples[2]
    for c, name in enumerate(data.classes):
        rows = np.asarray(samples[0][name])
        assert len(set(rows.tolist())) == 12
        assert (data.label[rows] == c).all()
        assert (data.split[rows] == "train").all()
        assert packed.usable[rows].all()


def test_brightness_and_contrast_are_those_of_luma() -> None:
    data, packed = world()
    pixels = packed.pixels.copy()
    pixels[0], pixels[1, :8], pixels[1, 8:] = 255, 0, 255
    packed = replace(packed, pixels=pixels, usable=np.ones(300, np.bool_), reasons={})
    data = replace(data, label=np.where(np.arange(300) < 2, 0, 1).astype(np.int16))
    got, _ = explore_images(data, packed, draws=50, quiet=True)
    bright, contrast = got.brightness[0], got.contrast[0]
    assert bright.group == "Round"
    assert bright.mean == pytest.approx(0.75)
    assert bright.counts[-1] == 1
    assert sum(bright.counts) == sum(contrast.counts) == 2
    assert contrast.counts[0] == contrast.counts[-1] == 1
    grey = pixels[2:].astype(float) @ [0.299, 0.587, 0.114] / 255
    assert got.brightness[1].mean == pytest.approx(grey.mean((1, 2)).mean(), abs=1e-5)
    assert got.contrast[1].mean == pytest.approx(grey.std((1, 2)).mean(), abs=1e-5)
    assert got.contrast[1].sd == pytest.approx(grey.std((1, 2)).std(ddof=1), abs=1e-5)
    expected = np.histogram(grey.mean((1, 2)), np.linspace(0, 1, 33))[0]
    assert got.brightness[1].counts == tuple(expected)


def test_sizes_are_counted_the_commonest_first_and_the_rest_together() -> None:
    data, packed = world()
    widths = np.where(np.arange(300) < 200, 64, np.arange(300)).astype(np.int32)
    packed = replace(packed, widths=widths, usable=np.ones(300, np.bool_), reasons={})
    got, _ = explore_images(data, packed, draws=50, quiet=True)
    assert (got.sizes[0].value, got.sizes[0].count) == ("64×16", 200)
    assert len(got.sizes) == 40
    assert got.sizes[-1].value == "62 other sizes"
    assert sum(c.count for c in got.sizes) == 300


def test_memory_stays_flat_and_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    data, packed = world()
    whole = explore_images(data, packed, draws=50, quiet=True)
    monkeypatch.setattr("candid.data.duplicates.row_blocks.__defaults__", (7,))
    small = explore_images(data, packed, draws=50, quiet=True)
    np.testing.assert_allclose(whole[1].mean, small[1].mean, atol=1e-3)
    assert whole[0].brightness == small[0].brightness


def test_the_record_survives_json(tmp_path: Path) -> None:
    data, packed = world(60)
    got, _ = explore_images(data, packed, draws=50, quiet=True)
    write_record(tmp_path / "data.json", got)
    again = read_record(tmp_path / "data.json", Exploration)
    assert to_plain(again) == to_plain(got)
    assert from_plain(Exploration, to_plain(got)).splits == got.splits


def test_the_fingerprint_changes_with_the_labels_and_not_with_the_order_of_attributes() -> None:
    data, packed = world(60)
    base = data_fingerprint(data, packed)
    turned = replace(data, attributes=dict(reversed(list(data.attributes.items()))))
    assert data_fingerprint(turned, packed) == base
    label = data.label.copy()
    label[3] = 1 - label[3]
    assert data.person is not None
    others = [
        replace(data, label=label),
        replace(data, split=data.split[::-1]),
        replace(data, person=data.person + 1),
        replace(data, target="Jaw"),
        replace(data, classes=("a", "b")),
    ]
    assert len({base, *(data_fingerprint(other, packed) for other in others)}) == 6


def test_the_fingerprint_is_of_the_files_contents(tmp_path: Path) -> None:
    """A copy elsewhere, at another time, is the same data; another picture is not."""

    def mark(folder: Path) -> str:
        data = load_dataset(folder, config=DataConfig(validation_share=0.4))
        return data_fingerprint(data, pack(data, DataConfig(side=16), cache=tmp_path / "cache"))

    for i in range(12):
        path = tmp_path / "one" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(texture(i)))
    first = mark(tmp_path / "one")
    copy = shutil.copytree(tmp_path / "one", tmp_path / "two")
    os.utime(copy / "a" / "0.png", (1, 1))
    assert mark(copy) == first
    (copy / "a" / "0.png").write_bytes(png(texture(99)))
    assert mark(copy) != first


# --- numbers into bins ---------------------------------------------------------------------------


def numeric(values: list[float]) -> Attribute:
    return Attribute("Age", "numeric", (), np.asarray(values, np.float64))


def test_numbers_are_cut_at_the_quartiles_of_train() -> None:
    values = [float(v) for v in range(100)] + [500.0, -3.0, np.nan]
    got = bin_attribute(numeric(values), np.arange(100))
    assert got.values == ("up to 24", "25 to 49", "50 to 74", "75 and above")
    assert np.bincount(got.data[:100]).tolist() == [25, 25, 25, 25]
    assert got.data[100:].tolist() == [3, 0, -1]
    for value, code in zip(values[:100], got.data, strict=False):
        words = got.values[code].replace("up to", "0 to").replace("and above", "to 99").split()
        assert float(words[0]) <= value <= float(words[2])


def test_fractions_keep_their_edges_and_few_values_their_own_bins() -> None:
    got = bin_attribute(numeric([0.1, 0.25, 0.5, 0.75, 0.9]), np.arange(5))
    assert got.values == ("below 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 and above")
    assert got.data.tolist() == [0, 1, 2, 3, 3]
    assert bin_attribute(numeric([3, 1, 3, np.nan]), np.arange(4)).values == ("1", "3")
    assert bin_attribute(numeric([3, 1, 3, np.nan]), np.arange(4)).data.tolist() == [1, 0, 1, -1]


def test_one_value_that_half_have_makes_fewer_bins() -> None:
    got = bin_attribute(numeric([0.0] * 60 + list(range(1, 41))), np.arange(100))
    assert got.values == ("up to 15", "16 and above")
    assert np.bincount(got.data).tolist() == [75, 25]
    constant_in_train = bin_attribute(numeric([0.0] * 10 + [1, 2, 3, 4, 5]), np.arange(10))
    assert constant_in_train.values == ("up to 0", "1 and above")
    # Quartiles of 15.75, 16 and 17.25: two of them cut whole numbers at the same place.
    close = bin_attribute(numeric([15, 15, 16, 16, 16, 17, 18, 40]), np.arange(8))
    assert close.values == ("up to 15", "16 to 17", "18 and above")
    assert np.bincount(close.data).tolist() == [2, 4, 2]


def test_numbers_that_are_never_known_are_missing() -> None:
    got = bin_attribute(numeric([np.nan, np.nan]), np.arange(2))
    assert got.data.tolist() == [-1, -1]
    unknown_in_train = bin_attribute(numeric([np.nan, 1, 2, 3, 4, 5, 6]), np.arange(1))
    assert set(unknown_in_train.data[1:].tolist()) == {0, 1, 2, 3}


# --- the whole way -------------------------------------------------------------------------------


def test_from_files_to_findings(tmp_path: Path) -> None:
    pictures = [texture(i, 32) for i in range(40)]
    pictures[39] = pictures[0]
    images = [png(p) for p in pictures]
    images[7] = b"text"
    split = ["train"] * 30 + ["test"] * 10
    data = dataset(images, split=split, person=list(range(40)))
    packed = pack(data, DataConfig(side=32, workers=1), cache=tmp_path, quiet=True)
    got, _ = explore_images(data, packed, draws=50, quiet=True)
    findings = {f.code: f for f in got.findings}
    assert findings["UNREADABLE-FILES"].examples == ("00007.png",)
    assert findings["DUPLICATES-ACROSS-SPLITS"].examples == ("00000.png", "00039.png")
    assert findings["NEAR-DUPLICATES-WITHIN-SPLITS"].state == "not found"
    assert got.unreadable == 1
    assert got.splits[0].n == 29


def test_real_faces_have_the_duplicates_that_their_bytes_prove(tmp_path: Path) -> None:
    data = load_dataset(real("utkface"))
    packed = pack(data, DataConfig(), cache=tmp_path, quiet=True)
    got, images = explore_images(data, packed, draws=100, quiet=True)
    assert sum(s.n for s in got.splits) == 6000
    by_bytes: dict[bytes, list[int]] = {}
    for row in range(len(data)):
        by_bytes.setdefault(data.source.read(row), []).append(row)
    copies = [rows for rows in by_bytes.values() if len(rows) > 1]
    across = sum(len(rows) for rows in copies if len({str(data.split[r]) for r in rows}) > 1)
    torn = sum(len(rows) for rows in copies if len({int(data.label[r]) for r in rows}) > 1)
    findings = {f.code: f for f in got.findings}
    assert findings["DUPLICATES-ACROSS-SPLITS"].count == across > 0
    assert findings["CONTRADICTORY-LABELS"].count == torn > 0
    assert findings["CONTRADICTORY-LABELS"].of == sum(map(len, copies))
    assert findings["MIXED-SIZES"].state == "not found"
    assert np.abs(images.difference[1]).max() > 20


def test_of_several_labels_the_first_is_counted_where_it_is_known() -> None:
    """An image that lacks the first label and has another is in the data set all the same."""
    data, packed = world()
    several = replace(data, further_targets=("Hat",))
    lacking = packed.usable & (data.label < 0) & (data.attributes["Hat"].data >= 0)
    assert (lacking & (data.split == "train")).any()
    alone, faces = explore_images(data, packed, draws=50, quiet=True)
    got, images = explore_images(several, packed, draws=50, quiet=True)
    assert to_plain(got) == to_plain(alone)
    np.testing.assert_array_equal(images.mean, faces.mean)
