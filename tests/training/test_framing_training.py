"""The framing network learns to undo the warps that it is shown."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from candid.models.forward import Images
from candid.models.warping import frame_matrices, warp
from candid.settings import FramingConfig
from candid.training.framing import draw_frames, train_framing, warp_back
from plain import PLAIN

CONFIG = FramingConfig(steps=6, batch_size=16, width=2)


def faces(n=60, side=16):
    """A dark disc with a light mark, so that there is something to frame."""
    pixels = np.full((n, side, side, 3), 60, np.uint8)
    rng = np.random.default_rng(0)
    for image in pixels:
        image[:] = rng.integers(30, 90)
        cv2.circle(image, (side // 2, side // 2), side // 3, (200, 180, 160), -1)
        cv2.circle(image, (side // 2, side // 2 - 3), 1, (20, 20, 20), -1)
    return Images(pixels, (0.4, 0.4, 0.4), (0.25, 0.25, 0.25))


def trained(tmp_path=None, **changes):
    rows = np.arange(60)
    return train_framing(
        faces(),
        rows[:40],
        rows[40:],
        replace(CONFIG, **changes),
        PLAIN.train,
        device=torch.device("cpu"),
        save_to=tmp_path,
    )


def test_frames_stay_in_their_ranges():
    frames = draw_frames(4000, FramingConfig(), torch.Generator().manual_seed(0))
    scale, aspect, x, y, angle = frames.unbind(1)
    assert 0.9 < scale.abs().max() <= 0.95 and 0.33 < aspect.abs().max() <= 0.35
    reach = 0.8 * scale.clamp(max=0).exp()
    assert (x.abs() <= reach + 1e-6).all() and (y.abs() <= reach + 1e-6).all()
    assert 0.33 < angle.abs().max() <= np.radians(20) + 1e-6


def test_the_frame_undoes_the_warp():
    """Warped by its inverse and read in the frame, a picture is as it was, but for its edges."""
    smooth = torch.from_numpy(cv2.GaussianBlur(faces().pixels[0], (0, 0), 2)).permute(2, 0, 1)
    images = smooth.float().expand(8, 3, 16, 16) / 255
    frames = draw_frames(
        8, replace(CONFIG, scale=0.2, shift=0.05), torch.Generator().manual_seed(1)
    )
    seen = warp_back(images, frames, 64, torch.Generator().manual_seed(2))
    back = warp(seen, frame_matrices(frames), 16, "reflection")
    off = (back - images)[:, :, 5:11, 5:11].abs()
    assert off.mean() < 0.03, off.mean()


def test_the_same_seed_gives_the_same_network():
    (a, card), (b, _) = trained(), trained()
    for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True):
        assert torch.equal(x, y)
    assert card.steps == 6 and card.validation == 20 and 0 <= card.nearer.value <= 1
    assert not card.used, "six steps teach nothing"


def test_a_stopped_training_ends_as_one_that_was_not(tmp_path, monkeypatch):
    whole, _ = trained()
    path = tmp_path / "state.safetensors"
    from candid.training import framing as module

    real, calls = module.descend, []

    def stopped(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "descend", stopped)
    monkeypatch.setattr(
        module.checkpoint.Saver, "should_save", lambda self, due: self.path is not None
    )
    with pytest.raises(KeyboardInterrupt):
        trained(path)
    monkeypatch.setattr(module, "descend", real)
    resumed, _ = trained(path)
    for x, y in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.slow
def test_it_learns():
    framing, card = trained(steps=150, width=8, batch_size=40, rotation_degrees=0, scale=0.5)
    assert card.used and card.after < 0.5 * card.before
    assert card.untouched.value >= 0.8
    assert float(framing.limit) > 0
