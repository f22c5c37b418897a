"""The whole explanation: what is claimed, and what must not be."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from candid.data.synthetic import REGIONS, FaceWorld, Plant, draw_faces
from candid.errors import CandidError, ConfigError
from candid.explanation import masking
from candid.explanation.assembly import explain_network, make_claims
from candid.explanation.attribution import saliency_maps
from candid.explanation.averages import normalise_maps
from candid.explanation.regions import Regions, from_masks
from candid.explanation.sample import make_sample
from candid.explanation.scoring import scoring
from candid.predictions import Attribute
from candid.records import from_plain, to_plain
from candid.records.explanation import (
    Explanation,
    read_explanation_arrays,
    write_explanation_arrays,
)
from candid.settings import ExplainConfig
from explanation.small_networks import Linear, Small, chequered, train, window

CONFIG = ExplainConfig(
    methods=("gradient", "integrated_gradients", "occlusion"),
    integration_steps=6,
    check_images=24,
    curve_steps=6,
    min_group=5,
    examples=6,
    draws=200,
)
SIDE = 16
CORNERS = np.zeros((1, SIDE, SIDE), np.uint8)
CORNERS[0, :8, 8:], CORNERS[0, 8:, :8], CORNERS[0, 8:, 8:] = 1, 2, 3
PATTERN = chequered(8).numpy()
QUARTERS = Regions(("a", "b", "c", "d"), CORNERS, "masks")


@pytest.fixture(scope="module")
def given():
    """Images whose label is a pattern's sign in the quarter "b", noisily; two of each person."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(80, 3, SIDE, SIDE)).astype(np.float32)
    images[:, :, :8, 8:] += rng.normal(size=(80, 1, 1, 1)) * 0.6 * PATTERN
    label = ((images[:, :, :8, 8:] * PATTERN).mean((1, 2, 3)) > 0).astype(np.int16)
    label[:8] = 1 - label[:8]
    return {
        "images": images,
        "label": label,
        "person": np.arange(80) // 2,
        "attributes": {
            "Hat": Attribute("Hat", "binary", ("no", "yes"), rng.integers(0, 2, 80).astype("i2")),
            "Age": Attribute("Age", "numeric", (), rng.normal(size=80)),
        },
        "classes": ("dark", "bright"),
        "regions": QUARTERS,
        "config": CONFIG,
    }


@pytest.fixture(scope="module")
def explained(given):
    return explain_network(window(0, 8, 8), **given)


def density(record, method, region, subset="all"):
    return next(
        s.density
        for s in record.shares
        if (s.method, s.region, s.subset) == (method, region, subset)
    )


# --- what is claimed -----------------------------------------------------------------------------


def test_the_right_region_is_claimed_and_no_other(explained):
    record, _ = explained
    states = {(c.method, c.region): c.state for c in record.claims}
    assert {m.name: m.state for m in record.methods}["occlusion"] == "passed"
    for method in record.methods:
        if method.state == "passed":
            assert states[method.name, "b"] == "passed"
            assert {states[method.name, r] for r in "acd"} == {"failed"}
    assert density(record, "integrated_gradients", "b").value == pytest.approx(4, abs=1e-5)
    assert record.skill.low > 0


def test_shares_are_those_of_a_loop(given):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Small().eval()
    config = replace(CONFIG, check_images=0)  # one that failed would make no more maps
    record, arrays = explain_network(network, **(given | {"config": config}))
    maps = saliency_maps(network, torch.from_numpy(given["images"]), method="gradient")
    share = np.abs(maps) / np.abs(maps).sum((1, 2), keepdims=True)
    for i, region in enumerate("abcd"):
        inside = share[:, CORNERS[0] == i].sum(1)
        found = next(
            s
            for s in record.shares
            if (s.method, s.subset, s.region) == ("gradient", "all", region)
        )
        assert found.share.value == pytest.approx(inside.mean(), abs=1e-5)
        assert found.density.value == pytest.approx(4 * inside.mean(), abs=1e-4)
        assert found.area == 0.25
        assert (found.share.n, found.share.people) == (80, 40)
    assert np.allclose(arrays.means[0, 0], (share * SIDE**2).mean(0), atol=4e-3)
    gap = next(i for i, d in enumerate(record.differences) if d.first == "group:Hat=yes")
    hat = given["attributes"]["Hat"].data == 1
    expected = (share[hat].mean(0) - share[~hat].mean(0)) * SIDE**2
    assert np.allclose(arrays.differences[0, gap], expected, atol=4e-3)


