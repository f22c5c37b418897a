"""Training from a stream of shards: each picture once, exactly gone on with, in any number."""

import threading
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from candid.data.layouts import load_dataset
from candid.data.store import pack
from candid.data.streaming import choose_streaming
from candid.errors import DataError
from candid.models.forward import Images
from candid.models.networks import build
from candid.settings import DataConfig
from candid.training import checkpoint
from candid.training.batches import FromShards, Packed
from candid.training.distributed import Team
from candid.training.loop import start, train_in_steps
from candid.training.state import Task
from made_shards import KINDS, write_shards
from plain import PLAIN

SIZES = [60, 101, 3, 50, 93]  # 228 of these 307 are for training: no multiple of a batch
N = sum(SIZES)
DATA = DataConfig(side=16, workers=2, stream="always", stream_buffer=30, stream_sample=64)
CONFIG = replace(
    PLAIN.train,
    steps=20,
    batch_size=32,
    evaluations=2,
    checkpoints=4,
    precision="float32",
    device="cpu",
)
CPU = torch.device("cpu")
ALONE = Team()


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp(request.param), request.param, SIZES)


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    """All pictures, packed."""
    config = replace(DATA, stream="never", workers=1)
    dataset = load_dataset(folder, target="Hat", config=config)
    return pack(dataset, config, cache=tmp_path_factory.mktemp("cache"), quiet=True)


def stream_of(folder, data=DATA):
    return choose_streaming(load_dataset(folder, target="Hat", config=data), data, quiet=True)


