from __future__ import annotations

import base64
import dataclasses
import functools
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import explained as made
import numpy as np
import pytest
import test_page
from numpy.typing import NDArray
from PIL import Image
from test_page import Page

from candid.errors import RunError
from candid.reporting import maps
from candid.reporting.explanation_view import build_inside_view, build_view, subset_masking_table
from candid.reporting.mean_faces import mean_face_texts
from candid.reporting.page import render
from candid.text import explanation as words
from candid.text.words import hundredths
from conftest import HOSTILE


def pixels_of(uri: str) -> NDArray[np.int64]:
    encoded = uri.split(",", 1)[1]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return np.asarray(image.convert("RGBA")).astype(int)


def text_of(page: Page) -> str:
    return " ".join(page.text.split())


# --- pictures ------------------------------------------------------------------------------------


def test_an_overlay_is_clear_at_zero_and_stronger_for_larger_values() -> None:
    values = np.zeros((8, 8))
    values[0] = np.arange(8) / 7
    values[1] = -np.arange(8) / 7
    values[2, 0] = np.nan
    values[3, 0], values[3, 1] = np.inf, -np.inf
    rgba = pixels_of(maps.overlay_image(values, 1.0))
    assert rgba.shape == (8, 8, 4)
    assert (rgba[4:, :, 3] == 0).all() and rgba[2, 0, 3] == 0
    for row in (0, 1):
        assert (np.diff(rgba[row, :, 3]) > 0).all()
    red, blue = rgba[..., 0], rgba[..., 2]
    assert (blue[0, 1:] > red[0, 1:]).all() and (red[1, 1:] > blue[1, 1:]).all()
    assert rgba[3, 0].tolist() == rgba[0, 7].tolist() and rgba[3, 1].tolist() == rgba[1, 7].tolist()
    # Twice the full strength is drawn as the full strength.
    assert (pixels_of(maps.overlay_image(2 * values[:1], 1.0))[0, 4:] == rgba[0, 7]).all()


def test_full_strength_ignores_single_pixels_and_undefined_ones() -> None:
    values = np.ones((100, 100))
    values[0, 0] = 1e6
    values[1] = np.nan
    values[2] = -1
    assert maps.full_strength(values) == 1
    sparse = np.zeros((100, 100))
    sparse[5, 5] = -3
    assert maps.full_strength(sparse) == 3
    assert maps.full_strength(np.zeros((3, 3))) == 1
    assert maps.full_strength(np.full((3, 3), np.nan)) == 1


def test_a_large_map_is_averaged_down() -> None:
    values = np.zeros((192, 384))
    values[:96] = 1
    values[::2] *= -1
    rgba = pixels_of(maps.overlay_image(values, 1.0))
    assert rgba.shape[:2] == (96, 96)
    assert rgba[10:40, :, 3].max() < 60  # rows that cancel
    assert pixels_of(maps.thumbnail_image(np.zeros((300, 300, 3), np.uint8))).shape == (96, 96, 4)


def test_photos_and_filters_are_what_they_were() -> None:
    face = made.drawn_face(40)
    assert np.abs(pixels_of(maps.thumbnail_image(face))[..., :3] - face).mean() < 8
    some = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    assert (pixels_of(maps.lossless_image(some))[..., :3] == some).all()


def test_regions_have_the_colours_of_the_legend(plain: Any) -> None:
    given = made.explained(plain)
    shown = build_view(given.explanation, given.maps)
    assert shown is not None and shown.template is not None
    rgba = pixels_of(shown.template.picture)
    for i, entry in enumerate(shown.legend):
        where = given.maps.template == i
        want = tuple(bytes.fromhex(entry.colour[1:]))
        # Colours are kept to the bit where they are not clear.
        assert {tuple(p[:3]) for p in rgba[where].tolist()} == {want}


# --- what stands beside what ---------------------------------------------------------------------


def test_faces_and_maps_are_those_of_the_arrays(plain: Any) -> None:
    given = made.explained(plain)
    shown = build_view(given.explanation, given.maps)
    assert shown is not None and len(shown.faces) == 6
    backdrops = dict(shown.backdrops)
    for e, face in enumerate(shown.faces):
        assert [o.title for o in face.overlays] == [m.title for m in given.explanation.methods]
        picture = pixels_of(backdrops[face.backdrop])[..., :3]
        assert np.abs(picture - given.maps.example_images[e]).mean() < 8
        for m, overlay in enumerate(face.overlays):
            values = given.maps.examples[m, e].astype(float)
            alpha = pixels_of(overlay.picture)[..., 3]
            assert alpha[np.unravel_index(np.abs(values).argmax(), values.shape)] == alpha.max()
            assert given.explanation.examples[e].id in overlay.about


