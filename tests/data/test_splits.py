from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import dataset
from drawn import put, real
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from candid.data import splits
from candid.data.dataset import Dataset, Part
from candid.data.duplicates import Copies, Pairs, find_copies
from candid.errors import ConfigError, DataError
from candid.pipeline.opening import load_packed
from candid.pipeline.steps import describe_data
from candid.predictions import Attribute
from candid.settings import Config, DataConfig

KEYS = [f"image {i}" for i in range(20_000)]
names = st.lists(st.text(max_size=12), min_size=1, max_size=60)


def split_of(keys: list[str], label: list[int], validation: float = 0.1, test: float = 0.1):  # type: ignore[no-untyped-def]
    return splits.split_groups(
        splits.hash_keys(keys), np.asarray(label, np.int16), validation, test
    ).tolist()


def test_the_order_is_that_of_blake2b() -> None:
    keys = KEYS[:500]
    place = {k: hashlib.blake2b(k.encode(), digest_size=8).digest() for k in keys}
    ranked = sorted(keys, key=place.__getitem__)
    expected = ["test"] * 150 + ["validation"] * 100 + ["train"] * 250
    got = dict(zip(keys, split_of(keys, [0] * 500, 0.2, 0.3), strict=True))
    assert [got[k] for k in ranked] == expected


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.3, 0.0), (0.0, 0.25), (0.05, 0.5)])
def test_each_class_has_the_same_shares(validation: float, test: float) -> None:
    """Counted class by class: rare classes, common ones, and images without a label."""
    label = np.random.default_rng(0).choice([-1, 0, 1, 2], 3000, p=[0.1, 0.02, 0.3, 0.58])
    split = np.array(split_of(KEYS[:3000], label.tolist(), validation, test))
    for name, share in (("validation", validation), ("test", test)):
        assert abs(np.count_nonzero(split == name) - share * 3000) <= 1
        for c in (-1, 0, 1, 2):
            mine = label == c
            assert abs(np.count_nonzero(split[mine] == name) - share * mine.sum()) <= 1.5


@given(names, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(keys: list[str], random) -> None:  # type: ignore[no-untyped-def]
    rows = [(key, len(key) % 3 - 1) for key in keys]
    split = dict(zip(rows, split_of(*zip(*rows, strict=True), 0.3, 0.3), strict=True))  # type: ignore[arg-type]
    random.shuffle(rows)
    again = dict(zip(rows, split_of(*zip(*rows, strict=True), 0.3, 0.3), strict=True))  # type: ignore[arg-type]
    assert again == split


@pytest.mark.parametrize("seed", range(5))
def test_more_images_move_few_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, 3020).tolist()
    before, after = split_of(KEYS[:3000], label[:3000]), split_of(KEYS[:3020], label)
    moved = sum(a != b for a, b in zip(before, after, strict=False))
    assert moved <= 2 * 3 + 20 * 0.1 * 2  # a few at the two ends of each class, not a tenth of all


@given(st.lists(st.integers(-1, 2), min_size=3, max_size=12))
def test_no_split_is_empty(label: list[int]) -> None:
    assert set(split_of(KEYS[: len(label)], label)) == {"train", "validation", "test"}


def test_a_larger_validation_leaves_test_alone() -> None:
    label = np.random.default_rng(1).integers(0, 2, 2000).tolist()
    small, large = (np.array(split_of(KEYS[:2000], label, v, 0.2)) for v in (0.1, 0.4))
    assert np.array_equal(small == "test", large == "test")
    assert np.all(large[small == "validation"] == "validation")


def test_a_large_group_comes_no_earlier_than_a_small_one() -> None:
    """Groups of 40 and of 1, by number alike often in test: joining must not favour either."""
    large = 0
    for trial in range(200):
        group = splits.hash_keys([f"{trial} {i}" for i in range(50)])
        pairs = np.arange(39)
        joined = splits.join_groups(group, pairs, pairs + 1)
        assert len(np.unique(joined)) == 11
        large += joined[0] <= np.median(joined[39:])
    low, high = binom.interval(1 - 1e-6, 200, 0.5)
    assert low <= large <= high


links = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25)


