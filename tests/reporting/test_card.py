from __future__ import annotations

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candid.config import with_values
from candid.reporting import markdown
from candid.reporting.card import card
from candid.reporting.front_matter import yaml_lines

yaml = pytest.importorskip("yaml")
markdown_it = pytest.importorskip("markdown_it")


def split(text: str) -> tuple[dict, str]:  # type: ignore[type-arg]
    _, head, body = re.split(r"^---$\n?", text, maxsplit=2, flags=re.M)
    return yaml.safe_load(head), body


def tokens(body: str) -> list:  # type: ignore[type-arg]
    """Every token of the body, as GitHub's dialect reads it."""
    parsed = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    return [t for block in parsed for t in (block, *(block.children or ()))]


def test_the_head_holds_the_results_of_the_records(plain) -> None:  # type: ignore[no-untyped-def]
    head, _ = split(card(plain))
    assert head["library_name"] == "candid"
    assert head["pipeline_tag"] == "image-classification"
    results = head["model-index"][0]["results"]
    assert [r["dataset"]["split"] for r in results] == ["validation", "test"]
    for result in results:
        record = plain.split(result["dataset"]["split"])
        f1 = next(m for m in result["metrics"] if m["type"] == "f1")
        assert f1["value"] == pytest.approx(record.metrics["weighted_f1"].value, rel=1e-5)
        assert f1["args"]["low"] == pytest.approx(record.metrics["weighted_f1"].low, rel=1e-5)
        assert f1["args"]["images"] == record.n


def test_the_hub_reads_it(plain, hostile) -> None:  # type: ignore[no-untyped-def]
    hub = pytest.importorskip("huggingface_hub")
    for inputs in (plain, hostile):
        read = hub.ModelCard(card(inputs), ignore_metadata_errors=False)
        got = {(r.dataset_split, r.metric_name): r.metric_value for r in read.data.eval_results}
        want = inputs.split("test").metrics
        assert got["test", "Weighted F1 (test)"] == pytest.approx(
            want["weighted_f1"].value, rel=1e-5
        )
        assert len(got) == 2 * 8
        assert read.data.library_name == "candid"
        assert inputs.target in read.data.model_name


def test_undefined_figures_stand_in_the_text_and_not_in_the_head(plain) -> None:  # type: ignore[no-untyped-def]
    test = plain.split("test")
    nan = dataclasses.replace(test.metrics["roc_auc"], value=math.nan, low=math.nan, high=math.nan)
    broken = dataclasses.replace(test, metrics=test.metrics | {"roc_auc": nan})
    inputs = dataclasses.replace(
        plain, evaluation=dataclasses.replace(plain.evaluation, splits=(broken,))
    )
    head, body = split(card(inputs))
    assert "roc_auc" not in [m["type"] for m in head["model-index"][0]["results"][0]["metrics"]]
    assert "roc_auc" not in head["metrics"]
    assert "| ROC AUC | undefined (undefined) |" in body
    assert "nan" not in body.lower().split()


def test_a_run_without_predictions_has_no_results(make) -> None:  # type: ignore[no-untyped-def]
    head, body = split(card(make(splits=(), trained=False, explored=False, people=None)))
    assert "model-index" not in head and head["metrics"] == []
    assert "No predictions were measured." in body


def test_what_comes_from_the_data_is_text(hostile) -> None:  # type: ignore[no-untyped-def]
    head, body = split(card(hostile))
    kinds = {t.type for t in tokens(body)}
    assert not kinds & {"html_block", "html_inline", "link_open", "image"}
    shown = "".join(t.content for t in tokens(body) if t.type in ("text", "text_special"))
    for word in (*hostile.classes, hostile.target):
        assert word in shown
    assert hostile.reproduction in [
        t.content.rstrip("\n") for t in tokens(body) if t.type == "fence"
    ]
    name = head["model-index"][0]["results"][0]["dataset"]["name"]
    assert name == hostile.data_name


