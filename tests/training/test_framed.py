"""Training images are framed once, as they would be in each batch."""

import numpy as np
import pytest
import torch

from candid.models.forward import Images
from candid.models.framing import Framing
from candid.training.framed import framed_once

SIDE = 16
CPU = torch.device("cpu")


@pytest.fixture
def images():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        framing = Framing(SIDE, width=2).eval()
    with torch.no_grad():
        framing.head.bias.uniform_(-0.5, 0.5)
    pixels = np.random.default_rng(0).integers(0, 256, (30, SIDE, SIDE, 3), np.uint8)
    return Images(pixels, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), framing=framing)


def test_once_is_as_in_each_batch(images, tmp_path):
    rows, file = np.arange(5, 30), tmp_path / "checkpoint" / "framed.npy"
    with framed_once(images, rows, file, device=CPU) as framed:
        assert framed.framing is None and file.is_file()
        assert torch.equal(framed.batch(rows, CPU), images.batch(rows, CPU))
        assert not torch.equal(
            framed.batch(rows, CPU), Images.batch(framed_as_is(images), rows, CPU)
        )
        assert not framed.pixels[:5].any(), "nobody asked for these"
    assert not file.exists()


def framed_as_is(images):
    return Images(images.pixels, images.mean, images.std)


def test_a_start_that_was_killed_is_gone_on_with(images, tmp_path):
    rows, file = np.arange(30), tmp_path / "framed.npy"
    with pytest.raises(KeyboardInterrupt), framed_once(images, rows, file, device=CPU):
        raise KeyboardInterrupt
    written = file.stat().st_mtime_ns
    with framed_once(images, rows, file, device=CPU) as framed:
        assert file.stat().st_mtime_ns == written
        assert torch.equal(framed.batch(rows, CPU), images.batch(rows, CPU))


def test_part_of_a_data_set_that_is_packed(images, tmp_path):
    at = np.full(60, -1)
    at[::2] = np.arange(30)
    some = Images(images.pixels, images.mean, images.std, at, images.framing)
    rows = np.arange(0, 20)
    with framed_once(some, rows, tmp_path / "framed.npy", device=CPU) as framed:
        assert torch.equal(framed.batch(rows[::2], CPU), some.batch(rows[::2], CPU))


def test_without_a_network_that_frames_nothing_is_written(images, tmp_path):
    plain = framed_as_is(images)
    with framed_once(plain, np.arange(30), tmp_path / "framed.npy", device=CPU) as same:
        assert same is plain
    assert not list(tmp_path.iterdir())
