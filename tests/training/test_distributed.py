"""Two processes that torchrun started, against one: losses, metrics, weights, what they see."""

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from candid.training.distributed import fresh_store
from made_once import made_once

WORKER = Path(__file__).with_name("together.py")
TRAININGS = (
    "plain",
    "deep",
    "vit",
    "mixup",
    "group",
    "dro",
    "growing",
    "bfloat16",
    "own",
    "several",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes computed; the first, alone as well."""

    def train(folder):
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(WORKER), str(folder)),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "Warning" not in done.stderr, done.stderr[-3000:]

    folder = made_once(tmp_path_factory, "together", train)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def alone(found):
    return found[0]["alone"]


def together(found):
    return [one["together"] for one in found]


def test_there_were_two(found):
    assert [one["size"] for one in together(found)] == [2, 2]


@pytest.mark.parametrize("what", ["norms", "draws"])
def test_what_a_network_does_across_a_batch_is_torch_s_for_the_whole(found, what):
    for one in together(found):
        for here, there in zip(one[what], alone(found)[what], strict=True):
            torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_train_as_one(found, name):
    one, (first, second) = alone(found)["trainings"][name], together(found)
    close = {"rtol": 1e-2, "atol": 5e-3} if name == "bfloat16" else {"rtol": 1e-5, "atol": 1e-5}
    two = first["trainings"][name]
    torch.testing.assert_close(two["curves"], one["curves"], equal_nan=True, **close)
    assert one["curves"][:, 0].std() > 1e-3  # it went somewhere
    # Adam makes a step of full size from a gradient that is 0 but for rounding.
    loose = {"rtol": 1e-3, "atol": 2e-2 if name == "bfloat16" else 1e-3}
    for here, there in zip(two["weights"], one["weights"], strict=True):
        torch.testing.assert_close(here, there, **loose)
    other = second["trainings"][name]
    assert all(map(torch.equal, two["weights"], other["weights"]))
    torch.testing.assert_close(two["curves"], other["curves"], equal_nan=True, rtol=0, atol=0)


def test_each_image_is_seen_once_per_epoch(found):
    shares = [one["trainings"]["plain"]["rows"] for one in together(found)]
    assert [len(share[0]) for share in shares] == [7, 8]
    seen = [row for step in zip(*shares, strict=True) for share in step for row in share]
    assert seen == [row for step in alone(found)["trainings"]["plain"]["rows"] for row in step]
    # Six batches of 15 are an epoch of 73 images and 17 more.
    assert Counter(seen[:73]) == Counter(range(73))
    assert len(set(seen[73:])) == 17


def test_they_tell_each_other(found):
    for one in together(found):
        talk = one["talk"]
        assert talk["broadcast"] == 0
        assert talk["read"] == "by 0"
        assert talk["absent"]
        assert "1 images per batch cannot be shared by 2 processes" in talk["refused"][0]
        assert "different images: 0, 1" in talk["refused"][1]
    assert [one["talk"]["shares"] for one in together(found)] == [[0, 5], [6, 12]]


def test_they_go_on_from_a_checkpoint_of_the_first(found):
    whole = together(found)[0]["trainings"]["deep"]
    for one in together(found):
        again = one["resumed"]
        assert all(map(torch.equal, again["weights"], whole["weights"]))
        torch.testing.assert_close(again["curves"], whole["curves"], equal_nan=True, rtol=0, atol=0)


def test_an_attempt_does_not_meet_what_an_earlier_one_left():
    """torchrun keeps one store for all attempts; processes come in any order and may die early."""
    store = torch.distributed.HashStore()
    for attempt in range(4):
        store.set("candid/word/2", f"of one that died before attempt {attempt}")
        came = {}

        def come(rank, delay, came=came):
            time.sleep(delay)
            came[rank] = fresh_store(store, rank, 3)

        delays = [0.1 * (attempt == rank) for rank in range(3)]
        threads = [threading.Thread(target=come, args=(r, d)) for r, d in enumerate(delays)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert sorted(came) == [0, 1, 2]
        assert not any(part.check(["address"]) for part in came.values())
        came[0].set("address", str(attempt))
        assert {part.get("address") for part in came.values()} == {str(attempt).encode()}
