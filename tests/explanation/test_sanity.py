"""Whether a map is worth anything: each check once where it passes and once where it must not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from candid.explanation import sanity
from candid.explanation.attribution import Attributor
from candid.explanation.curves import area_under, compute_curve, edge_strength, rank_cells
from candid.explanation.masking import gaussian_blur, shuffle_pixels
from candid.explanation.probe import Probe
from candid.explanation.scoring import scoring
from candid.records import Estimate
from candid.settings import ExplainConfig
from explanation.small_networks import Bright, Linear, Small, chequered, window

CONFIG = ExplainConfig(
    smoothgrad_samples=3, integration_steps=8, rise_masks=30, curve_steps=8, confidence=0.95
)
SIDE = 16


def images(n=16, seed=0):
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def checked(network, maps, x=None, config=CONFIG, cluster=None):
    """Every check of given maps, by method and code."""
    x = images() if x is None else x
    with scoring(network) as scorer:
        answers = scorer.all_logits(x).argmax(1)
        probe = Probe(x, answers, maps, cluster, config.confidence)
        found = sanity.map_checks(Attributor(scorer, config), probe)
    return {name: {c.code: c for c in tests} for name, tests in found.items()}


def true_maps(network, name, x=None):
    x = images() if x is None else x
    with scoring(network) as scorer:
        answers = scorer.all_logits(x).argmax(1)
        return Attributor(scorer, CONFIG).maps(name, x, answers)


def rubbish(n=16, seed=9):
    return np.random.default_rng(seed).normal(size=(n, SIDE, SIDE)).astype(np.float32)


# --- deletion and insertion ----------------------------------------------------------------------


def test_who_finds_the_window_beats_every_baseline():
    network = Bright(1, 1, 4)  # in a corner, far from the centre
    occlusion = true_maps(network, "occlusion")
    found = checked(network, {"occlusion": occlusion, "gradient": -np.abs(occlusion)})
    assert found["occlusion"]["DELETION"].state == "passed"
    assert set(found["occlusion"]["DELETION"].parts) == {"random", "edges", "centre"}
    # The worst order there is: last what matters.
    assert found["gradient"]["DELETION"].state == "failed"
    assert found["gradient"]["INSERTION"].state == "failed"


def test_who_finds_the_pattern_needs_little_of_it():
    """A pattern that no blur lets through: adding it first brings the answer back first."""
    network, pattern = window(1, 1, 6), chequered(6)
    x = images()
    x[:, :, 1:7, 1:7] += pattern * torch.linspace(-1, 1, 16)[:, None, None, None]
    maps = true_maps(network, "occlusion", x)
    found = checked(network, {"occlusion": maps, "gradient": -np.abs(maps)}, x)
    assert found["occlusion"]["INSERTION"].state == "passed"
    assert found["occlusion"]["INSERTION"].figure.value > 0
    assert found["gradient"]["INSERTION"].figure.value < 0


@pytest.mark.parametrize(
    ("low", "value", "high", "direction", "state"),
    [
        (0.6, 0.7, 0.8, "above", "passed"),
        (0.4, 0.7, 0.8, "above", "failed"),  # the whole interval must lie there
        (0.2, 0.3, 0.4, "above", "failed"),
        (0.2, 0.3, 0.4, "below", "passed"),
        (0.2, 0.3, 0.6, "below", "failed"),
        (np.nan, 0.3, np.nan, "below", "not applicable"),
    ],
)
def test_the_whole_interval_decides(low, value, high, direction, state):
    figure = Estimate(value, low, high, 5, "made up")
    assert sanity.judge(figure, 0.5, direction) == state


def test_the_order_of_a_baseline_has_no_advantage_over_it():
    found = checked(Bright(1, 1, 4), {"gradient": edge_strength(images()).numpy()})
    figure = found["gradient"]["DELETION"].parts["edges"]
    assert (figure.value, figure.low, figure.high) == (0, 0, 0)
    assert found["gradient"]["DELETION"].state == "failed"


def test_areas_are_those_of_a_loop():
    """Cell after cell, written down again without ranks or masks."""
    network, x = Bright(2, 3, 6), images(4)
    maps = rubbish(4)
    answers = network(x).argmax(1)
    with scoring(network) as scorer:
        probe = Probe(x, answers, {}, None, 0.95)
        rank = rank_cells(torch.from_numpy(maps))
        curve = compute_curve(Attributor(scorer, CONFIG), probe, rank, x, torch.zeros_like(x))
        ours = area_under(curve)
    for row in range(4):
        order = np.argsort(-maps[row].ravel(), kind="stable")  # a cell is a pixel at 16 × 16
        heights = []
        for step in range(9):
            gone = order[: 256 * step // 8]
            flat = x[row].clone().flatten(1)
            flat[:, gone] = 0
            p = network(flat.reshape(1, 3, SIDE, SIDE)).softmax(1)[0, answers[row]]
            heights.append(float(p.detach()))
        assert ours[row] == pytest.approx(np.trapezoid(heights, dx=1 / 8), abs=1e-6)


# --- randomised weights --------------------------------------------------------------------------


class EdgeFinder(nn.Module):
    """Whatever its weights are, its gradient is the same pattern but for a factor."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2)
        self.register_buffer("pattern", torch.rand(SIDE, SIDE) ** 2)

    def forward(self, x):
        return self.head((x * self.pattern).mean((1, 2, 3))[:, None])


