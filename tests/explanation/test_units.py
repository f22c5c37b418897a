from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor, nn

from candid.errors import CandidError, ConfigError, RunError
from candid.explanation.faces import Faces
from candid.explanation.filters import first_filters, on_grey
from candid.explanation.hidden import Ranking, RunningMoments, find_layers, recording
from candid.explanation.mistakes import NumberOutputs
from candid.explanation.units import look_inside
from candid.records import from_plain, to_plain
from candid.records.inside import Inside, read_inside_arrays, write_inside_arrays
from explanation.hidden_networks import (
    CLASSES,
    SIDE,
    Patches,
    Small,
    everything,
    faces,
    made,
    prepare,
)


@pytest.fixture(params=[Small, Patches])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return made(request.param)


# --- the parts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [False, True])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_ranking_of_a_stream_is_that_of_the_whole(size: int, least: bool) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 12, (40, 3)).astype(np.float32)  # many ties
    ranking = Ranking(9, least=least)
    for start in range(0, 40, size):
        part = torch.from_numpy(values[start : start + size])
        rows = torch.arange(start, start + len(part))[:, None].expand(part.shape)
        ranking.add(part, rows)
    for column in range(3):
        order = sorted(range(40), key=lambda i: (values[i, column] * (1 if least else -1), i))[:9]
        assert ranking.along[0][:, column].tolist() == order
        assert ranking.values is not None
        assert ranking.values[:, column].tolist() == values[order, column].tolist()


def test_moments_of_a_stream_are_those_of_the_whole() -> None:
    values = np.random.default_rng(1).normal(1e4, 1, (101, 4))
    moments = RunningMoments()
    for start in range(0, 101, 8):
        moments.add(torch.from_numpy(values[start : start + 8]))
    np.testing.assert_allclose(moments.mean.numpy(), values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.sd.numpy(), values.std(0), rtol=1e-9)


def test_the_layers_are_found_in_the_order_of_the_images_way() -> None:
    one = torch.zeros(1, 3, SIDE, SIDE)
    found = find_layers(Small(), torch.randn(4, 3, SIDE, SIDE))
    assert (found.units, found.classifier, found.feeds) == ("hidden", "head", True)
    found = find_layers(Patches(), one)
    assert (found.units, found.title) == ("", "input of head")
    found = find_layers(Small(), one, "conv2")
    assert (found.units, found.feeds) == ("conv2", False)
    fully = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found = find_layers(fully, one)
    assert (found.units, found.classifier) == ("", "2")  # maps are not read before their ReLU


# --- filters -------------------------------------------------------------------------------------


def test_filters_of_a_convolution_are_its_weights() -> None:
    torch.manual_seed(0)
    net = Small()
    found = first_filters(net, (3, SIDE, SIDE))
    assert found is not None
    record, weights = found
    want = net.conv1.weight.detach()
    norms = want.flatten(1).norm(dim=1)
    order = norms.argsort(descending=True)
    assert (record.layer, record.height, record.width, record.count) == ("conv1", 3, 3, 5)
    np.testing.assert_allclose(record.norms, norms[order].numpy(), rtol=1e-5)
    np.testing.assert_allclose(weights, want[order].numpy(), rtol=1e-4, atol=1e-6)
    assert first_filters(net, (3, SIDE, SIDE), most=2)[1].shape == (2, 3, 3, 3)  # type: ignore[index]


def test_filters_of_a_patch_embedding_and_behind_space_to_depth() -> None:
    torch.manual_seed(0)
    net = Patches()
    record, weights = first_filters(net, (3, SIDE, SIDE))  # type: ignore[misc]
    want = net.embed.weight.detach().reshape(6, 4, 4, 3).permute(0, 3, 1, 2)
    order = want.flatten(1).norm(dim=1).argsort(descending=True)
    np.testing.assert_allclose(weights, want[order].numpy(), rtol=1e-4, atol=1e-6)
    assert (record.height, record.width) == (4, 4)

    deep = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 20, 3, padding=1), nn.ReLU())
    record, weights = first_filters(deep, (3, SIDE, SIDE))  # type: ignore[misc]
    assert (record.height, record.width, record.count) == (6, 6, 20)
    # The same response at the same place as the layer itself, for any picture.
    picture = torch.randn(1, 3, SIDE, SIDE)
    response = deep[1](deep[0](picture))[0, :, 3, 3] - deep[1].bias
    order = torch.tensor(weights).flatten(1).norm(dim=1).argsort(descending=True)
    assert order.tolist() == list(range(20))
    patch = picture[0, :, 4:10, 4:10]
    mine = (torch.tensor(weights) * patch).sum((1, 2, 3))
    # The record is ordered by length, so compare as sets of responses.
    np.testing.assert_allclose(
        np.sort(mine.detach()), np.sort(response.detach()), rtol=1e-3, atol=1e-5
    )


