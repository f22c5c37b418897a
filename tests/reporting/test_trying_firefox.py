"""The model inside the report, in Firefox: held to torch as in Chromium."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_trying import HOSTILE, SIDE, Made, label, pictures

from reporting.firefox import FIREFOX, Firefox

pytestmark = pytest.mark.skipif(FIREFOX is None, reason="there is no Firefox to look with")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("deep"), "deep", "stretch", True, "integrated_gradients")


@pytest.fixture(scope="module")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    browser = Firefox(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def test_the_page_labels_as_the_program_does(firefox: Firefox, deep: Made) -> None:
    firefox.messages.clear()
    firefox.requests.clear()
    firefox.open(deep.page)
    classes, compared, shares = deep.labeller.classifier.classes, 0, []
    for kind, data in pictures().items():
        (crop,) = deep.labeller.crops(data)
        (expected,) = deep.labeller.answers([crop])
        found = label(firefox, data)
        off = np.abs(np.array(found["square"], np.int16).reshape(crop.pixels.shape) - crop.pixels)
        assert off.mean() < 1, kind
        if off.mean() > 0.1:  # decoded otherwise: nothing can be said of what follows
            continue
        assert found["engine"] == "wasm"
        seen = np.array(found["planes"]).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        assert np.abs(seen - expected.crop.pixels.astype(float)).max() <= 2, kind
        named = dict(zip(classes, found["probabilities"], strict=True))
        assert named == pytest.approx(expected.probability, abs=0.02), kind
        assert (found["unlike"], found["unsure"]) == (expected.unlike, bool(expected.unsure)), kind
        shares.append(expected.probability["Male"])
        compared += 1
    assert compared >= 8 and max(shares) - min(shares) > 0.2  # else the comparison says little
    assert firefox.messages == []
    assert firefox.requests  # pictures inside the page; the page itself, a file, is not told of
    assert all(r.startswith(("data:", "blob:")) for r in firefox.requests)


def chosen(firefox: Firefox, file: Path) -> str:
    """Choose a file as a reader does; what the page says then."""
    firefox.value("""(() => { window.tried = new Promise((done) => {
        document.getElementById("try").addEventListener("tried", done, { once: true });
      }); })()""")
    firefox.choose("#try-file", file)
    said: str = firefox.value(
        "window.tried.then(() => document.getElementById('try-said').innerText)"
    )
    return said


def test_hostile_files_are_named_and_the_next_picture_is_answered(
    firefox: Firefox, deep: Made, tmp_path: Path
) -> None:
    firefox.messages.clear()
    firefox.open(deep.page)
    for name, (data, words) in HOSTILE.items():
        (tmp_path / f"{name}.png").write_bytes(data)
        said = chosen(firefox, tmp_path / f"{name}.png")
        assert "cannot be read" in said and words in said, name
        assert firefox.value("document.getElementById('try-result').hidden"), name
    (tmp_path / "small.jpg").write_bytes(pictures()["small"])
    (expected,) = deep.labeller.answers(deep.labeller.crops(pictures()["small"]))
    assert expected.prediction in chosen(firefox, tmp_path / "small.jpg")
    assert firefox.value("document.querySelectorAll('#try-shares dt').length") == 2
    assert firefox.messages == []


def test_the_page_reaches_nobody(firefox: Firefox, deep: Made) -> None:
    """Its policy forbids it, also to a script that would."""
    firefox.open(deep.page)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        told = firefox.value(f"fetch('{address}').then(() => 'sent', () => 'refused')")
        assert told == "refused"
        with pytest.raises(TimeoutError):
            server.accept()
    firefox.messages.clear()
    firefox.requests.clear()
