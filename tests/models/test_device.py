import shutil

import pytest
import torch
from torch import nn

from candid.errors import TrainingError
from candid.models import device
from candid.models.device import (
    compile_network,
    memory_kept,
    pick_device,
    pick_threads,
    threads,
    uses_bfloat16,
)


def test_auto_is_a_device_that_exists():
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu:7:x"])
def test_a_device_that_is_not_there_is_an_error(name):
    with pytest.raises(TrainingError, match="no device"):
        pick_device(name)


def test_precision_can_be_forced():
    cpu = torch.device("cpu")
    assert uses_bfloat16("bfloat16", cpu)
    assert not uses_bfloat16("float32", cpu)


def test_threads_are_set_back_also_after_an_error(monkeypatch):
    monkeypatch.setattr(device, "process_cores", lambda: 8)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("asked", "mine", "torch_s", "idle", "chosen"),
    [
        (0, 8, 8, 8, 8),  # a quiet machine
        (0, 8, 8, 3, 3),
        (0, 2, 8, 8, 2),  # a container with a quota, of which torch knows nothing
        (0, 8, 1, 8, 1),  # OMP_NUM_THREADS=1, or torch.set_num_threads(1)
        (5, 8, 8, 1, 5),  # a number that is named is obeyed
        (100_000, 2, 8, 8, 2),
    ],
)
def test_threads_follow_the_load_and_never_exceed_the_cores(
    monkeypatch, asked, mine, torch_s, idle, chosen
):
    monkeypatch.setattr(device, "process_cores", lambda: mine)
    monkeypatch.setattr(device, "idle_cores", lambda most: min(most, idle))
    monkeypatch.setattr(torch, "get_num_threads", lambda: torch_s)
    assert pick_threads(asked) == chosen


def test_fewer_threads_than_a_run_s_own_are_told_of(monkeypatch, capsys):
    monkeypatch.setattr(device, "process_cores", lambda: 1)
    with threads(2):
        assert torch.get_num_threads() == 1
    assert "1 processor threads, not 2" in capsys.readouterr().err


def test_memory_kept_does_not_change_arithmetic():
    x = torch.randn(300, 300)
    with memory_kept():
        kept = x @ x
    assert torch.equal(kept, x @ x)


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )


@pytest.mark.parametrize("choice", ["auto", "never"])
def test_a_step_on_the_processor_is_captured_only_where_asked(choice):
    network = small_network()
    assert compile_network(network, choice, torch.device("cpu")) is network


# torch warns of what its own compiler still imports.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_a_captured_step_moves_the_same_weights_by_the_same_gradients():
    torch.manual_seed(0)
    network, twin = small_network(), small_network()
    twin.load_state_dict(network.state_dict())
    images, labels = torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 0, 1, 1])
    fast = compile_network(network, "always", torch.device("cpu"))
    assert fast is not network
    for each in (fast, twin):
        nn.functional.cross_entropy(each(images), labels).backward()
    for mine, other in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(network[1].running_mean, twin[1].running_mean)


def test_capturing_without_a_compiler_is_an_error(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(TrainingError, match="generates code"):
        compile_network(small_network(), "always", torch.device("cpu"))


def test_a_gpu_without_triton_is_used_as_it_is(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    network = small_network()
    assert compile_network(network, "auto", torch.device("cuda")) is network
