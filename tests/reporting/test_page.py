from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from typing import Any

import pytest

from candid.config import to_toml
from candid.records import AttributeSummary, Estimate
from candid.reporting.document import data_uri
from candid.reporting.page import render
from candid.style import shared_css
from candid.text.inputs import attributes_by_association
from reporting.conftest import BARE, Words, build, picture

VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """What a reader of the markup sees: elements with their attributes, scripts, and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.styles: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()
        self.unbalanced += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.elements.append((tag, given))
        if tag == "script":
            self.scripts.append((given, ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        if inside == "script":
            given, text = self.scripts[-1]
            self.scripts[-1] = (given, text + data)
        elif inside == "style":
            self.styles.append(data)
        else:
            self.text += data


def unpacked(page: Page, id: str) -> str:
    """What lies packed in the page, as its scripts read it: 13 bits in two of 91 letters."""
    ((size, text),) = [(int(a["data-size"]), t) for a, t in page.scripts if a.get("id") == id]
    letters = "".join(c for c in map(chr, range(33, 127)) if c not in "&<>")
    pairs = zip(*[map(letters.index, text)] * 2, strict=True)
    bits = "".join(f"{low + 91 * high:013b}" for low, high in pairs)
    whole = int(bits[: 8 * size], 2).to_bytes(size, "big")
    return zlib.decompress(whole).decode()


@pytest.fixture(params=["plain", "hostile", "many", "bare"])
def page(request, pages) -> Page:  # type: ignore[no-untyped-def]
    return Page(pages(request.param))


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    loading = {"src", "href", "srcset", "data", "action", "poster", "xlink:href", "background"}
    for tag, attributes in page.elements:
        for name in loading & attributes.keys():
            assert re.match(r"(#|data:)", attributes[name]), (tag, name, attributes[name][:80])
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert not {t for t, _ in page.elements} & {"iframe", "object", "embed", "base", "form"}
    for style in page.styles:
        assert "@import" not in style and "url(" not in style
    policy = next(
        a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["img-src"] == "data:"
    assert "unsafe" not in rules["script-src"] and "http" not in policy


def test_the_policy_lets_these_scripts_run_and_no_others(page: Page) -> None:
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    running = [text for given, text in page.scripts if not given.get("type")]
    running.append(unpacked(page, "packed-vega"))
    digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in running}
    assert digests == allowed and len(running) == 3


def test_markup_is_balanced_and_ids_are_unique(page: Page) -> None:
    assert page.unbalanced == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for t, a in page.elements if t == "a"]
    assert len(links) == 18 and set(links) <= set(ids)


def test_of_many_classes_the_tables_grow_downward(make: Any) -> None:
    classes = tuple(f"class {i}" for i in range(30))
    given = make(Words(classes=classes), n=400)
    spaced = render(given).replace("<td", " <td").replace("<small", " <small")
    cells = " ".join(Page(spaced).text.split())
    train = given.exploration.splits[0]
    for name, n in zip(classes, train.counts, strict=True):
        assert f"labelled {name} {n:,}, " in cells
    first = next(a for a in given.exploration.attributes if a.split == "train")
    order = sorted(range(30), key=first.class_shares.__getitem__)
    told = [f"{100 * first.class_shares[i]:.1f}% {classes[i]} " for i in (order[0], order[-1])]
    assert all(said in cells for said in told)
    assert "“class 5” and 24 more" in cells


def test_everything_seen_has_words(page: Page) -> None:
    for tag, attributes in page.elements:
        if tag == "img":
            assert attributes.get("alt"), attributes.get("src", "")[:40]
        if attributes.get("role") in ("img", "region"):
            assert attributes.get("aria-label") or attributes.get("aria-labelledby")


def test_charts_have_their_data_packed_in_letters_that_end_nothing(page: Page) -> None:
    specs = json.loads(unpacked(page, "packed-charts"))
    charts = [a["data-chart"] for _, a in page.elements if a.get("class") == "chart"]
    assert set(specs) >= set(charts) and len(charts) > 0
    assert all(spec["width"] == "container" for spec in specs.values())
    for given, text in page.scripts:
        assert given.get("type") != "text/plain" or not set(text) & set("<>&\n")


def test_a_picture_that_is_shown_twice_lies_in_the_page_once() -> None:
    found = build(n=400, **BARE)
    headline = found.evaluation.splits[-1]
    examples = (*headline.surest_mistakes, *headline.least_sure)
    face = picture(96, 96)
    html = render(dataclasses.replace(found, thumbnails={e.id: face for e in examples}))
    uri = data_uri({"face": face}, "face")
    assert uri is not None and html.count(uri) == 1
    page = Page(html)
    again = [a for t, a in page.elements if t == "img" and a.get("class") == "again"]
    assert len(again) >= len(examples) > 1
    (main,) = (a["style"] for t, a in page.elements if t == "main")
    held = re.findall(r"(--p\d+):url\(", main)
    assert {a["style"] for a in again} <= {f"--shown:var({name})" for name in held}


def test_a_page_without_pictures_stays_small(pages) -> None:  # type: ignore[no-untyped-def]
    """What every report holds, however small the run: Vega, styles, words, a dozen charts."""
    page = Page(pages("plain"))
    pictures = sum(len(a.get("src", "")) + len(a.get("style", "")) for _, a in page.elements)
    assert len(pages("plain").encode()) - pictures < 800_000


def test_hostile_words_are_shown_as_words(pages, hostile) -> None:  # type: ignore[no-untyped-def]
    page = Page(pages("hostile"))
    attributes = {a.attribute for a in hostile.exploration.attributes}
    for word in (*hostile.classes, hostile.target, hostile.data_name, *attributes):
        assert word in page.text
    assert hostile.provenance.command in page.text
    assert "49" not in re.findall(r"label “.*?” on (\S+)", page.text)
    assert not [t for t, a in page.elements if t == "img" and not a["src"].startswith("data:")]
    descriptions = [a["alt"] for t, a in page.elements if t == "img"]
    assert any(hostile.classes[1] in alt for alt in descriptions)
    drawn = json.loads(unpacked(page, "packed-charts"))
    names = {
        row.get("class") for spec in drawn.values() for d in spec["datasets"].values() for row in d
    }
    assert set(hostile.classes) <= names


def test_the_headline_is_the_records(pages, plain) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(Page(pages("plain")).text.split())
    f1, before = (plain.split(name).metrics["weighted_f1"] for name in ("test", "validation"))
    test = plain.split("test")
    assert (
        f"{f1.value:.3f} weighted F1, test 95% interval {f1.low:.3f} to {f1.high:.3f}; "
        f"{test.n:,} images of {test.people:,} people"
    ) in text
    assert f"Validation: {before.value:.3f} ({before.low:.3f} to {before.high:.3f})." in text
    assert to_toml(plain.config).split("\n")[0] in text
    assert plain.provenance.data_fingerprint in text
    mistake = next(m for m in plain.split("test").surest_mistakes if m.confidence < 0.999)
    sure = f"{100 * mistake.confidence:.1f}%"
    assert f"labelled {mistake.label}, predicted {mistake.prediction}, {sure}" in text


def test_what_is_missing_is_said_and_never_zero(pages, make, plain) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(Page(pages("bare")).text.split())
    assert "There are no predictions on test images." in text
    assert "There is no record of the training." in text
    assert "The data were not explored in this run." in text
    assert "bootstrap by image" in text and "None" not in text
    undefined = Estimate(math.nan, math.nan, math.nan, 5, "Wilson")
    split = plain.split("test")
    broken = dataclasses.replace(split, metrics=dict.fromkeys(split.metrics, undefined))
    few = dataclasses.replace(
        plain,
        evaluation=dataclasses.replace(plain.evaluation, splits=(broken,), convergence=None),
        exploration=None,
        history=(),
        thumbnails={},
        pictures={},
        samples={},
    )
    text = " ".join(Page(render(few)).text.split())
    assert "undefined weighted F1, test 95% interval undefined; 5 images" in text
    text = text.replace('"N/A", "NaN", "null"', "", 1)  # a word of data.missing, among the settings
    assert not re.search(r"\bnan\b", text, re.I)
    assert "no picture" in text


def test_of_yes_and_no_only_yes_is_listed(plain) -> None:  # type: ignore[no-untyped-def]
    def row(attribute: str, value: str, v: float) -> AttributeSummary:
        first = plain.exploration.attributes[0]
        return dataclasses.replace(
            first,
            attribute=attribute,
            value=value,
            split="train",
            association=dataclasses.replace(first.association, value=v),
        )

    rows = (
        row("Bald", "no", 0.2),
        row("Bald", "yes", 0.2),
        row("Hat", "no", math.nan),  # nobody wears one
        row("Beard", "no", 0.5),
        row("Beard", "some", 0.1),
        row("Beard", "yes", 0.3),
    )
    exploration = dataclasses.replace(plain.exploration, attributes=rows)
    want = [("Beard", "no"), ("Beard", "yes"), ("Bald", "yes"), ("Beard", "some"), ("Hat", "no")]
    assert [(a.attribute, a.value) for a in attributes_by_association(exploration, "train")] == want
    assert attributes_by_association(exploration, "test") == []
    text = " ".join(Page(render(dataclasses.replace(plain, exploration=exploration))).text.split())
    assert "Every attribute in train (5 rows)" in text


def test_findings_read_as_sentences_and_look_alike(pages, plain) -> None:  # type: ignore[no-untyped-def]
    page = Page(pages("plain"))
    boxes = [set(a["class"].split()) for _, a in page.elements if "finding" in a.get("class", "")]
    assert boxes == [{"finding", "is-warning"}]  # no class of the page's own, such as "note"
    noted = dataclasses.replace(
        plain.exploration.findings[0], severity="note", todo="look at them; remove one"
    )
    exploration = dataclasses.replace(plain.exploration, findings=(noted,))
    page = Page(render(dataclasses.replace(plain, exploration=exploration)))
    assert {"finding", "is-note"} in [set(a.get("class", "").split()) for _, a in page.elements]
    text = " ".join(page.text.split())
    assert "Look at them; remove one." in text
    assert "2 examples 000001.jpg, 000002.jpg" in text
    assert "same as a training image. (14 of 2,909)" in text
    detail = "14 of 2,909 files do not end like a picture and were left out."
    told = dataclasses.replace(noted, code="FILES-LEFT-OUT", detail=detail)
    exploration = dataclasses.replace(plain.exploration, findings=(told,))
    assert (
        Page(render(dataclasses.replace(plain, exploration=exploration))).text.count("14 of") == 1
    )


def test_galleries_say_how_many_mistakes_there_are(pages, plain) -> None:  # type: ignore[no-untyped-def]
    test = plain.split("test")
    wrong = test.n - sum(test.confusion[i][i] for i in range(2))
    text = " ".join(Page(pages("plain")).text.split())
    assert f"24 of the {wrong:,} mistakes among {test.n:,} images" in text
    assert f"the whole validation set (n = {plain.split('validation').n:,})" in text


def test_drawn_faces_are_said_to_be_drawn(make) -> None:  # type: ignore[no-untyped-def]
    from conftest import Words

    words = Words(command="candid demo", data="synthetic-faces")
    text = " ".join(Page(render(make(words, n=300))).text.split())
    assert "A program drew them all." in text and "drawn face" in text
    assert "annotators’" not in text and "words of the annotators" not in text


def test_figures_on_training_images_alone_stand_at_the_top(make) -> None:  # type: ignore[no-untyped-def]
    text = " ".join(Page(render(make(splits=("train",), n=300))).text.split())
    assert re.search(r"0\.\d{3} weighted F1, train", text)


def test_no_split_at_all_still_makes_a_page(make) -> None:  # type: ignore[no-untyped-def]
    empty = make(splits=(), explored=False, trained=False, people=None)
    text = Page(render(empty)).text
    assert (
        text.count("No predictions were measured") == 4
    )  # verdict, summary, performance, mistakes


def test_more_classes_than_a_chart_can_tell_apart_stay_in_the_tables(make) -> None:  # type: ignore[no-untyped-def]
    from conftest import Words

    words = Words(classes=tuple(f"class {i}" for i in range(30)), target="who")
    page = Page(render(make(words, n=900, splits=("test",))))
    charts = {a["id"] for t, a in page.elements if t == "figure" and "id" in a}
    assert "confusion-test" in charts and not charts & {"balance", "roc-test", "brightness"}
    assert page.text.count("could not be") == 2
    assert all(page.text.count(f"labelled class {i}") >= 2 for i in range(30))
    # Pictures, of which nobody looks at hundreds, are those of the first.
    pictured = {i for i in range(30) if re.search(rf"Labelled class {i}\b", page.text)}
    assert pictured == set(range(24))
    assert "Pictures are shown of the first 24 of 30 classes." in page.text


def test_importing_it_is_light() -> None:
    code = (
        "import sys, candid.reporting.page, candid.reporting.card\n"
        "heavy = {'altair', 'vl_convert', 'jinja2', 'torch', 'PIL', 'pandas'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_it_stays_small(pages, plain) -> None:  # type: ignore[no-untyped-def]
    assert len(plain.thumbnails) >= 100
    for name in ("plain", "hostile", "many"):
        assert len(pages(name).encode()) < 3e6


def test_only_pictures_become_pictures() -> None:
    png = b"\x89PNG\r\n\x1a\n rest"
    assert data_uri({"a": png}, "a") == "data:image/png;base64," + base64.b64encode(png).decode()
    assert data_uri({"a": b"<svg onload=alert(1)>"}, "a") is None
    assert data_uri({}, "a") is None


# --- colours -------------------------------------------------------------------------------------


def palettes() -> dict[str, dict[str, str]]:
    css = shared_css()
    blocks = re.findall(r"((?:[^{}]|\n)*?)\{([^{}]*--paper:[^{}]*)\}", css)
    assert len(blocks) == 4  # light, dark by choice, dark by system, print
    found = {
        f"{i} {name.split()[-1]}": dict(re.findall(r"--([\w-]+):\s*(#\w+)", body))
        for i, (name, body) in enumerate(blocks)
    }
    light, *_, printed = found
    return found | {printed: found[light] | found[printed]}


def luminance(colour: str) -> float:
    digits = colour[1:]
    if len(digits) == 3:
        digits = "".join(d * 2 for d in digits)
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    """WCAG 2.2's contrast ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", palettes().values(), ids=palettes().keys())
def test_contrast_reaches_aa(palette: dict[str, str]) -> None:
    for paper in (palette["paper"], palette["tint"]):
        for ink in ("ink", "muted", "link", "serious", "warning", "good"):
            assert contrast(palette[ink], paper) >= 4.5, ink
        for line in ("faint", *(f"c{i}" for i in range(1, 9))):
            assert contrast(palette[line], paper) >= 3, line


def test_dark_is_the_same_by_choice_and_by_system() -> None:
    _, chosen, system, _ = palettes().values()
    assert chosen == system