def test_subsets_are_what_they_say(explained, given):
    record, arrays = explained
    sizes = {s.key: s.n for s in record.subsets}
    answers = (given["images"][:, :, :8, 8:] * PATTERN).mean((1, 2, 3)) > 0
    label = given["label"]
    assert sizes["all"] == 80
    assert sizes["class:bright"] == (label == 1).sum()
    assert sizes["wrong"] == (answers != label).sum() == 8
    assert sizes["class:dark,wrong"] == ((label == 0) & answers).sum()
    assert sizes["group:Hat=yes"] == (given["attributes"]["Hat"].data == 1).sum()
    assert not any(s.attribute == "Age" for s in record.subsets)
    assert arrays.means.shape == (3, len(record.subsets), SIDE, SIDE)
    assert arrays.examples.shape == (3, 6, SIDE, SIDE)
    assert {e.kind for e in record.examples} >= {"right", "wrong"}
    for example in record.examples:
        row = int(example.id)
        assert example.label == given["classes"][label[row]]
        assert example.prediction == given["classes"][int(answers[row])]


def test_the_same_again(explained, given):
    record, arrays = explain_network(window(0, 8, 8), **given)
    timeless = [replace(m, seconds=0.0) for m in record.methods]
    before = [replace(m, seconds=0.0) for m in explained[0].methods]
    assert timeless == before
    assert record.maskings == explained[0].maskings
    assert np.array_equal(arrays.examples, explained[1].examples)


def test_an_untrained_network_claims_nothing(given):
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            record, _ = explain_network(Small(), **given)
        assert not [c for c in record.claims if c.state == "passed"]


def test_without_labels_nothing_is_claimed(given):
    record, _ = explain_network(window(0, 8, 8), **(given | {"label": None}))
    assert {c.state for c in record.claims} == {"not applicable"}
    assert all(np.isnan(m.f1_loss.value) for m in record.maskings)
    assert max(m.flips.value for m in record.maskings if m.region == "b") > 0.2
    assert [s.key for s in record.subsets] == ["all", "group:Hat=no", "group:Hat=yes"]


def test_neither_regions_nor_checks_are_needed(given):
    config = replace(CONFIG, check_images=0, methods=("gradient", "grad_cam"))
    record, arrays = explain_network(
        Linear(torch.ones(3, SIDE, SIDE)), **(given | {"regions": None, "config": config})
    )
    assert [m.name for m in record.methods] == ["gradient"]
    assert record.methods[0].state == "not applicable"
    assert not (record.shares or record.maskings or record.claims or record.regions)
    assert (arrays.template == 255).all()
    assert len(record.notes) == 3


def test_the_record_and_the_arrays_survive_their_files(explained, tmp_path):
    record, arrays = explained
    assert to_plain(from_plain(Explanation, to_plain(record))) == to_plain(record)
    write_explanation_arrays(tmp_path / "e.npz", arrays)
    again = read_explanation_arrays(tmp_path / "e.npz")
    assert np.array_equal(again.means, arrays.means, equal_nan=True)
    (tmp_path / "e.npz").write_bytes(b"PK nothing")
    with pytest.raises(CandidError, match="damaged"):
        read_explanation_arrays(tmp_path / "e.npz")


def test_uint8_images_are_normalised_as_said(given):
    pixels = np.random.default_rng(0).integers(0, 256, (10, SIDE, SIDE, 3), dtype=np.uint8)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    floats = (pixels / 255 - mean) / std
    config = replace(CONFIG, check_images=0)
    common = {"classes": ("a", "b"), "config": config}
    raw = explain_network(window(0, 8, 8), pixels, mean=mean, std=std, **common)[1]
    ready = explain_network(
        window(0, 8, 8),
        torch.from_numpy(floats.transpose(0, 3, 1, 2).astype("f4")),
        mean=mean,
        std=std,
        **common,
    )[1]
    assert np.allclose(raw.examples, ready.examples, atol=1e-2)
    assert np.array_equal(raw.example_images, ready.example_images)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": np.zeros((3, 16, 16), "f4")}, "shape"),
        ({"images": np.zeros((3, 16, 16, 3), "u1")}, "normalised"),
        ({"images": np.full((80, 3, 16, 16), np.nan, "f4")}, "finite"),
        ({"label": np.zeros(3, int)}, "label has the shape"),
        ({"label": np.full(80, 2)}, "labels up to 2"),
        ({"classes": ("a", "b", "c")}, "2 logits"),
        ({"regions": from_masks(("a",), np.zeros((3, 16, 16), "u1"), 16)}, "3 masks"),
    ],
)
def test_bad_input_is_named(given, change, says):
    with pytest.raises(CandidError, match=says):
        explain_network(window(0, 8, 8), **(given | change))


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="grad_cam"):
        ExplainConfig(methods=("gradcam",))
    with pytest.raises(ConfigError, match="empty"):
        ExplainConfig(methods=())
    with pytest.raises(ConfigError, match="fills"):
        ExplainConfig(fills=("mean", "mean"))