def test_no_filters_where_the_first_layer_is_no_weighted_sum_of_pixels() -> None:
    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x**2 + x).mean((2, 3))

    assert first_filters(Bent(), (3, SIDE, SIDE)) is None
    normed = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))
    assert first_filters(normed, (3, SIDE, SIDE)) is None


def test_filter_pictures_are_grey_where_the_weight_is_zero() -> None:
    weights = np.zeros((3, 3, 2, 2), np.float32)
    weights[0, 0, 0, 0], weights[0, 1, 1, 1] = 2.0, -1.0
    weights[1, 2, 0, 1] = -0.001
    pictures = on_grey(weights)
    assert pictures.shape == (3, 2, 2, 3) and pictures.dtype == np.uint8
    assert pictures[0, 0, 0].tolist() == [255, 128, 128]
    assert pictures[0, 1, 1].tolist() == [128, 64, 128]
    assert pictures[1, 0, 1].tolist() == [128, 128, 0]  # each filter by its own largest weight
    assert (pictures[2] == 128).all()
    one = on_grey(np.array([[[[1.0, -1.0]]]], np.float32))
    assert one.tolist() == [[[[255, 255, 255], [0, 0, 0]]]]


# --- everything ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [5, 64])
def test_units_are_those_of_brute_force(network: nn.Module, batch_size: int) -> None:
    images = faces(33, 1)
    record, _ = look_inside(
        network, images, faces(20, 2, "t"), prepare,
        classes=CLASSES, most_units=3, most_faces=4, batch_size=batch_size,
    )  # fmt: skip
    layer = "hidden" if isinstance(network, Small) else "head"
    values, hidden, _ = everything(network, images, layer)
    values = (values if isinstance(network, Small) else hidden).numpy()
    # What a unit adds to the difference of the two logits, each taken from their mean.
    head = network.head.weight.detach().numpy()
    added = hidden.numpy()[:, None, :] * (head - head.mean(0))  # (n, classes, size)
    weight = np.sqrt(added.var(0).sum(0))
    assert record.units_in_layer == values.shape[1] == record.hidden_size and record.n == 33
    assert [u.number for u in record.units] == np.argsort(-weight)[:3].tolist()
    for unit in record.units:
        column = values[:, unit.number]
        order = np.argsort(-column, kind="stable")
        assert [a.id for a in unit.most] == [images.ids[i] for i in order[:4]]
        lowest = np.argsort(column, kind="stable")[:4]
        assert [a.id for a in unit.least] == [images.ids[i] for i in lowest]
        np.testing.assert_allclose([a.value for a in unit.most], column[order[:4]], rtol=1e-4)
        np.testing.assert_allclose(unit.mean, column.mean(), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(unit.sd, column.std(), rtol=1e-4)
        np.testing.assert_allclose(unit.weight, weight[unit.number], rtol=1e-4)
        assert math.isnan(unit.most[0].row)


def test_units_of_a_map_say_where(network: nn.Module) -> None:
    if not isinstance(network, Small):
        pytest.skip("tokens are no map")
    images = faces(17, 1)
    record, _ = look_inside(
        network, images, faces(9, 2, "t"), prepare,
        classes=CLASSES, layer="conv2", units=[6, 0], most_faces=2, batch_size=4,
    )  # fmt: skip
    maps = everything(network, images, "conv2")[0].numpy()
    assert [u.number for u in record.units] == [6, 0] and record.units_in_layer == 7
    for unit in record.units:
        assert math.isnan(unit.weight)  # seven maps do not feed nine hidden numbers one by one
        best = unit.most[0]
        which = maps[:, unit.number].max((1, 2)).argmax()
        row, column = np.unravel_index(maps[which, unit.number].argmax(), (5, 5))
        assert best.id == images.ids[which]
        assert (best.row, best.column) == ((row + 0.5) / 5, (column + 0.5) / 5)
    network.window = (0.2, 0.5, 0.8, 1.0)  # of a picture, what the map is of
    part, _ = look_inside(
        network, images, faces(9, 2, "t"), prepare,
        classes=CLASSES, layer="conv2", units=[6, 0], most_faces=2, batch_size=4,
    )  # fmt: skip
    for whole, unit in zip(record.units, part.units, strict=True):
        for a, b in zip(whole.most, unit.most, strict=True):
            assert (b.row, b.column) == pytest.approx((0.5 + 0.5 * a.row, 0.2 + 0.6 * a.column))


@pytest.mark.parametrize("batch_size", [3, 50])
def test_mistakes_and_their_nearest_are_those_of_brute_force(
    network: nn.Module, batch_size: int
) -> None:
    images, training = faces(40, 5), faces(50, 6, "t")
    record, _ = look_inside(
        network, images, training, prepare,
        classes=CLASSES, temperature=2.5, most_mistakes=6, neighbours=4, batch_size=batch_size,
    )  # fmt: skip
    _, hidden, logits = everything(network, images, "head")
    taught = everything(network, training, "head")[1]
    p = (logits / 2.5).softmax(1).numpy()
    truth = np.array([CLASSES.index(x) for x in images.labels])
    wrong = np.flatnonzero(p.argmax(1) != truth)
    order = wrong[np.argsort(-p[wrong].max(1), kind="stable")][:6]
    assert record.mistakes == len(wrong) and record.training_n == 50 and len(order) == 6
    assert [r.id for r in record.resemblances] == [images.ids[i] for i in order]
    cosine = cosine_similarity(hidden[order].numpy(), taught.numpy())
    for r, i, row in zip(record.resemblances, order, cosine, strict=True):
        assert r.label == images.labels[i] and r.prediction == CLASSES[p[i].argmax()]
        np.testing.assert_allclose(r.confidence, p[i].max(), rtol=1e-5)
        near = np.argsort(-row, kind="stable")[:4]
        np.testing.assert_allclose([n.similarity for n in r.neighbours], row[near], atol=1e-5)
        assert [n.id for n in r.neighbours] == [training.ids[j] for j in near]
        assert [n.label for n in r.neighbours] == [training.labels[j] for j in near]


def test_given_probabilities_decide_what_is_a_mistake(network: nn.Module) -> None:
    images = faces(20, 5)
    p = np.random.default_rng(0).dirichlet((1, 1), 20)
    record, _ = look_inside(
        network, images, faces(9, 6, "t"), prepare,
        classes=CLASSES, probabilities=p, batch_size=6, most_mistakes=50,
    )  # fmt: skip
    truth = np.array([CLASSES.index(x) for x in images.labels])
    wrong = np.flatnonzero(p.argmax(1) != truth)
    order = wrong[np.argsort(-p[wrong].max(1))]
    assert [r.id for r in record.resemblances] == [images.ids[i] for i in order]
    np.testing.assert_allclose([r.confidence for r in record.resemblances], p[order].max(1))


def test_the_same_picture_is_its_own_nearest(network: nn.Module) -> None:
    images = faces(12, 5)
    record, _ = look_inside(network, images, images, prepare, classes=CLASSES, neighbours=1)
    assert record.resemblances
    for r in record.resemblances:
        assert r.neighbours[0].id == r.id
        assert r.neighbours[0].similarity == pytest.approx(1)


def test_cosines_keep_their_order_where_the_network_is_rounded(network: nn.Module) -> None:
    images, training = faces(12, 5), faces(40, 6, "t")
    with torch.autocast("cpu", torch.bfloat16):
        record, _ = look_inside(
            network, images, training, prepare, classes=CLASSES, neighbours=20, batch_size=64
        )
        hidden = everything(network, images, "head")[1].double()
        taught = everything(network, training, "head")[1].double()
    assert record.resemblances
    for r in record.resemblances:
        row = cosine_similarity(hidden[images.ids.index(r.id)][None].numpy(), taught.numpy())[0]
        np.testing.assert_allclose(
            [n.similarity for n in r.neighbours], -np.sort(-row)[:20], atol=1e-5
        )


def test_nothing_is_near_what_has_no_direction() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(net[1].weight)
    nn.init.constant_(net[1].bias, -1.0)  # no unit answers to anything
    nn.init.constant_(net[3].bias, 0.0)
    record, _ = look_inside(net, faces(9, 1), faces(8, 2, "t"), prepare, classes=CLASSES)
    assert record.mistakes and all(r.neighbours == () for r in record.resemblances)


def test_without_mistakes_there_is_no_resemblance(network: nn.Module) -> None:
    images = faces(10, 1)
    with torch.no_grad():
        answers = network(prepare(images.pixels[images.rows])).argmax(1)
    right = Faces(images.pixels, images.rows, images.ids, [CLASSES[int(a)] for a in answers])
    record, _ = look_inside(network, right, faces(10, 2, "t"), prepare, classes=CLASSES)
    assert (record.mistakes, record.resemblances, record.training_n) == (0, (), 0)


def test_pictures_are_those_of_the_ids(network: nn.Module) -> None:
    images, training = faces(30, 7), faces(25, 8, "t")
    record, arrays = look_inside(network, images, training, prepare, classes=CLASSES)
    pictures = arrays["faces"]
    shown = {a.id for u in record.units for a in (*u.most, *u.least)}
    shown |= {r.id for r in record.resemblances}
    shown |= {n.id for r in record.resemblances for n in r.neighbours}
    assert set(record.faces) == shown and len(record.faces) == len(pictures)
    for id, picture in zip(record.faces, pictures, strict=True):
        source = images if id.startswith("v") else training
        assert (picture == source.pixels[source.rows[source.ids.index(id)]]).all()
    filters = arrays["filters"]
    assert record.filters is not None and len(filters) == len(record.filters.norms)
    assert from_plain(Inside, to_plain(record)).units[0].number == record.units[0].number


def test_arrays_come_back_and_damage_is_said(tmp_path: Path) -> None:
    arrays = {"faces": np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)}
    file = tmp_path / "inside.npz"
    write_inside_arrays(file, arrays)
    once = file.read_bytes()
    found = read_inside_arrays(file)
    assert list(found) == ["faces"] and (found["faces"] == arrays["faces"]).all()
    write_inside_arrays(file, arrays)
    assert file.read_bytes() == once
    np.savez(tmp_path / "other.npz", faces=np.zeros((2, 2)))
    file.write_bytes(once[:100])
    for path in (file, tmp_path / "other.npz", tmp_path / "none.npz"):
        with pytest.raises(RunError) as caught:
            read_inside_arrays(path)
        assert "candid explain" in caught.value.todo


