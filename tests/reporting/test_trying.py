"""The model inside the report, in a real browser: held to torch, on pictures of many kinds."""

from __future__ import annotations

import base64
import io
import re
import shutil
import struct
import zlib
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from candid.data.decode import decode
from candid.explanation.attribution import saliency_maps
from candid.inference.abstaining import Rule
from candid.inference.classifier import Classifier
from candid.inference.classify import Labeller
from candid.inference.unfamiliar import Unfamiliar
from candid.models import flat
from candid.models.framing import Framing, TorchFramer, load_framing, save_framing
from candid.models.model import TorchEngine, load_whole_model
from candid.models.networks import build as build_network
from candid.models.pixels import PixelNetwork
from candid.models.weights import save_tensors
from candid.pipeline.embedding import embed_model
from candid.records import ModelCard, write_record
from candid.records.embedded import EmbeddedModel, FlatLook
from candid.reporting.page import render
from candid.runs import Run
from candid.settings import Config, ReportConfig
from candid.text.inputs import ReportInput
from candid.text.places import map_in_words
from candid.text.trying import LEFT_OUT
from reporting.browser import CHROMIUM, Browser
from reporting.conftest import BARE, build
from reporting.explained import explained

browsing = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look with")
TEMPLATES = resources.files("candid.reporting") / "templates"
SIDE, THRESHOLD = 32, 0.75


def lively(network: nn.Module, seed: int) -> nn.Module:
    """A network with random weights whose answers differ from picture to picture."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith("weight"):
            tensor.normal_(0, 1.6 / tensor[0].numel() ** 0.5, generator=generator)
    return network.eval()


@torch.no_grad()
def spread(head: nn.Module, network: nn.Module, side: int, by: float) -> None:
    """Make what a network gives vary about 0 by so much from picture to picture."""
    seen = torch.stack([torch.tensor(np.array(picture(side, side, i))) for i in range(12)])
    found = network(seen.permute(0, 3, 1, 2) / 64 - 2)
    head.weight.mul_(by / found.std(0)[:, None])
    head.bias.copy_((head.bias - found.mean(0)) * by / found.std(0))


def card_of(network: str, **options: Any) -> ModelCard:
    return ModelCard(
        network=network, options=options, target="Male", classes=("Female", "Male"), side=SIDE,
        mean=(0.5, 0.45, 0.4), std=(0.3, 0.28, 0.27), temperature=0.8, parameters=1,
        multiply_adds=1, layers=(), step=1, kept="last", flip_tta=network == "deep",
    )  # fmt: skip


def look() -> Unfamiliar:
    weight = np.random.default_rng(1).normal(0, 0.1, 448).astype(np.float32)
    return Unfamiliar(weight, 0.3, 0.01, 100, 90, 100, 0.4, 2.5, 12, 3.0)


def rendered(inputs: ReportInput) -> str:
    """A report without charts: nobody looks at them here, and they take the longest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("candid.reporting.page._charts", lambda _: {})
        return render(inputs)


class Made:
    """A model with random weights, what labels with it here, and its report."""

    def __init__(self, folder: Path, network: str, fit: str, framed: bool, passed: str) -> None:
        options: dict[str, Any] = {}
        if network == "deep":
            options = {"width": 8, "ensemble_size": 2, "window": "0.1 0.2 0.8 0.95"}
        self.card, self.fit = card_of(network, **options), fit
        weights, frames = folder / "model.safetensors", folder / "framing.safetensors"
        made = build_network(network, side=SIDE, n_classes=2, **options)
        spread(made.head if network == "deep" else made.fc2, lively(made, 5), SIDE, 1.2)
        save_tensors(weights, made.state_dict(), {})
        self.whole = load_whole_model(weights, self.card)
        framing = None
        if framed:
            framing = lively(Framing(SIDE, width=4), 3)
            framing.units.fill_(1)
            framing.precision.copy_(torch.eye(5))
            framing.centre.fill_(0.01)
            spread(framing.head, framing.estimate, SIDE, 0.2)
            framing.limit.fill_(0.35)
            framing.rest_limit.fill_(0.45)
            save_framing(frames, framing)
            framing = load_framing(frames)
        classifier = Classifier(
            self.card, fit, 10**6, Rule(THRESHOLD, ""), TorchEngine(self.whole),
            None if framing is None else TorchFramer(framing),
        )  # fmt: skip
        self.labeller = Labeller(classifier, look())
        with pytest.MonkeyPatch.context() as patch:
            # So that what differs is not the rounding of weights.
            patch.setattr(flat, "MIN_BITS", dict.fromkeys(flat.MIN_BITS, 16))
            network_of = flat.flat_network(weights, self.card)
            frames_of = None if framing is None else flat.flat_framing(frames)
        assert network_of is not None
        one = look()
        embedded = EmbeddedModel(
            network_of, frames_of,
            FlatLook(tuple(one.weight.tolist()), one.limit, one.narrowest, one.widest,
                     one.smallest, one.faintest, one.describe()),
            fit, 10**6, THRESHOLD, "What is promised.",
        )  # fmt: skip
        methods = ((passed, passed.capitalize(), True, "passed"),)
        inputs = explained(replace(build(n=400, **BARE), model=self.card), methods=methods)
        self.page = folder / "report.html"
        self.page.write_text(rendered(replace(inputs, embedded=embedded)), encoding="utf-8")