def test_normalised_maps_have_a_mean_of_one():
    maps = np.random.default_rng(0).normal(size=(3, 8, 8)).astype("f4")
    maps[1] = 0
    scaled = normalise_maps(maps)
    assert np.abs(scaled).mean((1, 2)).tolist() == pytest.approx([1, 0, 1])


# --- masking -------------------------------------------------------------------------------------


def test_masks_and_controls_are_those_of_a_loop(given):
    network = window(0, 8, 8)
    sample = make_sample(given["images"], classes=given["classes"], label=given["label"])
    config = replace(CONFIG, fills=("mean", "other"), batch_size=7)
    with scoring(network, batch_size=7) as scorer:
        masked = masking.answers_when_masked(scorer, sample, QUARTERS, config)
    images = torch.from_numpy(given["images"])
    partners = masking.partner_rows(sample, config.seed)
    assert sorted(partners) == list(range(80))
    assert not (partners == np.arange(80)).any()
    for i, region in enumerate("abcd"):
        inside = torch.from_numpy(CORNERS[0] == i)
        for fill, source in (("mean", torch.zeros_like(images)), ("other", images[partners])):
            after, control = images.clone(), images.clone()
            after[:, :, inside] = source[:, :, inside]
            for row in range(80):
                moved = inside.roll(masking.random_shift(images[row], config.seed), (0, 1))
                assert moved.sum() == inside.sum()
                control[row][:, moved] = source[row][:, moved]
            assert np.array_equal(masked.after[region, fill], network(after).argmax(1))
            assert np.array_equal(masked.control[region, fill], network(control).argmax(1))

    def f1(answers):
        return f1_score(given["label"], answers, average="weighted")

    for m in masking.maskings(masked, sample, config):
        after, control = (answers[m.region, m.fill] for answers in (masked.after, masked.control))
        assert m.f1_loss.value == pytest.approx(f1(masked.before) - f1(after))
        assert m.control_f1_loss.value == pytest.approx(f1(masked.before) - f1(control))
        assert m.excess_f1_loss.value == pytest.approx(f1(control) - f1(after))
        assert m.flips.value == pytest.approx(np.mean(after != masked.before))
        assert m.control_flips.value == pytest.approx(np.mean(control != masked.before))
        assert m.excess_flips.value == pytest.approx(m.flips.value - m.control_flips.value)


def test_maskings_of_classes_and_groups_are_those_of_a_loop(given):
    shows_a = np.arange(80) % 4 > 0  # "a" is not in every picture: the last part is there instead
    masks = np.where(shows_a[:, None, None], CORNERS, np.where(CORNERS == 0, 3, CORNERS))
    regions = Regions(("a", "b", "c", "d"), masks.astype(np.uint8), "masks")
    record, _ = explain_network(window(0, 8, 8), **given | {"regions": regions})
    who = {"person": given["person"], "attributes": given["attributes"]}
    sample = make_sample(given["images"], label=given["label"], **who)
    with scoring(window(0, 8, 8)) as scorer:
        masked = masking.answers_when_masked(scorer, sample, regions, CONFIG)
    label, hat = given["label"], given["attributes"]["Hat"].data
    sets = {"class:dark": label == 0, "class:bright": label == 1}
    sets |= {"group:Hat=no": hat == 0, "group:Hat=yes": hat == 1}
    assert {(m.subset, m.region) for m in record.subset_maskings} == {
        (key, region) for key in sets for region in "abcd"
    }
    for m in record.subset_maskings:
        rows = sets[m.subset] & (shows_a if m.region == "a" else True)
        lost, flips = [], []
        for fill in CONFIG.fills:
            after, control = masked.after[m.region, fill], masked.control[m.region, fill]
            lost.append(np.mean(control[rows] == label[rows]) - np.mean(after[rows] == label[rows]))
            before = masked.before[rows]
            flips.append(np.mean(after[rows] != before) - np.mean(control[rows] != before))
        assert m.right_loss.value == pytest.approx(np.mean(lost))
        assert m.flips.value == pytest.approx(np.mean(flips))
        assert m.flips.n == rows.sum()
        assert m.flips.people == len(np.unique(given["person"][rows]))
    assert max(record.subset_maskings, key=lambda m: m.right_loss.value).region == "b"


