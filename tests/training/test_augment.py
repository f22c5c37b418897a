import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from candid.training.augment import (
    augment,
    draw_colours,
    draw_crops,
    draw_homographies,
    draw_patches,
    erase,
    horizontal_flip,
    recolour,
    rotation,
    square_to_quad,
    warp,
)
from plain import PLAIN

OFF = replace(PLAIN.augment, flip=0, rotation=0, perspective=0, erase=0)
CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float32)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(batch=4, side=24, seed=0):
    """Smooth pictures: bilinear readings of them differ little between implementations."""
    noise = np.random.default_rng(seed).normal(size=(batch, side, side, 3)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(x, (0, 0), 2) for x in noise])
    return torch.from_numpy(smooth).permute(0, 3, 1, 2).contiguous()


def to_pixels(side):
    """From normalised coordinates (edges at -1 and 1) to OpenCV's (centre of the first is 0)."""
    return np.array([[side / 2, 0, side / 2 - 0.5], [0, side / 2, side / 2 - 0.5], [0, 0, 1]])


def opencv_warp(image, homography):
    side = image.shape[-1]
    matrix = to_pixels(side) @ homography.double().numpy() @ np.linalg.inv(to_pixels(side))
    hwc = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    out = cv2.warpPerspective(
        hwc, matrix, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return torch.from_numpy(out).permute(2, 0, 1)


def test_square_to_quad_is_opencv_s():
    quads = CORNERS + np.random.default_rng(0).uniform(-0.4, 0.4, (50, 4, 2)).astype(np.float32)
    ours = square_to_quad(torch.from_numpy(quads))
    theirs = np.stack([cv2.getPerspectiveTransform(CORNERS, q) for q in quads])
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_warp_is_opencv_s():
    images = pictures()
    homographies = draw_homographies(
        4, replace(PLAIN.augment, perspective=1, perspective_shift=0.3), seeded()
    )
    ours = warp(images, homographies)
    theirs = torch.stack([opencv_warp(i, h) for i, h in zip(images, homographies, strict=True)])
    # OpenCV rounds places to 1/32 of a pixel; these pictures change less than 0.5 per pixel.
    assert (ours - theirs).abs().max() < 0.03
    assert (ours - images).abs().max() > 0.3  # and something did happen


def test_rotation_is_opencv_s():
    image = pictures(1)
    side, degrees = image.shape[-1], 20.0
    centre = side / 2 - 0.5
    matrix = cv2.getRotationMatrix2D((centre, centre), degrees, 1.0)
    hwc = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())
    theirs = cv2.warpAffine(hwc, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    ours = warp(image, rotation(torch.tensor([math.radians(degrees)])))[0].permute(1, 2, 0)
    assert np.abs(ours.numpy() - theirs).max() < 0.03


def test_flip_is_exact():
    images = pictures()
    flips = torch.tensor([True, False, True, False])
    out = warp(images, horizontal_flip(flips))
    torch.testing.assert_close(out[0], images[0].flip(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out[1], images[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 24, 24), (5, 0, 11, 24), (3, 9, 12, 13)]
)
def test_around_what_is_kept_stands_its_mirror_image(top, left, height, width):
    """As NumPy mirrors a crop at its edges, again and again."""
    images = pictures(2)
    box = torch.tensor([[left, top, left + width, top + height]]) / 12 - 1
    out = warp(images, torch.eye(3).expand(2, 3, 3), visible=box)
    crop = images[0, :, top : top + height, left : left + width].numpy()
    around = ((0, 0), (top, 24 - top - height), (left, 24 - left - width))
    np.testing.assert_allclose(out[0], np.pad(crop, around, "symmetric"), atol=1e-5)
    torch.testing.assert_close(out[1], images[1], atol=1e-5, rtol=0)


def test_a_crop_leaves_rectangles_of_the_asked_size_inside():
    config = replace(PLAIN.augment, crop=0.5, crop_smallest=0.4)
    boxes = draw_crops(8000, config, seeded())
    assert len(boxes) == 4000 and boxes.min() >= -1 and boxes.max() <= 1
    size = (boxes[:, 2:] - boxes[:, :2]) / 2
    for drawn in (size, (boxes[:, :2] + 1) / 2 / (1 - size)):  # where it lies: of what is free
        low = 0.4 if drawn is size else 0.0
        assert drawn.min() == pytest.approx(low, abs=2e-3)
        assert drawn.max() == pytest.approx(1, abs=2e-3)
        assert drawn.mean() == pytest.approx((1 + low) / 2, abs=0.01)


def test_a_crop_is_of_so_many_and_leaves_the_other_changes_alone():
    images, config = pictures(8), replace(PLAIN.augment, erase=0, brightness=0)
    config = replace(config, contrast=0, saturation=0)  # which are drawn later
    before, after = (augment(images, replace(config, crop=c), seeded()) for c in (0, 0.25))
    changed = (before != after).any(dim=(1, 2, 3))
    assert changed.tolist() == [True, True, *[False] * 6]


def test_changes_compose_to_one_resampling():
    """All at once equals one after the other on a plane, which bilinear reading keeps exact."""
    side = 32
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    plane = (0.3 * line[None, :] + 0.7 * line[:, None]).expand(1, 3, side, side)
    turn, flip = rotation(torch.tensor([0.05])), horizontal_flip(torch.tensor([True]))
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # away from the repeated edge
    one_by_one = warp(warp(plane, turn), flip)
    torch.testing.assert_close(
        warp(plane, turn @ flip)[inner], one_by_one[inner], atol=1e-5, rtol=0
    )


def test_everything_off_changes_nothing():
    images = pictures()
    torch.testing.assert_close(augment(images, OFF, seeded()), images, atol=1e-5, rtol=0)


def test_same_seed_same_pictures():
    images = pictures()
    one, two, three = (augment(images, PLAIN.augment, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


@pytest.mark.parametrize("flip", [0, 0.5, 1])
def test_pictures_that_are_mirrored_at_most_keep_every_pixel(flip):
    """The same pictures are mirrored as where each is read through its homography."""
    images, config = pictures(16), replace(OFF, flip=flip, brightness=0, contrast=0, saturation=0)
    out = augment(images, config, seeded())
    through = warp(images, draw_homographies(16, config, seeded()))
    torch.testing.assert_close(out, through, atol=1e-5, rtol=0)
    mirrored = (out == images.flip(3)).all(dim=(1, 2, 3))
    assert ((out == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert (0 < mirrored.sum() < 16) if flip == 0.5 else (mirrored.all() == bool(flip))
    smaller = augment(images, config, seeded(), side=16)
    torch.testing.assert_close(smaller, warp(images, draw_homographies(16, config, seeded()), 16))


@pytest.mark.parametrize("change", ["flip", "rotation", "perspective"])
def test_each_happens_as_often_as_asked(change):
    n, p = 4000, 0.3
    config = replace(PLAIN.augment, **{"flip": 0, "rotation": 0, "perspective": 0, change: p})
    moved = (draw_homographies(n, config, seeded()) - torch.eye(3)).abs().amax((1, 2)) > 1e-6
    assert abs(moved.sum().item() - n * p) < 4 * math.sqrt(n * p * (1 - p))


def test_rotation_stays_within_its_limit():
    config = replace(PLAIN.augment, flip=0, rotation=1, rotation_degrees=5, perspective=0)
    matrices = draw_homographies(2000, config, seeded())
    degrees = torch.rad2deg(torch.atan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert degrees.abs().max() <= 5 + 1e-4
    assert degrees.min() < -4.8
    assert degrees.max() > 4.8


def test_perspective_moves_each_corner_within_its_limit():
    config = replace(PLAIN.augment, flip=0, rotation=0, perspective=1, perspective_shift=0.2)
    matrices = draw_homographies(500, config, seeded()).double()
    corners = torch.tensor(np.c_[CORNERS, np.ones(4)]).T.double()
    mapped = matrices @ corners
    shift = (mapped[:, :2] / mapped[:, 2:] - corners[:2]).abs()
    assert 0.19 < shift.max() <= 0.2 + 1e-5


def test_a_probability_leaves_the_other_changes_alone():
    """With flips switched off, the perspective of the same seed stays what it was."""
    with_flip = replace(PLAIN.augment, flip=1, rotation=0, perspective=1)
    without = replace(PLAIN.augment, flip=0, rotation=0, perspective=1)
    flip = horizontal_flip(torch.ones(8, dtype=torch.bool))
    ours = draw_homographies(8, with_flip, seeded())
    torch.testing.assert_close(ours, draw_homographies(8, without, seeded()) @ flip)


def test_erase_is_brute_force():
    images = torch.ones(3, 3, 12, 10)
    config = replace(
        PLAIN.augment, erase=1, erase_patches=2, erase_smallest=0.05, erase_largest=0.3
    )
    boxes = draw_patches(3, 12, 10, config, seeded())
    ours = erase(images, boxes)
    for i in range(3):
        for y in range(12):
            for x in range(10):
                inside = any(
                    top <= y + 0.5 < bottom and left <= x + 0.5 < right
                    for top, left, bottom, right in boxes[i].tolist()
                )
                assert ours[i, :, y, x].tolist() == [0.0 if inside else 1.0] * 3


def test_patches_have_the_asked_area_and_lie_inside():
    config = replace(PLAIN.augment, erase=1, erase_smallest=0.02, erase_largest=0.1)
    top, left, bottom, right = draw_patches(2000, 64, 64, config, seeded())[:, 0].unbind(1)
    area = (bottom - top) * (right - left) / 64**2
    assert area.min() >= 0.02 - 1e-6
    assert area.max() <= 0.1 + 1e-6
    assert area.max() - area.min() > 0.07
    assert min(top.min(), left.min()) >= 0
    assert max(bottom.max(), right.max()) <= 64 + 1e-4


def test_patches_appear_as_often_as_asked():
    n, p = 4000, 0.25
    boxes = draw_patches(n, 64, 64, replace(PLAIN.augment, erase=p), seeded())
    count = (boxes[:, 0, 2] > 0).sum().item()
    assert abs(count - n * p) < 4 * math.sqrt(n * p * (1 - p))


COLOURS = replace(PLAIN.augment, brightness=0.5, contrast=0.3, saturation=0.2)


def test_colours_change_one_after_the_other():
    """Pixel by pixel: saturation around the mean of the channels, contrast around 0, brightness."""
    images = pictures(batch=5, side=6)
    matrices, offsets = draw_colours(5, COLOURS, seeded())
    draws = [2 * torch.rand(5, 1, 1, generator=g) - 1 for g in [seeded()] for _ in range(3)]
    changed = recolour(images, matrices, offsets).numpy()
    for image, out, brightness, contrast, saturation in zip(
        images.numpy(), changed, *(d.flatten().tolist() for d in draws), strict=True
    ):
        for row, column in np.ndindex(6, 6):
            pixel = image[:, row, column]
            grey = pixel.mean()
            pixel = grey + (pixel - grey) * (1 + 0.2 * saturation)
            pixel = pixel * (1 + 0.3 * contrast) + 0.5 * brightness
            np.testing.assert_allclose(out[:, row, column], pixel, atol=1e-5)


def test_changes_of_colour_stay_within_their_limits():
    matrices, offsets = draw_colours(2000, COLOURS, seeded())
    contrast = matrices.sum(2)[:, 0] - 1  # what a grey pixel is multiplied by
    saturation = (matrices[:, 0, 0] - matrices[:, 0, 1]) / (1 + contrast) - 1  # and a difference
    for strength, limit in ((offsets, 0.5), (contrast, 0.3), (saturation, 0.2)):
        assert 0.98 * limit < strength.abs().max() <= limit + 1e-5
        assert abs(strength.mean()) < 0.05 * limit


def test_no_change_of_colour_draws_nothing():
    config = replace(PLAIN.augment, brightness=0, contrast=0, saturation=0)
    generator, twin = seeded(), seeded()
    augment(pictures(), config, generator)
    draw_homographies(4, config, twin)
    draw_patches(4, 24, 24, config, twin)
    assert torch.equal(generator.get_state(), twin.get_state())


def test_erased_patches_keep_the_mean_colour_whatever_the_light():
    config = replace(PLAIN.augment, erase=1, brightness=0.9, contrast=0.5)
    out = augment(torch.ones(3, 3, 16, 16), config, seeded())
    assert all((image == 0).all(0).any() for image in out)


def test_everything_is_made_on_the_device_of_the_images():
    """On "meta", which holds no numbers and, as a card would, refuses what lies elsewhere."""
    images = torch.empty(4, 3, 16, 16, device="meta")
    out = augment(images, replace(PLAIN.augment, erase=1), seeded())
    assert out.device.type == "meta" and out.shape == images.shape
