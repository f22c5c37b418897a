"""The cache of packed images: candid cache."""

import json
import os
import time
from pathlib import Path

import pytest

import candid
from candid.data.store import pack
from candid.settings import Config, DataConfig
from candid.storage.locks import try_lock
from commands import candid as command
from inference.tiny import pixels

DAY = 86_400


def packed(cache: Path, n: int, side: int, days: int):
    """A pack that was last used so many days ago."""
    config = DataConfig(side=side, workers=1)
    labels = ["a", "b"] * (n // 2)
    data = candid.load_images(pixels(n), labels, target="x", config=Config(data=config))
    store = pack(data, config, cache=cache, quiet=True)
    then = time.time() - days * DAY
    for file in store.folder.iterdir():
        os.utime(file, (then, then))
    return store.folder, lambda: pack(data, config, cache=cache, quiet=True)


@pytest.fixture
def cache(tmp_path):
    folder = tmp_path / "cache"
    made = {
        "new": packed(folder, 40, 16, 1)[0],
        "old": packed(folder, 20, 24, 10)[0],
        "oldest": packed(folder, 10, 16, 40)[0],
    }
    (folder / "notes.txt").write_text("mine")
    (folder / ("0" * 32)).mkdir()  # named as a pack is, and none
    (folder / ("1" * 32)).symlink_to(made["new"])
    return folder, made


def test_what_how_big_since_when(cache, capsys):
    folder, made = cache
    found = candid.list_packs(folder).packs
    assert [pack.folder for pack in found] == [str(made[n]) for n in ("new", "old", "oldest")]
    assert [(p.images, p.side, p.state) for p in found] == [
        (40, 16, "whole"), (20, 24, "whole"), (10, 16, "whole"),
    ]  # fmt: skip
    for one in found:
        assert one.size == sum(f.stat().st_size for f in Path(one.folder).iterdir())
        assert one.data and one.example
    lines = command(capsys, "cache", "--cache", folder).out.splitlines()
    assert lines[0].split()[:3] == ["pack", "data", "images"] and len(lines) == 5
    assert lines[-1].startswith("3 packs") and str(folder) in lines[-1]
    assert candid.list_packs(folder).to_frame().shape[0] == 3


def test_a_use_is_noted(cache):
    folder, made = cache
    _, again = packed(folder, 10, 16, 40)
    before = candid.list_packs(folder).packs[-1]
    again()
    after = candid.list_packs(folder).packs[0]
    assert after.folder == before.folder == str(made["oldest"])
    assert after.used > before.used and after.made == before.made


def test_nothing_is_removed_unless_told(cache, capsys):
    folder, made = cache
    out = command(capsys, "cache", "--cache", folder, "--prune-older", 30).out
    assert f"would remove {made['oldest'].name[:12]}" in out and "--yes" in out
    assert all(path.is_dir() for path in made.values())
    command(capsys, "cache", "--cache", folder, "--yes", code=2)
    words = ("cache", "--cache", folder, "--prune-older", 30, "--yes", "--json")
    said = json.loads(command(capsys, *words).out)
    assert [p["folder"] for p in said["pruned"]] == [str(made["oldest"])] and said["done"]
    assert not made["oldest"].exists() and made["old"].is_dir()
    assert (folder / "notes.txt").is_file() and (folder / ("0" * 32)).is_dir()


def test_the_longest_unused_go_until_it_fits(cache, capsys):
    folder, made = cache
    size = {name: candid.list_packs(folder).packs[i].size for i, name in enumerate(made)}
    room = size["new"] + size["old"]
    words = ("cache", "--cache", folder, "--prune-above")
    command(capsys, *words, f"{room / 1000}kB", "--yes")
    assert [path.is_dir() for path in made.values()] == [True, True, False]
    command(capsys, *words, room - 1, "--yes")
    assert [path.is_dir() for path in made.values()] == [True, False, False]
    assert "such as 20GB" in command(capsys, *words, "much", code=2).err


def test_one_that_is_written_to_is_left_alone(cache):
    folder, made = cache
    with (made["oldest"] / "lock").open("a+b") as lock:
        assert try_lock(lock.fileno())
        found = candid.list_packs(folder, prune_older=0, prune_above=0, remove=True)
        assert {p.folder for p in found.packs if p.state == "in use"} == {str(made["oldest"])}
    assert [path.is_dir() for path in made.values()] == [False, False, True]


def test_an_unfinished_pack_and_no_cache(cache, tmp_path, capsys):
    folder, made = cache
    (made["old"] / "index.parquet").unlink()
    states = {p.folder: p.state for p in candid.list_packs(folder).packs}
    assert states[str(made["old"])] == "unfinished"
    assert "no packs" in command(capsys, "cache", "--cache", tmp_path / "none").out
    candid.list_packs(folder, prune_above=candid.list_packs(folder).packs[0].size, remove=True)
    assert command(capsys, "cache", "--cache", folder).out.splitlines()[-1].startswith("1 pack, ")
