"""The table of findings is held to looking at every pair of images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from by_hand import dataset, store, texture
from drawn import put

import candid
from candid.data.dataset import Dataset
from candid.data.exploration import explore_images
from candid.data.findings import write_findings
from candid.data.store import Store
from candid.settings import Config, DataConfig
from commands import call

SPLITS = np.array(["train", "validation", "test"])


def read(path: Path) -> dict[str, list[dict[str, str | None]]]:
    table = pq.read_table(path)
    assert table.column_names == ["code", "id", "partner", "detail"]
    rows: dict[str, list[dict[str, str | None]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["code"], []).append(row)
    return rows


def world() -> tuple[Dataset, Store, np.ndarray]:
    """Sixty images of 30 pictures, some of them with a little noise; and which picture each is."""
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 30, 60)
    pixels = np.stack([texture(int(k)) for k in picture])
    noisy = rng.random(60) < 0.3
    noise = rng.integers(-4, 5, pixels.shape)
    pixels[noisy] = np.clip(pixels.astype(int) + noise, 0, 255)[noisy]
    data = dataset(
        [b""] * 60,
        label=rng.integers(-1, 2, 60).tolist(),
        split=SPLITS[rng.integers(0, 3, 60)].tolist(),
        person=rng.integers(-1, 25, 60).tolist(),
    )
    return data, store(pixels), np.where(noisy, 100 + np.arange(60), picture)


def test_each_copy_is_told_with_another(tmp_path: Path) -> None:
    data, packed, picture = world()
    exploration, _ = explore_images(
        data, packed, findings=tmp_path / "f.parquet", draws=20, quiet=True
    )
    rows = read(tmp_path / "f.parquet")
    index = {str(i): k for k, i in enumerate(data.ids)}
    labelled = data.label >= 0
    same, split, label = picture[:, None] == picture, data.split, data.label
    np.fill_diagonal(same, False)
    both = labelled[:, None] & labelled
    assert data.person is not None
    person = (data.person[:, None] == data.person) & (data.person >= 0)
    related = {
        "DUPLICATES-WITHIN-SPLITS": same & (split[:, None] == split),
        "DUPLICATES-ACROSS-SPLITS": same & (split[:, None] != split),
        "CONTRADICTORY-LABELS": same & both & (label[:, None] != label),
        "PEOPLE-ACROSS-SPLITS": person & (split[:, None] != split),
    }
    finding = {f.code: f for f in exploration.findings}
    for code, pairs in related.items():
        assert {index[str(r["id"])] for r in rows[code]} == set(np.flatnonzero(pairs.any(1)))
        for r in rows[code]:
            a, b = index[str(r["id"])], index[str(r["partner"])]
            assert pairs[a, b]
            words = [data.classes[k] if k >= 0 else "unlabelled" for k in (label[a], label[b])]
            assert r["detail"] == f"{split[a]} and {split[b]}: {words[0]} and {words[1]}"
        assert len(finding[code].examples) == min(6, len(rows[code]))
    assert len(rows["DUPLICATES-WITHIN-SPLITS"]) == finding["DUPLICATES-WITHIN-SPLITS"].count > 6


def test_near_copies_are_told_pair_by_pair(tmp_path: Path) -> None:
    data, packed, _ = world()
    exploration, _ = explore_images(
        data, packed, findings=tmp_path / "f.parquet", draws=20, quiet=True
    )
    rows = read(tmp_path / "f.parquet")
    split = dict(zip(data.ids.tolist(), data.split.tolist(), strict=True))
    label = dict(zip(data.ids.tolist(), data.label.tolist(), strict=True))
    finding = {f.code: f for f in exploration.findings}
    for side, equal in (("WITHIN", True), ("ACROSS", False)):
        code = f"NEAR-DUPLICATES-{side}-SPLITS"
        assert {(split[r["id"]] == split[r["partner"]]) for r in rows[code]} == {equal}
        assert f"({len(rows[code]):,} pairs;" in finding[code].detail
        told = {r[key] for r in rows[code] for key in ("id", "partner")}
        assert len(told) == finding[code].count
        assert all(", correlation 0." in str(r["detail"]) for r in rows[code])
    torn = rows["NEAR-DUPLICATES-LABELLED-DIFFERENTLY"]
    assert all({label[r["id"]], label[r["partner"]]} == {0, 1} for r in torn)
    assert len(torn) == finding["NEAR-DUPLICATES-LABELLED-DIFFERENTLY"].count


def test_what_cannot_be_read_comes_with_its_reason(tmp_path: Path) -> None:
    data, packed, _ = world()
    usable = np.arange(60) >= 10
    packed = replace(packed, usable=usable, reasons={k: f"torn at {k}" for k in range(10)})
    data = replace(data, ids=np.array([f"caf\udce9 {i}.png" for i in range(60)]))
    exploration, _ = explore_images(
        data, packed, findings=tmp_path / "f.parquet", draws=20, quiet=True
    )
    rows = read(tmp_path / "f.parquet")["UNREADABLE-FILES"]
    assert [r["detail"] for r in rows] == [f"torn at {k}" for k in range(10)]
    assert rows[0]["id"] == "caf\\udce9 0.png"
    assert {r["partner"] for r in rows} == {None}
    finding = next(f for f in exploration.findings if f.code == "UNREADABLE-FILES")
    assert (finding.count, len(finding.examples)) == (10, 6)


def test_nothing_found_is_a_table_without_rows(tmp_path: Path) -> None:
    data, _, _ = world()
    write_findings(tmp_path / "f.parquet", data, [], {}, {})
    assert read(tmp_path / "f.parquet") == {}


def faces(folder: Path) -> Path:
    """Thirty pictures in a table that also names nine that are not there; two copies of each."""
    for i in range(30):
        put(folder / "pics" / f"{i}.jpg", seed=i // 2)
    rows = [f"pics/{i}.jpg,{'ab'[i % 4 // 2]}" for i in range(39)]
    (folder / "labels.csv").write_text("\n".join(["path,kind", *rows]))
    return folder


def test_explore_writes_the_table_where_it_is_told_to(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    data, cache = faces(tmp_path / "faces"), tmp_path / "cache"
    words = ["explore", data, "--cache", cache, "--set", "data.side=16", "--set", "data.workers=1"]
    assert call(*words, "--findings", tmp_path / "out" / "f.parquet") == 0
    rows = read(tmp_path / "out" / "f.parquet")
    missing = [f"pics/{i}.jpg" for i in range(30, 39)]
    assert [r["id"] for r in rows["LABELS-WITHOUT-IMAGE"]] == missing
    assert len(rows["DUPLICATES-WITHIN-SPLITS"]) == 30
    config = Config(data=DataConfig(side=16, workers=1))
    dataset = candid.load(data)
    candid.explore(dataset, config, findings=tmp_path / "python.parquet", cache=cache)
    assert read(tmp_path / "python.parquet") == rows
    assert call(*words, "--out", tmp_path / "run") == 0
    assert read(tmp_path / "run" / "findings.parquet") == rows
    assert call(*words, "--out", tmp_path / "more", "--findings", tmp_path / "f.parquet") == 2
    assert "leave --findings out" in capsys.readouterr().err