@pytest.fixture(scope="module")
def deep(tmp_path_factory) -> Made:
    folder = tmp_path_factory.mktemp("deep")
    return Made(folder, "deep", "stretch", True, "integrated_gradients")


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Made:
    return Made(tmp_path_factory.mktemp("plain"), "plain", "crop", False, "occlusion")


def picture(width: int, height: int, seed: int, mode: str = "RGB") -> Image.Image:
    """Smooth shapes, as coarse as a photograph's."""
    bands = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 5, bands), np.uint8)
    return Image.fromarray(coarse.squeeze(), mode).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def pictures() -> dict[str, bytes]:
    jpeg = {"quality": 92, "subsampling": 0}
    return {
        "small": encoded(picture(SIDE, SIDE, 1), "JPEG", **jpeg),
        "twice": encoded(picture(2 * SIDE, 2 * SIDE, 2), "PNG"),
        "odd": encoded(picture(57, 71, 3), "PNG"),
        "grey": encoded(picture(40, 50, 4, "L"), "JPEG", **jpeg),
        "clear": encoded(picture(60, 50, 5, "RGBA"), "PNG"),
        "reduced": encoded(picture(430, 391, 6), "PNG"),
        "on its side": encoded(picture(64, 48, 7), "JPEG", exif=turned(6), **jpeg),
        "web": encoded(picture(48, 48, 8), "WEBP", lossless=True),
        "large": encoded(picture(392, 264, 9), "JPEG", **jpeg),
        "wide": encoded(picture(200, 40, 10), "PNG"),
        "flat": encoded(Image.new("RGB", (50, 50), (90, 90, 90)), "PNG"),
    }


def label(browser: Browser, data: bytes, more: str = "") -> dict[str, Any]:
    """What the page says of a picture."""
    given = base64.b64encode(data).decode()
    found: dict[str, Any] = browser.value(f"""(async () => {{
      const bytes = Uint8Array.from(atob("{given}"), (letter) => letter.charCodeAt(0));
      const found = await candidTry.label(bytes{more});
      const {{ probabilities, unlike, unsure, frame, width, height, engine }} = found;
      return {{ probabilities, unlike, unsure, frame, width, height, engine,
        square: [...found.square], planes: [...found.planes.data] }};
    }})()""")
    return found


@browsing
@pytest.mark.parametrize("name", ["deep", "plain"])
def test_the_page_labels_as_the_program_does(browser, request, name):
    made = request.getfixturevalue(name)
    browser.open(made.page, width=390)
    c = made.labeller.classifier
    moved, reasons, shares = 0, set(), []
    for kind, data in pictures().items():
        crop = made.labeller.crops(data)[0]
        (expected,) = made.labeller.answers([crop])
        found = label(browser, data)
        square = np.array(found["square"], np.int16).reshape(crop.pixels.shape)
        off = np.abs(square - crop.pixels)
        # A large JPEG is decoded at a fraction by its decoder; here its cosines are cut instead.
        # Some versions of Pillow resample down before they resample across.
        same = kind in ("small", "twice", "flat")
        assert off.max() <= (0 if same else 6 if kind == "large" else 2), kind
        assert off.mean() < 1, kind
        assert (found["width"], found["height"]) == (crop.width, crop.height), kind
        if off.mean() > 0.1:
            continue
        assert found["engine"] == "wasm"
        seen = np.array(found["planes"]).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        assert np.abs(seen - expected.crop.pixels.astype(float)).max() <= 2, kind
        if expected.crop.frame is not None:
            frame = np.array([*found["frame"], 0, 0, 1]).reshape(3, 3)
            assert np.allclose(frame, expected.crop.frame, atol=1e-3), kind
            moved += not np.array_equal(expected.crop.frame, np.eye(3))
        named = dict(zip(c.classes, found["probabilities"], strict=True))
        # A random network makes much of a level here or there.
        near = 5e-3 if same else 0.02
        assert named == pytest.approx(expected.probability, abs=near), kind
        assert (found["unlike"], found["unsure"]) == (expected.unlike, bool(expected.unsure)), kind
        reasons |= {expected.unlike.partition("(")[0], bool(expected.unsure)}
        shares.append(expected.probability["Male"])
    assert max(shares) - min(shares) > 0.2  # else the comparison says little
    assert {True, False} < reasons and len(reasons) >= 5 and len(shares) >= 8
    assert moved >= 2 or name == "plain"
    assert browser.messages == []


