"""UTKFace: labels in the file names, `age_gender_race_date.jpg`.

Z. Zhang, Y. Song and H. Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder",
CVPR 2017. Gender 0 is male, 1 female; race 0 White, 1 Black, 2 Asian, 3 Indian, 4 Other.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from candid.data.dataset import Dataset
from candid.data.layouts.assembly import (
    LayoutRows,
    assemble,
    choose_label,
    counted_finding,
    file_source,
)
from candid.data.layouts.pictures import glance, scan
from candid.errors import LayoutError
from candid.settings import DataConfig
from candid.tables.attributes import Attribute

GENDERS = ("Female", "Male")  # in the order of CelebA's classes, not of UTKFace's codes
RACES = ("White", "Black", "Asian", "Indian", "Other")

# 25_1_0_20170116174525125.jpg, 25_1_0_20170116174525125.jpg.chip.jpg
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)(?!\d)[^/]*")


def recognise_utkface(path: Path) -> bool:
    """Whether most of a sample of images have UTKFace's names."""
    names = glance(path)
    return sum(bool(_NAME.fullmatch(n)) for n in names) > 0.8 * len(names)


def read_utkface(path: Path, target: str | None, config: DataConfig) -> Dataset:
    """Read UTKFace; the label is gender unless race is named.

    An image without age, gender and race in its name is left out, with a finding. Persons are not
    known, so the split goes by the file's name: copies in other folders ("crop_part1") are in the
    same split.
    """
    images = scan(path)
    images.reject_outside()
    matches = [(p, _NAME.fullmatch(posixpath.basename(p))) for p in images.paths]
    parsed = [(p, m) for p, m in matches if m]
    if not parsed:
        raise LayoutError(
            f"No picture in {path} is named as UTKFace names them.",
            expected="names such as 25_1_0_20170116174525125.jpg: age, gender, race, date",
            todo="name the folder with the pictures, or another layout with --layout",
        )
    attributes = _attributes([m for _, m in parsed])
    ids = [p for p, _ in parsed]
    unmatched = [p for p, m in matches if m is None]
    finding = counted_finding("NAMES-NOT-READ", unmatched, len(matches), severity="warning")
    return assemble(
        path,
        "utkface",
        LayoutRows(
            ids=ids,
            keys=["_".join(m.groups()) for _, m in parsed],
            **choose_label(attributes, target, ("gender",), config.numbers),
        ),
        file_source(path, ids),
        config,
        [finding],
    )


def _attributes(names: Sequence[re.Match[str]]) -> dict[str, Attribute]:
    """The attributes in the names of (n,) images."""
    age, gender, race = np.array([name.groups()[:3] for name in names], dtype=np.int16).T
    return {
        "age": Attribute("age", "numeric", (), age.astype(np.float64)),
        "gender": Attribute("gender", "categorical", GENDERS, (1 - gender).astype(np.int16)),
        "race": Attribute("race", "categorical", RACES, race),
    }
