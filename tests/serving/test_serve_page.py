"""The page in a real browser, before a real server: a person drops a picture, reads an answer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from candid.inference.abstaining import Rule
from candid.records import Estimate
from candid.serving.page import POLICY
from candid.serving.schema import About, Measure, Weakness
from candid.style import shared_css, theme_js
from reporting.axe import needs_axe, violations
from reporting.browser import CHROMIUM, Browser
from reporting.conftest import BARE, build, render
from reporting.viewing import hanging_out, motion, open_tables
from serving.served import SIDE, Brightness, model, running, with_maps

# A camera that films a test picture, and a person who always lets it be used.
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WEB = resources.files("candid.serving") / "web"
HOSTILE = "<img src=x onerror=alert(1)>"
ABOUT = About(
    summary=["From a picture the model estimates the label."],
    not_for=["It is not for deciding anything about a person."],
    limits=["Only grey squares."],
    data_name="grey",
    trained_on=["1,000 pictures of 100 people, from “grey”."],
    picture_size=[16, 16],
    split="test",
    measures=[Measure.of("Answers as the label says", Estimate(0.9, 0.8, 0.95, 100, "Wilson", 50))],
    audited=True,
    weaknesses=[
        Weakness(title="Worse on hats " + HOSTILE, detail="85% instead of 95%.", severity="serious")
    ],
    weakness_note="The audit compared 80 figures.",
)


class Visitor(Browser):
    """A person in front of the page."""

    def visit(self, url: str, *, width: int = 1280, dark: bool = False) -> None:
        self.messages.clear()
        self.requests.clear()
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && !!document.getElementById('known')")

    def until(self, expression: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not self.value(f"!!({expression})"):
            assert time.monotonic() < end, f"never: {expression}\n{self.messages}"
            time.sleep(0.05)

    def drop(self, path: Path) -> None:
        for kind in ("dragEnter", "dragOver", "drop"):
            data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
            self.call("Input.dispatchDragEvent", type=kind, x=300, y=400, data=data)

    def key(self, name: str) -> None:
        text = name if len(name) == 1 else ""
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def text(self, selector: str) -> str:
        found: str = self.value(f"document.querySelector({selector!r}).innerText")
        return found

    def answered(self, *, map: bool = True) -> None:
        self.until("document.querySelector('.said')")
        if map:
            self.until("document.getElementById('map-words').textContent")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to look with")
    chromium = Visitor(tmp_path_factory.mktemp("profile"), *CAMERA)
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    unsure = with_maps(
        name="unsure", rule=Rule(0.7, "at most 1 in 100 answers is wrong"), about=ABOUT
    )
    with running(with_maps(about=ABOUT), unsure, timeout=60.0) as address:
        yield address


def grey(path: Path, shade: int, size: tuple[int, int] = (64, 64)) -> Path:
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def test_a_dropped_picture_gets_a_label_a_probability_and_a_map(browser, url, tmp_path):
    browser.visit(url)
    browser.drop(grey(tmp_path / "a.png", 204))
    browser.answered()
    assert browser.text(".said").split("\n") == ["It would be labelled", "bright"]
    assert "labelled it “bright” at 80.0%" in browser.text("#answer")
    wide = "document.querySelector('%s').getBoundingClientRect().width"
    width = browser.value(wide % ".bar.best i") / browser.value(wide % ".bar.best")
    assert width == pytest.approx(0.8, abs=0.01)
    # The map as it was made: transparent in the middle, orange left and blue right.
    shades = "document.getElementById('shades').getContext('2d')"
    row = browser.value(f"[...{shades}.getImageData(0, 3, 16, 1).data]")
    assert row[:4] == [194, 78, 0, 255]
    assert row[-4:] == [11, 102, 168, 255]
    assert row[4 * 8 + 3] == pytest.approx(255 / 15, abs=1)
    shades = np.abs(np.tile(np.linspace(-1, 1, SIDE), (SIDE, 1)))
    upper_left = shades[:6, :6].sum() / shades.sum()  # rows and columns 0 to 5 of 16
    assert f"upper left {100 * upper_left:.0f}%" in browser.text("#map-words")
    # The slider, by hand.
    assert browser.value("getComputedStyle(document.getElementById('shades')).opacity") == "0.7"
    browser.value("document.getElementById('strength').focus()")
    browser.key("End")
    browser.until("getComputedStyle(document.getElementById('shades')).opacity === '1'")
    assert browser.text("#strength-value") == "100%"
    browser.key("Home")
    browser.until("getComputedStyle(document.getElementById('shades')).opacity === '0'")
    assert browser.messages == []
    assert all(r.startswith((url + "/", "data:", "blob:")) for r in browser.requests)


def test_another_method_is_another_map(browser, url, tmp_path):
    browser.visit(url)
    browser.drop(grey(tmp_path / "a.png", 204))
    browser.answered()
    browser.value("document.getElementById('method').value = 'gradient'")
    browser.value("document.getElementById('method').dispatchEvent(new Event('change'))")
    browser.until("document.getElementById('map-key').innerText.startsWith('matters')")
    pixel = "[...document.getElementById('shades').getContext('2d').getImageData(0, 3, 1, 1).data]"
    assert browser.value(pixel) == [11, 102, 168, 255]
    assert "Nobody checked" in browser.text("#method-about")
    assert browser.messages == []


class UpperLeft:
    """Frames: what the model sees is the upper left quarter of every picture."""

    rest_limit = far_limit = 1.0
    matrix = np.array([[0.5, 0, -0.5], [0, 0.5, -0.5], [0, 0, 1]], np.float32)

    def __call__(self, pixels):  # type: ignore[no-untyped-def]
        n = len(pixels)
        frames, none = np.repeat(self.matrix[None], n, 0), np.zeros(n)
        return pixels[:, :SIDE, :SIDE], frames, none, frames, none


def test_the_map_of_a_framed_picture_lies_on_the_picture_that_was_dropped(browser, tmp_path):
    plain = with_maps(about=ABOUT)
    framed = replace(plain, classifier=replace(plain.classifier, framer=UpperLeft()))
    with running(framed, timeout=60.0) as address:
        browser.visit(address)
        browser.drop(grey(tmp_path / "a.png", 204))
        browser.answered()
        # The ramp from against to for is in the upper left quarter, and nothing elsewhere.
        canvas = "document.getElementById('shades')"
        assert browser.value(f"[{canvas}.width, {canvas}.height]") == [2 * SIDE, 2 * SIDE]
        drawn = browser.value(f"[...{canvas}.getContext('2d').getImageData(0, 0, 32, 32).data]")
        colour, opaque = np.split(np.reshape(drawn, (2 * SIDE, 2 * SIDE, 4)), [3], axis=2)
        assert opaque[3, 0] == 255 and opaque[3, SIDE - 1] == 255
        assert not opaque[SIDE:].any() and not opaque[:, SIDE:].any()
        assert colour[3, 0].tolist() == [194, 78, 0]
        assert colour[3, SIDE - 1].tolist() == [11, 102, 168]
        assert "upper left" in browser.text("#map-words")
        line, layers = (
            browser.value(f"document.querySelector('{name}').getBoundingClientRect().toJSON()")
            for name in ("#outline polygon", "#layers")
        )
        assert line["left"] == pytest.approx(layers["left"], abs=3)
        assert line["right"] == pytest.approx((layers["left"] + layers["right"]) / 2, abs=3)
        assert line["bottom"] == pytest.approx((layers["top"] + layers["bottom"]) / 2, abs=3)
        assert "Your picture" in browser.text("#seen-caption")
        assert browser.messages == []


def test_a_model_that_is_not_sure_says_so(browser, url, tmp_path):
    browser.visit(url)
    browser.until("document.getElementById('model').options.length === 2")
    browser.value("document.getElementById('model').value = 'unsure'")
    browser.value("document.getElementById('model').dispatchEvent(new Event('change'))")
    browser.drop(grey(tmp_path / "a.png", 153))
    browser.answered()
    assert browser.text(".said").split("\n") == ["The model says", "Not sure"]
    assert "below 0.7" in browser.text("#answer")
    assert "At most 1 in 100 answers is wrong." in browser.text("#answer")
    assert "60.0%" in browser.text(".bars")
    assert "70.0%" in browser.text("#answer")
    assert browser.messages == []


def test_a_picture_of_another_shape_is_cropped_by_keys(browser, url, tmp_path):
    """Left half black, right half white: the frame decides what the model sees."""
    halves = Image.new("RGB", (400, 100), "black")
    halves.paste("white", (200, 0, 400, 100))
    halves.save(tmp_path / "wide.png")
    browser.visit(url)
    browser.drop(tmp_path / "wide.png")
    browser.answered()
    assert not browser.value("document.getElementById('frame').hidden")
    assert "another shape" in browser.text("#frame-help")
    assert "50.0%" in browser.text("#answer")  # the frame starts in the middle
    browser.value("document.getElementById('frame').focus()")
    for _ in range(30):
        browser.key("ArrowRight")
    browser.until("document.querySelector('#answer').innerText.includes('99.9%')"
                  " || document.querySelector('#answer').innerText.includes('100.0%')")  # fmt: skip
    frame = "document.getElementById('frame').getBoundingClientRect()"
    canvas = "document.getElementById('canvas').getBoundingClientRect()"
    assert browser.value(f"{frame}.right - {canvas}.right") == pytest.approx(0, abs=1)
    assert browser.value(f"{frame}.width / {frame}.height") == pytest.approx(1, abs=0.05)
    browser.key("-")
    browser.until(f"{frame}.width < {canvas}.height - 2")
    # And by pointer: pulled back to the left half.
    x, y = browser.value(f"[{frame}.x + {frame}.width / 2, {frame}.y + {frame}.height / 2]")
    for kind, at in (("mousePressed", x), ("mouseMoved", x - 150), ("mouseMoved", x - 380),
                     ("mouseReleased", x - 380)):  # fmt: skip
        browser.call("Input.dispatchMouseEvent", type=kind, x=at, y=y, button="left",
                     buttons=1, clickCount=1)  # fmt: skip
    browser.until("document.querySelector('.said').innerText.endsWith('dark')")
    browser.value("document.getElementById('crop').click()")
    browser.until("document.querySelector('#answer').innerText.includes('50.0%')")
    assert browser.value("document.getElementById('frame').hidden")
    assert browser.messages == []


def test_a_picture_that_cannot_be_read_is_said_and_the_next_one_works(browser, url, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("<script>alert(1)</script>")
    browser.visit(url)
    browser.drop(bad)
    browser.until("!document.getElementById('problem').hidden")
    assert "cannot be read" in browser.text("#problem")
    assert browser.text("#answer") == "There is no answer."
    assert not browser.value("document.getElementById('no-preview').hidden")
    # The browser itself notes that the server answered 422; nothing else.
    assert all("422" in m for m in browser.messages)
    browser.messages.clear()
    browser.drop(grey(tmp_path / "a.png", 30))
    browser.answered()
    assert browser.text(".said").endswith("dark")
    assert browser.value("document.getElementById('problem').hidden")
    assert browser.messages == []


def test_a_pasted_picture_is_taken(browser, url):
    browser.visit(url)
    browser.until("!document.getElementById('known').hidden")
    browser.value("""
      (async () => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = 20;
        const blob = await new Promise((done) => canvas.toBlob(done));
        const data = new DataTransfer();
        data.items.add(new File([blob], "pasted.png", { type: "image/png" }));
        dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
      })()
    """)
    browser.answered()
    assert browser.text(".said").endswith("bright")  # transparent is laid on white
    assert browser.messages == []


def test_the_camera_takes_a_picture_and_is_then_off(browser, url):
    """The answer is the brightness of what the page shows of the shot inside the frame."""
    browser.visit(url)
    browser.value("document.getElementById('camera').click()")
    browser.until("document.getElementById('video').videoWidth > 0")
    browser.until("!document.getElementById('shoot').hidden")
    assert browser.text("#camera") == "Stop the camera"
    browser.value("globalThis.filming = document.getElementById('video').srcObject.getTracks()")
    browser.value("document.getElementById('shoot').click()")
    browser.answered()
    assert not browser.value("document.getElementById('frame').hidden")  # the camera is no square
    seen = browser.value("""
      (() => {
        const canvas = document.getElementById("canvas");
        const all = canvas.getBoundingClientRect();
        const frame = document.getElementById("frame").getBoundingClientRect();
        const scale = canvas.width / all.width;
        const cut = [frame.x - all.x, frame.y - all.y, frame.width, frame.height];
        const { data } = canvas.getContext("2d").getImageData(...cut.map((v) => v * scale));
        let sum = 0;
        for (let i = 0; i < data.length; i += 1) if (i % 4 < 3) sum += data[i];
        return sum / (data.length / 4 * 3) / 255;
      })()
    """)
    told = [float(p) / 100 for p in re.findall(r"([\d.]+)%", browser.text(".bars"))]
    assert max(told) == pytest.approx(max(seen, 1 - seen), abs=0.02)
    assert 0.02 < seen < 0.98
    assert browser.text("#camera") == "Use the camera"
    assert browser.value("document.getElementById('video').hidden")
    assert browser.value("filming.length > 0 && filming.every((t) => t.readyState === 'ended')")
    # Stopped without a shot, it leaves what was there.
    browser.value("document.getElementById('camera').click()")
    browser.until("!document.getElementById('shoot').hidden")
    browser.value("document.getElementById('camera').click()")
    assert browser.value("document.getElementById('shoot').hidden")
    assert not browser.value("document.getElementById('canvas').hidden")
    assert browser.messages == []


def test_a_camera_that_may_not_be_used_is_said(browser, url):
    browser.visit(url)
    browser.value("""
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("no", "NotAllowedError");
      };
      document.getElementById("camera").click();
    """)
    browser.until("!document.getElementById('problem').hidden")
    assert "does not let this page use the camera" in browser.text("#problem")
    assert browser.value("document.getElementById('shoot').hidden")
    assert browser.messages == []


def test_what_is_known_is_told_and_hostile_words_are_words(browser, url):
    browser.visit(url)
    browser.until("!document.getElementById('known').hidden")
    known = browser.text("#known")
    for words in ("1,000 pictures of 100 people", "90.0%", "80.0 to 95.0", "Wilson", HOSTILE,
                  "85% instead of 95%", "80 figures", "not for deciding"):  # fmt: skip
        assert words in known, words
    assert browser.value("document.querySelectorAll('main img').length") == 0
    assert browser.messages == []


def test_the_key_is_asked_for_once(browser, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<!doctype html><title>the report</title>")
    with running(with_maps(about=ABOUT, report=report), key="o+p/en=sesame==") as url:
        browser.visit(url)
        browser.until("!document.getElementById('key-form').hidden")
        assert browser.value("document.activeElement.id") == "key"
        for word in ("wrong", "o+p/en=sesame=="):
            browser.value(f"document.getElementById('key').value = {word!r}")
            browser.value("document.querySelector('#key-form button').click()")
            if word == "wrong":
                browser.until("document.getElementById('key-note').textContent")
        browser.until("!document.getElementById('known').hidden")
        browser.messages.clear()
        browser.drop(grey(tmp_path / "a.png", 204))
        browser.answered()
        assert browser.messages == []
        # Nothing that a script could read holds the key, and yet it is not asked for again.
        kept = "[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)]"
        assert browser.value(f"{kept}.join('')") in ("", "light", "dark")
        assert browser.value("document.getElementById('key').value") == ""
        browser.visit(url)
        browser.until("!document.getElementById('known').hidden")
        assert browser.value("document.getElementById('key-form').hidden")
        browser.value("document.getElementById('report').click()")
        browser.until("document.title === 'the report'")


def test_a_stranger_s_report_reaches_nothing(browser, tmp_path):
    """Its script runs, and finds no key, no models, no storage and nobody to tell."""
    report = tmp_path / "report.html"
    report.write_text("""<!doctype html><title>stranger</title><script>
      const found = [];
      const attempt = async (name, act) => {
        try { found.push(name + ": " + await act()); } catch { found.push(name + ": refused"); }
      };
      const load = (tag, address) => new Promise((done, failed) => {
        const made = document.createElement(tag);
        made.onload = () => done("loaded");
        made.onerror = failed;
        made.src = address;
        document.documentElement.append(made);
      });
      (async () => {
        await attempt("cookie", () => document.cookie);
        await attempt("kept", () => localStorage.length + sessionStorage.length);
        await attempt("models", async () => (await fetch("/v1/models")).status);
        await attempt("elsewhere", async () => (await fetch("http://127.0.0.1:9/")).status);
        await attempt("image", () => load("img", "/icon.svg"));
        await attempt("script", () => load("script", "/page.js"));
        await attempt("frame", () => load("iframe", "/"));
        await attempt("window", () => open("/").document.title);
        found.push(origin);
        document.title = found.join("; ");
      })();
    </script>""")
    with running(model(report=report), key="k") as url:
        browser.visit(url)
        browser.value("fetch('key', { method: 'POST', headers: { 'X-API-Key': 'k' } })")
        browser.call("Page.navigate", url=f"{url}/reports/first")
        browser.until("document.title.endsWith('null')")
        found = dict(part.split(": ") for part in browser.value("document.title").split("; ")[:-1])
        frame = found.pop("frame")  # of a page that was not let in, browsers say that it loaded
        assert frame in ("loaded", "refused")
        assert set(found.values()) == {"refused"} and len(found) == 7
        assert browser.value("document.querySelector('iframe').contentDocument") is None
        seen = httpx.get(f"{url}/metrics", headers={"X-API-Key": "k"}).text
        assert 'path="/v1/models",status="200"' not in seen


def test_a_report_s_own_charts_stand_in_its_sandbox(browser, tmp_path):
    report = tmp_path / "report.html"
    report.write_text(render(build(n=400, **BARE)), encoding="utf-8")
    with running(model(report=report)) as url:
        browser.messages.clear()
        browser.requests.clear()
        browser.call("Page.navigate", url=f"{url}/reports/first")
        browser.until("document.readyState === 'complete' && document.querySelector('.chart')")
        assert browser.value("origin") == "null"
        browser.draw()
        charts = browser.value("document.querySelectorAll('.chart').length")
        assert charts > 3
        assert browser.value("document.querySelectorAll('.chart.drawn .live svg').length") == charts
        browser.value("document.getElementById('theme').click()")
        browser.until("document.documentElement.dataset.theme === 'dark'")
        assert browser.messages == []
        asked = [r for r in browser.requests if not r.startswith("data:")]
        assert asked == [f"{url}/reports/first"]


def test_a_busy_server_is_said_and_can_be_asked_again(browser, tmp_path):
    engine = Brightness()
    with running(model(engine, about=ABOUT), timeout=0.5) as url:
        browser.visit(url)
        engine.gate.clear()
        browser.drop(grey(tmp_path / "a.png", 204))
        browser.until("document.querySelector('#problem button')")
        assert "within 0.5 s" in browser.text("#problem")
        engine.gate.set()
        browser.value("document.querySelector('#problem button').click()")
        browser.answered(map=False)
        assert browser.text(".said").endswith("bright")


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_it_fits_every_width_in_light_and_dark(browser, url, tmp_path, width):
    papers = []
    for dark in (False, True):
        browser.visit(url, width=width, dark=dark)
        browser.drop(grey(tmp_path / "a.png", 204))
        browser.answered()
        assert browser.value("document.documentElement.scrollWidth") == width
        papers.append(browser.value("getComputedStyle(document.body).backgroundColor"))
    assert papers == ["rgb(255, 254, 251)", "rgb(22, 23, 26)"]


def test_enlarged_nothing_hangs_out_and_nothing_moves_where_that_is_not_wanted(
    browser, url, tmp_path
):
    browser.visit(url)
    browser.drop(grey(tmp_path / "a.png", 204))
    browser.answered()
    browser.unfold()
    for width, enlarged in ((390, 1), (1280, 2)):
        assert hanging_out(browser, width, enlarged=enlarged) == []
        assert open_tables(browser) == []
    moves, asked, scrolls = motion(browser, reduced=False)
    assert moves == 0 and asked > 0 and scrolls == "smooth"
    assert motion(browser, reduced=True) == (0, 0, "auto")


def test_everything_can_be_reached_and_has_a_name(browser, url, tmp_path):
    """The browser's own accessibility tree: what a screen reader reads."""
    browser.visit(url)
    browser.drop(grey(tmp_path / "a.png", 204))
    browser.answered()
    browser.call("Accessibility.enable")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "combobox", "slider", "checkbox", "image", "img", "textbox")
    named = {
        (n["role"]["value"], n.get("name", {}).get("value", ""))
        for n in nodes if not n.get("ignored") and n.get("role", {}).get("value") in roles
    }  # fmt: skip
    assert all(name for _, name in named), named
    assert ("slider", "How strongly it covers the picture") in named
    assert ("combobox", "How the map is made") in named
    # Tab goes through all that can be used, and comes round.
    browser.value("document.activeElement.blur()")
    visited = set()
    for _ in range(25):
        browser.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab",
                     windowsVirtualKeyCode=9)  # fmt: skip
        visited.add(browser.value("document.activeElement.id || document.activeElement.tagName"))
    assert {"theme", "model", "other", "crop", "method", "explained", "strength"} <= visited


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing(browser, url, tmp_path, dark):
    browser.visit(url, width=390 if dark else 1280, dark=dark)
    browser.drop(grey(tmp_path / "a.png", 204))
    browser.answered()
    browser.until("!document.querySelector('.busy')")
    browser.unfold()
    assert violations(browser) == []


# --- without a browser ---------------------------------------------------------------------------


def test_it_begins_with_the_style_sheet_of_all_pages(url):
    given = httpx.get(f"{url}/page.css").text
    assert given.startswith(shared_css()) and "--paper: #16171a" in given
    assert "--paper:" not in given.removeprefix(shared_css())
    assert httpx.get(f"{url}/theme.js").text == theme_js()


def test_nothing_is_loaded_from_elsewhere_and_the_policy_is_kept():
    for name in ("page.html", "page.css", "page.js", "crop.js"):
        text = (WEB / name).read_text("utf-8")
        assert not re.search(r"https?://|//[a-z]+\.", text.replace("http://www.w3.org", "")), name
        assert "innerHTML" not in text and "eval(" not in text, name
    page = (WEB / "page.html").read_text("utf-8")
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=", page)
    assert "'unsafe" not in POLICY and POLICY.startswith("default-src 'none'")
