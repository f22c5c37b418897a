"""CelebA's file of landmarks: read as written, and laid under the pictures that it tells of."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from candid.config import load_config, with_values
from candid.errors import ConfigError, DataError
from candid.explanation.region_sources import find_landmarks, load_regions, read_landmarks
from candid.explanation.regions import CELEBA, PARTS, from_points

NAMES = [
    f"{part}_{axis}"
    for part in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    for axis in "xy"
]
PIXELS = {
    "000001.jpg": [69, 109, 106, 113, 77, 142, 73, 152, 108, 154],
    "000002.jpg": [75, 111, 115, 105, 94, 145, 82, 160, 119, 153],
    "000003.jpg": [68, 112, 70, 112, 72, 130, 68, 112, 70, 112],  # no face has these
}


def written(folder: Path, kind: str) -> Path:
    (folder / "Anno").mkdir(exist_ok=True)
    file = folder / "Anno" / f"list_landmarks_align_celeba.{kind}"
    if kind == "txt":
        rows = [f"{name} " + "  ".join(f"{v:4d}" for v in row) for name, row in PIXELS.items()]
        file.write_text("\n".join([str(len(rows)), " ".join(NAMES) + " ", *rows]) + "\n")
    else:
        rows = [",".join([name, *map(str, row)]) for name, row in PIXELS.items()]
        file.write_text("\n".join([",".join(["image_id", *NAMES]), *rows]) + "\n")
    return file


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_pictures_get_their_own_points(tmp_path, kind):
    file = written(tmp_path, kind)
    assert find_landmarks(tmp_path) == file
    ids = np.array(["000002.png", "a/000001.jpg", "000002.jpg"])
    found = read_landmarks(file, ids)
    expected = np.array([PIXELS["000002.jpg"], PIXELS["000001.jpg"], PIXELS["000002.jpg"]])
    np.testing.assert_allclose(found * [178, 218], expected.reshape(3, 5, 2))


def test_what_is_missing_or_damaged_is_told(tmp_path):
    file = written(tmp_path, "txt")
    with pytest.raises(DataError, match=r"no landmarks of 7\.jpg \(and of 1 more\)"):
        read_landmarks(file, np.array(["000001.jpg", "7.jpg", "8.jpg"]))
    file.write_text(file.read_text().replace("lefteye_x", "left"))
    with pytest.raises(DataError, match="lefteye_x"):
        read_landmarks(file, np.array(["000001.jpg"]))
    assert find_landmarks(tmp_path / "Anno" / "none") is None


def test_the_template_follows_each_picture(tmp_path):
    written(tmp_path, "txt")
    side = 64
    dataset = SimpleNamespace(
        origin=str(tmp_path), layout="celeba", ids=np.array(sorted(PIXELS)[::-1])
    )
    store = SimpleNamespace(side=side, widths=np.full(3, 178), heights=np.full(3, 218))
    data, rows = SimpleNamespace(dataset=dataset, store=store), np.array([2, 1, 0])
    config = with_values(load_config(), {})
    found, note = load_regions(data.dataset, data.store, rows, config)
    assert (found.source, len(found.masks), note) == ("landmarks", 3, "")
    for mask, name in zip(found.masks[:2], ("000001.jpg", "000002.jpg"), strict=True):
        for part, (x, y) in zip(("eyes", "eyes"), np.reshape(PIXELS[name], (5, 2)), strict=False):
            assert PARTS[mask[int(y / 218 * side), int(x / 178 * side)]] == part
    # Points that are no face's: the usual ones.
    dataset.ids = np.array(["000003.jpg"])
    (odd,) = load_regions(data.dataset, data.store, np.array([0]), config)[0].masks
    (tmp_path / "Anno" / "list_landmarks_align_celeba.txt").unlink()
    shared, _ = load_regions(data.dataset, data.store, np.array([0]), config)
    assert shared.source == "celeba"
    np.testing.assert_array_equal(odd, shared.masks[0])
    assert CELEBA.shape == (5, 2)


@pytest.mark.parametrize("ids", [False, True])
def test_given_points_lie_under_their_own_pictures(tmp_path, ids):
    """Each picture has its own size, of which the crop takes its own part."""
    shift = np.array([0.0, 0.02, -0.03, 0.05])
    points = CELEBA + shift[:, None, None]
    order = np.array([2, 0, 3, 1]) if ids else np.arange(4)
    named = {"ids": np.array([f"{i}.jpg" for i in order])} if ids else {}
    np.savez(tmp_path / "p.npz", points=points[order], **named)
    dataset = SimpleNamespace(
        origin="", layout="table", ids=np.array([f"{i}.jpg" for i in range(4)])
    )
    widths, heights = np.array([100, 178, 300, 64]), np.array([100, 218, 200, 64])
    store = SimpleNamespace(side=48, widths=widths, heights=heights)
    data, rows = SimpleNamespace(dataset=dataset, store=store), np.array([3, 1, 2])
    said = {"explain": {"regions": str(tmp_path / "p.npz")}, "data": {"fit": "crop"}}
    found, note = load_regions(data.dataset, data.store, rows, with_values(load_config(), said))
    assert (found.source, len(found.masks), note) == ("landmarks", 3, "")
    for mask, row in zip(found.masks, rows, strict=True):
        size = np.array([widths[row], heights[row]])
        # In pixels of the picture, then of the square in its middle.
        square = (points[row] * size - (size - size.min()) / 2) / size.min()
        assert np.array_equal(mask, from_points(square, 48).masks[0])


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ({"points": np.zeros((4, 5))}, r"have the shape \(4, 5\)"),
        ({"points": np.zeros((3, 5, 2))}, "an entry for every image"),
        ({"points": np.tile(CELEBA, (1, 1, 1)), "ids": np.array(["a"])}, "b is missing"),
        (
            {"points": np.tile(CELEBA, (1, 1, 1)), "ids": np.array(["a", "b"])},
            "an entry is missing",
        ),
        ({"points": np.zeros((2, 5, 2))}, "cannot be right"),
        ({"faces": np.zeros(2)}, "it holds faces"),
    ],
)
def test_points_that_fit_nothing_are_refused(tmp_path, held, says):
    np.savez(tmp_path / "p.npz", **held)
    dataset = SimpleNamespace(origin="", layout="table", ids=np.array(["a", "b"]))
    store = SimpleNamespace(side=8, widths=np.full(2, 9), heights=np.full(2, 9))
    data = SimpleNamespace(dataset=dataset, store=store)
    config = with_values(load_config(), {"explain": {"regions": str(tmp_path / "p.npz")}})
    with pytest.raises(ConfigError, match=says):
        load_regions(data.dataset, data.store, np.array([0, 1]), config)