def test_a_flipped_bit_anywhere_is_an_error_of_ours_or_none(tmp_path):
    """A compressed archive's readers have a dozen kinds of errors for it."""
    rng, file = np.random.default_rng(0), tmp_path / "inside.npz"
    faces = rng.integers(0, 255, (3, 8, 8, 3), np.uint8)
    write_inside_arrays(file, {"faces": faces})
    whole, refused = file.read_bytes(), 0
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << rng.integers(8)
        file.write_bytes(spoilt)
        try:
            read_inside_arrays(file)
        except RunError:
            refused += 1
    assert refused > 0.8 * len(whole)


def test_twice_the_same(network: nn.Module) -> None:
    network.train()  # dropout would differ
    images, training = faces(30, 7), faces(25, 8, "t")
    one, two = (
        look_inside(network, images, training, prepare, classes=CLASSES, batch_size=7)
        for _ in range(2)
    )
    assert to_plain(one[0]) == to_plain(two[0])
    assert all((one[1][k] == two[1][k]).all() for k in one[1])


# --- as found ------------------------------------------------------------------------------------


def state(network: nn.Module) -> list[object]:
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    modes = [m.training for m in network.modules()]
    gradients = [p.grad is None and p.requires_grad for p in network.parameters()]
    weights = [v.double().sum().item() for v in network.state_dict().values()]
    return [hooks, modes, gradients, weights]


