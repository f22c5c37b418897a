"""The frame that many pictures have in common: found without much error, and begun from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from candid.errors import ImageError, OutputError
from candid.inference.classifier import BATCH
from candid.inference.common_frame import MIN_IMAGES, common_frame, with_common_frame
from candid.inference.sources import Item
from candid.models.warping import frame_matrices
from candid.pipeline.shards import label_shards
from candid.records import to_plain
from candid.records.framing import IDENTITY_FRAME, CommonFrame, corner_distance
from candid.runs import Run
from inference.shards import parquet_shard
from inference.test_classify import by_hand
from inference.tiny import SIDE, encoded, write_tar

PLACE = (0.5, -0.1, 0.1, -0.4, 0.2)


class Seeks:
    """Frames as a trained network does: near the truth, by an error of each picture's own.

    The truth and the error are told by the picture: red the kind, green and blue the seed.
    """

    rest_limit, far_limit = 1.0, 3.7  # which 2% of five standard normal numbers are beyond

    def __init__(self, *kinds, noise=(0.06, 0.03, 0.03, 0.03, 0.03)):
        self.kinds, self.noise = torch.tensor(kinds), torch.tensor(noise)
        self.asked = []

    def __call__(self, batch, start=IDENTITY_FRAME, limit=2.7):
        self.asked.append((start, limit))
        found = []
        for picture in batch:
            red, *seed = picture[0, 0].tolist()
            own = torch.Generator().manual_seed(seed[0] + 256 * seed[1])
            found.append(torch.stack([self.kinds[red], self.noise * torch.randn(5, generator=own)]))
        true, error = torch.stack(found).unbind(1)
        frames = (frame_matrices(true) @ frame_matrices(error)).numpy()
        left = np.linalg.inv(start) @ frames - IDENTITY_FRAME  # near 0: what the parameters are
        scale, aspect = (left[:, 0, 0] + left[:, 1, 1]) / 2, (left[:, 0, 0] - left[:, 1, 1]) / 2
        apart = np.stack([scale, aspect, left[:, 0, 2], left[:, 1, 2], left[:, 1, 0]], 1)
        distance = np.linalg.norm(apart / self.noise.numpy(), axis=1)
        return batch[:, :SIDE, :SIDE], frames, 0 * distance, frames, distance


def seen(count, kind=0, first=0):
    """Pictures of one kind, as `Seeks` reads them."""
    made = np.zeros((count, 2 * SIDE, 2 * SIDE, 3), np.uint8)
    seed = first + np.arange(count)
    made[..., 0], made[..., 1], made[..., 2] = (
        part[:, None, None] for part in (np.full(count, kind), seed % 256, seed // 256)
    )
    return made


def truth(values):
    return frame_matrices(torch.tensor([values]))[0].numpy()


def off(found, values):
    """How far the corners lie from where they belong, in sides of the picture."""
    if isinstance(found, CommonFrame):
        found = found.start()["start"]
    return corner_distance(found - truth(values) + IDENTITY_FRAME)


@pytest.mark.parametrize("values", [PLACE, (-0.6, 0.2, 0.0, 0.3, 0.0)])
def test_the_error_of_many_is_far_below_that_of_one(values):
    framer = Seeks(values)
    each = [off(frame, values) for frame in framer(seen(256))[1]]
    found = common_frame(framer, seen(256))
    assert off(found, values) < np.median(each) / 6
    assert found.alike and found.far < 0.07 and found.pictures == 256 and not found.at_home


def test_pictures_of_another_kind_do_not_move_it():
    framer = Seeks(PLACE, (-0.8, 0.2, 0.3, 0.4, -0.2))
    mixed = np.concatenate([seen(170), seen(86, kind=1, first=1000)])
    found = common_frame(framer, mixed)
    assert off(found, PLACE) < 0.02
    assert not found.alike and found.far == pytest.approx(86 / 256, abs=0.04)
    assert "limit" not in found.start()
    assert np.mean([off(f, PLACE) for f in framer(mixed)[1]]) > 0.2


def test_at_home_it_is_the_identity_to_the_bit():
    found = common_frame(Seeks((0.005, 0.0, 0.0, 0.004, 0.0)), seen(200))
    assert found.at_home and found.start()["start"].tolist() == IDENTITY_FRAME.tolist()
    assert not common_frame(Seeks((0.06, 0.0, 0.0, 0.0, 0.0)), seen(200)).at_home


# --- before a job --------------------------------------------------------------------------------


def framing(framer):
    labeller = by_hand()
    return replace(labeller, classifier=replace(labeller.classifier, framer=framer))


def as_items(pictures, *, ordered=False):
    """Each can be read once where they are read in order."""
    left = [encoded(picture) for picture in pictures]

    def read(i):
        data, left[i] = left[i], b"" if ordered else left[i]
        return data

    return [Item(str(i), lambda i=i: read(i), ordered) for i in range(len(left))]


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("count", [MIN_IMAGES, 700])
def test_a_job_begins_from_it_and_loses_no_picture(count, ordered):
    framer, pictures = Seeks(PLACE), seen(count)
    placed, coming = with_common_frame(framing(framer), as_items(pictures, ordered=ordered))
    common = placed.classifier.common
    assert off(common, PLACE) < 0.03
    coming = list(coming)
    assert [item.id for item in coming] == [str(i) for i in range(count)]
    assert all(item.ordered == ordered for item in coming)
    assert [item.read() for item in coming] == [encoded(p) for p in pictures]
    framer.asked.clear()
    placed.classifier.framed(pictures[: BATCH + 1])
    for start, limit in framer.asked:  # as they are alike, none is moved on by itself
        assert (start == common.start()["start"]).all() and limit == np.inf


def test_few_pictures_are_framed_each_by_itself():
    def broken():
        raise ImageError("cannot be read")

    few = [*as_items(seen(MIN_IMAGES - 1)), Item("broken", broken)]
    placed, coming = with_common_frame(framing(Seeks(PLACE)), few)
    assert placed.classifier.common is None and len(list(coming)) == MIN_IMAGES


def test_who_frames_nothing_or_knows_the_place_or_wants_none_stays():
    many = as_items(seen(80))
    some = framing(Seeks(PLACE))
    known = CommonFrame((1.3, 0, 0, 0, 1.3, 0), alike=True, far=0.0, pictures=60)
    here = replace(some, classifier=replace(some.classifier, common=known))
    for labeller in (by_hand(), here, replace(some, one_frame=False)):
        placed, coming = with_common_frame(labeller, many)
        assert placed is labeller and len(list(coming)) == 80


def test_shards_begin_from_it_and_what_comes_later_is_read_the_same(tmp_path):
    ready, pictures = framing(Seeks(PLACE)), [encoded(p) for p in seen(120)]
    (tmp_path / "in").mkdir()
    write_tar(tmp_path / "in/a.tar", {f"{i:03}.png": p for i, p in enumerate(pictures[:60])})
    parquet_shard(tmp_path / "in/b.parquet", pictures[60:])
    (tmp_path / "in/c.tar").write_bytes(b"no tar")

    def labelled():
        made = label_shards(
            Run(tmp_path), [str(tmp_path / "in")], str(tmp_path / "out"), labeller=ready, workers=1
        )
        return made.job, made.tally

    job, tally = labelled()
    assert tally.images - tally.resumed == 121  # what is no tar is a row that says so
    common = CommonFrame(**job["frame"])
    assert off(common, PLACE) < 0.03 and common.pictures == 120 and common.alike
    parquet_shard(tmp_path / "in/d.parquet", [encoded(p) for p in seen(300, first=500)])
    again, tally = labelled()
    assert again == job and tally.resumed == 121 and tally.images == 421
    assert job["frame"] == to_plain(common)
    ready = replace(ready, one_frame=False)
    with pytest.raises(OutputError, match="other settings"):
        labelled()
