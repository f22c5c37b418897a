"""The methods against Captum's own, and against closed forms."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import nn
from torch.nn import functional as F

from candid.errors import CandidError, ConfigError
from candid.explanation.attribution import (
    METHODS,
    Attributor,
    make_patches,
    random_masks,
    saliency_maps,
)
from candid.explanation.layers import find_hook
from candid.explanation.scoring import log_odds, scoring
from candid.models.networks import build, crop_to_window
from candid.settings import MAP_METHODS, ExplainConfig
from explanation.small_networks import Linear, OneLogit, Small, Tokens

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from captum.attr import (
        IntegratedGradients,
        LayerAttribution,
        LayerGradCam,
        Occlusion,
        Saliency,
    )

CONFIG = ExplainConfig()
FEW = ExplainConfig(rise_masks=9, smoothgrad_samples=5, integration_steps=5, occlusion_stride=0.25)


def images(n=5, side=16, seed=0):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Small(n_classes=3)
        made.train()
        with torch.no_grad():
            made(images(20))  # the statistics of batch normalisation
    return made.eval()


def odds(network):
    """The score that is explained, written down again."""

    def forward(x):
        p = network(x).double().softmax(1)  # 1 - p of a sure answer needs the digits
        return (p / (1 - p)).log()

    return forward


CHOSEN = torch.tensor([0, 1, 2, 1, 0])


def close(ours, theirs):
    theirs = theirs.detach().numpy()
    assert np.abs(theirs).max() > 0
    assert np.abs(ours - theirs).max() <= 2e-4 * np.abs(theirs).max()


# --- against Captum ------------------------------------------------------------------------------


def test_every_method_has_a_name_in_the_settings():
    assert tuple(METHODS) == MAP_METHODS


def test_gradient_is_captum_s(network):
    ours = saliency_maps(network, images(), CHOSEN, method="gradient")
    close(ours, Saliency(odds(network)).attribute(images().requires_grad_(), CHOSEN).sum(1))


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_integrated_gradients_are_captum_s(network, steps):
    config = replace(CONFIG, integration_steps=steps)
    ours = saliency_maps(network, images(), CHOSEN, method="integrated_gradients", config=config)
    theirs = IntegratedGradients(odds(network)).attribute(
        images(), torch.zeros_like(images()), CHOSEN, n_steps=steps
    )
    close(ours, theirs.sum(1).float())


@pytest.mark.parametrize("layer", ["", "conv2", "norm"])
def test_grad_cam_is_captum_s(network, layer):
    ours = saliency_maps(network, images(), CHOSEN, method="grad_cam", layer=layer)
    hooked = dict(network.named_modules())[layer or "act2"]
    if layer == "norm":
        network.act1.inplace = False  # Captum would see what is written over it
    cam = LayerGradCam(odds(network), hooked).attribute(images(), CHOSEN)
    close(ours, LayerAttribution.interpolate(cam, (16, 16), "bilinear")[:, 0])


@pytest.mark.parametrize(("window", "stride"), [(0.25, 0.25), (0.25, 0.125), (0.3, 0.19), (0.9, 1)])
def test_occlusion_is_captum_s(network, window, stride):
    config = replace(CONFIG, occlusion_window=window, occlusion_stride=stride)
    ours = saliency_maps(network, images(), CHOSEN, method="occlusion", config=config)
    size = round(window * 16)
    step = min(size, round(stride * 16))
    theirs = Occlusion(odds(network)).attribute(
        images(), (3, size, size), (3, step, step), target=CHOSEN, baselines=0
    )
    close(ours, theirs[:, 0])


def test_smoothgrad_is_the_mean_of_captum_s_gradients(network):
    from candid.explanation.attribution import Noise

    config = replace(CONFIG, smoothgrad_samples=5)
    x = images()
    ours = saliency_maps(network, x, CHOSEN, method="smoothgrad", config=config)
    spread = 0.15 * (x.amax((1, 2, 3)) - x.amin((1, 2, 3)))
    noise = Noise(x, config.seed).draw(5)
    assert abs(float(noise.mean())) < 0.03
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
    slopes = [
        Saliency(odds(network)).attribute(
            (x + noise[:, i] * spread[:, None, None, None]).requires_grad_(), CHOSEN, abs=False
        )
        for i in range(5)
    ]
    close(ours, torch.stack(slopes).mean(0).abs().sum(1))


# --- closed forms --------------------------------------------------------------------------------


@pytest.fixture
def plain():
    weight = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(3))
    return Linear(weight, 0.4), weight


def test_a_linear_network_has_known_maps(plain):
    network, weight = plain
    x, ones = images(), torch.ones(5, dtype=torch.int64)
    part = (x * weight).sum(1)
    slopes = weight.abs().sum(0).expand(5, -1, -1)
    close(saliency_maps(network, x, ones, method="gradient"), slopes)
    close(saliency_maps(network, x, ones, method="smoothgrad"), slopes)
    close(saliency_maps(network, x, ones, method="integrated_gradients"), part)
    # Against the other class everything has the other sign.
    close(saliency_maps(network, x, 1 - ones, method="integrated_gradients"), -part)
    config = replace(CONFIG, occlusion_window=0.25, occlusion_stride=0.25)
    blocks = part.reshape(5, 4, 4, 4, 4).sum((2, 4))
    close(
        saliency_maps(network, x, ones, method="occlusion", config=config),
        blocks.repeat_interleave(4, 1).repeat_interleave(4, 2),
    )


def test_rise_of_a_linear_network_is_the_masks_covariance(plain):
    network, weight = plain
    x = images(2)
    config = replace(CONFIG, rise_masks=400)
    ours = saliency_maps(network, x, torch.ones(2, dtype=torch.int64), method="rise", config=config)
    for row in range(2):
        masks = random_masks(x[row], config, x.shape[-2:], slice(0, 400)).double()
        part = (x[row] * weight).sum(0).double()
        flat = masks.flatten(1)
        together = (flat - flat.mean(0)).T @ (flat - flat.mean(0)) / 400
        expected = (together @ part.flatten()).reshape(16, 16) / 0.25
        close(ours[row], expected)


@pytest.mark.parametrize("kept", [0.5, 0.2])
def test_rise_masks_keep_what_they_should(kept):
    config = replace(CONFIG, rise_masks=4001, rise_kept=kept, rise_cells=5)
    masks = random_masks(images(1)[0], config, torch.Size((12, 20)), slice(0, 4001))
    assert masks.shape == (4001, 12, 20)
    assert float(masks.min()) >= 0 <= 1 >= float(masks.max()) - 1e-6
    assert float(masks.mean()) == pytest.approx(kept, abs=0.01)
    assert masks.mean(0).sub(kept).abs().max() < 0.04  # everywhere alike
    some = random_masks(images(1)[0], config, torch.Size((12, 20)), slice(100, 117))
    assert torch.equal(some, masks[100:117])


def test_patches_reach_every_pixel():
    for side in (8, 13, 64):
        for window in (0.1, 0.25, 0.9):
            config = replace(CONFIG, occlusion_window=window, occlusion_stride=0.7)
            assert (make_patches(side, side, config)[0].sum(0) >= 1).all()


def test_log_odds_are_those_of_the_class():
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)) * 3
    chosen = torch.arange(7) % 4
    p = logits.double().softmax(1)[torch.arange(7), chosen]
    assert torch.allclose(log_odds(logits, chosen).double(), (p / (1 - p)).log(), atol=1e-5)
    assert torch.isfinite(log_odds(torch.tensor([[200.0, -200.0]]), torch.tensor([0]))).all()


def test_integrated_gradients_add_up(network):
    config = replace(CONFIG, integration_steps=60)
    x = images()
    maps = saliency_maps(network, x, CHOSEN, method="integrated_gradients", config=config)
    with torch.no_grad():
        score = odds(network)
        change = (score(x) - score(torch.zeros_like(x)))[torch.arange(5), CHOSEN]
    assert np.allclose(maps.sum((1, 2)), change.numpy(), atol=0.02 * float(change.abs().max()))


# --- what must not matter ------------------------------------------------------------------------


@pytest.mark.parametrize("method", MAP_METHODS)
def test_neither_batches_nor_neighbours_matter(network, method):
    x = images(7)
    chosen = torch.arange(7) % 3
    whole = saliency_maps(network, x, chosen, method=method, config=FEW)
    assert np.array_equal(
        whole, saliency_maps(network, x, chosen, method=method, config=FEW)
    )  # twice the same
    for size in (1, 3, 64):
        small = replace(FEW, batch_size=size)
        again = saliency_maps(network, x, chosen, method=method, config=small)
        assert np.abs(again - whole).max() <= 1e-4 * np.abs(whole).max()
    alone = saliency_maps(network, x[4:5], chosen[4:5], method=method, config=FEW)
    assert np.abs(alone[0] - whole[4]).max() <= 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("method", ["smoothgrad", "rise"])
def test_the_seed_matters_where_chance_does(network, method):
    other = replace(FEW, seed=1)
    one = saliency_maps(network, images(), CHOSEN, method=method, config=FEW)
    assert not np.allclose(
        one, saliency_maps(network, images(), CHOSEN, method=method, config=other)
    )


def test_without_a_class_the_answer_is_explained(network):
    answers = network(images()).argmax(1)
    assert np.array_equal(
        saliency_maps(network, images(), method="gradient"),
        saliency_maps(network, images(), answers, method="gradient"),
    )


def test_nothing_is_left_behind(network):
    network.train()
    network.norm.eval()  # frozen, as somebody may want it
    network.conv1.weight.requires_grad_(False)
    weight = network.head.weight
    weight.grad = torch.ones_like(weight)
    before = {n: (m.training, len(m._forward_hooks)) for n, m in network.named_modules()}
    learns = {n: p.requires_grad for n, p in network.named_parameters()}
    state = {n: t.clone() for n, t in network.state_dict().items()}
    rng = torch.random.get_rng_state()
    with torch.no_grad():
        for method in MAP_METHODS:
            saliency_maps(network, images(2), method=method, config=FEW)
        assert not torch.is_grad_enabled()

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    head, network.head = network.head, Broken()
    with pytest.raises(RuntimeError, match="no"):
        saliency_maps(network, images(2), torch.zeros(2, dtype=torch.int64), method="grad_cam")
    network.head = head
    # Broken after the hook was placed, in the pass that is hooked.
    handle = network.drop.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), scoring(network) as scorer:
        find_hook(scorer, images(1))
    handle.remove()
    assert before == {n: (m.training, len(m._forward_hooks)) for n, m in network.named_modules()}
    assert learns == {n: p.requires_grad for n, p in network.named_parameters()}
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert all(torch.equal(t, state[n]) for n, t in network.state_dict().items())
    assert torch.equal(rng, torch.random.get_rng_state())


def test_one_logit_is_two_classes(network):
    two = Small(n_classes=2).eval()
    ones = torch.ones(5, dtype=torch.int64)
    for method in ("gradient", "occlusion"):
        assert np.allclose(
            saliency_maps(OneLogit(two), images(), ones, method=method),
            saliency_maps(two, images(), ones, method=method),
            atol=1e-5,
        )


@pytest.mark.parametrize("method", MAP_METHODS)
def test_a_mirrored_answer_has_a_mirrored_map(network, method):
    """Of an image that is its own mirror, the map is its own mirror; else it is the mean of two."""
    x = images(3)
    chosen = torch.tensor([0, 1, 2])

    class Both(nn.Module):
        def forward(self, x):
            return (network(x) + network(x.flip(3))) / 2

    with scoring(network, flip_tta=True) as scorer:
        hook = find_hook(scorer, x[:1])
        ours = Attributor(scorer, FEW, hook).maps(method, x, chosen)
        even = (x + x.flip(3)) / 2
        if method not in ("smoothgrad", "rise"):
            own = Attributor(scorer, FEW, hook).maps(method, even, chosen)
            assert np.abs(own - own[..., ::-1]).max() <= 1e-4 * np.abs(own).max()
    if method != "grad_cam":
        expected = saliency_maps(Both(), x, chosen, method=method, config=FEW)
        assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


# --- the layer -----------------------------------------------------------------------------------


def test_the_layer_is_the_last_that_gives_a_map(network):
    with scoring(network) as scorer:
        hook = find_hook(scorer, images(1))
        assert (hook.name, hook.tokens) == ("act2", None)
        assert find_hook(scorer, images(1), "norm").name == "norm"
        with pytest.raises(ConfigError, match="no layer 'con2'"):
            find_hook(scorer, images(1), "con2")
        with pytest.raises(ConfigError, match="neither a map nor tokens"):
            find_hook(scorer, images(1), "head")
    with scoring(Linear(torch.ones(3, 16, 16))) as scorer:
        assert find_hook(scorer, images(1)) is None
    with pytest.raises(ConfigError, match="no layer that gives a map"):
        saliency_maps(Linear(torch.ones(3, 16, 16)), images(1), method="grad_cam")


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("token", [True, False])
def test_a_transformer_s_tokens_are_laid_out_where_they_come_from(token, registers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Tokens(token=token, registers=registers).eval()
    with scoring(network) as scorer:
        hook = find_hook(scorer, images(1))
    assert hook.tokens == (int(token) + registers, 4)
    # What the first block gives is what its last part gives; the last mixes for the token alone.
    assert hook.name == ("blocks.0.norm2" if token else "norm")
    maps = saliency_maps(network, images(2), method="grad_cam")
    assert maps.shape == (2, 16, 16)
    assert np.abs(maps).max() > 0


# --- bad input -----------------------------------------------------------------------------------


def test_bad_networks_and_methods_are_named(network):
    with pytest.raises(ConfigError, match="no method 'gradcam'"):
        saliency_maps(network, images(), method="gradcam")

    class Wrong(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(CandidError, match="logits"):
        saliency_maps(Wrong(), images(), method="gradient")
    with torch.no_grad():
        network.head.weight.fill_(math.inf)
    with pytest.raises(CandidError, match="not finite"):
        saliency_maps(network, images(), method="gradient")


def test_rank_correlation_is_scipy_s():
    from scipy.stats import spearmanr

    from candid.stats.associations import mean_ranks, rank_correlations

    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, (6, 5, 7)).astype(np.float32)  # many ties
    b = rng.normal(size=(6, 5, 7)).astype(np.float32) + a / 4
    assert np.array_equal(mean_ranks(a.reshape(6, -1)), rankdata(a.reshape(6, -1), axis=1) - 1)
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    assert np.allclose(rank_correlations(a, b), expected)
    a[2] = 3
    assert np.isnan(rank_correlations(a, b)[2])


# --- one way round each --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["smoothgrad", "occlusion", "rise"])
def test_copies_seen_one_way_round_have_the_same_mean(method):
    """For two classes, by all copies both ways round; many copies leave little chance."""
    torch.manual_seed(3)
    network, x = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), images(2)
    config = replace(FEW, rise_masks=4000, smoothgrad_samples=8, occlusion_stride=0.05)
    looked = []
    network.register_forward_pre_hook(lambda _, given: looked.append(len(given[0])))
    with scoring(network, flip_tta=True) as scorer:
        classes = torch.tensor([0, 1])
        both = Attributor(scorer, config).maps(method, x, classes)
        twice, looked[:] = sum(looked), []
        one = Attributor(scorer, config, alternate=True).maps(method, x, classes)
    assert sum(looked) <= twice / 2 + 4
    assert np.corrcoef(one.ravel(), both.ravel())[0, 1] > 0.9  # a network as lopsided as can be
    assert one.mean() == pytest.approx(both.mean(), abs=0.05 * float(np.abs(both).mean()) + 1e-3)


def test_answers_with_a_second_look_only_in_doubt_are_those_of_two_looks():
    from candid.explanation.scoring import SecondLook

    torch.manual_seed(4)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    x = torch.randn(6000, 3, 16, 16)
    x[:, :, 4:12] *= torch.linspace(0.1, 4, 6000)[:, None, None, None]
    x = x + x.flip(3) * 0.7  # both ways round look alike, and not the same
    looked = []
    network.register_forward_pre_hook(lambda _, given: looked.append(len(given[0])))
    with scoring(network, flip_tta=True) as scorer:
        found = SecondLook(scorer).predict(x)
        seen = sum(looked)
        expected = scorer.all_logits(x).argmax(1)
    assert torch.equal(found, expected)
    assert 8000 < seen < 11_500  # 2,000 twice, the others once but for those in doubt


def test_grad_cam_of_a_window_lies_in_the_window():
    """A part of the picture by itself, to a network without a window, has the same map there."""
    torch.manual_seed(0)
    whole = build("deep", side=32, n_classes=2, width=4).eval()
    part = build("deep", side=32, n_classes=2, width=4, window="0.25 0.5 0.75 1").eval()
    part.load_state_dict(whole.state_dict())
    pictures, explained = torch.randn(3, 3, 32, 32), torch.tensor([0, 1, 1])
    maps = torch.from_numpy(saliency_maps(part, pictures, explained, method="grad_cam"))
    assert not maps[:, :16].any() and not maps[:, :, :8].any() and not maps[:, :, 24:].any()
    seen = crop_to_window(pictures, (0.25, 0.5, 0.75, 1.0))
    apart = torch.from_numpy(saliency_maps(whole, seen, explained, method="grad_cam"))
    # The window at half the size: each of its pixels is the mean of four of the large map's.
    halved = F.avg_pool2d(apart[:, None], 2)[:, 0]
    torch.testing.assert_close(
        maps[:, 16:, 8:24], halved, rtol=0.05, atol=0.05 * float(apart.abs().max())
    )