def test_every_table_has_as_many_cells_as_its_head(hostile) -> None:  # type: ignore[no-untyped-def]
    _, body = split(card(hostile))
    cells, widths = 0, []
    for token in tokens(body):
        if token.type == "table_open":
            widths.append(set())
        elif token.type == "tr_open":
            cells = 0
        elif token.type in ("th_open", "td_open"):
            cells += 1
        elif token.type == "tr_close":
            widths[-1].add(cells)
    assert len(widths) >= 6 and all(len(w) == 1 for w in widths)


def test_code_in_a_table_keeps_its_bars(plain) -> None:  # type: ignore[no-untyped-def]
    odd = with_values(plain.config, {"data": {"attributes": ["a|b", "`c"]}})
    _, body = split(card(dataclasses.replace(plain, config=odd)))
    assert "a|b, `c" in [t.content for t in tokens(body) if t.type == "code_inline"]


def test_a_paragraph_does_not_become_a_list(make) -> None:  # type: ignore[no-untyped-def]
    inputs = make(n=100)
    for name in ("1. of its kind", "- faces", "+ more", "# top", "> quoted", "=== x"):
        named = dataclasses.replace(inputs.exploration, name=name)
        _, body = split(card(dataclasses.replace(inputs, exploration=named)))
        start = next(
            i for i, t in enumerate(tokens(body)) if t.type == "text" and t.content == "Data"
        )
        assert tokens(body)[start + 2].type == "paragraph_open"


any_text = st.text(st.characters(codec="utf-8"), max_size=60)


@given(any_text)
def test_yaml_strings_read_back(text: str) -> None:
    plain = {"a": text, "b": [text, {"c": text, "d": 1.5}], "e": [], "f": {"g": [1, text]}}
    assert yaml.safe_load("\n".join(yaml_lines(plain))) == plain


@pytest.mark.parametrize(
    "word",
    ["yes", "no", "y", "null", "true", "e1", "x1", "on", "~", "1e3", "0x1", "- a", "a: b", ""],
)
def test_words_stay_words_inyaml_lines(word: str) -> None:
    assert yaml.safe_load("\n".join(yaml_lines({"a": word}))) == {"a": word}


@given(st.text(st.sampled_from("ab *_`[]()<>#+-.!|\\&~1:/@\"'{}=\n$"), min_size=1, max_size=30))
def test_escaped_markdown_reads_back_as_the_text(text: str) -> None:
    parsed = markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table")
    found = parsed.parse(f"- {markdown.line(text)}")
    inline = [c for t in found for c in (t.children or ())]
    assert {c.type for c in inline} <= {"text", "text_special"}
    assert [t.type for t in found].count("bullet_list_open") == 1
    assert "".join(c.content for c in inline) == " ".join(text.split())


@given(st.text(st.sampled_from("a`| \n~"), max_size=20))
def test_code_cannot_end_its_fence(text: str) -> None:
    found = tokens(f"x {markdown.code(text)} y\n\n{markdown.block(text, 'sh')}\n\nend")
    assert [t.content for t in found if t.type == "fence"] == [text + "\n"]
    assert found[-2].content == "end"


def test_both_accounts_say_the_same(plain, pages) -> None:  # type: ignore[no-untyped-def]
    import html

    from candid.text import model as prose

    body = card(plain)
    page = html.unescape(pages("plain"))
    for sentence in (*prose.not_for(plain), *prose.limits(plain), *prose.uses(plain)):
        assert sentence in page
        assert markdown.text(sentence) in body


def test_it_is_reproduced_from_the_run_s_own_settings(plain) -> None:  # type: ignore[no-untyped-def]
    """Whatever files the command named that began it: they may be gone."""
    about = dataclasses.replace(plain.provenance, command="candid run x --config /tmp/mine.toml")
    text = card(dataclasses.replace(plain, provenance=about))
    assert "/tmp/mine.toml" not in text
    assert f"candid run {plain.data_name} --config config.toml" in text


def test_it_does_not_tell_where_the_data_lie(plain) -> None:  # type: ignore[no-untyped-def]
    assert "/home/someone" not in card(plain)


def test_bytes_that_are_no_text_are_shown(plain) -> None:  # type: ignore[no-untyped-def]
    odd = dataclasses.replace(plain.provenance, data="/faces/caf\udce9")
    text = card(dataclasses.replace(plain, provenance=odd, exploration=None))
    assert "caf\\udce9" in text and text.encode("utf-8")