def test_too_few_people_are_not_compared(explained):
    record, _ = explained
    wrong = next(s for s in record.subsets if s.key == "wrong")
    assert (wrong.n, wrong.people) == (8, 4)
    assert not any("wrong" in (d.first, d.second) for d in record.differences)
    assert any("answered wrongly (8)" in note for note in record.notes)
    assert any(d.first == "group:Hat=yes" for d in record.differences)


def test_a_claim_needs_all_of_its_parts(explained):
    """Take away one at a time: the badge, the density, one fill's cost, the skill."""
    record, _ = explained
    good = next(m for m in record.methods if m.state == "passed")

    def claim(methods=(good,), shares=record.shares, maskings=record.maskings, skill=record.skill):
        made = make_claims(methods, shares, maskings, skill)
        return next(c.state for c in made if c.region == "b")

    assert claim() == "passed"
    assert claim(methods=(replace(good, state="failed"),)) == "not applicable"
    assert claim(skill=replace(record.skill, low=-0.01)) == "not applicable"
    assert claim(maskings=()) == "not applicable"
    even = [replace(s, density=replace(s.density, low=0.99)) for s in record.shares]
    assert claim(shares=even) == "failed"
    for fill in CONFIG.fills:
        cheap = [
            replace(m, excess_f1_loss=replace(m.excess_f1_loss, low=-0.01))
            if (m.region, m.fill) == ("b", fill)
            else m
            for m in record.maskings
        ]
        assert claim(maskings=cheap) == "failed"


def test_a_region_that_is_absent_is_not_counted():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(60, 3, SIDE, SIDE)).astype("f4")
    masks = np.repeat(CORNERS, 60, 0)
    masks[20:][masks[20:] == 1] = 0  # "b" is to be seen on the first 20 alone
    config = replace(CONFIG, check_images=0, methods=("gradient",))
    record, _ = explain_network(
        window(0, 8, 8), images, classes=("x", "y"), label=rng.integers(0, 2, 60), config=config,
        regions=Regions(QUARTERS.names, masks, "masks"),
    )  # fmt: skip
    region = next(r for r in record.regions if r.name == "b")
    assert (region.n, region.area) == (20, 0.25)
    assert {m.flips.n for m in record.maskings if m.region == "b"} == {20}
    assert {m.flips.n for m in record.maskings if m.region == "a"} == {60}
    assert density(record, "gradient", "b").n == 20


# --- synthetic faces: the label in one known part ------------------------------------------------

FACES = replace(
    CONFIG,
    methods=("gradient", "integrated_gradients", "occlusion"),
    fills=("mean", "blur"),
    check_images=60,
    integration_steps=16,
    occlusion_window=0.17,
    occlusion_stride=0.09,
)


@functools.cache
def faces(cue, **settings):
    """Faces whose label is decided by one part alone, and little else to look at."""
    world = FaceWorld(
        n=1500, people=700, side=32, cue=cue, label_noise=0, beards=0, moustaches=0, blur=0,
        noise=2, light=0.3, seed=1, **settings,
    )  # fmt: skip
    return draw_faces(world)


def explain_faces(drawn, network, n=150):
    test = np.flatnonzero(drawn.truth.split != "train")[:n]
    pixels = drawn.images[test]
    return explain_network(
        network,
        pixels,
        classes=drawn.world.classes,
        label=drawn.truth.label[test],
        person=drawn.truth.person[test],
        attributes={k: a[test] for k, a in drawn.truth.attributes.items()},
        regions=from_masks(REGIONS, drawn.regions[test], 32),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        config=FACES,
    )


def trained(drawn, steps):
    rows = drawn.truth.split == "train"
    x = torch.from_numpy(drawn.images[rows].transpose(0, 3, 1, 2) / 255.0).float()
    labels = torch.from_numpy(drawn.truth.label[rows].astype(np.int64))
    return train((x - 0.5) / 0.25, labels, steps=steps)


def ranked(record, method):
    dense = {r.name: density(record, method, r.name) for r in record.regions if r.n >= 30}
    return sorted(dense, key=lambda r: -dense[r].value)


