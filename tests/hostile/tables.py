"""Hostile tables, for audit and explore."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hostile import mutate
from hostile.kit import Kit

QUICK = (
    *("--set", "audit.draws=50", "--set", "audit.slices=0", "--set", "audit.more=false"),
    *("--set", "audit.pairs=false"),
)


def audited(rng: Random) -> dict[str, list[Any]]:
    """Columns of a model's answers, of which one may be odd."""
    n = rng.choice((1, 2, 60, 200))
    columns: dict[str, list[Any]] = {
        "id": [f"{i}.png" for i in range(n)],
        "sex": [rng.choice(("F", "M")) for _ in range(n)],
        "p_F": [round(rng.random(), 3) for _ in range(n)],
        "person": [f"p{i // 2}" for i in range(n)],
        "split": [rng.choice(("validation", "test")) for _ in range(n)],
        "hat": [rng.choice(("yes", "no")) for _ in range(n)],
        "age": [rng.choice((1.5, 20.0, 70.25)) for _ in range(n)],
    }
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(list(columns))
        odd = rng.sample((*mutate.WORDS, *map(str, mutate.NUMBERS)), rng.choice((1, 2, 5)))
        often = rng.choice((0.05, 1.0))
        columns[name] = [rng.choice(odd) if rng.random() < often else v for v in columns[name]]
    if rng.random() < 0.1:
        columns[rng.choice(mutate.WORDS)] = ["x"] * n
    return columns


def as_csv(columns: dict[str, list[Any]], rng: Random) -> bytes:
    out = io.StringIO()
    rows = csv.writer(
        out, delimiter=rng.choice(",,,;\t|"), lineterminator=rng.choice(("\n", "\r\n", "\r"))
    )
    names = [*columns]
    if rng.random() < 0.05:
        names[0] = names[-1]
    rows.writerow(names)
    for row in zip(*columns.values(), strict=True):
        rows.writerow(row if rng.random() < 0.999 else row[:-1])
    encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    data = out.getvalue().encode(encoding, "replace")
    return mutate.spoil(data, rng) if rng.random() < 0.4 else data


def as_parquet(columns: dict[str, list[Any]], rng: Random) -> bytes:
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, OverflowError):
            arrays[name] = pa.array([str(v) for v in values])
    table = pa.table(arrays)
    if rng.random() < 0.2:
        claims = rng.choice(
            (b"{", b"{}", b"[]", b'{"classes": 7}', b"\xff", b'{"classes": ["a"], "target": 1}')
        )
        table = table.replace_schema_metadata({rng.choice((b"candid", b"pandas")): claims})
    out = io.BytesIO()
    pq.write_table(table, out, compression=rng.choice(("snappy", "zstd", "none")))
    return mutate.spoil(out.getvalue(), rng) if rng.random() < 0.5 else out.getvalue()