def test_words_of_a_map_say_where_it_is_strongest(plain: Any) -> None:
    given = made.explained(plain)
    maps_of = given.maps.examples.copy()
    maps_of[2:4, 1] = 0
    maps_of[2:4, 1, 20, 2], maps_of[2, 1, 3, 12] = 5, -1  # of 24 rows and columns
    strengths = given.maps.strengths.copy()
    strengths[1, 0] = 0
    strengths[1, 0, 12, 23], strengths[1, 0, 1, 1] = 3, 1
    arrays = dataclasses.replace(given.maps, examples=maps_of, strengths=strengths)
    shown = build_view(given.explanation, arrays)
    assert shown is not None
    told = [o.about for o in shown.faces[1].overlays]
    assert told[2].endswith(": for: lower left 100%; against: upper middle 100%")
    assert told[3].endswith(": most lower left 100%")  # Grad-CAM has no sign here
    about = shown.means[1].overlays[0].about
    assert (
        about == "Mean strength of SmoothGrad, all images: most central right 75%, upper left 25%"
    )


def test_words_of_a_difference_leave_out_what_is_chance(plain: Any) -> None:
    given = made.explained(plain)
    values = np.zeros_like(given.maps.differences)
    values[:, 0, 1, 1], values[:, 0, 22, 22], values[:, 0, 12, 12] = 0.6, -0.6, 0.4
    half = np.full_like(given.maps.half_widths, 0.5)
    arrays = dataclasses.replace(given.maps, differences=values, half_widths=half)
    shown = build_view(given.explanation, arrays)
    assert shown is not None
    first, second = (pair.overlays[2].about for pair in shown.means[2].pairs[:2])
    assert first.endswith("; more: upper left 100%; less: lower right 100%")
    assert second.endswith("; none found")