@pytest.mark.parametrize("where", ["no exception", "prepare", "network", "filters"])
def test_the_network_is_left_as_it_was_found(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Small().train()
    network.norm.eval()  # frozen, while the rest trains
    before = state(network)
    calls = 0

    def failing(pixels: NDArray[np.uint8]) -> Tensor:
        nonlocal calls
        calls += 1
        if where == "prepare" and calls == 3:
            raise ValueError("broken")
        return prepare(pixels)

    def call() -> None:
        look_inside(network, faces(20, 1), faces(20, 2, "t"), failing, classes=CLASSES,
                    batch_size=6)  # fmt: skip

    if where == "no exception":
        call()
    else:
        target: Callable[..., object] = network.drop.forward
        if where == "network":
            counted = iter(range(100))

            def broken(x: Tensor) -> Tensor:
                if next(counted) == 2:
                    raise ValueError("broken")
                return target(x)  # type: ignore[return-value]

            monkeypatch.setattr(network.drop, "forward", broken)
        if where == "filters":
            monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: 1 / 0)
        with pytest.raises((ValueError, ZeroDivisionError)):
            call()
    assert state(network) == before


def test_it_works_where_gradients_are_off() -> None:
    network = Small().requires_grad_(False)
    with torch.inference_mode():
        record, _ = look_inside(network, faces(8, 1), faces(8, 2, "t"), prepare, classes=CLASSES)
    assert record.filters is not None
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("is_number", [False, True])
def test_memory_stays_flat(is_number: bool) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 3), nn.ReLU(), nn.Linear(3, 2))
    network[3].bias.data = torch.tensor([5.0, -5.0])
    pixels = np.zeros((1, SIDE, SIDE, 3), np.uint8)

    def most_bytes(n: int) -> int:
        """Bytes of all tensors that live while the last batches are prepared."""
        living = []

        def counting(some: NDArray[np.uint8]) -> Tensor:
            tensors = {
                t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                for t in gc.get_objects()
                if type(t) is Tensor
            }
            living.append(sum(tensors.values()))
            return prepare(some)

        labels = [7.0] * n if is_number else ["yes"] * n
        many = Faces(pixels, np.zeros(n, np.intp), ["one"] * n, labels)
        number = NumberOutputs((1.0, 2.0), lambda p: (p[:, 0], p[:, 0], p[:, 1]), 5)
        given = {"number": number} if is_number else {"classes": CLASSES}
        look_inside(network, many, many, counting, batch_size=50, **given)  # type: ignore[arg-type]
        return max(living[len(living) // 2 :])

    # One whole number for each label, and no more.
    assert most_bytes(300) - most_bytes(100) <= 8 * 200


# --- bad input -----------------------------------------------------------------------------------


def test_bad_input_is_refused_with_what_to_do(network: nn.Module) -> None:
    images = faces(6, 1)

    def call(**changed: object) -> None:
        given: dict[str, object] = {"classes": CLASSES} | changed
        who = given.pop("faces", images)
        look_inside(network, who, images, prepare, **given)  # type: ignore[arg-type]

    for changed, word in (
        ({"classes": ()}, "Nothing says"),
        ({"layer": "heat"}, "'head'"),
        ({"units": [99]}, "no unit 99"),
        ({"classes": ("no", "maybe")}, "'yes'"),
        ({"classes": ("no", "maybe", "yes")}, "2 numbers per image for 3 classes"),
        ({"probabilities": np.zeros((6, 3))}, r"\(6, 3\) came with 6 images and 2 classes"),
        ({"most_units": 0}, "0 of something"),
        ({"batch_size": 0}, "0 of something"),
        ({"faces": Faces(images.pixels, images.rows[:0], [], [])}, "no image"),
    ):
        with pytest.raises(ConfigError, match=word) as caught:
            call(**changed)
        assert caught.value.expected and caught.value.todo
    with pytest.raises(ConfigError, match="6 rows came with 5 ids"):
        Faces(images.pixels, images.rows, images.ids[:5], images.labels)


def test_networks_that_cannot_be_looked_into_are_refused() -> None:
    images = faces(6, 1)
    for net in (nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))):
        with pytest.raises(ConfigError) as caught:
            look_inside(net, images, images, prepare, classes=CLASSES)
        assert caught.value.todo
    broken = Small()
    broken.head.bias.data.fill_(math.nan)
    with pytest.raises(CandidError, match="not finite") as failed:
        look_inside(broken, images, images, prepare, classes=CLASSES)
    assert failed.value.todo and not any(len(m._forward_hooks) for m in broken.modules())