@browsing
def test_plain_javascript_gives_the_same(browser, deep):
    browser.open(deep.page)
    data = pictures()["twice"]
    one, other = label(browser, data), label(browser, data, ", { plain: true }")
    assert (one["engine"], other["engine"]) == ("wasm", "plain")
    assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


@browsing
@pytest.mark.parametrize("bits", [7, 12])
def test_weights_of_few_bits_are_read(browser, deep, bits):
    most = 2 ** (bits - 1) - 1
    numbers = np.array([[-most, 5, 0, most], [-1, most, -most, 1]])
    scale, bias = np.array([0.5, 0.25], "<f4"), np.array([3, -7], "<f4")
    planes = [(numbers & 255).astype(np.uint8), (numbers >> 8).astype(np.int8)]
    data = b"".join(x.tobytes() for x in (scale, bias, *planes[: 1 + (bits > 8)]))
    x = np.array([1.0, 2.0, 3.0, 4.0])
    browser.open(deep.page)
    found = browser.value(f"""(async () => {{
      const about = {{ input: [4, 1, 1], layers: [{{ kind: "linear", from: 0, tensor: 0 }}],
        tensors: [{{ rows: 2, columns: 4, bits: {bits}, at: 0 }}] }};
      const engine = await candidTry.engine(candidTry.Network.numbers(about, false), null);
      const net = new candidTry.Network(about, Uint8Array.from({list(data)}), engine);
      return [...net.answer(Float32Array.from({x.tolist()}))];
    }})()""")
    assert found == pytest.approx(((numbers * scale[:, None]) @ x + bias).tolist())


def test_large_layers_take_fewer_bits(tmp_path):
    wide = build_network("deep", side=SIDE, n_classes=2, width=32, ensemble_size=1)
    file = tmp_path / "wide.safetensors"
    save_tensors(file, wide.state_dict(), {})
    found = flat.flat_network(file, card_of("deep", width=32, ensemble_size=1))
    assert found is not None
    bits = {t.rows * t.columns: t.bits for t in found.tensors}
    assert bits[256 * 2304] == 8 and bits[32 * 108] == 15  # 590,000 weights, and 3,500
    taken = sum(8 * t.rows + t.rows * t.columns * (1 + (t.bits > 8)) for t in found.tensors)
    assert len(found.weights) == taken


@browsing
@pytest.mark.parametrize("name", ["deep", "plain"])
def test_the_map_is_the_program_s(browser, request, name):
    made = request.getfixturevalue(name)
    method = {"deep": "integrated_gradients", "plain": "occlusion"}[name]
    browser.open(made.page)
    data = pictures()["small"]
    planes = torch.tensor(label(browser, data)["planes"]).reshape(1, 3, SIDE, SIDE)
    w = made.whole
    assert isinstance(w, PixelNetwork)
    given = base64.b64encode(data).decode()
    found = browser.value(f"""(async () => {{
      const bytes = Uint8Array.from(atob("{given}"), (letter) => letter.charCodeAt(0));
      const found = await candidTry.label(bytes);
      return [...await candidTry.map(found, async () => {{}})];
    }})()""")
    images = planes * w.scale - w.shift
    expected = saliency_maps(w.network, images, method=method, flip_tta=made.card.flip_tta)
    assert np.corrcoef(found, expected.ravel())[0, 1] > 0.999
    assert np.allclose(found, expected.ravel(), atol=0.02 * np.abs(expected).max())


