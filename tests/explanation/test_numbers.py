"""A number explained: what moves it, in its own unit, and by how much more than elsewhere."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from candid.explanation import masking
from candid.explanation.assembly import explain_number
from candid.explanation.attribution import Attributor
from candid.explanation.curves import rank_cells
from candid.explanation.numbers import ExplainedNumbers, NumberFacts
from candid.explanation.probe import Probe
from candid.explanation.regions import Regions
from candid.explanation.sample import make_sample
from candid.explanation.sanity import map_checks
from candid.explanation.scoring import scoring
from candid.predictions import Attribute
from candid.records import read_record, write_record
from candid.records.explanation import Explanation
from candid.settings import ExplainConfig
from explanation.small_networks import Linear, chequered, window

SIDE = 16
QUARTER = np.zeros((1, SIDE, SIDE), np.uint8)
QUARTER[0, :8, 8:], QUARTER[0, 8:, :8], QUARTER[0, 8:, 8:] = 1, 2, 3
QUARTERS = Regions(("a", "b", "c", "d"), QUARTER, "masks")
CONFIG = ExplainConfig(
    methods=("gradient", "integrated_gradients", "occlusion"),
    integration_steps=6, check_images=24, curve_steps=6, min_group=5, examples=6, draws=200,
)  # fmt: skip
RANGES = ("below 35", "35 to 45", "45 and above")
N = 80


class Years(nn.Module):
    """40, and 2 for every unit of what another network says: (batch, 1)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.network = inner

    def forward(self, images):
        logits = self.network(images)
        return 40 + 2 * (logits[:, 1:] - logits[:, :1])


class Learned(Linear):
    """Whose weights can be drawn anew."""

    def reset_parameters(self):
        nn.init.normal_(self.weight)


def in_b() -> Years:
    """Looks for a pattern in the quarter "b" alone."""
    return Years(Learned(window(0, 8, 8).weight.detach()))


