import copy

import pytest
import torch
from torch import nn

from candid.errors import RunError
from candid.models.networks import build
from candid.models.outputs import Outputs, with_outputs

FIRST, COUNT, TOTAL = 2, 3, 7


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain", {}),
        ("deep", {"width": 4}),
        ("deep", {"width": 4, "ensemble_size": 2}),
        ("vit", {"width": 32, "depth": 1}),
    ],
)
def test_gives_some_of_the_outputs_and_ends_as_a_network_with_those_alone(name, options):
    whole = build(name, side=16, n_classes=TOTAL, **options).eval()
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        expected = whole(images)[:, FIRST : FIRST + COUNT]
        state = torch.get_rng_state()
        some = with_outputs(copy.deepcopy(whole), FIRST, COUNT, TOTAL)
        assert torch.equal(state, torch.get_rng_state())
        torch.testing.assert_close(some(images), expected)
    alone = build(name, side=16, n_classes=COUNT, **options)
    assert {k: v.shape for k, v in some.state_dict().items()} == {
        k: v.shape for k, v in alone.state_dict().items()
    }
    assert not any(m.training for m in some.modules())
    assert with_outputs(whole, 0, TOTAL, TOTAL) is whole


def test_somebody_s_own_network_stays_as_it_is():
    own = nn.Sequential(nn.Flatten(), nn.Linear(12, TOTAL))
    images = torch.randn(2, 3, 2, 2)
    some = with_outputs(own, FIRST, COUNT, TOTAL)
    assert isinstance(some, Outputs)
    assert torch.equal(some(images), own(images)[:, FIRST : FIRST + COUNT])
    assert own[1].out_features == TOTAL
    with pytest.raises(RunError, match="gives 7 numbers"):
        Outputs(own, 0, 2, 6)(images)
