"""Five questions of a reader: from the first screen, one click leads to what answers them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from test_audit_section import predictions
from test_explanation import input_for

from candid.auditing.audit import audit_groups
from candid.reporting.page import render
from candid.settings import AuditConfig


@pytest.fixture(scope="module")
def html(make: Any) -> str:
    audited = audit_groups(predictions(), AuditConfig(draws=60, slices=0, more=False))
    whole = input_for("plain", make)
    return render(dataclasses.replace(whole, audit=audited, model=make(n=200).model))


def first_screen(html: str) -> str:
    return html.split("<header>")[1].split("</header>")[0]


def behind(html: str, id: str) -> str:
    """What a link to the id leads to, as text: the rest of its section."""
    assert html.count(f' id="{id}"') == 1
    text = html.split(f' id="{id}"')[1].split("</section>")[0]
    return " ".join(re.sub(r"<script.*?</script>|<[^>]*>", " ", text, flags=re.S).split())


@pytest.mark.parametrize(
    ("question", "id", "answer"),
    [
        ("how often wrong for men with hats, and how sure", "every-group", "Hat: yes, labelled "),
        ("may I use it to choose an advertisement", "not-for", "shown an offer"),
        ("is the map of Grad-CAM to be trusted", "map-checks", "Grad-CAM"),
        ("how would I reproduce it", "reproduce", "candid run"),
    ],
)
def test_one_click_leads_to_the_answer(html: str, question: str, id: str, answer: str) -> None:
    assert f'href="#{id}"' in first_screen(html), question
    assert answer in behind(html, id), question


def test_what_should_be_done_first_stands_on_the_first_screen(html: str) -> None:
    first = first_screen(html)
    todo = first.split('id="next"')[1]
    assert re.search(r"<li><strong>.*?</strong>.*?<code>candid \w+", todo, re.S)


def test_every_answer_leads_to_its_section(html: str) -> None:
    links = re.findall(r'<h2><a href="#([\w-]+)">', first_screen(html))
    assert links == ["performance", "audit", "transfer", "explanation"]
    assert all(html.count(f'<section id="{id}"') == 1 for id in links)