def test_a_map_that_ignores_the_weights_fails():
    network = EdgeFinder()
    found = checked(network, {"gradient": true_maps(network, "gradient")})["gradient"]
    assert found["RANDOMISATION"].figure.value == pytest.approx(1, abs=1e-6)
    assert found["RANDOMISATION"].state == "failed"


def test_a_map_that_is_made_of_the_weights_passes():
    class Learned(Linear):
        def reset_parameters(self):
            nn.init.normal_(self.weight)

    network = Learned(torch.randn(3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    before = network.weight.clone()
    found = checked(network, {"gradient": true_maps(network, "gradient")})["gradient"]
    assert abs(found["RANDOMISATION"].figure.value) < 0.2
    assert found["RANDOMISATION"].state == "passed"
    assert torch.equal(network.weight, before)


def test_weights_are_randomised_from_the_last_layer_on():
    network = Small().eval()
    with scoring(network) as scorer:
        layers = sanity.weighted_layers(scorer, images(1), network)
    assert layers == [network.head, network.conv2, network.norm, network.conv1]
    found = checked(network, {"gradient": true_maps(network, "gradient")})["gradient"]
    assert list(found["RANDOMISATION"].parts) == [f"last {i} of 4 layers" for i in (1, 2, 3, 4)]
    again = checked(network, {"gradient": true_maps(network, "gradient")})["gradient"]
    assert again == found  # the same seed


# --- completeness, stability, agreement ----------------------------------------------------------


def test_completeness_measures_the_gap():
    network = Bright(1, 1, 4)
    maps = true_maps(network, "integrated_gradients")
    whole = checked(network, {"integrated_gradients": maps})["integrated_gradients"]
    assert whole["COMPLETENESS"].state == "passed"
    assert whole["COMPLETENESS"].figure.value == pytest.approx(0, abs=1e-5)
    less = checked(network, {"integrated_gradients": maps * 0.8})["integrated_gradients"]
    assert less["COMPLETENESS"].figure.value == pytest.approx(0.2, abs=1e-4)
    assert less["COMPLETENESS"].state == "failed"
    other = checked(network, {"occlusion": maps})["occlusion"]
    assert other["COMPLETENESS"].state == "not applicable"


class Nervous(nn.Module):
    """Its gradient turns about with the smallest change of a pixel."""

    def forward(self, x):
        score = torch.sin(x * 4000).mean((1, 2, 3)) * 30
        return torch.stack([-score, score], 1)


def test_stability_tells_a_nervous_network_from_a_calm_one():
    calm, nervous = Bright(1, 1, 4), Nervous()
    for network, state in ((calm, "passed"), (nervous, "failed")):
        found = checked(network, {"gradient": true_maps(network, "gradient")})["gradient"]
        assert found["STABILITY"].state == state


def test_agreement_is_of_coarse_places():
    a = np.abs(rubbish(seed=1))
    same = a + 1e-3 * np.abs(rubbish(seed=2))
    found = checked(
        Bright(1, 1, 4), {"gradient": a, "smoothgrad": -same, "occlusion": np.abs(rubbish(seed=3))}
    )
    parts = found["gradient"]["AGREEMENT"].parts
    assert parts["smoothgrad"].value > 0.99  # the sign does not matter
    assert abs(parts["occlusion"].value) < 0.15
    alone = checked(Bright(1, 1, 4), {"gradient": a})["gradient"]
    assert alone["AGREEMENT"].state == "not applicable"


def test_the_badge_is_the_worst_of_the_checks():
    found = checked(Bright(1, 1, 4), {"gradient": true_maps(Bright(1, 1, 4), "occlusion")})
    some = list(found["gradient"].values())
    passed = next(c for c in some if c.state == "passed")
    nothing = next(c for c in some if c.state == "not applicable")
    failed = replace(passed, state="failed")
    assert sanity.badge((passed, nothing)) == "passed"
    assert sanity.badge((passed, failed)) == "failed"
    assert sanity.badge((nothing,)) == sanity.badge(()) == "not applicable"


def test_people_make_intervals_wider():
    network, maps = Bright(1, 1, 4), rubbish()
    x = torch.cat([images(4)] * 4)
    each = checked(network, {"gradient": maps}, x)["gradient"]["STABILITY"].figure
    person = checked(network, {"gradient": maps}, x, cluster=np.arange(16) % 4)
    assert person["gradient"]["STABILITY"].figure.people == 4
    assert each.people is None


# --- pixels --------------------------------------------------------------------------------------


def test_blur_is_scipy_s():
    from scipy.ndimage import gaussian_filter

    x = images(2)
    ours = gaussian_blur(x, 1.5).numpy()
    theirs = gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), mode="mirror", radius=(0, 0, 4, 4))
    assert np.abs(ours - theirs).max() < 1e-5