@given(st.lists(st.integers(0, 9), min_size=20, max_size=20), links)
def test_what_is_linked_is_one_group(person: list[int], pairs: list[tuple[int, int]]) -> None:
    """By brute force: walk along links and persons until nothing new is reached."""
    group = splits.hash_keys([f"person {p}" for p in person])
    first, second = (np.array([pair[i] for pair in pairs], np.intp) for i in (0, 1))
    joined = splits.join_groups(group, first, second)
    for i in range(20):
        reached = {i}
        while True:
            more = {j for j in range(20) if person[j] in {person[k] for k in reached}}
            more |= {b for a, b in pairs if a in reached} | {a for a, b in pairs if b in reached}
            if more <= reached:
                break
            reached |= more
        assert set(np.flatnonzero(joined == joined[i]).tolist()) == reached
        assert joined[i] in group[sorted(reached)]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.1), (0.9, 0.2), (float("nan"), 0.1)])
def test_impossible_shares(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="not possible"):
        split_of(["a"], [0], *shares)


def test_words() -> None:
    words = ["Train", "val", "valid", "dev", "validation", "test", "0", "1", "2"]
    expected = ["train", *["validation"] * 4, "test", "train", "validation", "test"]
    assert splits.read_splits(words, file="t.csv").tolist() == expected


@pytest.mark.parametrize(("word", "said"), [("trian", "'trian'"), (None, "no split"), ("3", "'3'")])
def test_a_word_that_is_no_split_names_its_row(word: str | None, said: str) -> None:
    with pytest.raises(DataError, match=f"Row 2 of t.csv has .*{said}"):
        splits.read_splits(["train", word], file="t.csv")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ({"train", "trian"}, True),
        ({"0", "1", "2"}, True),
        ({"0", "1", "2", "3", "4"}, False),
        ({"cat", "dog"}, False),
        ({""}, False),
    ],
)
def test_when_a_column_is_a_split(words: set[str], meant: bool) -> None:
    assert splits.is_split(words) is meant


