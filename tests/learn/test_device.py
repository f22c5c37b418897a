import pytest
import torch

from candid.errors import TrainingError
from candid.learn.device import memory_kept, pick_device, threads, uses_bfloat16


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


def test_threads_are_set_back_also_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), threads(before + 1):
        assert torch.get_num_threads() == before + 1
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == before


def test_memory_kept_does_not_change_arithmetic():
    x = torch.randn(300, 300)
    with memory_kept():
        kept = x @ x
    assert torch.equal(kept, x @ x)