def header_png(width: int, height: int) -> bytes:
    """A picture that claims so many pixels and holds none of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


HOSTILE = {
    "empty": (b"", "an empty file"),
    "text": (b"<script>alert(1)</script>", "not a picture in a known format"),
    "huge": (header_png(60_000, 60_000), "60,000 × 60,000 pixels"),
    "none": (header_png(0, 10), "damaged or cut short"),
    "hollow": (header_png(20, 20), "damaged or cut short"),
    "cut PNG": (pictures()["twice"][:-300], "damaged or cut short"),
    "cut JPEG": (pictures()["large"][:-900], "damaged or cut short"),
    "no JPEG": (b"\xff\xd8\xff\xe0", "damaged or cut short"),
    "no WebP": (b"RIFF\x00\x00\x00\x10WEBPVP8L", "damaged or cut short"),
    "TIFF": (encoded(picture(20, 20, 1), "TIFF"), "do not decode TIFF"),
}


def give(browser: Browser, data: bytes, how: str) -> str:
    """Hand the page a file as a reader does; what it says then."""
    given = base64.b64encode(data).decode()
    aim = {
        "choose": "Object.assign(document.getElementById('try-file'), { files: data.files })"
        ".dispatchEvent(new Event('change'))",
        "drop": "document.body.dispatchEvent(new DragEvent('drop', "
        "{ dataTransfer: data, bubbles: true, cancelable: true }))",
    }[how]
    said: str = browser.value(f"""(async () => {{
      const data = new DataTransfer();
      const bytes = Uint8Array.from(atob("{given}"), (letter) => letter.charCodeAt(0));
      data.items.add(new File([bytes], "a.png"));
      const tried = new Promise((done) => {{
        document.getElementById("try").addEventListener("tried", done, {{ once: true }});
      }});
      {aim};
      await tried;
      return document.getElementById("try-said").innerText;
    }})()""")
    return said


@browsing
def test_a_reader_s_picture_is_answered_and_hostile_files_are_named(browser, plain):
    browser.open(plain.page, width=390)
    for name, (data, words) in HOSTILE.items():
        said = give(browser, data, "choose")
        assert "cannot be read" in said and words in said, name
        assert browser.value("document.getElementById('try-result').hidden"), name
    requests = len(browser.requests)
    answers = {kind: give(browser, pictures()[kind], "drop") for kind in ("odd", "wide", "small")}
    assert len(browser.requests) == requests
    assert "another shape (200 × 40)" in answers["wide"] and "No answer" in answers["wide"]
    told = " ".join(answers.values())
    assert re.search(r"labelled (Female|Male): \d+\.\d%|Not sure: the highest probability", told)
    drawn = "document.getElementById('try-picture').toDataURL()"
    with_map = browser.value(drawn)
    told = browser.value("document.getElementById('try-picture').ariaLabel")
    given = base64.b64encode(pictures()["small"]).decode()
    shown = browser.value(f"""(async () => {{
      const bytes = Uint8Array.from(atob("{given}"), (letter) => letter.charCodeAt(0));
      return [...await candidTry.map(await candidTry.label(bytes), async () => {{}})];
    }})()""")
    assert "a map (Occlusion) of what spoke for" in told
    assert told.endswith(map_in_words(np.reshape(shown, (SIDE, SIDE))))
    browser.value("document.querySelector('#try-map input').click()")
    assert browser.value(drawn) != with_map
    assert browser.value("document.documentElement.scrollWidth") == 390
    assert browser.value("document.querySelectorAll('#try-shares dt').length") == 2
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value("getComputedStyle(document.getElementById('try')).display") == "none"
    browser.call("Emulation.setEmulatedMedia", media="")
    assert browser.messages == []


# --- without a browser ---------------------------------------------------------------------------


def test_the_kernel_is_its_source():
    wasmtime = pytest.importorskip("wasmtime")
    source = (TEMPLATES / "product.wat").read_text("utf-8")
    assert wasmtime.wat2wasm(source) == (TEMPLATES / "product.wasm").read_bytes()


def test_only_a_page_with_a_model_may_compile(deep):
    def policy(page: str) -> str:
        return re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]  # type: ignore

    bare = rendered(replace(build(n=400, **BARE), not_embedded="It is not inside."))
    assert "It is not inside." in bare and 'id="try"' not in bare and "candidTry" not in bare
    assert "wasm" not in policy(bare)
    page = deep.page.read_text("utf-8")
    assert "&#39;wasm-unsafe-eval&#39;" in policy(page)
    assert "connect-src" not in policy(page) and "default-src &#39;none&#39;" in policy(page)


def test_the_setting_leaves_the_model_out(deep, tmp_path):
    """Of the same run: its model, or none."""
    write_record(tmp_path / "model.json", deep.card)
    shutil.copy(deep.page.parent / "model.safetensors", tmp_path)
    for setting, kind in (("on", EmbeddedModel), ("off", str)):
        config = Config(report=ReportConfig(model=setting))
        found = embed_model(Run(tmp_path, config))
        assert isinstance(found, kind)
    assert found == LEFT_OUT


def test_no_script_reaches_out():
    for name in ("try.js", "try_looks.js", "try_network.js", "try_picture.js"):
        code = (TEMPLATES / name).read_text("utf-8")
        assert not re.search(r"https?:|fetch\(|XMLHttp|WebSocket|sendBeacon|innerHTML|eval\(", code)


def test_decoding_is_told_apart(plain):
    """The pictures of these tests are of the kinds that they are there for."""
    image = Image.open(io.BytesIO(pictures()["large"]))
    image.draft(None, (2 * SIDE, 2 * SIDE))
    assert image.size != (392, 264)
    made = decode(pictures()["on its side"], side=SIDE, fit="crop", max_pixels=10**6)
    assert (made.width, made.height) == (48, 64)
