"""Cores that a process may use, and those that others leave idle."""

import math
import subprocess
import sys

import pytest

from candid import cores
from candid.cores import idle_cores, process_cores


def groups(tmp_path, lines: str, files: dict[str, str]) -> float:
    """The quota that the kernel's files tell of, as they lie in a container."""
    (tmp_path / "cgroup").write_text(lines)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cores._quota(tmp_path / "cgroup", tmp_path / "fs")


@pytest.mark.parametrize(
    ("lines", "files", "quota"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "400000 100000"}, 4),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 50000", "cpu.max": "800000 100000"}, 2),
        ("0::/not/seen/from/inside\n", {"cpu.max": "300000 100000"}, 3),
        (
            "9:memory:/x\n3:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "3:cpu,cpuacct:/d\n0::/\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "-1", "cpu,cpuacct/d/cpu.cfs_period_us": "100000"},
            math.inf,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "x", "cpu/cpu.cfs_period_us": "0"}, math.inf),
        ("nonsense", {}, math.inf),
    ],
)
def test_the_quota_of_a_container(tmp_path, lines, files, quota):
    assert groups(tmp_path, lines, files) == quota


def test_never_more_cores_than_the_quota_and_never_none(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, count in ((math.inf, 8), (2.9, 2), (0.4, 1), (16, 8)):
        monkeypatch.setattr(cores, "_quota", lambda *_, quota=quota: quota)
        assert cores.cores() == count
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert process_cores() == 2


@pytest.mark.parametrize(
    ("most", "busy", "idle"),
    [(2, 0, 2), (2, 1, 1), (2, 2, 1), (2, 9, 1), (8, 1, 7), (8, 4, 4), (64, 32, 32), (64, 64, 1)],
)
def test_what_others_leave_follows_from_the_share_of_time(monkeypatch, most, busy, idle):
    """A fair system gives each of n + b programs that compute n / (n + b) of n cores' time."""
    monkeypatch.setattr(cores, "_measure_cores", lambda n: n * n / (n + busy))
    assert idle_cores(most) == idle


def test_whoever_works_for_a_moment_does_not_count(monkeypatch):
    looks = iter([1.0, 1.1, 1.99])
    monkeypatch.setattr(cores, "_measure_cores", lambda _: next(looks))
    assert idle_cores(2) == 2


def test_beside_programs_on_every_core_one_thread_is_enough():
    count = 2 * cores.cores()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        assert idle_cores(max(2, cores.cores())) == 1
    finally:
        for program in busy:
            program.kill()
            program.wait()
