"""Hostile inputs of all kinds: no traceback, no hang, no more memory than 1.5 GB.

A hundred in every run of the tests; all with `pytest -m slow` (or `-m hostile`: these alone).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from hostile.cases import ALL, BROKEN, SAMPLE, named
from hostile.kit import Kit, make
from hostile.runner import faults_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    return make(tmp_path_factory.mktemp("kit"))


def test_a_hundred_hostile_inputs(kit: Kit) -> None:
    assert len(SAMPLE) == 100
    assert not list(faults_of(kit, SAMPLE))


@pytest.mark.slow
@pytest.mark.hostile
def test_all_hostile_inputs(kit: Kit) -> None:
    assert len(ALL) >= 1000
    assert not list(faults_of(kit, ALL))


def test_what_no_case_may_do_is_seen_and_told_of_its_case(tmp_path: Path) -> None:
    faults = list(faults_of(Kit(tmp_path), BROKEN, idle=5))
    words = ("crash: crashed", "hang: hangs", "KeyError: 'popitem()", "memory: took")
    assert len(faults) == len(words)
    assert all(word in fault for word, fault in zip(words, faults, strict=True)), faults


def test_all_kinds_are_among_them_and_a_seed_is_always_the_same_case() -> None:
    assert len({named(seed) for seed in SAMPLE}) >= 20
    assert {named(seed) for seed in ALL} >= {named(seed) for seed in SAMPLE}
    assert named(0) == "archives/tar-predict"
