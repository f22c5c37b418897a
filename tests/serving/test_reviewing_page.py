"""The page for reviewing: before real requests, and a real browser in which a person decides."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")
import uvicorn

from candid.pipeline.reviewing import open_review
from candid.runs import Run
from candid.serving.reviewing import create_review_app
from candid.serving.serve import listen
from candid.tables.corrections import read_corrections
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM
from reviewing.reviewed import make_run
from serving.test_serve_page import Visitor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("review"))


class Page:
    """`candid review` as a process of its own."""

    def __init__(self, run: Run, out: Path, *words: str) -> None:
        command = [sys.executable, "-m", "candid", "review", str(run.path), "--out", str(out)]
        self.process = subprocess.Popen(
            [*command, "--who", "ann", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line)
        assert found, line + self.process.stderr.read()
        self.line, self.url = line, found[0]

    def end(self, how: int = signal.SIGTERM) -> tuple[str, str]:
        self.process.send_signal(how)
        return self.process.communicate(timeout=60)


@contextlib.contextmanager
def serving(run: Run, out: Path, *queues: str) -> Iterator[str]:
    """The address of the page in this process."""
    with open_review(run, who="ann", out=out, queues=queues) as ready:
        known = ready.session.known
        app = create_review_app(
            ready.session, ready.picture, target=known.target, classes=known.classes, token="word"
        )
        with contextlib.closing(listen("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_config=None))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}/word/"
            finally:
                server.should_exit = True
                thread.join(20)


@pytest.fixture
def url(run: Run, tmp_path: Path) -> Iterator[str]:
    with serving(run, tmp_path / "c.csv") as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to look with")
    chromium = Visitor(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


def look(browser: Visitor, url: str, *, width: int = 1280) -> None:
    browser.messages.clear()
    browser.requests.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
    browser.call("Page.navigate", url=url)
    browser.until("document.readyState === 'complete' && document.querySelector('#pictures img')")


def press(browser: Visitor, key: str) -> None:
    """A key, until the server has answered."""
    before = browser.value("document.getElementById('progress').textContent")
    browser.key(key)
    browser.until(f"document.getElementById('progress').textContent !== '{before}'")


# --- requests ------------------------------------------------------------------------------------


def test_nothing_is_told_before_the_choice_and_nothing_without_the_word(
    url: str, tmp_path: Path
) -> None:
    base = url.removesuffix("/word/")
    for address in ("/", "/wor/", "/state", "/wordx/state", "/picture/0", "/word/none"):
        assert httpx.get(base + address).status_code == 404
    strange = httpx.get(url + "state", headers={"Host": "elsewhere.example"})
    assert strange.status_code == 400
    answer = httpx.get(url)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    state = httpx.get(url + "state").json()
    shown = state["showing"]
    assert set(shown) == {"number", "pictures", "companions"}
    picture = httpx.get(f"{url}picture/{shown['pictures'][0]}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.headers["cache-control"] == "no-store"
    assert httpx.get(url + "picture/99999").status_code == 404
    body = {"number": shown["number"], "kind": "label", "now": state["classes"][0], "seconds": 1}
    told = httpx.post(url + "decide", json=body).json()
    assert told["told"]["lines"][0] == f"You wrote: {state['classes'][0]}."
    # The same once more, as a double click sends it, is refused and not written down.
    assert httpx.post(url + "decide", json=body).status_code == 409
    for wrong in ({}, {"number": 1}, body | {"number": 1, "now": "bird"}, body | {"seconds": "x"}):
        assert httpx.post(url + "decide", json=wrong).status_code == 422
    form = httpx.post(url + "decide", data={"number": "1"})
    assert form.status_code == 422
    assert httpx.post(url + "undo", data={}).status_code == 422
    (line,) = read_corrections(tmp_path / "c.csv")
    assert (line.kind, line.now, line.who, line.blind) == (
        "label",
        state["classes"][0],
        "ann",
        True,
    )


# --- a person in a browser -----------------------------------------------------------------------


def test_keys_decide_and_the_label_is_hidden_until_then(
    browser: Visitor, url: str, tmp_path: Path
) -> None:
    look(browser, url)
    classes = httpx.get(url + "state").json()["classes"]
    seen = browser.value("document.body.innerText")
    assert "Annotators wrote" not in seen and "model says" not in seen.lower()
    assert "What would you write for “Face”?" in seen
    assert not browser.value("!!document.querySelector('#last:not([hidden])')")
    press(browser, "ArrowLeft")
    last = browser.text("#last-lines")
    assert f"You wrote: {classes[0]}." in last
    # Whoever cannot see the page hears the same.
    assert f"You wrote: {classes[0]}." in browser.value(
        "document.getElementById('live').textContent"
    )
    press(browser, "ArrowRight")
    press(browser, "2")
    press(browser, " ")
    press(browser, "x")
    press(browser, "u")
    rows = read_corrections(tmp_path / "c.csv")
    assert [(c.kind, c.now) for c in rows] == [
        ("label", classes[0]), ("label", classes[1]), ("label", classes[1]), ("cannot say", ""),
        ("leave out", ""), ("undo", ""),
    ]  # fmt: skip
    assert all(c.blind for c in rows[:5]) and all(c.seconds >= 0 for c in rows[:5])
    assert len({c.id for c in rows[:5]}) == 5
    # The one that was taken back is the one that is shown, and now the label is known.
    press(browser, "1")
    (*_, again) = read_corrections(tmp_path / "c.csv")
    assert (again.id, again.kind, again.blind) == (rows[4].id, "label", False)
    assert browser.messages == []
    assert all(r.startswith(url) for r in browser.requests)


def test_a_mouse_and_tabs_decide_and_the_focus_stays(
    browser: Visitor, url: str, tmp_path: Path
) -> None:
    look(browser, url)
    place = "document.querySelector('#choices .class').getBoundingClientRect()"
    x, y = (browser.value(f"{place}.{side} + 5") for side in ("left", "top"))
    before = browser.text("#progress")
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    browser.until(f"document.getElementById('progress').textContent !== '{before}'")
    press(browser, " ")  # "cannot say", and not the button that the mouse pressed
    browser.value("document.querySelectorAll('#choices .class')[1].focus()")
    before = browser.text("#progress")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ",
                 windowsVirtualKeyCode=32)  # fmt: skip
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=" ", code="Space",
                 windowsVirtualKeyCode=32)  # fmt: skip
    browser.until(f"document.getElementById('progress').textContent !== '{before}'")
    assert browser.value(
        "document.activeElement === document.querySelectorAll('#choices .class')[1]"
    )
    kinds = [c.kind for c in read_corrections(tmp_path / "c.csv")]
    assert kinds == ["label", "cannot say", "label"]
    names = browser.value(
        "[...document.querySelectorAll('#pictures img, #companions img')].every((i) => i.alt)"
    )
    assert names
    assert browser.messages == []


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Visitor, url: str) -> None:
    look(browser, url, width=360)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    bottom = "document.querySelectorAll('#choices .class')[1].getBoundingClientRect().bottom"
    assert browser.value(bottom) <= 900  # picture and classes without scrolling


@needs_axe
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing(browser: Visitor, url: str, width: int) -> None:
    look(browser, url, width=width)
    press(browser, "1")
    browser.unfold("details")
    browser.until("document.querySelector('#so-far-lines li')")
    assert violations(browser) == []


FAST = """(async () => {
  const shown = () => document.getElementById('progress').textContent;
  const times = [];
  for (let i = 0; i < %d; i++) {
    const before = shown(), start = performance.now();
    document.dispatchEvent(new KeyboardEvent('keydown', {key: i %% 2 ? '1' : '2', bubbles: true}));
    while (shown() === before) await new Promise((done) => setTimeout(done, 1));
    times.push(performance.now() - start);
  }
  return times;
})()"""


@pytest.mark.slow
def test_a_killed_page_loses_nothing_and_goes_on_where_it_stopped(
    browser: Visitor, run: Run, tmp_path: Path
) -> None:
    page = Page(run, tmp_path / "c.csv")
    try:
        look(browser, page.url)
        times = browser.value(FAST % 15)
    finally:
        page.end(signal.SIGKILL)
    # Milliseconds from the key to the next picture: a tenth of this where nothing else runs.
    assert sorted(times)[len(times) // 2] < 1000
    before = read_corrections(tmp_path / "c.csv")
    assert len(before) == 15
    browser.key("1")
    browser.until("!document.getElementById('problem').hidden")
    assert "What was decided is kept" in browser.text("#problem")
    again = Page(run, tmp_path / "c.csv")
    try:
        assert "15 of them decided before" in again.line
        look(browser, again.url)
        assert browser.text("#progress").startswith("15 of ")
        total = int(browser.text("#progress").split()[-1])
        browser.value(FAST % (total - 15))
        browser.until("!document.getElementById('end').hidden")
        assert "that nobody suspected, drawn at random" in browser.text("#summary")
        assert "came twice" in browser.text("#summary")
        assert len(read_corrections(tmp_path / "c.csv")) == total
        assert read_corrections(tmp_path / "c.csv")[:15] == before
        press(browser, "u")
        browser.until("document.getElementById('end').hidden")
        assert browser.messages == []
    finally:
        out, err = again.end()
    assert again.process.returncode == 0 and "Traceback" not in err
    assert "came twice" in out


def test_pairs_are_kept_apart_or_one_is_left_out(
    browser: Visitor, run: Run, tmp_path: Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_review(run, who="x", out=tmp_path / "x.csv") as ready:
        ids = [s.image for s in ready.session.review.showings[:4]]
    table = pq.read_table(run.findings)
    row = {"code": "DUPLICATES-ACROSS-SPLITS", "id": ids[0], "partner": ids[1], "detail": ""}
    more = [row, row | {"id": ids[1], "partner": ids[0]}, row | {"id": ids[2], "partner": ids[3]}]
    pq.write_table(
        pa.concat_tables([table, pa.Table.from_pylist(more, table.schema)]), run.findings
    )
    with serving(run, tmp_path / "c.csv", "copies") as address:
        pq.write_table(table, run.findings)
        look(browser, address)
        for _ in range(60):  # the decoys come first
            if "same picture?" in browser.text("#question"):
                break
            press(browser, "1")
        assert len(browser.value("[...document.querySelectorAll('#pictures img')]")) == 2
        press(browser, "ArrowLeft")
        press(browser, " ")
        rows = [c for c in read_corrections(tmp_path / "c.csv") if c.kind != "label"]
        assert [(c.kind, c.id, c.now) for c in rows] == [
            ("same image", ids[1], ids[0]),
            ("not the same", ids[3], ids[2]),
        ]
        assert browser.messages == []
