"""A stream of shards: each picture once, well shuffled, and gone on with exactly."""

from itertools import islice

import numpy as np
import pytest

from candid.data.streaming import Stream, StreamPosition
from candid.errors import ConfigError, ImageError

SIZES = [40, 25, 1, 60, 33, 41]
SHARD = np.repeat(np.arange(len(SIZES)), SIZES)
N = len(SHARD)


class Counting:
    """A source that notes what is read."""

    def __init__(self, bad=()):
        self.read_rows = []
        self.bad = bad

    def __len__(self):
        return N

    def read(self, row):
        self.read_rows.append(row)
        if row in self.bad:
            raise ImageError("gone")
        return b"%d" % row

    def stamp(self):
        return ""


def stream(source=None, **options):
    return Stream(source or Counting(), SHARD, **({"seed": 3, "buffer": 20, "turns": 2} | options))


def test_each_picture_comes_once_per_epoch_with_its_own_bytes():
    source = Counting()
    given = list(stream(source).pictures())
    assert sorted(row for _, row, _ in given) == list(range(N))
    assert all(data == b"%d" % row for _, row, data in given)
    assert sorted(source.read_rows) == list(range(N))
    assert [place.given for place, _, _ in given] == list(range(1, N + 1))


def test_the_order_is_known_without_reading_and_hangs_on_seed_and_epoch():
    source = Counting()
    s = stream(source)
    order = s.order(0)
    assert source.read_rows == []
    assert [row for _, row, _ in s.pictures()] == order.tolist()
    assert (order == stream().order(0)).all()
    for other in (s.order(1), stream(seed=4).order(0)):
        assert sorted(other) == list(range(N)) and (other != order).any()


@pytest.mark.parametrize("stopped", [0, 1, 19, 20, 21, 100, N - 1, N])
@pytest.mark.parametrize("buffer", [1, 20, 1000])
def test_it_goes_on_exactly_where_it_stopped(stopped, buffer):
    whole = list(stream(buffer=buffer).pictures(StreamPosition(epoch=5)))
    place = whole[stopped - 1][0] if stopped else StreamPosition(epoch=5)
    source = Counting()
    rest = list(stream(source, buffer=buffer).pictures(place))
    assert rest == whole[stopped:]
    # Nothing is read for what was given before: only what is given from here on.
    assert sorted(source.read_rows) == sorted(row for _, row, _ in whole[stopped:])


def test_memory_holds_no_more_than_the_buffer():
    source = Counting()
    for given, _ in enumerate(islice(stream(source).pictures(), N - 20)):
        assert len(source.read_rows) - given <= 20


def test_shards_are_read_from_front_to_back_a_few_at_a_time():
    source = Counting()
    list(stream(source, turns=3).pictures())
    by_shard = [[r for r in source.read_rows if SHARD[r] == k] for k in range(len(SIZES))]
    assert all(rows == sorted(rows) for rows in by_shard)
    spans = [(source.read_rows.index(r[0]), source.read_rows.index(r[-1])) for r in by_shard]
    for at in range(N):
        assert sum(first <= at <= last for first, last in spans) <= 3


def test_without_turns_and_buffer_the_shards_alone_are_shuffled():
    order = stream(turns=1, buffer=1).order(0)
    firsts = [k for i, k in enumerate(SHARD[order]) if i == 0 or SHARD[order][i - 1] != k]
    assert sorted(firsts) == list(range(len(SIZES)))
    assert all((np.diff(order[SHARD[order] == k]) == 1).all() for k in range(len(SIZES)))


def test_with_a_buffer_as_large_as_the_data_every_order_is_as_likely():
    """Each row's mean place over many epochs is the middle, as in a full shuffle."""
    s = stream(buffer=N)
    epochs = 300
    places = np.empty((epochs, N))
    for epoch in range(epochs):
        places[epoch, s.order(epoch)] = np.arange(N)
    middle, error = (N - 1) / 2, N / np.sqrt(12 * epochs)
    assert np.abs(places.mean(0) - middle).max() < 5 * error


def test_classes_that_lie_in_shards_of_their_own_are_mixed():
    """Of windows of 20 pictures, hardly one holds a single shard; without turns and buffer most."""

    def pure(**options):
        windows = SHARD[stream(**options).order(0)][: N // 20 * 20].reshape(-1, 20)
        return np.mean([len(set(w)) == 1 for w in windows])

    assert pure(turns=4, buffer=60) == 0
    assert pure(turns=1, buffer=1) > 0.3


def test_only_the_rows_that_count():
    rows = np.arange(0, N, 3)
    s = Stream(Counting(), SHARD, seed=0, buffer=10, rows=rows)
    assert sorted(s.order(0)) == rows.tolist()
    assert sorted(row for _, row, _ in s.pictures()) == rows.tolist()


def test_what_cannot_be_read_comes_as_its_reason():
    given = {row: data for _, row, data in stream(Counting(bad={7})).pictures()}
    assert isinstance(given.pop(7), ImageError)
    assert len(given) == N - 1 and all(isinstance(data, bytes) for data in given.values())


@pytest.mark.parametrize("options", [{"buffer": 0}, {"turns": 0}])
def test_impossible_settings_are_told_of(options):
    with pytest.raises(ConfigError):
        stream(**options)