def test_a_layer_that_gives_no_tensor_is_refused() -> None:
    one = torch.zeros(1, 3, 4, 4)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = nn.GRU(3, 4, batch_first=True)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.pair(x.flatten(2).transpose(1, 2))[0].mean(1))

    network = Two()
    assert find_layers(network, one).title == "input of head"
    layers = find_layers(network, one, "pair")
    with pytest.raises(ConfigError, match="tuple"), recording(network, layers) as look:
        look(one)


# --- the stage -----------------------------------------------------------------------------------


def test_the_stage_takes_mistakes_from_the_predictions(tmp_path: Path) -> None:
    from candid import runs
    from candid.data.dataset import Dataset
    from candid.models.networks import build
    from candid.models.weights import save_weights
    from candid.pipeline.explaining import show_inside
    from candid.pipeline.provenance import collect_provenance
    from candid.predictions import Predictions, write_predictions
    from candid.records import ModelCard, read_record, write_record
    from candid.settings import Config

    rng = np.random.default_rng(0)
    n, side = 60, 16
    split = np.array(["train"] * 30 + ["validation"] * 20 + ["test"] * 10)
    label = rng.integers(0, 2, n).astype(np.int16)
    label[3] = -1  # nobody wrote what it shows
    ids = np.array([f"{i:03d}.jpg" for i in range(n)])
    dataset = Dataset("Male", CLASSES, ids, split, label, "made", "table", source=None)  # type: ignore[arg-type]
    store = SimpleNamespace(
        pixels=rng.integers(0, 256, (n, side, side, 3), dtype=np.uint8), usable=np.arange(n) != 31
    )
    torch.manual_seed(0)
    network = build("plain", side=side, n_classes=2)
    config = Config()
    run = runs.create(
        tmp_path / "run", config, collect_provenance(seed=0, data="made", data_fingerprint="x")
    )
    save_weights(run.weights, network.state_dict())
    third = (0.5, 0.5, 0.5)
    card = ModelCard("plain", {}, "Male", CLASSES, side, third, third, 1.0, 1, 1, (), 1, "last")
    write_record(run.model_file, card)
    p = rng.dirichlet((1, 1), n)
    kept = split != "train"
    write_predictions(
        run.predictions_file,
        Predictions("Male", CLASSES, ids[kept], split[kept], label[kept], p[kept]),
    )
    data = SimpleNamespace(dataset=dataset, store=store)
    record = show_inside(replace(run, quiet=True), data, most_training=12)  # type: ignore[arg-type]
    assert record is not None
    rows = np.flatnonzero((split == "validation") & store.usable)
    wrong = rows[p[rows].argmax(1) != label[rows]]
    assert record.n == len(rows) == 19 and record.mistakes == len(wrong)
    surest = wrong[np.argsort(-p[wrong].max(1))][:12]
    assert [r.id for r in record.resemblances] == ids[surest].tolist()
    assert record.training_n == 12
    taught = {x.id for r in record.resemblances for x in r.neighbours}
    assert taught <= set(ids[(split == "train") & (label >= 0)])
    assert to_plain(read_record(run.inside, Inside)) == to_plain(record)
    pictures = read_inside_arrays(run.inside_arrays)["faces"]
    first = ids.tolist().index(record.faces[0])
    assert (pictures[0] == store.pixels[first]).all()
    assert record.filters is not None and record.filters.layer == "conv1"