@pytest.fixture(scope="module")
def given():
    """Pictures with a pattern in the quarter "b" that says how old; two of each person."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(N, 3, SIDE, SIDE)).astype(np.float32)
    images[:, :, :8, 8:] += rng.normal(size=(N, 1, 1, 1)) * 0.6 * chequered(8).numpy()
    with torch.no_grad():
        says = in_b()(torch.from_numpy(images))[:, 0].double().numpy()
    value = says + rng.normal(size=N)
    sample = make_sample(
        images, RANGES, "age", label=np.digitize(value, [35, 45]).astype("i2"),
        person=np.arange(N) // 2,
        attributes={"Hat": Attribute("Hat", "binary", ("no", "yes"), (np.arange(N) % 2) * 1)},
    )  # fmt: skip
    # Predicted is not what is explained: the median of the distribution, say.
    predicted = says + 0.5
    return sample, NumberFacts(value, predicted, predicted - 3, predicted + 3, 38.0, 1.0)


@pytest.fixture(scope="module")
def explained(given):
    return explain_number(in_b(), *given, regions=QUARTERS, config=CONFIG)


def test_the_right_region_moves_it_and_no_other(explained):
    record, _ = explained
    assert record.explained == "mean" and not record.maskings and not record.classes
    for m in record.number.maskings:
        assert (m.excess_moved.low > 0) == (m.region == "b"), m
        if m.region != "b":
            assert m.moved.value == pytest.approx(0, abs=1e-4)
    assert record.by_cost("abcd")[0] == "b"
    states = {m.name: m.state for m in record.methods}
    assert states["integrated_gradients"] == "passed"
    claimed = {c.region for c in record.claims if c.state == "passed"}
    assert claimed == {"b"}


def test_nothing_is_claimed_of_a_network_that_knows_nothing(given):
    sample, facts = given
    untrained = Years(Linear(torch.randn(3, SIDE, SIDE, generator=torch.manual_seed(3)) / 5))
    record, _ = explain_number(untrained, sample, facts, regions=QUARTERS, config=CONFIG)
    assert record.skill.low < 0
    assert {c.state for c in record.claims} == {"not applicable"}


def test_its_figures_are_those_of_a_loop(given, explained):
    """Images painted over one by one, and people counted by hand."""
    sample, facts = given
    record, _ = explained
    config, images = CONFIG, torch.from_numpy(sample.images)
    network = in_b()

    def says(x):
        with torch.no_grad():
            return network(x)[:, 0].double().numpy()

    before = says(images)
    other = images[masking.partner_rows(sample, config.seed)]
    fills = {
        "mean": torch.zeros_like(images),
        "blur": masking.gaussian_blur(images, SIDE / 8),
        "other": other,
    }
    assert {(m.region, m.fill) for m in record.number.maskings} == {
        (region, fill) for region in "abcd" for fill in fills
    }
    over_fills = {(i, which): np.zeros(N) for i in range(4) for which in ("moved", "shift")}
    for m in record.number.maskings:
        region = "abcd".index(m.region)
        after, control = images.clone(), images.clone()
        inside = torch.from_numpy(QUARTER[0] == region)
        for row in range(N):
            there = inside.roll(masking.random_shift(images[row], config.seed), (0, 1))
            after[row][:, inside] = fills[m.fill][row][:, inside]
            control[row][:, there] = fills[m.fill][row][:, there]
        here, elsewhere = says(after), says(control)
        assert m.moved.value == pytest.approx(np.abs(here - before).mean(), abs=1e-4)
        assert m.shift.value == pytest.approx((here - before).mean(), abs=1e-4)
        grown = np.abs(here - facts.value) - np.abs(before - facts.value)
        assert m.error_rise.value == pytest.approx(grown.mean(), abs=1e-4)
        more = np.abs(here - before) - np.abs(elsewhere - before)
        assert m.control_moved.value == pytest.approx(np.abs(elsewhere - before).mean(), abs=1e-4)
        assert m.excess_moved.value == pytest.approx(more.mean(), abs=1e-4)
        assert (m.moved.n, m.moved.people) == (N, N // 2)
        over_fills[region, "moved"] += more / 3
        over_fills[region, "shift"] += (here - elsewhere) / 3
    sets = {"class:below 35": facts.value < 35, "group:Hat=yes": np.arange(N) % 2 == 1}
    told = {(m.subset, m.region): m for m in record.number.subset_maskings}
    for (key, rows), region in ((s, r) for s in sets.items() for r in "abcd"):
        for which in ("moved", "shift"):
            value = over_fills["abcd".index(region), which][rows].mean()
            assert getattr(told[key, region], which).value == pytest.approx(value, abs=1e-4)
        assert told[key, region].moved.n == rows.sum()


def test_what_is_known_of_the_answers(given, explained):
    _, facts = given
    record, arrays = explained
    means = facts.predicted - 0.5
    blind = np.abs(facts.value - 38).mean()
    assert record.number.error.value == pytest.approx(np.abs(means - facts.value).mean(), abs=1e-4)
    assert record.skill.value == pytest.approx(blind - record.number.error.value, abs=1e-4)
    assert record.number.blank == pytest.approx(40)
    sizes = {s.title: s.n for s in record.subsets}
    near = int((np.abs(facts.predicted - facts.value) <= 1).sum())
    assert sizes["off by at most 1"] == near and sizes["off by more than 1"] == N - near
    assert sizes["age below 35"] == int((facts.value < 35).sum())
    assert len(arrays.examples[0]) == len(record.examples) == 6
    first = record.examples[0]
    row = int(first.id)
    assert first.kind in ("near", "unsure") and math.isnan(first.probability)
    assert float(first.label) == pytest.approx(facts.value[row], rel=1e-4)
    assert float(first.explained.replace("−", "-")) == pytest.approx(means[row], abs=0.6)
    worst = int(np.argmax(np.abs(facts.predicted - facts.value)))
    assert str(worst) in [x.id for x in record.examples]


def test_the_record_survives_its_file_and_one_of_classes_has_no_place_for_it(explained, tmp_path):
    record, _ = explained
    write_record(tmp_path / "explanation.json", record)
    again = read_record(tmp_path / "explanation.json", Explanation)
    assert again.number == record.number and again.shares == record.shares
    write_record(tmp_path / "classes.json", replace(record, number=None))
    assert "number" not in json.loads((tmp_path / "classes.json").read_text())


def test_a_budget_that_is_used_up_leaves_the_masking_out(given):
    how = replace(CONFIG, budget=1e-6)
    record, _ = explain_number(in_b(), *given, regions=QUARTERS, config=how)
    assert not record.number.maskings and record.claims[0].state != "passed"
    assert any("explain.budget" in note for note in record.notes)


# --- deletion and insertion ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_areas_are_in_years_and_those_of_a_loop(method):
    """Of a map with a sign the number itself, of one without its distance from the whole's."""
    n = 6
    x = torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))
    network, maps = in_b(), np.random.default_rng(1).normal(size=(n, SIDE, SIDE)).astype("f4")
    how = replace(CONFIG, curve_steps=4)
    with scoring(network, number=True) as scorer:
        probe = Probe(x, torch.ones(n, dtype=torch.int64), {method: maps}, None, 0.95)
        checks = {c.code: c for c in map_checks(Attributor(scorer, how), probe)[method]}
    centre = -(((np.mgrid[:SIDE, :SIDE] - 7.5) / SIDE) ** 2).sum(0)
    rank = {
        "own": rank_cells(torch.from_numpy(maps)),
        "centre": rank_cells(torch.from_numpy(centre)[None].expand(n, -1, -1)),
    }

    def area(order, start, end):
        curve = []
        for step in range(5):
            mask = (rank[order] < round(256 * step / 4)).float()[:, None]  # a cell is a pixel
            with torch.no_grad():
                curve.append(network(start + (end - start) * mask)[:, 0])
        heights = torch.stack(curve).double()
        if method == "gradient":
            with torch.no_grad():
                heights = (heights - network(x)[:, 0]).abs()
        return np.trapezoid(heights.numpy(), dx=1 / 4, axis=0)

    nothing, smooth = torch.zeros_like(x), masking.gaussian_blur(x, SIDE / 8)
    deleted = area("centre", x, nothing) - area("own", x, nothing)
    inserted = area("own", smooth, x) - area("centre", smooth, x)
    sign = -1 if method == "gradient" else 1
    found = {code: checks[code].parts["centre"].value for code in ("DELETION", "INSERTION")}
    assert found["DELETION"] == pytest.approx(sign * deleted.mean(), abs=1e-4)
    assert found["INSERTION"] == pytest.approx(sign * inserted.mean(), abs=1e-4)
    away = "moves away faster" if method == "gradient" else "the number falls faster"
    assert away in checks["DELETION"].detail


def test_examples_are_the_nearest_the_furthest_and_the_widest():
    value = np.arange(12.0)
    predicted = value.copy()
    predicted[4], predicted[7] = 30, -40
    wide = np.ones(12)
    wide[9] = 50
    facts = NumberFacts(value, predicted, predicted - wide, predicted + wide, 6.0, 1.0)
    answers = ExplainedNumbers(facts, predicted, 0.0, np.ones(12, np.int64))
    sample = make_sample(
        np.zeros((12, 3, 8, 8), "f4"), ("few", "many"), label=(value > 5).astype("i2")
    )
    shown = answers.example_rows(sample, 6).tolist()
    assert shown[2:4] == [7, 4] and shown[4] == 9
    assert {sample.label[row] for row in shown[:2]} == {0, 1}
