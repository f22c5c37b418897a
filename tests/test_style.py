"""One look: reports and served pages are made of the same style sheet and the same parts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from starlette.requests import Request

import candid
from candid.serving.page import file_handlers
from candid.style import page_templates, shared_css

SOURCE = Path(candid.__file__).parent
PAGES = [
    *(SOURCE / "reporting" / "templates").glob("*.html"),
    *(SOURCE / "serving").rglob("*.html"),
]
PARTS = page_templates("candid.style", "parts").get_template("parts.html").module


def served(name: str) -> str:
    """A served page as it is sent."""
    give = file_handlers({"/": (name, "text/html")})["/"]
    answer = asyncio.run(give(Request({"type": "http", "headers": []})))
    return answer.body.decode()


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_no_page_writes_a_shared_part_by_hand(path: Path) -> None:
    by_hand = r'class="(kicker|skip|scroll|block)"|id="theme"|name="viewport"'
    assert re.search(by_hand, path.read_text("utf-8")) is None
    assert re.search(by_hand, (SOURCE / "style" / "parts" / "parts.html").read_text("utf-8"))


@pytest.mark.parametrize(("name", "to", "said"), [
    ("page.html", "main", "To the picture"), ("review.html", "choices", "To the choices"),
])  # fmt: skip
def test_served_pages_are_sent_with_the_parts(name: str, to: str, said: str) -> None:
    html = served(name)
    assert html.lstrip().startswith("<!DOCTYPE html>")
    assert PARTS.meta() in html and PARTS.skip(to, said) in html
    assert html.count('id="theme"') == 1 and not re.search(r"\{[{%#]", html)


def test_the_dark_colours_are_written_once() -> None:
    sheets = "".join(p.read_text("utf-8") for p in SOURCE.rglob("*.css"))
    palettes = re.findall(r"--paper: (#\w+)", sheets)
    assert len(palettes) == len(set(palettes)) == 3  # light, dark, paper
    assert shared_css().count("--paper: #16171a") == 2  # by choice, by system
    assert "dark.css" not in shared_css()


def test_what_a_page_names_must_be_there_and_is_escaped() -> None:
    pages = page_templates("candid.style", "parts")
    assert pages.from_string("{{ a }}").render(a="<b>") == "&lt;b&gt;"
    with pytest.raises(UndefinedError):
        pages.from_string("{{ a }}").render()
