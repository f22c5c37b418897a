"""What tests share is made by one, and anew where its making failed."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from made_once import made_once


def test_of_many_that_ask_at_once_one_makes_it(tmp_path_factory):
    made = []
    tmp_path_factory.getbasetemp()  # pytest makes it when it is first asked for, in one thread

    def make(folder):
        made.append(folder)
        time.sleep(0.1)
        (folder / "it").write_text("whole")

    with ThreadPoolExecutor(4) as pool:
        found = {*pool.map(lambda _: made_once(tmp_path_factory, "asked", make), range(4))}
    assert [*found] == made
    assert (made[0] / "it").read_text() == "whole"


def test_a_making_that_failed_is_not_taken_for_whole(tmp_path_factory):
    def fails(folder):
        (folder / "half").touch()
        raise OSError

    with pytest.raises(OSError):
        made_once(tmp_path_factory, "torn", fails)
    folder = made_once(tmp_path_factory, "torn", lambda folder: (folder / "it").touch())
    assert [p.name for p in folder.iterdir()] == ["it"]


@pytest.mark.parametrize("_", range(4))
def test_processes_that_share_the_tests_share_the_folder(tmp_path_factory, worker_id, _):
    def make(folder):
        (folder / worker_id).touch()

    assert len([*made_once(tmp_path_factory, "shared", make).parent.iterdir()]) == 1
