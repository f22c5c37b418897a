"""Weights that a network begins with."""

from __future__ import annotations

import pytest
import torch

from candid.errors import ConfigError
from candid.models.initial import read_initial
from candid.models.networks import build
from candid.models.weights import save_weights


def written(path, **how):
    torch.manual_seed(1)
    network = build("deep", **({"side": 16, "n_classes": 2, "width": 4} | how))
    save_weights(path, network.state_dict())
    return network


def on_meta(**how):
    with torch.device("meta"):
        return build("deep", **({"side": 16, "n_classes": 2, "width": 4} | how))


def test_all_are_taken_over_where_they_fit(tmp_path):
    there = written(tmp_path / "w.safetensors")
    found = read_initial(tmp_path / "w.safetensors", on_meta(), same_head=True)
    ours = build("deep", side=16, n_classes=2, width=4)
    found.fill(ours)
    assert found.anew == ()
    assert all(torch.equal(v, ours.state_dict()[k]) for k, v in there.state_dict().items())


@pytest.mark.parametrize(("classes", "same_head"), [(5, True), (2, False)])
def test_a_head_of_other_classes_begins_anew(tmp_path, classes, same_head):
    there = written(tmp_path / "w.safetensors")
    ours = build("deep", side=16, n_classes=classes, width=4)
    fresh = ours.head.weight.detach().clone()
    found = read_initial(tmp_path / "w.safetensors", ours, same_head=same_head)
    found.fill(ours)
    assert found.anew == ("head.weight", "head.bias")
    assert torch.equal(ours.head.weight, fresh)
    assert torch.equal(ours.body[0].weight, there.body[0].weight)


@pytest.mark.parametrize("other", [{"width": 8}, {"depth": 2}])
def test_another_network_is_refused(tmp_path, other):
    written(tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="another network"):
        read_initial(tmp_path / "w.safetensors", on_meta(**other), same_head=True)


def test_no_more_tensors_differ_than_there_are(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"other": torch.zeros(2)})
    all_of_them = len(on_meta().state_dict()) + 1
    with pytest.raises(ConfigError, match=f": {all_of_them} of {all_of_them} tensors differ"):
        read_initial(tmp_path / "w.safetensors", on_meta(), same_head=True)


def test_what_is_no_weights_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"There are no weights .* at .*gone.safetensors") as gone:
        read_initial(tmp_path / "gone.safetensors", on_meta(), same_head=True)
    assert "check the path" in gone.value.todo
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="Cannot read"):
        read_initial(tmp_path / "w.safetensors", on_meta(), same_head=True)
    network = written(tmp_path / "w.safetensors")
    with torch.no_grad():
        network.head.bias[0] = torch.nan
    save_weights(tmp_path / "w.safetensors", network.state_dict())
    with pytest.raises(ConfigError, match="NaN"):
        read_initial(tmp_path / "w.safetensors", on_meta(), same_head=True)
