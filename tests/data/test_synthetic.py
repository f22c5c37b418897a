"""Synthetic faces against closed forms, counts and their own masks."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from candid.data.synthetic import (
    REGIONS,
    TARGET,
    Face,
    FaceWorld,
    Plant,
    demo_world,
    draw_face,
    draw_faces,
    is_synthetic,
    plan,
    write_faces,
)
from candid.data.synthetic.canvas import NUMBER, Canvas
from candid.data.synthetic.face import SKIN_BINS, skin_lab, skin_rgb, skin_tone_bin
from candid.data.synthetic.world import CUES
from candid.errors import ConfigError, OutputError

MANY = FaceWorld(n=4000, people=1000)


@pytest.fixture(scope="module")
def many():
    return plan(MANY)


@pytest.fixture(scope="module")
def still() -> list[Face]:
    """Faces under flat, neutral light, sharp and without noise, looking straight ahead."""
    world = FaceWorld(n=60, people=60, light=0, blur=0, noise=0, hats=0, glasses=0, seed=5)
    return [
        replace(f, tilt=0.0, yaw=0.0, pitch=0.0, hair_style="Short", beard=False, moustache=False)
        for f in plan(world).faces
    ]


def within(count: int, n: int, share: float, sigmas: float = 4.5) -> bool:
    """Whether a count is what a binomial would give, but for one case in 100,000."""
    return abs(count - n * share) <= sigmas * math.sqrt(n * share * (1 - share)) + 0.5


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of sRGB colours of 0 to 255, by the closed form of CIE 15 and IEC 61966-2-1."""
    c = np.asarray(rgb, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    t = linear @ to_xyz.T / (0.95047, 1.0, 1.08883)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ita(rgb: np.ndarray) -> np.ndarray:
    lightness, _, b = np.moveaxis(lab(rgb), -1, 0)
    return np.degrees(np.arctan2(lightness - 50, b))


# --- the same world, the same pixels -------------------------------------------------------------


def test_the_same_world_gives_the_same_pixels_and_another_seed_others():
    world = demo_world(12, side=32, seed=3)
    one, two, other = draw_faces(world), draw_faces(world), draw_faces(replace(world, seed=4))
    np.testing.assert_array_equal(one.images, two.images)
    np.testing.assert_array_equal(one.regions, two.regions)
    assert one.truth.faces == two.truth.faces
    assert (one.images != other.images).mean() > 0.5
    assert one.images.shape == (12, 32, 32, 3)
    assert one.images.dtype == one.regions.dtype == np.uint8


def test_the_number_of_processes_changes_nothing():
    world = demo_world(420, side=16)  # as many as are needed for a second process to start
    alone, shared = draw_faces(world, workers=1), draw_faces(world, workers=2)
    np.testing.assert_array_equal(alone.images, shared.images)
    np.testing.assert_array_equal(alone.regions, shared.regions)


def test_a_picture_does_not_depend_on_how_many_come_after_it():
    few, more = (plan(FaceWorld(n=n, people=10, seed=1)) for n in (20, 40))
    poses = [{(f.tilt, f.noise_seed) for f in p.faces} for p in (few, more)]
    assert poses[0] < poses[1]


def test_a_plant_changes_nothing_that_it_does_not_touch():
    bare = plan(FaceWorld(n=300))
    planted = plan(FaceWorld(n=300, planted=(Plant("Wearing_Hat", "weak cue", 1.0),)))
    hat = bare.attributes["Wearing_Hat"].data == 1
    np.testing.assert_array_equal(bare.label, planted.label)
    same = np.array([a == b for a, b in zip(bare.faces, planted.faces, strict=True)])
    assert same[~hat].all()
    assert not same[hat].all()


@pytest.mark.parametrize("side", [16, 48, 64, 161, 256])
def test_any_side(side):
    face = plan(FaceWorld(n=15)).faces[0]
    image, regions = draw_face(face, side)
    assert image.shape == (side, side, 3)
    assert regions.shape == (side, side)
    # The same face: reduced to 16 pixels it is the same picture but for noise and edges.
    clean = replace(face, noise=0.0, blur=0.0)
    small = Image.fromarray(draw_face(clean, side)[0]).resize((16, 16), Image.Resampling.BOX)
    large = Image.fromarray(draw_face(clean, 320)[0]).resize((16, 16), Image.Resampling.BOX)
    difference = np.abs(np.asarray(small, float) - np.asarray(large, float))
    assert np.median(difference) < 3
    assert difference.mean() < 6


# --- the shares that were asked for --------------------------------------------------------------


def test_shares_are_what_was_asked_for(many):
    n, people = MANY.n, MANY.head_count
    kinds = dict(zip(many.person.tolist(), many.clean_label.tolist(), strict=True))
    assert sum(kinds.values()) == round(0.58 * people)
    assert within(int((many.label != many.clean_label).sum()), n, MANY.label_noise)
    shares = {"Wearing_Hat": MANY.hats, "Eyeglasses": MANY.glasses, "Smiling": MANY.smiles,
              "Earrings": MANY.earrings, "Mouth_Open": MANY.open_mouths}  # fmt: skip
    for name, share in shares.items():
        assert within(int(many.attributes[name].data.sum()), n, share), name
    for name, share in {"Beard": MANY.beards, "Moustache": MANY.moustaches}.items():
        owners = dict(zip(many.person.tolist(), many.attributes[name].data.tolist(), strict=True))
        assert within(sum(owners.values()), people, share), name
    tone = many.attributes["Skin_Tone"]
    for code, name in enumerate(tone.values):
        owners = np.unique(many.person[tone.data == code])
        assert within(len(owners), people, 1 / len(SKIN_BINS)), name


def test_without_plants_no_attribute_goes_with_the_label(many):
    for name in ("Wearing_Hat", "Eyeglasses", "Smiling", "Earrings", "Mouth_Open"):
        yes = many.attributes[name].data == 1
        p = many.label.mean()
        spread = math.sqrt(p * (1 - p) * (1 / yes.sum() + 1 / (~yes).sum()))
        assert abs(many.label[yes].mean() - many.label[~yes].mean()) < 4.5 * spread, name


# --- people and splits ---------------------------------------------------------------------------


def test_nobody_stands_in_two_splits_and_all_of_them_are_filled(many):
    words = {}
    for person, split in zip(many.person.tolist(), many.split.tolist(), strict=True):
        assert words.setdefault(person, split) == split
    counts = {s: list(words.values()).count(s) for s in set(words.values())}
    assert counts == {"train": 800, "validation": 100, "test": 100}


@pytest.mark.parametrize("n", [3, 15, 16, 23])
def test_small_worlds_fill_all_splits_too(n):
    assert set(plan(FaceWorld(n=n)).split) == {"train", "validation", "test"}


def test_a_person_keeps_what_belongs_to_a_person(many):
    kept = ("jaw", "brow", "mouth", "head_width", "chin", "eye_size", "nose_size", "skin_tone",
            "hair", "hair_style", "eye", "beard", "moustache", "freckles")  # fmt: skip
    varies = ("tilt", "zoom", "light", "noise_seed", "back_near")
    by_person: dict[int, list[Face]] = {}
    for person, face in zip(many.person.tolist(), many.faces, strict=True):
        by_person.setdefault(person, []).append(face)
    assert len(by_person) == MANY.head_count
    assert max(map(len, by_person.values())) > 3
    for faces in by_person.values():
        for name in kept:
            assert len({getattr(f, name) for f in faces}) == 1, name
        for name in varies:
            assert len({getattr(f, name) for f in faces}) == len(faces), name
    assert len({faces[0].jaw for faces in by_person.values()}) == len(by_person)


# --- the label -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cue", CUES)
def test_the_label_is_the_stated_function_of_the_stated_part(cue):
    p = plan(FaceWorld(n=400, cue=cue, label_noise=0.0))
    said = {
        "jaw and brow": lambda f: 0.6 * f.jaw + 0.4 * f.brow > 0,
        "jaw": lambda f: f.jaw > 0,
        "brow": lambda f: f.brow > 0,
        "mouth": lambda f: f.mouth > 0,
        "hat": lambda f: f.hat,
    }
    for other, decides in said.items():
        agree = np.mean([decides(f) == bool(y) for f, y in zip(p.faces, p.label, strict=True)])
        tied = {cue, other} <= {"jaw and brow", "jaw", "brow"} and "jaw and brow" in (cue, other)
        if other == cue:
            assert agree == 1
        elif not tied:
            assert 0.3 < agree < 0.7, other
    assert p.cue_agrees.all()


def test_jaw_and_brow_stay_within_their_scale_and_neither_measures_the_cue_alone(many):
    jaw, brow = (np.array([getattr(f, k) for f in many.faces]) for k in ("jaw", "brow"))
    assert np.abs(jaw).max() <= 1
    assert np.abs(brow).max() <= 1
    np.testing.assert_allclose(0.6 * jaw + 0.4 * brow, 0.75 * many.cue, atol=1e-12)
    assert (jaw - 0.75 * many.cue).std() > 0.05
    assert (brow - 0.75 * many.cue).std() > 0.05


def test_a_weaker_cue_brings_the_classes_together():
    strong, weak = (plan(FaceWorld(n=300, cue="jaw", cue_strength=s)) for s in (1.0, 0.2))
    for p, most in ((strong, 1.0), (weak, 0.2)):
        size = np.abs([f.jaw for f in p.faces])
        assert size.max() <= most
        assert size.min() >= 0.4 * most


# --- planted bias, measured ----------------------------------------------------------------------


def test_a_weak_cue_misleads_in_half_of_its_strength_and_only_in_its_group():
    world = FaceWorld(n=2500, hats=0.4, planted=(Plant("Wearing_Hat", "weak cue", 0.6),))
    p = plan(world)
    hat = p.attributes["Wearing_Hat"].data == 1
    assert p.cue_agrees[~hat].all()
    assert within(int((~p.cue_agrees[hat]).sum()), int(hat.sum()), 0.3)
    drawn = np.array([0.6 * f.jaw + 0.4 * f.brow > 0 for f in p.faces])
    np.testing.assert_array_equal(drawn, p.cue > 0)


@pytest.mark.parametrize("effect", ["weak cue", "label noise"])
def test_a_plant_stays_in_its_split(effect):
    p = plan(FaceWorld(n=600, label_noise=0.0, hats=0.5,
                       planted=(Plant("Wearing_Hat", effect, 0.5, split="test"),)))  # fmt: skip
    spoiled = ~p.cue_agrees if effect == "weak cue" else p.label != p.clean_label
    assert spoiled[p.split == "test"].any()
    assert not spoiled[p.split != "test"].any()


def test_a_shortcut_holds_in_its_split_alone():
    world = FaceWorld(n=2500, label_noise=0.1, glasses=0.2,
                      planted=(Plant("Eyeglasses", "shortcut", 0.7, split="train"),))  # fmt: skip
    p = plan(world)
    glasses, train = p.attributes["Eyeglasses"].data == 1, p.split == "train"
    for chosen, shares in ((train, (0.3 * 0.2, 0.7 + 0.3 * 0.2)), (~train, (0.2, 0.2))):
        for label, share in enumerate(shares):
            of = chosen & (p.label == label)
            assert within(int(glasses[of].sum()), int(of.sum()), share)


def test_label_noise_can_be_planted_in_a_group():
    plant = Plant("Skin_Tone", "label noise", 0.3, value="Dark")
    p = plan(FaceWorld(n=2500, people=1250, planted=(plant,)))
    tone = p.attributes["Skin_Tone"]
    dark = tone.data == tone.values.index("Dark")
    wrong = p.label != p.clean_label
    assert within(int(wrong[dark].sum()), int(dark.sum()), 0.3)
    assert within(int(wrong[~dark].sum()), int((~dark).sum()), 0.02)


def test_the_demo_plants_exactly_one_bias():
    (plant,) = demo_world().planted
    assert (plant.attribute, plant.effect) == ("Wearing_Hat", "weak cue")


# --- masks ---------------------------------------------------------------------------------------

CHANGES = {  # what is changed, and the regions (before or after) that may differ
    "mouth": ({"mouth": 1.0, "lips": 1.3, "mouth_open": True}, {"mouth"}),
    "smile": ({"mouth_open": True, "opening": 1.0}, {"mouth"}),
    "moustache": ({"moustache": True}, {"mouth"}),
    "brow": ({"brow": 1.0}, {"brows", "forehead", "hair"}),
    "eye": ({"eye": (250, 10, 10)}, {"eyes"}),
    "hair": ({"hair": (20, 250, 20)}, {"hair", "brows"}),
    "hat": ({"hat": True, "hat_style": "Beanie"}, {"hat", "hair", "background"}),
    "glasses": ({"glasses": True, "dark_lenses": True}, {"glasses"}),
    "clothes": ({"clothes": (1, 2, 250)}, {"clothes"}),
    "beard": ({"beard": True}, {"jaw", "mouth"}),
    "backdrop": ({"back_near": (0, 0, 0), "back_far": (0, 0, 0)}, {"background"}),
}


def reach(face: Face, names: set[str], side: int = 64) -> np.ndarray:
    """The pixels that a region touches, however little, and those beside them."""
    _, regions = draw_face(face, 4 * side)
    fine = np.isin(regions, [REGIONS.index(name) for name in names])
    touched = np.pad(fine.reshape(side, 4, side, 4).any(axis=(1, 3)), 1)
    return np.any([touched[i : i + side, j : j + side] for i in range(3) for j in range(3)], axis=0)


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_lies_in_its_region(still, change):
    fields, allowed = CHANGES[change]
    changed = 0
    for face in still[:12]:
        face = replace(face, smiling=False, mouth_open=False, brow=-1.0, volume=0.0)
        other = replace(face, **fields)
        before, after = (draw_face(f, 64)[0].astype(int) for f in (face, other))
        differs = np.abs(before - after).max(axis=2) > 2
        assert not (differs & ~reach(face, allowed) & ~reach(other, allowed)).any()
        changed += int(differs.sum())
    assert changed > 12 * 5


def test_the_jaw_moves_pixels_along_the_jaw_alone(still):
    for face in still[:12]:
        round_, regions_round = draw_face(replace(face, jaw=-1.0), 64)
        square, regions_square = draw_face(replace(face, jaw=1.0), 64)
        differs = np.abs(round_.astype(int) - square).max(axis=2) > 2
        jaw = REGIONS.index("jaw")
        lower = reach(replace(face, jaw=-1.0), {"jaw"}) | reach(replace(face, jaw=1.0), {"jaw"})
        below_brows = np.arange(64)[:, None] > 26
        assert (regions_square == jaw).sum() > 1.08 * (regions_round == jaw).sum()
        assert not (differs & ~below_brows).any()
        assert (differs & lower).sum() > 0.6 * differs.sum()


def test_the_mouth_region_does_not_give_the_mouth_away(still):
    """It is the place where a mouth may be, not the lips that happen to be there."""
    for face in still[:12]:
        small, wide = (
            draw_face(replace(face, mouth=m), 64)[1] == REGIONS.index("mouth") for m in (-1.0, 1.0)
        )
        assert (small & wide).sum() > 0.8 * (small | wide).sum()


def test_every_part_of_a_face_is_somewhere():
    world = FaceWorld(n=40, people=40, hats=0.5, glasses=0.5, earrings=0.5)
    faces = draw_faces(world)
    everywhere = {"background", "forehead", "brows", "eyes", "nose", "cheeks", "mouth", "jaw",
                  "neck", "clothes"}  # fmt: skip
    for face, regions in zip(faces.truth.faces, faces.regions, strict=True):
        seen = {REGIONS[r] for r in np.unique(regions)}
        hidden = {"eyes"} if face.glasses and face.dark_lenses else set()
        assert everywhere - hidden <= seen
        assert ("hat" in seen) == face.hat
        assert ("glasses" in seen) == face.glasses
        if face.hair_style == "Bald":
            assert "hair" not in seen


def test_regions_turn_with_the_head(still):
    """The forehead lies above the jaw along the tilted axis, as far as the tilt says."""
    for tilt in (-20.0, 0.0, 20.0):
        face = replace(still[0], tilt=tilt, shift_x=0.0, shift_y=0.0)
        _, regions = draw_face(face, 128)
        centre = {}
        for name in ("brows", "mouth"):
            y, x = np.nonzero(regions == REGIONS.index(name))
            centre[name] = np.array([x.mean(), y.mean()])
        dx, dy = centre["mouth"] - centre["brows"]
        assert math.degrees(math.atan2(dx, dy)) == pytest.approx(-tilt, abs=3) or (
            math.degrees(math.atan2(dx, dy)) == pytest.approx(tilt, abs=3)
        )


# --- skin ----------------------------------------------------------------------------------------


def test_the_skin_ramp_has_the_angle_that_it_is_asked_for():
    angles = np.linspace(-55, 63, 60)
    lightness, a, b = np.array([skin_lab(x) for x in angles]).T
    np.testing.assert_allclose(np.degrees(np.arctan2(lightness - 50, b)), angles, atol=1e-9)
    assert (np.diff(lightness) > 0).all()
    assert ((a > 5) & (a < 16) & (b > 8) & (b < 24)).all()  # the range of measured skin
    np.testing.assert_allclose(
        lab(np.array([skin_rgb(x) for x in angles])), np.stack([lightness, a, b], 1), atol=0.02
    )


def test_skin_tone_bins_are_those_of_del_bino():
    edges = {-40: "Dark", -30: "Dark", -29.9: "Brown", 10.1: "Tan", 28.1: "Intermediate",
             41.1: "Light", 55.1: "Very light", 80: "Very light"}  # fmt: skip
    assert {x: skin_tone_bin(x) for x in edges} == edges


def test_rendered_skin_has_the_known_tone_under_neutral_light(still):
    known, seen = [], []
    for face in still:
        image, regions = draw_face(face, 64)
        skin = image[regions == REGIONS.index("forehead")]
        seen.append(float(ita(np.median(skin, axis=0))))
        known.append(face.skin_tone)
    assert np.corrcoef(known, seen)[0, 1] > 0.999
    assert np.abs(np.subtract(known, seen)).max() < 3  # a grey level is about a degree


def test_light_falls_from_where_it_stands(still):
    for face in still[:6]:
        brightness = {}
        for where in (-90.0, 90.0):
            lit = replace(face, light=1.0, light_from=where, warmth=0.0)
            image, regions = draw_face(lit, 64)
            y, x = np.nonzero(regions == REGIONS.index("cheeks"))
            grey = image[y, x].mean(axis=1)
            middle = np.median(x)
            brightness[where] = grey[x > middle].mean() - grey[x < middle].mean()
        assert brightness[-90.0] < 0 < brightness[90.0]


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    world = replace(demo_world(30, side=32), jpeg_quality=0)
    return write_faces(tmp_path_factory.mktemp("world") / "faces", world, quiet=True), world


def test_the_folder_holds_what_was_drawn(folder):
    path, world = folder
    drawn = draw_faces(world)
    with (path / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == world.n
    assert list(rows[0])[:4] == ["path", TARGET, "split", "person"]
    for i, row in enumerate(rows):
        with Image.open(path / row["path"]) as image:
            np.testing.assert_array_equal(np.asarray(image), drawn.images[i])
        assert row[TARGET] == world.classes[drawn.truth.label[i]]
        assert row["split"] == drawn.truth.split[i]
        assert int(row["person"]) == drawn.truth.person[i]
        for name, attribute in drawn.truth.attributes.items():
            assert row[name] == attribute.words()[i]
    with np.load(path / "regions.npz") as regions:
        np.testing.assert_array_equal(regions["regions"], drawn.regions)
        assert tuple(regions["names"]) == REGIONS
    with np.load(path / "truth.npz") as truth:
        np.testing.assert_array_equal(truth["clean_label"], drawn.truth.clean_label)
        np.testing.assert_array_equal(truth["cue_agrees"], drawn.truth.cue_agrees)
    settings = json.loads((path / "world.json").read_text(encoding="utf-8"))
    assert settings["n"] == 30
    assert settings["planted"][0]["attribute"] == "Wearing_Hat"
    assert [p.name for p in path.parent.iterdir()] == ["faces"]


def test_the_folder_says_that_its_faces_were_drawn(folder, tmp_path):
    path, _ = folder
    assert is_synthetic(str(path)) and is_synthetic(str(path / "labels.csv"))
    for text in ("{", "[]", '{"cue": 1}'):
        (tmp_path / "world.json").write_text(text)
        assert not is_synthetic(str(tmp_path))
    assert not is_synthetic(str(path / "images")) and not is_synthetic("s3://bucket/data")


def test_jpeg_is_near_the_drawing(tmp_path):
    world = demo_world(15, side=64)
    write_faces(tmp_path / "faces", world, quiet=True)
    drawn = draw_faces(world)
    for i in range(15):
        with Image.open(tmp_path / "faces" / "images" / f"{i:06d}.jpg") as image:
            difference = np.abs(np.asarray(image, float) - drawn.images[i])
        assert difference.mean() < 4


def test_the_same_world_is_not_drawn_twice_and_another_is_refused(folder, monkeypatch):
    path, world = folder
    monkeypatch.setattr("candid.data.synthetic.draw_face", None)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    assert write_faces(path, world, quiet=True) == path
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
    with pytest.raises(OutputError, match="another world"):
        write_faces(path, replace(world, seed=9), quiet=True)


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputError, match="not a world"):
        write_faces(tmp_path, demo_world(15, side=16), quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_a_failure_leaves_nothing_half_written(tmp_path, monkeypatch):
    def stumble(face, side):
        raise RuntimeError("stumbled")

    monkeypatch.setattr("candid.data.synthetic.draw_face", stumble)
    with pytest.raises(RuntimeError, match="stumbled"):
        write_faces(tmp_path / "faces", demo_world(15, side=16), quiet=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        write_faces(tmp_path / "file" / "faces", demo_world(15, side=16), quiet=True)
    with pytest.raises(OutputError):
        write_faces(tmp_path / "file", demo_world(15, side=16), quiet=True)


# --- the canvas ----------------------------------------------------------------------------------


def test_what_is_painted_later_lies_above_and_each_where_its_pose_puts_it(still):
    face = replace(still[0], tilt=10.0, yaw=15.0, pitch=-5.0)
    canvas, side = Canvas(face, 64), 256
    square = [(-0.2, -0.1), (0.2, -0.1), (0.2, 0.3), (-0.2, 0.3)]
    canvas.fill(np.array(square), "skin", 0.05)
    canvas.fill(np.array(square[:3]), "clothes", body=True)
    canvas.stroke(np.array(square[:2]), 0.02, "brow", 0.1)
    canvas.finish()

    def placed(u: float, v: float, lift: float) -> tuple[float, float]:
        depth = 0.4 * math.sqrt(max(0, 1 - (u / 0.6) ** 2 - (v / 0.8) ** 2)) + lift
        u += depth * math.sin(math.radians(face.yaw))
        v += depth * math.sin(math.radians(face.pitch))
        c, s = math.cos(math.radians(face.tilt)), math.sin(math.radians(face.tilt))
        return c * u - s * v, s * u + c * v

    scale, middle = face.zoom * side / 2, (1 + face.shift_x, 1.04 + face.shift_y)

    def pixels(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x * scale + middle[0] * side / 2, y * scale + middle[1] * side / 2)
                for x, y in points]  # fmt: skip

    image = Image.new("P", (side, side), 0)
    draw = ImageDraw.Draw(image)
    draw.polygon(pixels([placed(u, v, 0.05) for u, v in square]), fill=NUMBER["skin"])
    draw.polygon(pixels(square[:3]), fill=NUMBER["clothes"])
    line = pixels([placed(u, v, 0.1) for u, v in square[:2]])
    draw.line(line, fill=NUMBER["brow"], width=max(1, round(0.02 * scale)), joint="curve")
    expected = np.asarray(image)
    assert set(np.unique(expected)) == {0, NUMBER["skin"], NUMBER["clothes"], NUMBER["brow"]}
    assert (np.asarray(canvas.image) == expected).all()


# --- impossible settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n": 0}, "n = 0"),
        ({"n": 14, "people": 2}, "2 people"),
        ({"n": 20, "people": 21}, "21 people"),
        ({"n": 100.0}, "n = 100.0"),
        ({"n": True}, "n = True"),
        ({"side": 8}, "side = 8"),
        ({"cue": "nose"}, "cue = 'nose'"),
        ({"cue_strength": 0.0}, "cue_strength"),
        ({"positive_share": 1.0}, "positive_share"),
        ({"label_noise": 0.6}, "label_noise"),
        ({"label_noise": math.nan}, "label_noise"),
        ({"hats": -0.1}, "hats"),
        ({"seed": -1}, "seed"),
        ({"planted": [Plant("Beard", "weak cue", 0.5)]}, "tuple"),
        ({"planted": (Plant("Hat", "weak cue", 0.5),)}, "attribute = 'Hat'"),
        ({"planted": (Plant("Beard", "shortcut", 0.5),)}, "attribute = 'Beard'"),
        ({"planted": (Plant("Beard", "magic", 0.5),)}, "effect = 'magic'"),
        ({"planted": (Plant("Beard", "weak cue", 1.5),)}, "strength is 1.5"),
        ({"planted": (Plant("Beard", "weak cue", 0.5, split="dev"),)}, "split = 'dev'"),
        ({"planted": (Plant("Beard", "weak cue", 0.5, value="long"),)}, "value = 'long'"),
        ({"planted": (Plant("Beard", "weak cue", 0.5),) * 2}, "Two biases"),
        ({"cue": "hat", "planted": (Plant("Wearing_Hat", "weak cue", 0.5),)}, "hat itself"),
    ],
)
def test_impossible_settings_are_refused_with_what_to_do(settings, says):
    with pytest.raises(ConfigError) as caught:
        FaceWorld(**settings)
    assert says in caught.value.what
    assert caught.value.expected
    assert caught.value.todo


def test_a_negative_number_of_processes_is_refused():
    with pytest.raises(ConfigError, match="workers"):
        draw_faces(demo_world(15, side=16), workers=-1)