def test_edges_are_scipy_s():
    from scipy.ndimage import sobel

    grey = images(2).mean(1).numpy()
    each = [[sobel(g, axis, mode="nearest") for axis in (0, 1)] for g in grey]
    theirs = np.array([np.hypot(*both) for both in each])
    assert np.abs(edge_strength(images(2)).numpy() - theirs).max() < 1e-5


def test_shuffling_keeps_the_colours_together():
    image = images(1)[0]
    other = shuffle_pixels(image, torch.Generator().manual_seed(0))
    assert not torch.equal(image, other)
    assert sorted(map(tuple, image.flatten(1).T.tolist())) == sorted(
        map(tuple, other.flatten(1).T.tolist())
    )
    assert F.mse_loss(image.mean((1, 2)), other.mean((1, 2))) < 1e-12


def test_maps_are_compared_where_the_network_sees():
    """Two that have nothing in common but what no map reaches are not alike, nor do they agree."""
    one, other = rubbish(seed=1), rubbish(seed=2)
    for maps in (one, other):
        maps[:, :8], maps[:, :, :4], maps[:, :, 12:] = 0, 0, 0
    answers = torch.zeros(16, dtype=torch.int64)
    both = {"gradient": one, "occlusion": other}
    part = Probe(images(), answers, both, None, 0.95, window=(0.25, 0.5, 0.75, 1.0))
    assert abs(part.correlations("gradient", other).mean()) < 0.1
    assert part.part(0, 4).correlations("gradient", one[:4]) == pytest.approx(1)
    assert part.cropped(one).shape == (16, 8, 8) and part.cropped(one).all()
    (figure,) = sanity.agreement(part)["gradient"].values()
    assert figure.low < 0 < figure.high
    whole = Probe(images(), answers, both, None, 0.95)
    assert whole.correlations("gradient", other).mean() > 0.5
    (figure,) = sanity.agreement(whole)["gradient"].values()
    assert figure.low > 0.3