def test_words_of_mean_faces_say_what_they_show(plain: Any) -> None:
    pixels = np.full((30, 30), 100, np.uint8)
    pixels[:10, 20:], pixels[20:, :10] = 250, 10

    def png(of: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        Image.fromarray(of).save(file, "PNG")
        return file.getvalue()

    grey = np.full((30, 30, 3), 127, np.uint8)
    grey[20:, 20:, 0] = 255
    pictures = {"mean-Male": png(pixels), "difference": png(grey), "mean-Female": b"no picture"}
    texts = mean_face_texts(dataclasses.replace(plain, pictures=pictures))
    n = plain.exploration.splits[0].counts[1]
    assert texts["mean-Male"] == (
        f"Mean of the {n:,} training images labelled Male: luma {pixels.mean() / 255:.2f} on "
        "average, lightest upper right, darkest lower left"
    )
    assert texts["difference"].endswith("labelled Female: they differ most lower right 100%")
    assert texts["mean-Female"].endswith("training images labelled Female")


def test_mean_maps_share_a_scale_and_empty_subsets_have_none(plain: Any) -> None:
    given = made.explained(plain)
    strengths = given.maps.strengths.copy()
    strengths[0, 1] = strengths[0, 0] / 4  # labelled Female: a quarter of everybody's
    given = dataclasses.replace(given, maps=dataclasses.replace(given.maps, strengths=strengths))
    shown = build_view(given.explanation, given.maps)
    assert shown is not None
    everybody, female = shown.means[0].overlays[:2]
    assert everybody.title.startswith("all images, 400 images of 133 people")
    strong, weak = (pixels_of(o.picture)[..., 3] for o in (everybody, female))
    assert strong.max() > 200 and weak.max() < 110
    titles = [o.title for m in shown.means for o in m.overlays]
    assert not any("nobody" in t for t in titles)
    signed = {m.method.name: len(m.signed) for m in shown.means}
    assert signed["gradient"] == 2 and signed["rise"] == 0


def test_a_difference_is_shown_where_its_interval_leaves_out_zero(plain: Any) -> None:
    given = made.explained(plain)
    values = np.zeros_like(given.maps.differences)
    half = np.full_like(given.maps.half_widths, 0.5)
    values[:, 0, 2, 3], values[:, 0, 4, 5], values[:, 0, 6, 7] = 0.6, -0.6, 0.4
    values[:, 0, 8, 8] = 9
    half[:, 0, 8, 8] = np.nan
    arrays = dataclasses.replace(given.maps, differences=values, half_widths=half)
    shown = build_view(given.explanation, arrays)
    assert shown is not None
    pair = shown.means[2].pairs[0]
    rgba = pixels_of(pair.overlays[2].picture)
    assert {tuple(map(int, p)) for p in np.argwhere(rgba[..., 3] > 0)} == {(2, 3), (4, 5)}
    assert rgba[2, 3, 2] > rgba[2, 3, 0] and rgba[4, 5, 0] > rgba[4, 5, 2]
    assert "At 12.3% of the pixels the 95% interval" in pair.note
    assert pair.title == "labelled Male beside labelled Female"
    # Without the share, it is not called zero or undefined.
    assert shown.means[2].pairs[1].note.startswith("Where the 95% interval")
    assert shown.means[2].groups[0].title.startswith("annotated Eyeglasses: yes")


def test_maps_of_another_explanation_are_refused(plain: Any) -> None:
    given = made.explained(plain)
    other = made.arrays_of(made.explanation(examples=3))
    with pytest.raises(RunError, match="examples has the shape") as caught:
        build_view(given.explanation, other)
    assert "candid explain" in caught.value.todo
    pictures = {"faces": given.inside_pictures["faces"][:3]}
    with pytest.raises(RunError, match="3 pictures came with 20 faces"):
        build_inside_view(given.inside, pictures)


# --- words ---------------------------------------------------------------------------------------


def test_the_lead_says_what_the_record_says() -> None:
    e = made.explanation()
    said = " ".join(words.explanation_lead(e))
    assert "400 validation images of 120 people were explained with 6 methods" in said
    assert "SmoothGrad, Integrated gradients, Grad-CAM and Occlusion passed" in said
    assert "Gradient failed at least one" in said
    worst = [m for m in e.maskings if m.region == "background"]
    assert "painting over the background costs most" in said
    for m in worst:
        loss = m.f1_loss
        assert f"{100 * loss.value:.1f} ({100 * loss.low:.1f} to {100 * loss.high:.1f})" in said
    assert "the same shape at random places costs 0.4" in said
    assert "agree on the mouth (Grad-CAM)" in said


def test_the_lead_does_not_flatter() -> None:
    bad = tuple((n, t, s, "failed") for n, t, s, _ in made.METHODS)
    e = made.explanation(methods=bad, people=None, masked=False)
    e = dataclasses.replace(e, claims=tuple(dataclasses.replace(c, state="failed")
                                            for c in e.claims))  # fmt: skip
    said = " ".join(words.explanation_lead(e))
    assert "No method passed its checks" in said and "people" not in said
    assert "painting" not in said
    assert "On no region do maps with a passing badge and masking agree." in said
    assert not any("Masking" in text for text in words.map_limits(e))
    one = made.explanation(methods=made.METHODS[3:4])
    assert "with 1 method:" in " ".join(words.explanation_lead(one))


def test_of_a_number_the_lead_says_how_far_it_moves_and_which_way() -> None:
    e = made.of_number(made.explanation())
    said = " ".join(words.explanation_lead(e))
    assert "raises and where it lowers the number" in said and "F1" not in said
    assert "painting over the background moves the number furthest" in said
    assert "by 9.00 (8.60 to 9.40) with mean colour" in said
    assert "400 images of 120 people" in said and "random places moves it by 1.00." in said
    assert "Without the background it is lower" in said
    assert e.number is not None
    some = [
        dataclasses.replace(m, excess_shift=dataclasses.replace(m.excess_shift, high=0.1))
        if (m.region, m.fill) == ("background", "blur")
        else m
        for m in e.number.maskings
    ]
    unsure = dataclasses.replace(e, number=dataclasses.replace(e.number, maskings=tuple(some)))
    assert "it is lower" not in " ".join(words.explanation_lead(unsure))
    assert any("38.2" in said for said in words.map_limits(e))


def test_of_a_number_maps_raise_and_lower_and_every_range_has_its_row(plain: Any) -> None:
    e = made.of_number(made.explanation())
    shown = build_view(e, made.arrays_of(e))
    assert shown is not None and e.number is not None
    face = shown.faces[0]
    assert "predicted 31.2 (20.0 to 45.1)" in face.sentence and "32.4" in face.sentence
    signed = [o for o, m in zip(face.overlays, e.methods, strict=True) if m.signed]
    assert signed and all("raising: " in o.about and "lowering: " in o.about for o in signed)
    assert any("raising and lowering" in o.title for o in shown.means[0].signed)
    assert shown.maskings[0][0] == "background" and len(shown.maskings[0][1]) == 3
    assert len(shown.subset_maskings) == len({m.subset for m in e.number.subset_maskings})


def test_undefined_losses_come_last_and_are_not_zero() -> None:
    e = made.explanation()
    nothing = made.undefined()
    maskings = tuple(
        dataclasses.replace(m, f1_loss=nothing, control_f1_loss=nothing)
        if m.region == "background"
        else m
        for m in e.maskings
    )
    e = dataclasses.replace(e, maskings=maskings)
    assert e.by_cost(r.name for r in e.regions)[0] == "jaw"
    assert e.by_cost(r.name for r in e.regions)[-1] == "background"
    assert hundredths(nothing) == "undefined"
    assert hundredths(dataclasses.replace(nothing, value=0.012)) == "1.2 (undefined)"


def test_every_class_and_group_has_its_row_of_maskings() -> None:
    record = made.explanation()
    table = subset_masking_table(record)
    assert [s.key for s, _ in table] == [
        s.key for s in record.subsets if s.kind in ("class", "group")
    ]
    for subset, cells in table:
        assert [m.region for m in cells] == [r.name for r in record.regions]
        assert {m.subset for m in cells} == {subset.key}
    assert subset_masking_table(dataclasses.replace(record, subset_maskings=())) == []


def test_the_reason_of_a_badge_is_what_failed() -> None:
    methods = {m.name: m for m in made.explanation().methods}
    assert words.badge_reason(methods["gradient"]) == "randomised weights 0.83 (to lie below 0.50)"
    assert words.badge_reason(methods["smoothgrad"]).endswith(
        "0.12 (to lie below 0.50); 2 more passed"
    )
    assert words.badge_reason(methods["rise"]) == "no check says anything about it"


# --- the page ------------------------------------------------------------------------------------


def hostile() -> dict[str, Any]:
    """Words that want to be markup, and a name longer than any line."""
    return {
        "classes": HOSTILE.classes,
        "target": HOSTILE.target,
        "ids": HOSTILE.ids,
        "groups": (HOSTILE.attributes[0], "a_very_long_name_" * 12),
        "regions": ("mouth", "</svg><script>alert(8)</script>", "x" * 80),
        "methods": (
            *made.METHODS[:1],
            ("odd", "<img src=x onerror=alert(9)>", False, "passed"),
        ),
    }


def little(make: Any, names: Any = None) -> Any:
    """A run of which little else is to be shown."""
    return make(names, n=300, splits=("test",), explored=False, trained=False)


def input_for(name: str, make: Any) -> Any:
    given = little(make, HOSTILE if name == "hostile" else None)
    bare: dict[str, Any] = {
        "methods": made.METHODS[3:4],
        "people": None,
        "regions": (),
        "examples": 0,
        "groups": (),
        "masked": False,
    }
    return made.explained(given, **{"plain": {}, "hostile": hostile(), "bare": bare}[name])


@pytest.fixture(scope="module")
def pages(make: Any) -> Callable[[str], Page]:
    return functools.cache(lambda name: Page(render(input_for(name, make))))


@pytest.fixture(params=["plain", "hostile", "bare"])
def page(request: pytest.FixtureRequest, pages: Callable[[str], Page]) -> Page:
    return pages(request.param)


def test_it_is_one_page_like_the_rest(page: Page) -> None:
    test_page.test_nothing_is_loaded_from_elsewhere(page)
    test_page.test_the_policy_lets_these_scripts_run_and_no_others(page)
    test_page.test_everything_seen_has_words(page)
    test_page.test_charts_have_their_data_packed_in_letters_that_end_nothing(page)
    assert page.unbalanced == []
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for t, a in page.elements if t == "a"]
    assert {"explanation", "inside"} <= set(links) <= set(ids)
    targets = {a["for"] for t, a in page.elements if t == "label" and "for" in a}
    assert targets <= set(ids)
    assert not re.search(r"\bnan\b|\bNone\b(?! of)", page.text)