def audit_file(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    columns = audited(rng)
    ending, make = rng.choice(
        ((".csv", as_csv), (".csv", as_csv), (".tsv", as_csv), (".parquet", as_parquet))
    )
    file = path / f"theirs{ending}"
    file.write_bytes(make(columns, rng))
    given = file
    if ending == ".parquet" and rng.random() < 0.4:
        (path / "folder").mkdir()
        given = path / "folder"
        os.replace(file, given / "a.parquet")
        (given / "b.parquet").write_bytes(as_parquet(audited(rng), rng))
    words = [
        "audit",
        str(given),
        "--label",
        "sex",
        "--prediction",
        "p_F",
        "--positive",
        "F",
        *QUICK,
    ]
    for option, value in (
        ("--group", "age"),
        ("--person", "person"),
        ("--split", "split"),
        ("--id", "id"),
    ):
        if rng.random() < 0.4:
            words += [option, value]
    if rng.random() < 0.2:
        words += ["--scale", rng.choice(("percent", "logit"))]
    if rng.random() < 0.1:
        words[3] = rng.choice([w for w in mutate.WORDS if "\0" not in w and not w.startswith("-")])
    return [words]


def explored(rng: Random) -> dict[str, list[Any]]:
    """Columns of a table beside the kit's faces."""
    n = rng.choice((8, 40))
    columns: dict[str, list[Any]] = {
        "path": [f"images/{i:06d}.png" for i in range(n)],
        "label": ["ab"[i % 2] for i in range(n)],
        "split": [("train", "train", "validation", "test")[i // 2 % 4] for i in range(n)],
        "identity": [f"p{i // 2}" for i in range(n)],
        "size": [rng.random() for _ in range(n)],
    }
    name = rng.choice(list(columns))
    often = rng.choice((0.1, 1.0))
    odd = rng.sample((*mutate.WORDS, *map(str, mutate.NUMBERS), "images", "labels.csv"), 3)
    columns[name] = [rng.choice(odd) if rng.random() < often else v for v in columns[name]]
    return columns


def explore_file(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    (path / "data").mkdir()
    images = path / "data" / "images"
    images.mkdir()
    for file in sorted((kit.faces / "images").iterdir())[:40]:
        os.link(file, images / file.name)
    ending, make = rng.choice(((".csv", as_csv), (".csv", as_csv), (".parquet", as_parquet)))
    (path / "data" / f"labels{ending}").write_bytes(make(explored(rng), rng))
    target = rng.choice((["--target", "label"], ["--target", "size"], []))
    layout = rng.choice(
        (
            [],
            [],
            [
                "--layout",
                rng.choice(("folder", "celeba", "huggingface", "utkface", "fairface", "lfw")),
            ],
        )
    )
    return [[*kit.explore(path / "data", path), *target, *layout]]


_KNOWN = (
    *("state.json", "dataset_dict.json", "dataset_info.json", "list_attr_celeba.txt"),
    *("list_eval_partition.txt", "identity_CelebA.txt", "fairface_label_train.csv"),
    *("lfw_attributes.txt", "male_names.txt", "metadata.jsonl", "labels.csv", "world.json"),
)
_CONTENTS = (
    *(b"", b"{}", b"[" * 50_000, b'{"_data_files": [{"filename": "../../x"}]}'),
    b"2\nMale Young\n000001.jpg 1 -1\n",
)


def explore_folder(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    """Folders of classes, and the files by which other layouts are known, with odd content."""
    data = path / "data"
    faces = sorted((kit.faces / "images").iterdir())
    for i, file in enumerate(faces[:16]):
        inner = data / ("train", "val")[i % 2] / "ab"[i // 2 % 2]
        inner.mkdir(parents=True, exist_ok=True)
        os.link(file, inner / file.name)
    for name in rng.sample(_KNOWN, rng.choice((1, 2))):
        content = rng.choice((*_CONTENTS, rng.randbytes(400)))
        (data / name).write_bytes(content)
    strange = rng.choice(("none", "fifo", "loop", "out", "name"))
    inner = data / "train" / "a"
    if strange == "fifo":
        os.mkfifo(inner / "x.png")
    elif strange == "loop":
        (inner / "loop").symlink_to(data)
    elif strange == "out":
        (inner / "x.png").symlink_to("/etc/passwd")
    elif strange == "name":
        odd = rng.choice([w for w in mutate.WORDS if w and "/" not in w and "\0" not in w])
        (data / "train" / odd[:200]).mkdir()
        os.link(faces[20], data / "train" / odd[:200] / "x.png")
    return [kit.explore(data, path)]


def not_files(rng: Random, kit: Kit, path: Path) -> list[list[str]]:
    table = path / f"labels{rng.choice(('.csv', '.tsv', '.parquet'))}"
    if rng.random() < 0.5:
        os.mkfifo(table)
    else:
        table.symlink_to(
            rng.choice(("/dev/zero", "/dev/random", "/proc/self/mem", str(path), str(table)))
        )
    if rng.random() < 0.5:
        given = rng.choice((table, path))
        return [["audit", str(given), "--label", "a", "--prediction", "b", *QUICK]]
    return [kit.explore(rng.choice((table, path)), path)]


KINDS = {
    "audit": audit_file,
    "explore-table": explore_file,
    "explore-folder": explore_folder,
    "not-a-file": not_files,
}
