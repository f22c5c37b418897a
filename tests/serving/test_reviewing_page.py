"""The page for reviewing: before real requests, and a real browser in which a person decides."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")
import uvicorn

from candid.config import with_values
from candid.pipeline.reviewing import open_review
from candid.runs import Run
from candid.serving.reviewing import create_review_app
from candid.serving.serve import listen
from candid.settings import Config
from candid.tables.corrections import read_corrections
from reporting.axe import axe_is_there, needs_axe, violations
from reporting.browser import CHROMIUM
from reporting.viewing import hanging_out, motion
from reviewing.reviewed import (
    BROKEN,
    COPIED,
    SETTINGS,
    WIDE,
    make_data,
    make_network,
    make_run,
)
from serving.test_serve_page import Visitor


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("review"))


def cache_of(place: Run | Path) -> Path:
    return (place.path if isinstance(place, Run) else place).parent / "cache"


class Page:
    """`candid review` as a process of its own."""

    def __init__(self, place: Run | Path, out: Path, *words: str) -> None:
        path = place.path if isinstance(place, Run) else place
        command = [sys.executable, "-m", "candid", "review", str(path), "--out", str(out)]
        command += ["--cache", str(cache_of(place)), "--who", "ann"]
        self.process = subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ,
        )
        assert self.process.stderr is not None
        found, line = None, "-"
        while line and not found:
            line = self.process.stderr.readline()
            found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", line)
        assert found, self.process.returncode
        self.line, self.url = line, found[0]

    def end(self, how: int = signal.SIGTERM) -> tuple[str, str]:
        self.process.send_signal(how)
        return self.process.communicate(timeout=60)


@contextlib.contextmanager
def serving(
    place: Run | Path, out: Path, *queues: str, config: Config | None = None
) -> Iterator[str]:
    """The address of the page in this process."""
    how = {"out": out, "queues": queues, "config": config, "cache": cache_of(place)}
    with open_review(place, who="ann", **how) as ready:  # type: ignore[arg-type]
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


def look(browser: Visitor, url: str, *, width: int = 1280, shown: str = "#pictures img") -> None:
    browser.messages.clear()
    browser.requests.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
    browser.call("Page.navigate", url=url)
    ready = f"document.readyState === 'complete' && document.querySelector('{shown}')"
    browser.until(ready, seconds=20)


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
    for odd in ("[" * 4000, '{"number": 1e400, "kind": "label", "now": "a", "seconds": 1}', "\xff"):
        sent = {"content": odd, "headers": {"content-type": "application/json"}}
        assert httpx.post(url + "decide", **sent).status_code == 422
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


def test_light_and_dark_are_chosen_as_on_every_page(browser: Visitor, url: str) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    look(browser, url)
    browser.call(
        "Emulation.setEmulatedMedia",
        features=[{"name": "prefers-color-scheme", "value": "light"}],
    )
    assert browser.value(paper) == "rgb(255, 254, 251)"
    browser.value("document.getElementById('theme').click()")
    assert browser.value(paper) == "rgb(22, 23, 26)" and browser.text("#theme") == "Light"
    look(browser, url)
    assert browser.value(paper) == "rgb(22, 23, 26)"  # the choice is kept
    browser.value("document.getElementById('theme').click(); localStorage.clear()")
    assert browser.messages == []


def test_enlarged_nothing_hangs_out_and_nothing_moves_where_that_is_not_wanted(
    browser: Visitor, url: str
) -> None:
    look(browser, url)
    press(browser, "1")
    browser.unfold("details")
    for width, enlarged in ((390, 1), (1280, 2)):
        assert hanging_out(browser, width, enlarged=enlarged) == []
    moves, asked, scrolls = motion(browser, reduced=False)
    assert moves == 0 and asked > 0 and scrolls == "smooth"
    assert motion(browser, reduced=True) == (0, 0, "auto")


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


def slowed() -> float:
    """How many times as long things take as they would if nobody else used the machine."""
    wall, processor = time.perf_counter(), time.process_time()
    while time.process_time() < processor + 0.3:
        pass
    return max(1.0, (time.perf_counter() - wall) / 0.3)


def quickly(browser: Visitor, count: int) -> list[float]:
    """Milliseconds of so many decisions, one after the other."""
    some = [min(10, count - done) for done in range(0, count, 10)]
    return [ms for n in some for ms in browser.value(FAST % n)]


@pytest.mark.slow
def test_a_page_that_is_killed_amid_200_decisions_loses_none_and_goes_on(
    browser: Visitor, tmp_path: Path
) -> None:
    run = make_run(tmp_path, images=1000, wrong=150)
    alone = ("--queue", "labels", "--queue", "people")  # one picture at a time
    page = Page(run, tmp_path / "c.csv", *alone)
    try:
        look(browser, page.url)
        times = quickly(browser, 100)
    finally:
        page.end(signal.SIGKILL)
    before = read_corrections(tmp_path / "c.csv")
    assert len(before) == 100
    browser.key("1")
    browser.until("!document.getElementById('problem').hidden")
    assert "What was decided is kept" in browser.text("#problem")
    again = Page(run, tmp_path / "c.csv", *alone)
    try:
        assert "100 of them decided before" in again.line
        look(browser, again.url)
        assert browser.text("#progress").startswith("100 of ")
        total = int(browser.text("#progress").split()[-1])
        times += quickly(browser, total - 100)
        assert len(times) == total >= 200
        # Milliseconds from the key to the next picture, times what others on the machine take.
        print(f"{statistics.median(times):.0f} ms in the median of {total}")
        assert statistics.median(times) < 100 * slowed()
        browser.until("!document.getElementById('end').hidden")
        assert "that nobody suspected, drawn at random" in browser.text("#summary")
        assert "came twice" in browser.text("#summary")
        assert len(read_corrections(tmp_path / "c.csv")) == total
        assert read_corrections(tmp_path / "c.csv")[:100] == before
        press(browser, "u")
        browser.until("document.getElementById('end').hidden")
        assert browser.messages == []
    finally:
        out, err = again.end()
    assert out.splitlines()[-1] == f"next:  candid run DATA --corrections {tmp_path / 'c.csv'}"
    assert again.process.returncode == 0 and "Traceback" not in err
    assert "came twice" in out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "faces")


CONFIG = with_values(Config(), {"data": SETTINGS})


def test_pairs_are_kept_apart_or_one_is_left_out(
    browser: Visitor, data: Path, tmp_path: Path
) -> None:
    with serving(data, tmp_path / "c.csv", "copies", config=CONFIG) as address:
        look(browser, address)
        for _ in range(60):  # the decoys come first
            if "same picture?" in browser.text("#question"):
                break
            press(browser, "1")
        assert len(browser.value("[...document.querySelectorAll('#pictures img')]")) == 2
        press(browser, "ArrowLeft")
        press(browser, " ")
        rows = [c for c in read_corrections(tmp_path / "c.csv") if c.kind != "label"]
        pairs = [{one, f"images/copy-{k}.jpg"} for k, one in enumerate(COPIED)]
        assert [c.kind for c in rows[:2]] == ["same image", "not the same"]
        decided = [{c.id, c.now} for c in rows[:2]]
        assert decided in (pairs, pairs[::-1])
        assert browser.messages == []


# --- pages of several ----------------------------------------------------------------------------


def look_at_page(browser: Visitor, url: str, *, width: int = 1280) -> None:
    look(browser, url, width=width, shown="#tiles .tile")


def selected(browser: Visitor) -> list[int]:
    found: list[int] = browser.value(
        "[...document.querySelectorAll('.tile')].flatMap((t, i) =>"
        " t.getAttribute('aria-pressed') === 'true' ? [i] : [])"
    )
    return found


def test_keys_select_and_decide_a_page_of_pictures(
    browser: Visitor, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.csv"
    with serving(data, file, "strange", config=CONFIG) as address:
        look_at_page(browser, address)
        state = httpx.get(address + "state").json()
        assert len(state["showing"]["pictures"]) == 12
        assert set(state["showing"]) == {"number", "numbers", "pictures", "companions"}
        seen = browser.value("document.body.innerText")
        assert "Annotators" not in seen and "unlike" not in seen
        assert "What would you write for “Face”?" in seen and "0 of 12 selected" in seen
        # Nothing is selected: nothing is decided.
        browser.key("1")
        browser.until("!document.getElementById('problem').hidden")
        assert "Nothing is selected" in browser.text("#problem")
        assert read_corrections(file) == []
        # Arrows go from one to the next, and space selects.
        browser.key("ArrowDown")
        space(browser)
        browser.key("ArrowDown")
        browser.key("ArrowDown")
        space(browser)
        space(browser)
        assert selected(browser) == [0]
        space(browser)
        assert selected(browser) == [0, 2] and "2 of 12 selected" in browser.text("#hint")
        press(browser, "2")
        rows = read_corrections(file)
        assert [(c.kind, c.now, c.blind) for c in rows] == [
            ("label", state["classes"][1], True)
        ] * 2
        assert len({c.when for c in rows}) == 1
        assert len(selected(browser)) == 0 and "0 of 10 selected" in browser.text("#hint")
        assert browser.value("document.activeElement.className") == "tile"  # still among them
        assert "Annotators: " in browser.text("#last-picture")
        said = browser.value("document.getElementById('live').textContent")
        assert f"You wrote {state['classes'][1]} about 2 pictures." in said
        # All the rest at once, then take that back: ten lines and ten more, and the ten are there.
        browser.key("a")
        assert len(selected(browser)) == 10
        press(browser, "ArrowLeft")
        assert [c.now for c in read_corrections(file)[2:]] == [state["classes"][0]] * 10
        press(browser, "u")
        assert [c.kind for c in read_corrections(file)[12:]] == ["undo"] * 10
        assert "0 of 10 selected" in browser.text("#hint")
        browser.key("a")
        browser.key("a")
        assert selected(browser) == []
        browser.key("ArrowDown")
        space(browser)
        press(browser, "x")
        browser.key("a")
        press(browser, "c")
        kinds = [c.kind for c in read_corrections(file)[22:]]
        assert kinds == ["leave out"] + ["cannot say"] * 9
        # The next page; in the end, what it amounts to.
        for _ in range(3):
            browser.until(
                "document.querySelector('.tile') || !document.getElementById('end').hidden"
            )
            if not browser.value("document.getElementById('end').hidden"):
                break
            browser.key("a")
            press(browser, "1")
        assert "24 of 24 decided" in browser.text("#summary")
        wide = {c.id for c in read_corrections(file)} & set(WIDE)
        assert wide == set(WIDE)
        assert browser.messages == []
        assert all(r.startswith(address) for r in browser.requests)


def space(browser: Visitor) -> None:
    """The space bar on what has the focus."""
    for kind, more in (("keyDown", {"text": " "}), ("keyUp", {})):
        browser.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space",
                     windowsVirtualKeyCode=32, **more)  # fmt: skip


def test_a_finger_selects_and_decides_on_a_phone(
    browser: Visitor, data: Path, tmp_path: Path
) -> None:
    with serving(data, tmp_path / "c.csv", "strange", config=CONFIG) as address:
        look_at_page(browser, address, width=390)
        assert browser.value("document.documentElement.scrollWidth") <= 390
        browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
        try:
            for selector in (".tile:nth-child(2)", ".tile:nth-child(3)", "#choices .class"):
                before = browser.text("#progress")
                browser.value(f"document.querySelector('{selector}').scrollIntoView(false)")
                box = f"document.querySelector('{selector}').getBoundingClientRect()"
                x, y = (browser.value(f"{box}.{side} + 8") for side in ("left", "top"))
                touch = {"x": x, "y": y}
                browser.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[touch])
                browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
                if "tile" in selector:
                    place = int(selector[-2]) - 1
                    browser.until(
                        f"document.querySelectorAll('.tile')[{place}].ariaPressed === 'true'"
                    )
            browser.until(f"document.getElementById('progress').textContent !== '{before}'")
        finally:
            browser.call("Emulation.setTouchEmulationEnabled", enabled=False)
        state = httpx.get(address + "state").json()
        assert state["showing"]["numbers"] == [0, *range(3, 12)]
        assert [c.kind for c in read_corrections(tmp_path / "c.csv")] == ["label"] * 2
        assert browser.value("document.documentElement.scrollWidth") <= 390


def test_files_that_cannot_be_read_are_a_list(browser: Visitor, data: Path, tmp_path: Path) -> None:
    with serving(data, tmp_path / "c.csv", "unreadable", config=CONFIG) as address:
        look(browser, address)
        while not browser.value("!!document.querySelector('.tiles.files .tile')"):
            press(browser, "1")  # the decoys
        assert "These files cannot be read." in browser.text("#question")
        names = browser.value(
            "[...document.querySelectorAll('.tile .name')].map((n) => n.innerText)"
        )
        assert names == list(BROKEN)
        if axe_is_there():
            assert violations(browser) == []
        browser.value("document.querySelectorAll('.tile')[1].click()")
        press(browser, "x")
        browser.key("a")
        press(browser, "k")
        said = [(c.id, c.kind) for c in read_corrections(tmp_path / "c.csv")[-2:]]
        assert said == [(BROKEN[1], "leave out"), (BROKEN[0], "cannot say")]
        assert "Files that cannot be read: 1 left out, 1 kept." in browser.text("#summary")
        assert browser.messages == []


@needs_axe
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_on_a_page_of_pictures(
    browser: Visitor, data: Path, tmp_path: Path, width: int
) -> None:
    with serving(data, tmp_path / "c.csv", "strange", config=CONFIG) as address:
        look_at_page(browser, address, width=width)
        browser.value("document.querySelectorAll('.tile').forEach((t, i) => i % 2 && t.click())")
        assert violations(browser) == []
        press(browser, "1")
        assert len(selected(browser)) == 0
        assert violations(browser) == []


@pytest.mark.slow
def test_a_page_that_is_killed_has_all_of_a_key_press_or_nothing(
    data: Path, tmp_path: Path
) -> None:
    words = ["--queue", "strange", "--target", "Face", "--set", "data.side=16",
             "--set", "data.max_bad_share=0.05"]  # fmt: skip
    decided = 0
    for wait in (0.0, 0.002, 0.01):
        page = Page(data, tmp_path / "c.csv", *words)
        try:
            before = httpx.get(page.url + "state").json()
            assert before["done"] == decided
            shown = before["showing"]
            chosen = shown["numbers"][:6]
            body = {"number": shown["number"], "kind": "label", "now": before["classes"][0],
                    "seconds": 1, "chosen": chosen}  # fmt: skip
            asked = threading.Thread(target=answerless, args=(page.url + "decide", body))
            asked.start()
            time.sleep(wait)
        finally:
            page.end(signal.SIGKILL)
        asked.join()
        rows = read_corrections(tmp_path / "c.csv")
        assert len(rows) in (decided, decided + len(chosen))
        decided = len(rows)


def answerless(url: str, body: dict[str, object]) -> None:
    """Ask, though the server may be killed meanwhile."""
    with contextlib.suppress(httpx.HTTPError):
        httpx.post(url, json=body)


# --- the nearest training pictures ---------------------------------------------------------------


def test_after_the_choice_the_nearest_training_pictures_stand_beside_it(
    browser: Visitor, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    run = make_network(tmp_path_factory.mktemp("network"))
    with open_review(run, who="x", out=tmp_path / "x.csv", cache=cache_of(run)) as ready:
        session, known = ready.session, ready.session.known
        shown = {i for s in session.review.showings for i in (s.image, s.other) if i}
        while (neighbours := known.neighbours()) is None:
            time.sleep(0.02)
        near = {image for found in neighbours.values() for image, _ in found}
        assert set(neighbours) == shown and near and not near & shown
        assert all(known.label[i] == label for f in neighbours.values() for i, label in f)
    with serving(run, tmp_path / "c.csv") as address:
        look(browser, address)
        assert not browser.value("!!document.querySelector('#nearest img')")
        press(browser, "1")
        while "comes again" in browser.text("#last-lines"):
            press(browser, "1")  # of what comes again it is told then
        browser.until("document.querySelector('#nearest img')")
        browser.until("[...document.querySelectorAll('#nearest img')].every((i) => i.naturalWidth)")
        labels = browser.value(
            "[...document.querySelectorAll('#nearest figcaption')].map((c) => c.innerText)"
        )
        assert len(labels) == 5
        assert "The nearest training pictures are labelled: " in browser.text("#last-lines")
        if axe_is_there():
            assert violations(browser) == []
        assert browser.messages == []
