"""`candid audit FILE --page`: the page says what the audit says, of every kind of table."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image
from sklearn import metrics as sk

import candid
from candid.errors import ConfigError
from candid.predictions import write_predictions
from candid.predictions.numbers import write_number_predictions
from commands import candid as command
from evaluation.test_number_evaluation import made as made_numbers
from reporting import test_page as markup

QUICK = ("--set", "audit.draws=60", "--set", "audit.slices=0")
CLASSES = ("Female", "Male")


def drawn(n: int = 1200, classes: tuple[str, ...] = CLASSES, seed: int = 0) -> dict[str, list[Any]]:
    """A table as others write them; wrong for one in twenty, for four in ten with a hat."""
    rng = np.random.default_rng(seed)
    k = len(classes)
    label, person = rng.integers(0, k, n), rng.integers(0, n // 3 or 1, n)
    hat, smile = rng.random(n) < 0.25, rng.random(n) < 0.5
    wrong = rng.random(n) < np.where(hat, 0.4, 0.05)
    answer = np.where(wrong, (label + rng.integers(1, k, n)) % k, label)
    probability = np.full((n, k), 0.0)
    sure = rng.uniform(0.55, 0.99, n).round(4)
    probability[:] = ((1 - sure) / (k - 1))[:, None]
    probability[np.arange(n), answer] = sure
    return {
        "image": [f"{i:05d}.jpg" for i in range(n)],
        "person": [f"who {p}" for p in person],
        "label": [classes[c] for c in label],
        "answer": [classes[c] for c in answer],
        **{f"p_{c}": probability[:, i].tolist() for i, c in enumerate(classes)},
        "hat": ["yes" if x else "no" for x in hat],
        "smile": ["yes" if x else "no" for x in smile],
    }


def write(path: Path, table: dict[str, list[Any]], *names: str) -> Path:
    names = names or tuple(table)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(names)
        rows.writerows(zip(*(table[name] for name in names), strict=True))
    return path


class Tables(HTMLParser):
    """The cells of every table: each row as (text, data-value) pairs, by the table's id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[tuple[str, str]]]] = {}
        self._id, self._cell, self._value = "", None, ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if tag == "table":
            self._id = given.get("id") or f"table {len(self.rows)}"
            self.rows[self._id] = []
        if tag == "tr":
            self.rows[self._id].append([])
        if tag in ("td", "th"):
            self._cell, self._value = "", given.get("data-value", "")

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell += f" {data}"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[self._id][-1].append((" ".join(self._cell.split()), self._value))
            self._cell = None


def text_of(html: str) -> str:
    return " ".join(markup.Page(html.replace("<dd", " <dd")).text.split())


@pytest.fixture(scope="module")
def audited(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, list[Any]], Any, str, Path]:
    """A table, its audit as JSON, and its page."""
    from commands import call

    folder = tmp_path_factory.mktemp("audited")
    table = drawn()
    file = write(folder / "theirs.csv", table, "image", "person", "label", "p_Male", "hat", "smile")
    page, out = folder / "audit.html", folder / "audit.json"
    named = ("--label", "label", "--prediction", "p_Male", "--group", "hat", "--group", "smile")
    assert call("audit", file, *named, "--page", page, "--out", out, "--quiet", *QUICK) == 0
    return table, json.loads(out.read_text("utf-8")), page.read_text("utf-8"), file


def test_the_table_of_groups_is_the_audits(audited: Any) -> None:
    _, found, html, _ = audited
    split = found["splits"][0]
    known = {
        " and ".join(f"{c['attribute']}: {c['value']}" for c in g["conditions"])
        + (f", labelled {g['label']}" if g["label"] else ""): g
        for g in split["groups"]
    }
    _, *rows = Tables(html).rows["audit-groups"]
    assert len(rows) == len(known) == 4 * 3
    for name, n, accuracy, _, gap, visible, state in rows:
        group = known[name[0]]
        mine = group["gaps"]["accuracy"]
        assert n == (f"{group['n']:,} {group['people']:,} people", str(group["n"]))
        assert float(accuracy[1]) == pytest.approx(group["metrics"]["accuracy"]["value"], rel=1e-4)
        assert float(gap[1]) == pytest.approx(mine["value"], rel=1e-4, abs=1e-6)
        low, high = (float(x.replace("−", "-")) for x in gap[0].split(" ", 1)[1].split(" to "))
        assert 100 * mine["low"] == pytest.approx(low, abs=0.5)
        assert 100 * mine["high"] == pytest.approx(high, abs=0.5)
        assert float(visible[1]) == pytest.approx(mine["smallest_visible"], rel=1e-4)
        told, p = state[0].rsplit(" ", 1)
        assert told == mine["state"]
        assert p == "<0.0001" or float(p) == pytest.approx(mine["adjusted_p"], rel=0.06)
    gaps = [float(row[4][1]) for row in rows]
    assert gaps == sorted(gaps)  # whom it fails most stands first


