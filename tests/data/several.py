"""Small data sets in different layouts, whose label is the same and is called differently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from drawn import put


def celeba(root: Path, n: int = 24, seed: int = 1000) -> Path:
    """Male, Eyeglasses and No_Beard; a split; four people to a dozen of pictures."""
    values = np.random.default_rng(seed).choice([-1, 1], (n, 3))
    values[:, 1] = np.tile([-1, 1], n // 2)
    files = [f"{i:06d}.jpg" for i in range(n)]
    for i, name in enumerate(files):
        put(root / "img_align_celeba" / name, seed + i)
    rows = [f"{f} {' '.join(map(str, v))}" for f, v in zip(files, values.tolist(), strict=True)]
    (root / "list_attr_celeba.txt").write_text(
        "\n".join([str(n), "Eyeglasses Male No_Beard", *rows, ""])
    )
    (root / "list_eval_partition.txt").write_text(
        "".join(f"{f} {i // 2 % 3}\n" for i, f in enumerate(files))
    )
    (root / "identity_CelebA.txt").write_text(
        "".join(f"{f} {100 + i // 3}\n" for i, f in enumerate(files))
    )
    return root


def utkface(root: Path, n: int = 40, seed: int = 2000) -> Path:
    """gender, age and race; neither a split nor people."""
    for i in range(n):
        put(root / f"{20 + i}_{i % 2}_{i % 5}_201701{i:011d}.jpg", seed + i)
    return root


def folder(
    root: Path, words: Sequence[str] = ("female", "MALE"), n: int = 40, seed: int = 3000
) -> Path:
    """Folders named after the classes; no split."""
    for i in range(n):
        put(root / words[i % len(words)] / f"{i}.jpg", seed + i)
    return root


def table(
    root: Path,
    words: Sequence[str] = ("m", "f"),
    *,
    target: str = "sex",
    n: int = 40,
    seed: int = 4000,
    **columns: Sequence[object],
) -> Path:
    """A table beside its pictures, with more columns; people by threes, no split."""
    for i in range(n):
        put(root / "pictures" / f"{i}.jpg", seed + i)
    head = ["file", target, "person", *columns]
    rows = [
        [f"pictures/{i}.jpg", words[i % len(words)], f"p{i // 3}"]
        + [str(c[i % len(c)]) for c in columns.values()]
        for i in range(n)
    ]
    (root / "labels.csv").write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n")
    return root