@pytest.mark.slow
@pytest.mark.parametrize("cue", ["mouth", pytest.param("jaw", marks=pytest.mark.long)])
def test_the_part_that_decides_comes_first(cue):
    """By share per area and by masking, for every method that bears a passing badge."""
    drawn = faces(cue)
    record, _ = explain_faces(drawn, trained(drawn, 600))
    assert record.skill.low > 0.2
    passing = [m.name for m in record.methods if m.state == "passed"]
    assert passing
    cost = {}
    for m in record.maskings:
        if m.f1_loss.n >= 30:
            cost.setdefault(m.region, []).append(m.excess_f1_loss.value)
    assert max(cost, key=lambda r: np.mean(cost[r])) == cue
    claims = [(c.method, c.region) for c in record.claims if c.state == "passed"]
    for name in passing:
        assert ranked(record, name)[0] == cue
        assert (name, cue) in claims
    # Where a jaw ends, the neck begins: its outline belongs to both.
    assert {region for _, region in claims} <= {cue, "cheeks", "neck", "jaw"}


@pytest.mark.slow
def test_a_planted_shortcut_shows_in_the_share_of_the_hat():
    honest = faces("mouth", hats=0.5)
    planted = faces(
        "mouth", hats=0.5, cue_strength=0.1, planted=(Plant("Wearing_Hat", "shortcut", 1.0),)
    )
    shares = {}
    for word, drawn in (("honest", honest), ("planted", planted)):
        record, _ = explain_faces(drawn, trained(drawn, 300))
        shares[word] = [density(record, m.name, "hat") for m in record.methods]
        claimed = {c.region for c in record.claims if c.state == "passed"}
        assert word == "planted" or "hat" not in claimed
    # Masking says less here: a hat painted over in grey is still the outline of a hat.
    for before, after in zip(shares["honest"], shares["planted"], strict=True):
        assert after.low > max(before.high, 1)


@pytest.mark.slow
def test_untrained_on_faces_claims_nothing():
    drawn = faces("mouth")
    record, _ = explain_faces(drawn, trained(drawn, 0))
    assert not [c for c in record.claims if c.state == "passed"]


# --- as much as it takes -------------------------------------------------------------------------


def many(n=180):
    """More images, whose label the quarter "b" decides."""
    rng = np.random.default_rng(5)
    images = rng.normal(size=(n, 3, SIDE, SIDE)).astype(np.float32)
    images[:, :, :8, 8:] += rng.normal(size=(n, 1, 1, 1)) * 0.6 * PATTERN
    label = ((images[:, :, :8, 8:] * PATTERN).mean((1, 2, 3)) > 0).astype(np.int16)
    return {"images": images, "label": label, "classes": ("x", "y"), "regions": QUARTERS}


def test_a_method_makes_as_many_maps_as_decide_and_no_more_once_it_failed():
    config = replace(CONFIG, examples=4)
    record, arrays = explain_network(window(0, 8, 8), **many(), config=config)
    made = {m.name: (m.state, m.n) for m in record.methods}
    assert made["occlusion"] == ("passed", 60)  # a third: everything lies in one quarter
    assert all(n == 24 for state, n in made.values() if state == "failed")
    occlusion = next(i for i, m in enumerate(record.methods) if m.name == "occlusion")
    assert record.methods[occlusion].subset_n[0] == 60 == density(record, "occlusion", "a").n
    assert density(record, "occlusion", "b").confidence == pytest.approx(0.999)
    assert {s.key: s.n for s in record.subsets}["all"] == 180
    assert arrays.examples.shape[:2] == (3, 4)
    assert any("60 of 180 images decided" in note for note in record.notes)
    states = {(c.method, c.region): c.state for c in record.claims}
    assert states["occlusion", "b"] == "passed"
    # Painting over the quarter that decides is settled at the first look; the rest is not worth one
    # more as soon as it will hardly cost anything.
    assert {m.f1_loss.n for m in record.maskings if m.region == "b"} == {60}
    assert max(m.f1_loss.n for m in record.maskings) <= 180


def test_a_budget_that_is_used_up_is_said():
    config = replace(CONFIG, budget=1e-9, check_images=6)
    record, arrays = explain_network(window(0, 8, 8), **many(), config=config)
    assert [m.name for m in record.methods] == ["gradient"]  # the first in any case
    assert (record.methods[0].n, record.methods[0].state) == (6, "not applicable")
    assert not record.maskings
    assert {c.state for c in record.claims} <= {"not applicable"}
    assert len(arrays.means) == 1
    said = next(note for note in record.notes if "explain.budget" in note)
    for part in ("no maps by Occlusion", "no map was checked", "nothing was painted over",
                 "Gradient of 6 of 180"):  # fmt: skip
        assert part in said
