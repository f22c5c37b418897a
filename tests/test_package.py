"""What is installed: the distribution's name, its extras, the versions that are tested."""

import re
import tomllib
from pathlib import Path

import pytest

import candid

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def required(listed):
    """The names that are listed, and those of the extras among them."""
    names = set()
    for one in listed:
        name, extras = re.match(r"([\w.-]+)(?:\[([\w,-]+)\])?", one).groups()
        if name == PROJECT["name"]:
            names |= required(inner for extra in extras.split(",") for inner in EXTRAS[extra])
        else:
            names.add(name.lower().replace("_", "-"))
    return names


def test_extras_that_are_named_exist():
    """In messages, on pages, and where one extra needs another."""
    pages = [ROOT / "README.md", ROOT / "pyproject.toml", *ROOT.glob("docs/*.md")]
    named = {}
    for path in [*ROOT.glob("src/**/*.py"), *pages]:
        if path.name == "log.md":  # says what was
            continue
        for name, extras in re.findall(r"\b(candid[\w-]*)\[([\w,-]+)\]", path.read_text("utf-8")):
            assert name == PROJECT["name"], path
            named |= dict.fromkeys(extras.split(","), path)
    assert {"train", "onnx", "serve", "features", "tune", "ray", "cloud", "crop"} <= {*named}
    assert {extra: path for extra, path in named.items() if extra not in EXTRAS} == {}


def test_all_that_the_tests_install_has_a_tested_version():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {line.split("==")[0] for line in lines if not line.startswith("#")}
    installed = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["neighbours"]]
    assert required(installed) - pinned == set()


def test_what_is_installed_goes_by_the_same_version():
    hatchling = pytest.importorskip("hatchling.metadata.core", reason="no hatchling")
    from hatchling.plugin.manager import PluginManager

    metadata = hatchling.ProjectMetadata(str(ROOT), PluginManager())
    assert (metadata.core.name, metadata.version) == ("candid-faces", candid.__version__)
    assert metadata.core.scripts == {"candid": "candid.cli:main"}


def test_the_source_archive_holds_what_is_kept():
    """No data, no caches, and nothing of the package missing."""
    sdist = pytest.importorskip("hatchling.builders.sdist", reason="no hatchling")
    builder = sdist.SdistBuilder(str(ROOT))
    held = {file.relative_path for file in builder.recurse_included_files()}
    package = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("src/candid/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= held
    assert not [path for path in held if re.search(r"__pycache__|_cache/|^runs/|\.pyc$", path)]
    assert sum((ROOT / path).stat().st_size for path in held) < 10e6
