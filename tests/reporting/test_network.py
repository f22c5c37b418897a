from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

from candid.records import Layer
from candid.reporting import network

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_every_layer_is_drawn_with_its_shape_and_parameters(plain) -> None:  # type: ignore[no-untyped-def]
    layers = plain.model.layers
    root = parse(network.draw_layers(layers, 64))
    text = " | ".join(t.text or "" for t in root.iter("text"))
    assert "3 × 64 × 64" in text and "Convolution 3 × 3" in text and "Max-pool 2 × 2" in text
    assert "32 × 62 × 62 · 896 parameters" in text
    assert "128 · 7,372,928 parameters" in text
    assert "Dropout, p = 0.25" in text
    learned = [int(n.replace(",", "")) for n in re.findall(r"([\d,]+) parameters", text)]
    assert sum(learned) == sum(layer.parameters for layer in layers)


def test_rows_do_not_overlap_and_nothing_leaves_the_drawing(plain) -> None:  # type: ignore[no-untyped-def]
    root = parse(network.draw_layers(plain.model.layers, 64))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    baselines = sorted(float(t.get("y", "")) for t in root.iter("text"))
    assert all(b - a >= 12 for a, b in pairwise(baselines))
    assert baselines[-1] <= height
    for rect in root.iter("rect"):
        x, w, y, h = (float(rect.get(k, "")) for k in ("x", "width", "y", "height"))
        assert x >= 0 and x + w <= 128 and y >= 0 and y + h <= height <= 10_000
    assert width == network.WIDTH


def test_wider_and_deeper_is_drawn_wider_and_thicker() -> None:
    layers = [
        Layer("a", "Conv2d", (8, 64, 64), 9),
        Layer("b", "Conv2d", (8, 16, 16), 9),
        Layer("c", "Conv2d", (512, 16, 16), 9),
    ]
    rects = [r for r in parse(network.draw_layers(layers, 64)).iter("rect") if r.get("stroke")]
    _, a, b, c = [(float(r.get("width", "")), float(r.get("height", ""))) for r in rects]
    assert a[0] > b[0] == c[0] and a[1] == b[1] < c[1]


def test_names_are_escaped_and_cut() -> None:
    name = "</svg><script>alert(1)</script>" * 3
    svg = network.draw_layers([Layer(name, name, (4, 8, 8), 1, '"&<')], 8)
    root = parse(svg)
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    assert all(len(t.text or "") <= 40 for t in root.iter("text"))


def test_a_single_number_and_no_layers_still_draw() -> None:
    parse(network.draw_layers([], 8))
    root = parse(network.draw_layers([Layer("x", "Custom", (), 1)], 1))
    assert "a number · 1 parameter" in [t.text for t in root.iter("text")]
