"""Write docs/reference.md from the program itself: every verb's help, every setting.

Run it after a change of either: `python docs/make_reference.py`. A test compares the file.
"""

import dataclasses
from pathlib import Path

import click

from candid.cli import cli
from candid.config import all_settings, recipes, toml
from candid.settings import Config

HEAD = """# Reference

Made by `docs/make_reference.py` from the program itself; not to be edited.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, "## Verbs", _help(cli, "candid")]
    for name, verb in sorted(cli.commands.items()):
        parts += [f"### candid {name}", _help(verb, f"candid {name}")]
        for inner, part in sorted(getattr(verb, "commands", {}).items()):
            parts += [f"#### candid {name} {inner}", _help(part, f"candid {name} {inner}")]
    parts += [
        "## Settings",
        "In a TOML file for `--config`, or one by one: `--set train.learning_rate=3e-4`. "
        f"Recipes: {', '.join(f'`{r}`' for r in recipes())}.",
    ]
    for section in dataclasses.fields(Config):
        parts.append(f"### [{section.name}]\n\n{section.default_factory.__doc__.splitlines()[0]}")
        rows = ["| setting | default | meaning | takes |", "| --- | --- | --- | --- |"]
        for name, about in all_settings()[section.name].items():
            rows.append(
                f"| `{name}` | `{toml(about.default)}` | {about.explanation} | {about.expected} |"
            )
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _help(command: click.Command, name: str) -> str:
    context = click.Context(
        command, info_name=name, max_content_width=100, terminal_width=100, color=False,
        help_option_names=["-h", "--help"],
    )  # fmt: skip
    return f"```text\n{command.get_help(context)}\n```"


if __name__ == "__main__":
    Path(__file__).with_name("reference.md").write_text(reference(), encoding="utf-8")