def test_figures_are_those_of_the_rows(audited: Any) -> None:
    table, found, html, file = audited
    label, second = np.array(table["label"]), np.array(table["p_Male"])
    answer = np.where(second > 0.5, "Male", "Female")
    tables = Tables(html).rows
    metrics = {row[0][0]: row[1] for row in tables["table 0"][1:]}
    for name, value in (
        ("Weighted F1 each class", sk.f1_score(label, answer, average="weighted")),
        ("Accuracy", (label == answer).mean()),
        ("ROC AUC", sk.roc_auc_score(label == "Male", second)),
        ("Log loss", sk.log_loss(label == "Male", second)),
    ):
        (shown,) = (v for row, (_, v) in metrics.items() if row.startswith(name))
        assert float(shown) == pytest.approx(value, rel=1e-6), name
    assert not [name for name in metrics if name.startswith("Calibration error before")]
    text = text_of(html)
    accuracy = found["splits"][0]["metrics"]["accuracy"]
    ends = f"({100 * accuracy['low']:.1f}% to {100 * accuracy['high']:.1f}%)"
    assert f"Accuracy: {100 * accuracy['value']:.1f}% {ends}." in text
    assert f"Right in {100 * (label == answer).mean():.0f} of 100 pictures" in text
    wrong = int((label != answer).sum())
    assert f"{wrong} of {len(label):,} images off the diagonal" in text
    # The interval beside the table's accuracy is the audit's: both have the same draws.
    assert (
        f"{accuracy['low']:.3f} to {accuracy['high']:.3f}"
        in metrics["Accuracy share of images whose prediction is the label"][0]
    )
    assert hashlib.sha256(file.read_bytes()).hexdigest() in text
    assert f"Rows with an answer {len(label):,}" in text
    assert "label: label; prediction: p_Male; group: hat, smile" in text
    assert "audit.draws : 60 (default 1000)" in text.replace("audit.draws:", "audit.draws :")


def test_what_stands_first_is_for_whom_it_fails(audited: Any) -> None:
    _, found, html, _ = audited
    first = html.split("<header>")[1].split("</header>")[0]
    text = " ".join(re.sub("<[^>]*>", " ", first).split())
    gap = found["splits"][0]["findings"][0]["gap"]
    assert "surely wrong more often for some people" in text
    assert f"+{100 * abs(gap['value']):.0f}" in text and "with hat: yes" in text
    for id in ("performance", "audit", "every-group", "unchecked", "reproduce"):
        assert f'href="#{id}"' in first and html.count(f' id="{id}"') == 1


def no_people(table: dict[str, list[Any]]) -> tuple[str, ...]:
    return ("label", "p_Male", "hat")


def percents(table: dict[str, list[Any]]) -> tuple[str, ...]:
    table["male"] = [f"{100 * p:.2f}%" for p in table["p_Male"]]
    return ("image", "person", "label", "male", "hat")


def forty(table: dict[str, list[Any]]) -> tuple[str, ...]:
    rng = np.random.default_rng(4)
    names = [f"attribute_{i:02d}" for i in range(40)]
    for name in names:
        table[name] = rng.choice(["no", "yes"], len(table["label"]), p=[0.8, 0.2]).tolist()
    return ("image", "person", "label", "p_Male", *names)


def splits(table: dict[str, list[Any]]) -> tuple[str, ...]:
    table["split"] = ["train" if i % 3 else "test" for i in range(len(table["label"]))]
    return ("image", "person", "split", "label", "p_Male", "hat")


