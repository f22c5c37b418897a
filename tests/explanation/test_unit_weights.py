"""How far units move a number: held to the network itself, sent through with a unit held still."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from candid.arrays import FloatArray
from candid.explanation.faces import Faces
from candid.explanation.mistakes import NumberOutputs
from candid.explanation.units import look_inside
from candid.models.outputs import Outputs
from candid.records.inside import Inside
from explanation.hidden_networks import CLASSES, Patches, Small, everything, faces, made, prepare

CENTRES = (5.0, 12.0, 20.0, 31.0, 45.0, 70.0)


def read(p: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    mean = p @ np.array(CENTRES)
    return mean, mean - 4, mean + 6


NUMBER = NumberOutputs(CENTRES, read, 5.0)


def aged(n: int, seed: int, name: str = "v") -> Faces:
    """Images with a number each."""
    values = np.random.default_rng(seed).uniform(0, 80, n).round(1).tolist()
    return replace(faces(n, seed, name), labels=values)


def looked(network: nn.Module, images: Faces, **how: object) -> Inside:
    given: dict[str, object] = {"number": NUMBER, "most_units": 99} | how
    return look_inside(network, images, aged(20, 2, "t"), prepare, **given)[0]  # type: ignore[arg-type]


def telling_ages(kind: type[nn.Module], outputs: int = len(CENTRES)) -> nn.Module:
    """A network with weights drawn at random, whose distributions have some width."""
    network = made(kind, outputs)
    with torch.no_grad():
        network.head.weight[:] *= 0.05 if kind is Small else 1  # type: ignore[index, union-attr]
    return network


@pytest.fixture(params=[Small, Patches])
def network(request: pytest.FixtureRequest) -> nn.Module:
    return telling_ages(request.param)


def means(network: nn.Module, images: Faces, temperature: float) -> FloatArray:
    """(n,) the mean of each distribution, by hand."""
    with torch.no_grad():
        logits = network(prepare(images.pixels[images.rows])).double().numpy() / temperature
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return (weights * CENTRES).sum(1) / weights.sum(1)


@pytest.mark.parametrize(("batch_size", "temperature"), [(5, 1.0), (64, 2.5)])
def test_a_unit_moves_a_number_as_the_network_without_it_says(
    network: nn.Module, batch_size: int, temperature: float
) -> None:
    images = aged(33, 1)
    record = looked(network, images, batch_size=batch_size, temperature=temperature)
    hidden = everything(network, images, "head")[1].double()
    before = means(network, images, temperature)
    weight, raises = [], []
    for unit in range(hidden.shape[1]):
        held = hidden[:, unit].mean()

        def hold(_: nn.Module, given: tuple[Tensor], unit: int = unit, held: Tensor = held):  # type: ignore[no-untyped-def]
            changed = given[0].clone()
            changed[:, unit] = held.float()
            return (changed,)

        hook = network.head.register_forward_pre_hook(hold)
        added = before - means(network, images, temperature)
        hook.remove()
        apart = (hidden[:, unit] - held).numpy()
        weight.append(added.std())
        raises.append(np.mean((added > 0) == (apart > 0)))
    order = np.argsort(-np.array(weight))
    assert [u.number for u in record.units] == order.tolist()
    np.testing.assert_allclose(
        [u.weight for u in record.units], np.array(weight)[order], rtol=1e-3, atol=1e-5
    )
    assert [u.raises for u in record.units] == pytest.approx(np.array(raises)[order])
    assert min(raises) < 0.5 < max(raises)  # some lower it, some raise it
    assert max(weight) > 0.1


def test_a_number_in_months_is_moved_twelve_times_as_far(network: nn.Module) -> None:
    images = aged(33, 1)
    in_years = looked(network, images)
    in_months = looked(
        network, images, number=replace(NUMBER, centres=tuple(12 * c + 100 for c in CENTRES))
    )
    assert [u.number for u in in_months.units] == [u.number for u in in_years.units]
    for years, months in zip(in_years.units, in_months.units, strict=True):
        assert months.weight == pytest.approx(12 * years.weight)
        assert months.raises == years.raises


def test_what_is_added_to_every_bin_alike_moves_nothing() -> None:
    network = telling_ages(Small)
    with torch.no_grad():
        network.head.weight[:, 4] = 3.0  # type: ignore[index, union-attr]
    units = {u.number: u for u in looked(network, aged(33, 1)).units}
    assert units[4].weight == pytest.approx(0, abs=1e-9)
    assert units[4].sd > 0.1 and sum(u.weight > 0.05 for u in units.values()) > 4
    with torch.no_grad():
        network.hidden.weight[7], network.hidden.bias[7] = 0, -1  # type: ignore[index, union-attr, operator]
    units = {u.number: u for u in looked(network, aged(33, 1)).units}
    assert units[7].weight == 0 and math.isnan(units[7].raises)  # it answers to nothing


def test_a_unit_of_two_bins_raises_the_number_as_the_logistic_function_does() -> None:
    """By hand: of bins 0 and 10, the number is 10 / (1 + exp(-4 x - 1)) of the one unit x."""
    network = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(1, 2)
    )
    nn.init.constant_(network[1].weight, 1.0)
    nn.init.zeros_(network[1].bias)
    with torch.no_grad():
        network[3].weight[:, 0] = torch.tensor([0.0, 4.0])
        network[3].bias[:] = torch.tensor([0.0, 1.0])
    images = aged(40, 1)
    images.pixels[...] = np.arange(45, dtype=np.uint8)[:, None, None, None] * 5
    number = NumberOutputs((0.0, 10.0), lambda p: (p[:, 1], p[:, 1], p[:, 1]), 1e9)
    (unit,) = looked(network, images, number=number).units
    x = 3 * (images.pixels[images.rows, 0, 0, 0] / 255 - 0.5)
    added = 10 / (1 + np.exp(-4 * x - 1)) - 10 / (1 + np.exp(-4 * x.mean() - 1))
    assert unit.weight == pytest.approx(added.std(), rel=1e-5)
    assert unit.raises == 1


def test_of_one_label_among_several_its_own_outputs_count(network: nn.Module) -> None:
    """A network of the caller's own stays whole and gives the outputs of one label."""
    images = aged(33, 1)
    whole = telling_ages(type(network), 11)
    with torch.no_grad():
        network.load_state_dict(
            {
                name: value[3:9] if name.startswith("head") else value
                for name, value in whole.state_dict().items()
            }
        )
    alone, part = looked(network, images), looked(Outputs(whole, 3, 6, 11), images)
    assert [u.number for u in part.units] == [u.number for u in alone.units]
    weights = ([u.weight for u in record.units] for record in (part, alone))
    np.testing.assert_allclose(*weights, rtol=1e-5)
    two = made(type(network))
    with torch.no_grad():
        two.load_state_dict(
            {
                name: value[9:] if name.startswith("head") else value
                for name, value in whole.state_dict().items()
            }
        )
    shown = faces(33, 1)
    alone, part = (
        looked(net, shown, number=None, classes=CLASSES) for net in (two, Outputs(whole, 9, 2, 11))
    )
    assert not math.isnan(alone.units[0].weight) and math.isnan(alone.units[0].raises)
    assert [u.number for u in part.units] == [u.number for u in alone.units]
    assert [u.weight for u in part.units] == pytest.approx([u.weight for u in alone.units])


def test_units_of_another_layer_are_those_that_vary_most() -> None:
    record = looked(telling_ages(Small), aged(33, 1), layer="conv2")
    assert all(math.isnan(u.weight) and math.isnan(u.raises) for u in record.units)
    assert [u.sd for u in record.units] == sorted((u.sd for u in record.units), reverse=True)