def _complete(*present: str, n: int = 600) -> tuple[np.ndarray, set[str]]:
    given_split = np.array(present * (n // len(present))) if present else None
    keys = np.array(KEYS[: len(given_split) if given_split is not None else n])
    label = np.zeros(len(keys), np.int16)
    split, group, findings = splits.fill_split(given_split, keys, label, DataConfig())
    if given_split is not None and "test" in present:
        assert np.array_equal(split == "test", given_split == "test")
        assert group is None or np.array_equal(group > 0, given_split != "test")
    return split, {f.code for f in findings}


def test_no_split_is_made_by_hash() -> None:
    split, codes = _complete()
    assert split.tolist() == split_of(KEYS[:600], [0] * 600)
    assert codes == {"SPLIT-BY-HASH"}
    assert _complete("train")[1] == {"SPLIT-BY-HASH"}


def test_validation_comes_out_of_train_only() -> None:
    split, codes = _complete("train", "test")
    assert np.count_nonzero(split == "validation") == 30
    assert codes == {"VALIDATION-FROM-TRAIN"}


def test_what_the_data_says_stays() -> None:
    split, codes = _complete("train", "validation", "test")
    assert split.tolist() == ["train", "validation", "test"] * 200
    assert codes == set()
    split, codes = _complete("train", "validation")
    assert split.tolist() == ["train", "validation"] * 300
    assert codes == {"NO-TEST-SPLIT"}


# --- copies --------------------------------------------------------------------------------------


def copies(n: int, seed: int, *, complete: bool = True) -> Copies:
    """A tenth of n images are exact copies of others, a tenth near copies."""
    rng = np.random.default_rng(seed)
    groups = np.arange(n)
    some = rng.permutation(n)
    tenth = n // 10
    groups[some[:tenth]] = groups[some[tenth : 2 * tenth]]
    pairs = np.sort(some[2 * tenth : 4 * tenth].reshape(2, -1), axis=0)
    return Copies(groups, Pairs(*pairs, np.full(tenth, 0.9, np.float32), complete))


def split_by_candid(n: int, split: np.ndarray | None = None) -> Dataset:
    """Of two images a person, where somebody is known: every third image has no name."""
    keys = np.array([f"person {i // 2}" if i % 3 else f"image {i}" for i in range(n)])
    data = dataset([b""] * n, label=np.random.default_rng(2).integers(-1, 2, n).tolist())
    split, group, findings = splits.fill_split(split, keys, data.label, DataConfig())
    return replace(data, split=split, split_hash=group, findings=findings)


@pytest.mark.parametrize("seed", range(3))
def test_copies_near_copies_and_people_stay_on_one_side(seed: int) -> None:
    data, found = split_by_candid(900), copies(900, seed)
    usable = np.random.default_rng(seed).random(900) < 0.97
    first, second = found.links()
    assert np.any(data.split[first] != data.split[second])
    got = splits.keep_together(data, usable, found, DataConfig())
    assert np.array_equal(got.split[first], got.split[second])
    for i in range(1, 900, 2):
        if i % 3 and (i - 1) % 3:
            assert got.split[i] == got.split[i - 1]
    for a in range(900):
        assert len(set(got.split[found.groups == found.groups[a]])) == 1
    for c in (0, 1):
        mine = usable & (data.label == c)
        for name in ("validation", "test"):
            assert abs(np.count_nonzero(got.split[mine] == name) - 0.1 * mine.sum()) <= 8
    (finding,) = got.findings
    assert finding.code == "SPLIT-BY-HASH"
    assert "copies and near copies" in finding.detail


def test_copies_leave_the_datas_own_split_alone() -> None:
    own = np.array(["train", "train", "test"] * 200)
    data, found = split_by_candid(600, own), copies(600, 0)
    got = splits.keep_together(data, np.ones(600, np.bool_), found, DataConfig())
    assert np.array_equal(got.split == "test", own == "test")
    first, second = found.links()
    mine = (own[first] == "train") & (own[second] == "train")
    assert np.array_equal(got.split[first[mine]], got.split[second[mine]])
    whole = dataset([b""] * 600, split=["train", "validation", "test"] * 200)
    assert splits.keep_together(whole, np.ones(600, np.bool_), found, DataConfig()) is whole


def test_near_copies_without_number_link_nothing() -> None:
    data, found = split_by_candid(900), copies(900, 0, complete=False)
    assert len(found.links()[0]) == 90
    got = splits.keep_together(data, np.ones(900, np.bool_), found, DataConfig())
    assert "Near copies are too many" in got.findings[0].detail


def test_a_folder_without_a_split_gets_one_in_which_copies_are_together(tmp_path: Path) -> None:
    for i in range(120):
        put(tmp_path / "faces" / f"c{i % 2}" / f"{i}.jpg", seed=i % 40 if i < 80 else i)
    config = Config(data=DataConfig(side=16, workers=1))
    data = load_packed(tmp_path / "faces", config, cache=tmp_path / "cache", quiet=True)
    exploration, _ = describe_data(data, config, quiet=True)
    state = {f.code: f.state for f in exploration.findings}
    assert state["DUPLICATES-ACROSS-SPLITS"] == "not found"
    assert state["DUPLICATES-WITHIN-SPLITS"] == "found"
    again = load_packed(tmp_path / "faces", config, cache=tmp_path / "cache", quiet=True)
    assert again.fingerprint == data.fingerprint


def test_copies_in_utkface_are_on_one_side(tmp_path: Path) -> None:
    config = Config(data=DataConfig(workers=1))
    data = load_packed(real("utkface"), config, cache=tmp_path, quiet=True)
    found = find_copies(data.store)
    first, second = found.links()
    assert len(first) > 60
    assert np.array_equal(data.dataset.split[first], data.dataset.split[second])
    female = data.dataset.label == 1
    shares = [female[data.dataset.split == s].mean() for s in ("train", "validation", "test")]
    assert max(shares) - min(shares) < 0.005


# --- several data sets ---------------------------------------------------------------------------

WHOLE = np.array(["train", "validation", "test"] * 100)
TRAIN_TEST = np.array(["train", "train", "test"] * 100)


def joined(parts: list[Dataset]) -> Dataset:
    """Data sets one after the other, as joining leaves them."""
    number = np.repeat(np.arange(len(parts), dtype=np.int16), [len(d) for d in parts])
    names = tuple("abc"[: len(parts)])
    hashes = [np.zeros(len(d), np.uint64) if d.split_hash is None else d.split_hash for d in parts]
    whole = dataset([b""] * len(number), label=np.concatenate([d.label for d in parts]).tolist())
    return replace(
        whole,
        split=np.concatenate([d.split for d in parts]),
        split_hash=np.concatenate(hashes),
        findings=tuple(
            splits.of_source(f, n) for n, d in zip(names, parts, strict=True) for f in d.findings
        ),
        attributes={"source": Attribute("source", "categorical", names, number)},
        parts=tuple(Part(n, "", "memory", "Face") for n in names),
    )


def linked(n: int, pairs: list[tuple[int, int]]) -> Copies:
    """Near copies alone."""
    first, second = np.array(pairs or np.empty((0, 2)), np.intp).reshape(-1, 2).T
    return Copies(np.arange(n), Pairs(first, second, np.full(len(first), 0.9, np.float32), True))


def three_sources() -> list[Dataset]:
    """Split by Candid, by the data, and with validation taken out of the data's train."""
    whole = replace(dataset([b""] * 300, label=split_by_candid(300).label.tolist()), split=WHOLE)
    return [split_by_candid(300), whole, split_by_candid(300, TRAIN_TEST)]


@pytest.mark.parametrize("seed", range(3))
def test_each_source_is_split_as_if_it_were_alone(seed: int) -> None:
    """Names and persons that are the same in two data sets are nothing to each other."""
    parts, inner = three_sources(), [copies(300, seed + i) for i in range(3)]
    usable = np.random.default_rng(seed).random(900) < 0.97
    links = [np.stack(c.links(), axis=1) + 300 * i for i, c in enumerate(inner)]
    all_pairs = [(int(a), int(b)) for some in links for a, b in some]
    got = splits.keep_together(joined(parts), usable, linked(900, all_pairs), DataConfig())
    for i, (part, found) in enumerate(zip(parts, inner, strict=True)):
        mine = slice(300 * i, 300 * i + 300)
        alone = splits.keep_together(part, usable[mine], found, DataConfig())
        assert np.array_equal(got.split[mine], alone.split)
    assert [f.code for f in got.findings] == ["SPLIT-BY-HASH", "VALIDATION-FROM-TRAIN"]
    assert [f.detail[:3] for f in got.findings] == ["a: ", "c: "]


@pytest.mark.parametrize("seed", range(3))
def test_copies_across_sources_are_on_one_side(seed: int) -> None:
    """What the data says itself stays, and people stay together."""
    data, rng = joined(three_sources()), np.random.default_rng(seed)
    pairs = []  # each image in one pair at most, so that no chain joins two splits of the data's
    order = [3 * rng.permutation(100) + 300 * i for i in range(3)]  # nobody is known in these
    for i, j, k in ((0, 1, 0), (0, 2, 15), (1, 2, 30)):
        pairs += list(zip(order[i][k : k + 15], order[j][50 + k : 65 + k], strict=True))
    own = data.split_hash == 0
    got = splits.keep_together(data, np.ones(900, np.bool_), linked(900, pairs), DataConfig())
    assert np.array_equal(got.split[own], data.split[own])
    for a, b in pairs:
        if not (own[a] and own[b]):
            assert got.split[a] == got.split[b], (a, b)
    free = got.split_hash > 0
    for i in range(3):
        hashes = got.split_hash[300 * i : 300 * i + 300]
        sides = got.split[300 * i : 300 * i + 300]
        for key in np.unique(hashes[hashes > 0]):
            assert len(set(sides[hashes == key])) == 1
    moved = np.count_nonzero(got.split[free] != data.split[free])
    assert 0 < moved < 90
    shares = [np.mean(got.split[:300] == name) for name in ("train", "validation", "test")]
    assert np.abs(np.array(shares) - (0.8, 0.1, 0.1)).max() < 0.09


def test_a_copy_of_what_another_source_tests_is_tested() -> None:
    """Through a chain of copies, and where that source has it in train, too."""
    data = joined(three_sources())
    test, train = 300 + 2, 300 + 3
    chain = [(0, 3), (3, train), (3, test), (6, train)]
    got = splits.keep_together(data, np.ones(900, np.bool_), linked(900, chain), DataConfig())
    assert got.split[[0, 3, 6]].tolist() == ["test"] * 3
    got = splits.keep_together(data, np.ones(900, np.bool_), linked(900, chain[-1:]), DataConfig())
    assert got.split[6] == "train"
    (told, _) = got.findings
    assert "1 image went along with its" in told.detail


def test_sources_with_splits_of_their_own_are_left_alone() -> None:
    part = replace(dataset([b""] * 300), split=WHOLE)
    both = replace(joined([part, part]), split_hash=None)
    pairs = linked(600, [(0, 301)])
    assert splits.keep_together(both, np.ones(600, np.bool_), pairs, DataConfig()) is both