MANY = tuple(f"{low} to {low + 9}" for low in range(0, 90, 10))
HOSTILE = ("<script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>")
# What each is: classes, the columns, what is named for the prediction, and what is said of it.
KINDS: dict[str, tuple[tuple[str, ...], Any, tuple[str, ...], tuple[str, ...]]] = {
    "hard": (
        CLASSES,
        ("image", "person", "label", "answer", "hat"),
        ("answer",),
        ("so nobody can tell", "There are answers and no probabilities", "Undefined here: ROC AUC"),
    ),
    "no people": (
        CLASSES,
        no_people,
        ("p_Male",),
        ("Who is in the pictures", "--person names the column", "bootstrap by image"),
    ),
    "no groups": (
        CLASSES,
        ("image", "person", "label", "p_Male"),
        ("p_Male",),
        ("for whom it fails is not known", "--group names a column", "No groups could be compared"),
    ),
    "one group": (CLASSES, ("label", "person", "p_Male", "hat"), ("p_Male",), ("hat: yes",)),
    "percents": (CLASSES, percents, ("male", "--positive", "Male"), ("hat: yes",)),
    "many classes": (
        MANY,
        ("image", "person", "label", *(f"p_{c}" for c in MANY), "hat"),
        ("p_*",),
        ("labelled 80 to 89", "hat: yes"),
    ),
    "forty attributes": (CLASSES, forty, ("p_Male",), ("attribute_39: yes",)),
    "splits": (CLASSES, splits, ("p_Male",), ("Train: 800 images", "Test: 400 images")),
    "hostile": (HOSTILE, ("person", "label", "answer", "hat"), ("answer",), HOSTILE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_table_makes_a_page_that_stands_alone(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes, columns, (prediction, *more), said = KINDS[kind]
    table = drawn(classes=classes)
    file = write(tmp_path / "t.csv", table, *(columns(table) if callable(columns) else columns))
    page = tmp_path / "pages" / "audit.html"
    named = ("--label", "label", "--prediction", prediction, *more)
    out = command(capsys, "audit", file, *named, "--page", page, *QUICK).out
    assert out.splitlines()[-1] == f"page: {page}"
    html = page.read_text("utf-8")
    found = markup.Page(html)
    markup.test_nothing_is_loaded_from_elsewhere(found)
    markup.test_the_policy_lets_these_scripts_run_and_no_others(found)
    markup.test_everything_seen_has_words(found)
    assert found.unbalanced == []
    ids = [a["id"] for _, a in found.elements if "id" in a]
    links = [a["href"][1:] for tag, a in found.elements if tag == "a"]
    assert len(ids) == len(set(ids)) and set(links) <= set(ids)
    text = " ".join(found.text.split())
    for word in said:
        assert word in text, word
    assert not re.search(r"\b(nan|None|undefined to)\b", text)
    assert len(html.encode()) < 1_200_000


def test_one_row_makes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "t.csv", drawn(1), "label", "p_Male", "hat")
    page = tmp_path / "audit.html"
    named = ("--label", "label", "--prediction", "p_Male", "--positive", "Male", "--page", page)
    command(capsys, "audit", file, *named, *QUICK)
    found = markup.Page(page.read_text("utf-8"))
    text = " ".join(found.text.split())
    assert "Test: 1 image." in text and "as no groups could be compared." in text
    assert "about as sure" not in text and "undefined to undefined" not in text
    ids = {a["id"] for _, a in found.elements if "id" in a}
    assert {a["href"][1:] for tag, a in found.elements if tag == "a"} <= ids


def test_a_page_is_there_only_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "t.csv", drawn(300), "label", "p_Male", "hat")
    named = ("--label", "label", "--prediction", "p_Male", *QUICK)
    said = command(capsys, "audit", file, *named).out
    assert said.splitlines()[-1].endswith("--page audit.html")
    assert [*tmp_path.iterdir()] == [file]
    page = tmp_path / "audit.html"
    assert "--page" not in command(capsys, "audit", file, *named, "--page", page).out
    # Conditions are looked at when all is written.
    page.unlink()
    failed = command(
        capsys, "audit", file, *named, "--page", page, "--fail-on", "accuracy<1", code=1
    )
    assert page.is_file() and "accuracy<1 holds" in failed.err


def test_what_cannot_be_is_refused_and_leaves_all_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from candid import runs
    from candid.pipeline.provenance import collect_provenance
    from candid.settings import Config

    file = write(tmp_path / "t.csv", drawn(300), "label", "p_Male", "hat")
    before = file.read_bytes()
    named = ("--label", "label", "--prediction", "p_Male", *QUICK)
    run = tmp_path / "run"
    runs.create(run, Config(), collect_provenance(seed=0, data="none", data_fingerprint="none"))
    out, page = tmp_path / "audit.json", tmp_path / "audit.html"
    for words, said in (
        ((file, *named, "--page", file), "is what is audited"),
        ((file, *named, "--out", out, "--page", out), "or is written besides"),
        ((run, "--page", page), f"candid report {run} writes report.html there"),
        ((file, *named, "--page", tmp_path), "a folder stands where the file should go"),
        ((file, "--page", page), "its columns must be named"),
        ((tmp_path / "nowhere.csv", *named, "--page", page), "There is no"),
    ):
        error = command(capsys, "audit", *words, code=2).err
        assert said in error and "expected: " in error and "to do: " in error, words
    assert file.read_bytes() == before and not page.exists() and not out.exists()
    with pytest.raises(ConfigError, match="which has its report"):
        candid.audit(run, page=page)


# --- numbers -------------------------------------------------------------------------------------


def ages(n: int = 900) -> dict[str, list[Any]]:
    rng = np.random.default_rng(1)
    age, hat = rng.integers(1, 90, n), rng.random(n) < 0.3
    said = age + rng.normal(0, np.where(hat, 9, 4))
    return {
        "person": [f"who {i // 2}" for i in range(n)],
        "age": age.tolist(),
        "said": said.round(3).tolist(),
        "hat": ["yes" if x else "no" for x in hat],
    }


def test_numbers_have_their_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, page, out = ages(), tmp_path / "a.html", tmp_path / "a.json"
    file = write(tmp_path / "ages.csv", table)
    named = ("--label", "age", "--prediction", "said", "--number", "--page", page, "--out", out)
    assert command(capsys, "audit", file, *named, *QUICK).out.splitlines()[-1] == f"page: {page}"
    html = page.read_text("utf-8")
    off = np.abs(np.array(table["said"]) - table["age"])
    hat = np.array(table["hat"]) == "yes"
    text, tables = text_of(html), Tables(html).rows
    assert f"Off by {off.mean():.2f} on average; surely by more for some people." in text
    shown = {row[0][0].split(" ")[0]: float(row[1][1]) for row in tables["table 0"][1:]}
    assert shown["Mean"] == pytest.approx(np.mean(np.array(table["said"]) - table["age"]), rel=1e-4)
    assert shown["RMSE"] == pytest.approx(math.sqrt((off**2).mean()), rel=1e-5)
    assert shown["Within"] == pytest.approx((off <= 5).mean(), rel=1e-5)
    assert shown["R²"] == pytest.approx(sk.r2_score(table["age"], table["said"]), rel=1e-4)
    groups = next(rows for rows in tables.values() if rows[0][0][0] == "Group")
    assert [row[0][0] for row in groups[1:]] == ["hat: yes", "hat: no"]  # the worst first
    assert float(groups[1][2][1]) == pytest.approx(off[hat].mean(), rel=1e-4)
    gap = json.loads(out.read_text("utf-8"))["splits"][0]["groups"][1]["gaps"]["mae"]
    assert gap["value"] == pytest.approx(off[hat].mean() - off[~hat].mean(), rel=1e-4)
    assert float(groups[1][3][1]) == pytest.approx(gap["value"], rel=1e-4)
    decade = next(rows for rows in tables.values() if rows[0][0][0] == "True value")
    inside = (np.array(table["age"]) >= 30) & (np.array(table["age"]) < 40)
    row = next(row for row in decade if row[0][0] == "30 to 39")
    assert int(row[1][1]) == inside.sum()
    assert float(row[2][1]) == pytest.approx(off[inside].mean(), rel=1e-4)
    assert "no intervals beside the predictions" in text and "Intervals hold" not in text
    assert not re.search(r"\b(nan|None)\b", text)
    bare = tmp_path / "bare.html"
    write(file, table, "age", "said")
    command(capsys, "audit", file, *named[:5], "--page", bare, *QUICK)
    text = text_of(bare.read_text("utf-8"))
    assert "no groups could be compared" in text and "Who is in the pictures" in text


def test_numbers_of_candids_own_have_their_intervals(tmp_path: Path) -> None:
    numbers, page = made_numbers(), tmp_path / "page.html"
    write_number_predictions(tmp_path / "predictions.parquet", numbers)
    candid.audit(tmp_path / "predictions.parquet", page=page)
    html = page.read_text("utf-8")
    test = numbers.split == "test"
    held = (np.abs(numbers.predicted - numbers.value) <= 7)[test].mean()
    text = text_of(html)
    assert "What the intervals hold" in text and f"hold {100 * held:.1f}%"[:8] in text
    assert "always answering the training median, 38," in text
    assert "no intervals beside" not in text


# --- folders, models, Python ---------------------------------------------------------------------


def test_a_folder_has_what_sums_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = drawn()
    file = write(tmp_path / "t.csv", table, "image", "person", "label", "p_Male", "hat")
    rows = pyarrow.csv.read_csv(file)
    (tmp_path / "tables" / "below").mkdir(parents=True)
    for i, place in enumerate(("a", "below/b", "c")):
        part = rows.slice(i * 400, 400)
        pyarrow.parquet.write_table(part, tmp_path / "tables" / f"{place}.parquet")
    page, named = tmp_path / "page.html", ("--label", "label", "--prediction", "p_Male")
    command(capsys, "audit", tmp_path / "tables", *named, "--page", page, *QUICK)
    html = page.read_text("utf-8")
    text = text_of(html)
    label = np.array(table["label"])
    answer = np.where(np.array(table["p_Male"]) > 0.5, "Male", "Female")
    assert f"{(label != answer).sum()} of 1,200 images off the diagonal" in text
    assert "1200" not in text and "tables, 3 Parquet files" in text
    tables = Tables(html).rows
    classes = next(rows for rows in tables.values() if rows[0][0][0] == "Class")
    assert [name for name, _ in classes[0]] == ["Class", "Images", "Precision", "Recall"]
    precision = sk.precision_score(label, answer, average=None, labels=CLASSES)
    recall = sk.recall_score(label, answer, average=None, labels=CLASSES)
    for row, p, r in zip(classes[1:], precision, recall, strict=True):
        assert float(row[2][1]) == pytest.approx(p, rel=1e-5)
        assert float(row[3][1]) == pytest.approx(r, rel=1e-5)
        low, high = map(float, row[3][0].split(" ", 1)[1].split(" to "))
        assert low < r < high
    assert "What needs all images at once" in text and 'id="images"' not in html
    names = sorted(p.relative_to(tmp_path / "tables") for p in tmp_path.glob("tables/**/*.parquet"))
    told = subprocess.run(
        ["sha256sum", *map(str, names)], cwd=tmp_path / "tables", capture_output=True, check=True
    )
    assert hashlib.sha256(told.stdout).hexdigest() in text


def test_a_model_that_is_asked_shows_the_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, low in (("dark", 10), ("light", 150)):
        (tmp_path / "faces" / name).mkdir(parents=True)
        for i in range(30):
            level = 250 if name == "light" and i < 4 else low
            pixels = rng.integers(level, level + 6, (12, 10, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "faces" / name / f"{i}.png")

    def dim(images: list[Any]) -> list[Any]:
        light = [float(image.mean()) for image in images]
        return [None if m > 240 else [0.6, 0.4] for m in light]

    page = tmp_path / "page.html"
    config = candid.load_config(overrides=QUICK[1::2])
    found = candid.audit(tmp_path / "faces", config, model=dim, page=page)
    html = page.read_text("utf-8")
    text = text_of(html)
    assert "4 of 60 images have none. They are in no figure here" in text
    assert "Model that was asked" in text and "no picture" not in text
    assert found.splits[0].n == 56 and "26 mistakes" in text.replace("the 26", "26")
    shown = [a for t, a in markup.Page(html).elements if t == "img"]
    assert len(shown) >= 24 and all(a["src"].startswith("data:image/") for a in shown)


def test_from_python_arrays_do(tmp_path: Path) -> None:
    table = drawn(400)
    page = tmp_path / "page.html"
    second = np.array(table["p_Male"])
    config = candid.load_config(overrides=QUICK[1::2])
    given: dict[str, Any] = {"classes": CLASSES, "groups": {"hat": table["hat"]}}
    found = candid.audit(table["label"], second, config, page=page, **given)
    text = text_of(page.read_text("utf-8"))
    n = found.splits[0].n
    assert "answers in memory" in text and f"Rows with an answer {n}" in text
    assert "SHA-256" not in text and "--person names" not in text
    changed = tmp_path / "changed.html"
    candid.audit(table["label"], second, config, before=1 - second, page=changed, **given)
    assert "What changed for whom from “A” to “B”" in text_of(changed.read_text("utf-8"))


def test_a_table_alone_needs_no_torch(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", drawn(200), "label", "p_Male", "hat")
    code = (
        "import sys, candid\n"
        "columns = candid.Columns(label='label', prediction='p_Male')\n"
        "config = candid.load_config(overrides=('audit.draws=60',))\n"
        f"candid.audit({str(file)!r}, config, columns=columns, page={str(tmp_path / 'p.html')!r})\n"
        "print(sorted({'torch', 'fastapi'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert "candid.audit(…), from Python" in text_of((tmp_path / "p.html").read_text("utf-8"))


def test_a_file_of_candids_own_is_audited_without_columns(tmp_path: Path) -> None:
    from auditing.audited import crowd

    p, page = crowd(300, {"hat": 0.3}, 0, planted={("hat",): 0.4}), tmp_path / "page.html"
    write_predictions(tmp_path / "predictions.parquet", p)
    config = candid.load_config(overrides=QUICK[1::2])
    candid.audit(tmp_path / "predictions.parquet", config, page=page)
    text = text_of(page.read_text("utf-8"))
    assert "“Male” in “predictions.parquet”" in text and "hat: yes" in text
    assert "Columns that were named" not in text
