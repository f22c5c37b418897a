import importlib.util
import re
import shlex
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]


def test_reference_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs/make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert written == module.reference(), "run python docs/make_reference.py"


def test_the_site_has_every_public_name_and_page():
    """The site is built by CI; what it was not told of it leaves out without a word."""
    import candid

    python = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: candid\.(\w+)$", python, re.MULTILINE)) == candid.__all__
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    assert listed == {str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md")}


def pages():
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_verbs_in_the_docs_exist(page):
    from candid.cli import cli

    for verb in re.findall(r"^\s*(?:\$ )?candid ([a-z]+)", page.read_text("utf-8"), re.MULTILINE):
        assert verb in cli.commands


def options_of(words):
    """The options that a command line may have, and those that it has."""
    from candid.cli import cli

    command, rest = cli, words
    while isinstance(command, click.Group) and rest and rest[0] in command.commands:
        command, rest = command.commands[rest[0]], rest[1:]
    some = [command]
    if isinstance(command, click.Group):  # candid runs is short for candid runs list
        some += command.commands.values()
    known = {name for one in some for of in one.params for name in of.opts}
    return known | {"--help"}, {word.split("=")[0] for word in rest if word.startswith("--")}


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_options_in_the_docs_exist(page):
    if page.name in ("log.md", "CHANGELOG.md"):  # which tell of the past
        return
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = re.findall(r"^\s*(?:\$ )?candid (.*)$", text, re.MULTILINE)
    for line in lines + re.findall(r"`candid ([^`]*)`", text):
        words = shlex.split(line.partition(" #")[0].replace("'", '"'), posix=False)
        known, used = options_of(words)
        assert used <= known, line


def test_ci_runs_the_readme_s_commands():
    """Whoever follows the README does what is tested."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^```sh\n(.*?)```", readme, re.MULTILINE | re.DOTALL)[:2]
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "candid demo" in commands[0]
    assert "pip install -c constraints.txt -e '.[dev]'" in commands[1]
    assert "pytest -n 2" in commands[1]
    assert "pip install --quiet -c constraints.txt -e '.[dev]'" in ci
    assert "pytest -n 2" in ci
    assert "candid demo" in ci
    assert "mkdocs build --quiet --strict" in ci