def feed(stream, group=ALONE):
    images = Images(np.zeros((0, 16, 16, 3), np.uint8), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    rows = stream.dataset.rows("train")
    return FromShards(images, stream, rows, CONFIG, CPU, group, quiet=True)


def given(batches, count):
    with torch.no_grad():
        return [(rows.tolist(), batch.clone()) for rows, batch in islice(batches, count)]


def closed(f, step, count):
    batches = f.batches(step)
    found = given(batches, count)
    batches.close()
    return found


def test_each_picture_comes_once_per_epoch_with_the_pixels_that_a_pack_has(folder, packed):
    stream = stream_of(folder)
    f = feed(stream)
    rows, n = f.rows, len(f.rows)
    batches = closed(f, 0, 2 * n // 32 + 1)
    seen = [row for some, _ in batches for row in some]
    assert Counter(seen[:n]) == Counter(rows.tolist())
    assert Counter(seen[n : 2 * n]) == Counter(rows.tolist())
    assert seen[:n] != seen[n : 2 * n]
    whole = Packed(Images(packed.pixels, f.images.mean, f.images.std), rows, CONFIG, CPU, Team())
    for some, batch in batches:
        torch.testing.assert_close(batch, whole.images.batch(np.array(some), CPU), rtol=0, atol=0)


@pytest.mark.parametrize("step", [1, 3, 6, 7, 13])
def test_it_goes_on_exactly_at_any_step(folder, step):
    f = feed(stream_of(folder))
    whole, rest = closed(f, 0, 15)[step:], closed(f, step, 15 - step)
    for (rows, batch), (others, other) in zip(whole, rest, strict=True):
        assert rows == others and torch.equal(batch, other)


def test_processes_share_every_batch_and_read_no_picture_twice(folder, monkeypatch):
    stream = stream_of(folder)
    monkeypatch.setattr(Team, "gather", lambda self, own, n: own)  # of others nothing is known here
    whole = closed(feed(stream), 0, 12)
    source = type(stream.dataset.source)
    once, read = source.read, []
    monkeypatch.setattr(source, "read", lambda self, row: read.append(row) or once(self, row))
    parts = [closed(feed(stream, Team(rank, 3)), 0, 12) for rank in range(3)]
    for (rows, batch), *shares in zip(whole, *parts, strict=True):
        assert rows == [row for some, _ in shares for row in some]
        assert torch.equal(batch, torch.cat([part for _, part in shares]))
    # What was read beyond the twelve batches is what each process had begun.
    assert len(read) <= 3 * (30 + 4 * 11) + 12 * 32 + 30


def test_threads_end_with_the_training(folder):
    before = threading.active_count()
    batches = feed(stream_of(folder)).batches(0)
    next(batches)
    assert threading.active_count() > before
    batches.close()
    assert threading.active_count() == before


def test_no_more_than_the_buffer_and_a_few_batches_are_in_memory(folder, monkeypatch):
    stream = stream_of(folder)
    source = type(stream.dataset.source)
    once, read = source.read, []
    monkeypatch.setattr(source, "read", lambda self, row: read.append(row) or once(self, row))
    batches = feed(stream).batches(0)
    for count in range(1, 7):
        next(batches)
        assert len(read) <= (count + 4 + 1) * 32 + 30
    batches.close()


def task(stream, packed):
    dataset = stream.dataset
    images = Images(packed.pixels, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    rows = [dataset.rows(split) for split in ("train", "validation")]
    return Task(images, dataset.label, 2, *rows, streamed=stream)


def begun(stream, packed):
    torch.manual_seed(0)
    return start(build("plain", side=16, n_classes=2), CONFIG, task(stream, packed))


def weights(state):
    return [v.clone() for v in state.measured.state_dict().values()]


def test_stopped_in_the_middle_of_an_epoch_the_weights_are_the_same_bytes(folder, packed, tmp_path):
    stream = stream_of(folder)
    whole = begun(stream, packed)
    list(train_in_steps(task(stream, packed), whole, CONFIG, PLAIN.augment, quiet=True))
    stopped = begun(stream, packed)
    rows = train_in_steps(
        task(stream, packed), stopped, CONFIG, PLAIN.augment, quiet=True, save_to=tmp_path / "c"
    )
    next(rows)  # half the steps: 10 batches of 32 are 1.4 epochs
    rows.close()
    again = begun(stream, packed)
    checkpoint.restore(tmp_path / "c", again)
    assert again.step == 10
    list(train_in_steps(task(stream, packed), again, CONFIG, PLAIN.augment, quiet=True))
    assert all(map(torch.equal, weights(again), weights(whole)))
    assert [r.train_loss for r in again.history] == [r.train_loss for r in whole.history]
    # It learned: pictures with a hat are darker.
    assert whole.history[-1].train_loss < 0.8 * whole.history[0].train_loss


def test_the_loss_of_a_stream_is_that_of_packed_pixels_in_its_order(folder, packed, monkeypatch):
    stream = stream_of(folder)
    from_shards, from_pack = begun(stream, packed), begun(stream, packed)
    list(train_in_steps(task(stream, packed), from_shards, CONFIG, PLAIN.augment, quiet=True))
    order = [np.array(rows) for rows, _ in closed(feed(stream), 0, CONFIG.steps)]
    monkeypatch.setattr("candid.training.batches.row_batches", lambda *_: iter(order))
    plain = replace(task(stream, packed), streamed=None)
    list(train_in_steps(plain, from_pack, CONFIG, PLAIN.augment, quiet=True))
    assert all(map(torch.equal, weights(from_shards), weights(from_pack)))


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_decoded_is_replaced_and_too_much_of_it_is_an_error(tmp_path, kind, capsys):
    cut = (20, 21, 90, 150)
    folder = write_shards(tmp_path / kind, kind, SIZES, cut)
    stream = stream_of(folder)
    bad = {row for row in stream.dataset.rows("train") if int(stream.dataset.ids[row][:4]) in cut}
    f = feed(stream)
    f.quiet = False
    n = len(f.rows)
    seen = [row for some, _ in closed(f, 0, n // 32) for row in some]
    assert bad and not bad & set(seen)
    assert len(set(seen)) >= len(seen) - len(bad)
    said = capsys.readouterr().err
    assert said.count("takes its place") == len(bad & f._bad) and "0090.png" in said
    strict = replace(DATA, max_bad_share=0.001)
    with pytest.raises(DataError, match="Too many training pictures"):
        closed(feed(stream_of(folder, strict)), 0, n // 32)


def test_a_shard_that_went_is_told_of(tmp_path):
    folder = write_shards(tmp_path / "tar", "tar", SIZES)
    stream = stream_of(folder)
    for shard in Path(folder).iterdir():
        shard.unlink()
    with pytest.raises(DataError, match="Too many training pictures"):
        closed(feed(stream), 0, 3)
