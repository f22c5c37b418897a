"""Images as somebody passes them from Python: one by one, whatever holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from candid.data.arrays import images_of
from candid.errors import DataError

PATHS = ["a.jpg", "b.jpg", "c.jpg"]


def test_lists_columns_and_arrays_of_paths_are_the_same() -> None:
    pd = pytest.importorskip("pandas")
    given: list[Any] = [
        PATHS,
        tuple(PATHS),
        np.array(PATHS),
        np.array(PATHS, object)[:, None],  # as scikit-learn's transformers pass a column on
        pd.Series(PATHS, index=[7, 8, 9]),
        pd.DataFrame({"path": PATHS}, index=[7, 8, 9]),  # it had one image, called "path"
    ]
    for one in given:
        assert [str(path) for path in images_of(one)] == PATHS
    assert images_of(Path("a.jpg")) == [Path("a.jpg")]


def test_a_frame_of_several_columns_is_no_column_of_images() -> None:
    pd = pytest.importorskip("pandas")
    for one in (pd.DataFrame({"path": PATHS, "label": PATHS}), np.array([PATHS, PATHS])):
        with pytest.raises(DataError, match=r"data frame of 2 columns|shape \(3,\)") as caught:
            images_of(one)
        assert caught.value.expected and caught.value.todo


def test_pixels_are_taken_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)
    assert all((a == b).all() for a, b in zip(images_of(pixels), pixels, strict=True))
    assert [np.shape(image) for image in images_of([*pixels])] == [(6, 5, 3)] * 4
