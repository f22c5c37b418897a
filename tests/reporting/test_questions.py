"""Five questions of a reader: from the first screen, one click leads to what answers them."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from test_audit_section import predictions
from test_explanation import input_for

from candid.auditing.audit import audit_groups
from candid.reporting.page import render
from candid.settings import AuditConfig


@pytest.fixture(scope="module")
def html(make: Any) -> str:
    audited = audit_groups(predictions(), AuditConfig(draws=1000, slices=0, more=False))
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


def by_hand(hat: str, label: str) -> tuple[int, int, float, float, float]:
    """Images, people and accuracy of a group on test, and the interval of drawing people anew."""
    p, rng = predictions(), np.random.default_rng(9)
    here = (p.split == "test") & (p.attributes["Hat"].data == ("no", "yes").index(hat))
    here &= p.label == p.classes.index(label)
    right = (p.probability.argmax(axis=1) == p.label)[here]
    who, of = np.unique(p.person[here], return_inverse=True)
    images, rights = np.bincount(of), np.bincount(of, right)
    drawn = rng.integers(0, len(who), (4000, len(who)))
    shares = rights[drawn].sum(axis=1) / images[drawn].sum(axis=1)
    return len(right), len(who), right.mean(), *np.quantile(shares, (0.025, 0.975))


@pytest.mark.parametrize(("hat", "label"), [("yes", "Male"), ("no", "Male"), ("yes", "Female")])
def test_how_often_it_is_wrong_for_men_with_hats(html: str, hat: str, label: str) -> None:
    table = html.split('id="every-group"')[1].split("</table>")[0]
    cell = r'<td class="n" data-value="([^"]*)">\s*([^<]*)'
    row = re.findall(
        rf'<th class="data">Hat: {hat}, labelled {label}</th>\s*{cell}'
        r"<small>([\d,]+) people</small></td>\s*"
        rf"{cell}<small>([\d.]*)% to ([\d.]*)%</small>",
        table,
    )
    ((exact_n, n, people, exact, accuracy, low, high),) = row
    want = by_hand(hat, label)
    assert (int(exact_n), int(n), int(people)) == (want[0], want[0], want[1])
    assert float(exact) == pytest.approx(want[2])
    decimals = len(accuracy.strip().rstrip("%").partition(".")[2])
    assert accuracy.strip() == f"{100 * want[2]:.{decimals}f}%"
    # Another group's interval lies further off than this.
    assert [float(low), float(high)] == pytest.approx([100 * x for x in want[3:]], abs=2.5)


def test_what_should_be_done_first_stands_on_the_first_screen(html: str) -> None:
    first = first_screen(html)
    todo = first.split('id="next"')[1]
    assert re.search(r"<li><details .*?<summary>.*?</summary>.*?<code>candid \w+", todo, re.S)


def test_every_answer_leads_to_its_section(html: str) -> None:
    links = re.findall(r'<h2><a href="#([\w-]+)">', first_screen(html))
    assert links == ["performance", "audit", "transfer", "explanation"]
    assert all(html.count(f'<section id="{id}"') == 1 for id in links)