def test_hostile_words_are_shown_as_words(pages: Callable[[str], Page]) -> None:
    page = pages("hostile")
    for word in (*HOSTILE.classes, hostile()["methods"][1][1], *hostile()["regions"]):
        assert word in page.text
    assert "what_it_was" not in page.text and HOSTILE.ids.format(0) in page.text
    styles = [a["style"] for _, a in page.elements if "style" in a]
    assert any(s.startswith("--e0:url(data:image/") for s in styles)
    for style in styles:
        assert re.fullmatch(r"[\w\s:;,()#%.+/=-]*", style), style[:200]


def test_figures_are_the_records(make: Any, pages: Callable[[str], Page]) -> None:
    given = input_for("plain", make)
    e = given.explanation
    text = text_of(pages("plain"))
    share = next(s for s in e.shares if (s.method, s.subset) == ("grad_cam", "wrong"))
    assert (
        f"{100 * share.share.value:.1f}% {100 * share.share.low:.1f}% to "
        f"{100 * share.share.high:.1f}% × {share.density.value:.2f}"
    ) in text
    lost = e.subset_maskings[-1].right_loss
    assert f"{100 * lost.value:.1f}% {100 * lost.low:.1f}% to {100 * lost.high:.1f}%" in text
    loss = next(m for m in e.maskings if m.region == "jaw" and m.fill == "blur").f1_loss
    row = f"jaw blur 400 {100 * loss.value:.1f} {100 * loss.low:.1f} to {100 * loss.high:.1f}"
    assert row.replace(" ", "") in text.replace(" ", "")
    assert "failed 0.83 0.79 to 0.87" in text
    check = next(m for m in e.methods if m.name == "gradient").checks[0]
    assert f"{check.title} to lie below 0.50" in text
    assert "fc2 0.31, conv1 0.12" in text and "It reads the layer conv2." in text
    assert "A sample of 400 of 2,945 images." in text
    assert "Adebayo" in text
    seen = given.inside
    assert f"{seen.mistakes} mistakes among 400 images" in text
    assert "16 of 32 are shown" in text


def test_what_there_is_not_is_left_out(make: Any, pages: Callable[[str], Page]) -> None:
    assert 'id="explanation"' not in render(little(make))
    text = text_of(pages("bare"))
    assert "More: parts of the face" not in text and "More: face by face" not in text
    without = dataclasses.replace(
        made.explained(little(make)), maps=None, inside=None, inside_pictures={}
    )
    page = Page(render(without))
    text = text_of(page)
    assert "More: parts of the face" in text and "More: face by face" not in text
    assert "Seen from inside" not in text and page.unbalanced == []
    blind = dataclasses.replace(made.explained(little(make)), inside_pictures={})
    page = Page(render(dataclasses.replace(blind, explanation=None, maps=None)))
    assert page.text.count("no picture") > 20 and "What it looks at" in page.text  # not checked


def test_undefined_is_said(make: Any) -> None:
    given = made.explained(little(make))
    e = given.explanation
    nothing = made.undefined(5)
    e = dataclasses.replace(
        e,
        shares=tuple(dataclasses.replace(s, share=nothing, density=nothing) for s in e.shares),
        maskings=tuple(
            dataclasses.replace(
                m, **{f.name: nothing for f in dataclasses.fields(m)
                      if f.name not in ("region", "fill")}
            )
            for m in e.maskings
        ),
        regions=tuple(dataclasses.replace(r, area=math.nan, n=0) for r in e.regions),
        methods=tuple(
            dataclasses.replace(
                m, checks=tuple(dataclasses.replace(c, figure=nothing) for c in m.checks)
            )
            for m in e.methods
        ),
    )  # fmt: skip
    page = Page(render(dataclasses.replace(given, explanation=e)))
    text = text_of(page)
    text = text.replace('"N/A", "NaN", "null"', "", 1)  # a word of data.missing, among the settings
    assert "undefined" in text and not re.search(r"\bnan\b", text, re.I)
    assert not {a.get("id") for _, a in page.elements} & {"region-shares", "region-masking"}


def test_one_kind_of_badge_and_no_other(pages: Callable[[str], Page]) -> None:
    page = pages("plain")
    badges = [a["class"] for _, a in page.elements if a.get("class", "").startswith("badge")]
    assert set(badges) == {"badge is-passed", "badge is-failed", "badge is-not-applicable"}
    chosen = [
        a["value"] for t, a in page.elements if t == "input" and "checked" in a and "value" in a
    ]
    assert chosen == ["face-0", "mean-1"]  # the first method that passed, not the first


def test_it_stays_small(make: Any) -> None:
    """Twelve faces, six methods, 64 × 64 pixels of noise: the worst that a usual run brings."""
    side, given = made.SIDE, little(make)
    before = len(render(given))
    try:
        made.SIDE = 64
        heavy = made.explained(given, examples=12)
    finally:
        made.SIDE = side
    assert heavy.maps.examples.shape == (6, 12, 64, 64)
    assert len(render(heavy)) - before < 1_100_000


def test_importing_it_is_light() -> None:
    code = (
        "import sys, candid.reporting.explanation_view\n"
        "heavy = {'altair', 'vl_convert', 'jinja2', 'torch', 'PIL', 'pandas', 'scipy'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
