"""Sanity checks of maps: six tests, each with a figure, its interval and a threshold.

A method passes a test when the whole interval lies on the right side of the threshold. A map that
fails is shown as failed, as it may look convincing.

Expensive tests use more and more images until the interval lies on one side of its threshold, at
most all of them (`candid.stats.sequential`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from candid.arrays import FloatArray
from candid.explanation.attribution import METHODS, Attributor, image_generator
from candid.explanation.curves import Curves, MaskingCurve, Plotted
from candid.explanation.hidden import holds_weights
from candid.explanation.layers import find_hook
from candid.explanation.probe import Parts, Probe
from candid.explanation.scoring import Scorer, scoring, watching
from candid.records import Estimate
from candid.records.explanation import MapCheck, Verdict
from candid.settings import ExplainConfig
from candid.stats.associations import rank_correlations
from candid.stats.intervals import ratios, undefined_estimate
from candid.stats.sequential import excludes
from candid.text import map_checks as text

_AGREEMENT_CELLS = 8  # methods are compared at the resolution of the coarsest
_MAX_IMAGES = 24  # for the tests that recompute every map
_STAGES = 4  # steps of the randomisation of weights
_NOISE = 0.01  # standard deviation of the small noise, as a share of the image's range

STEPS = _STAGES + 2  # calls of `advance` by `map_checks`


def map_checks(
    attributor: Attributor, probe: Probe, advance: Callable[[], object] = lambda: None
) -> dict[str, tuple[MapCheck, ...]]:
    """Every check of every method, in a fixed order; `advance` is called `STEPS` times."""
    subset = probe.part(0, _MAX_IMAGES)
    randomisation = _randomise(attributor, subset, advance)
    curves = Curves(attributor, probe)
    deletion, insertion = (
        {name: curves.gains(kind, name) for name in probe.maps}
        for kind in ("DELETION", "INSERTION")
    )
    advance()
    stability = _stability(attributor, subset)
    advance()
    agreements, gap = agreement(probe), _completeness(attributor.scorer, probe)
    config, plotted = attributor.config, {name: curves.plotted(name) for name in probe.maps}
    return {
        name: (
            _randomisation_check(randomisation[name], config),
            _curve_check("DELETION", deletion[name], plotted[name]),
            _curve_check("INSERTION", insertion[name], plotted[name]),
            _completeness_check(name, gap, config),
            _make_check(
                "STABILITY",
                stability[name],
                config.min_stability,
                text.under_noise(stability[name], _NOISE),
            ),
            _agreement_check(agreements[name], config),
        )
        for name in probe.maps
    }


def badge(checks: tuple[MapCheck, ...]) -> Verdict:
    """Failed if any check failed; not applicable without any result."""
    states = [c.state for c in checks]
    if "failed" in states:
        return "failed"
    return "passed" if "passed" in states else "not applicable"


# --- randomised weights --------------------------------------------------------------------------


def _randomise(a: Attributor, probe: Probe, advance: Callable[[], object]) -> dict[str, Parts]:
    """By method and stage: the similarity of maps of a randomised network to the real ones.

    Weights are randomised from the last layers to the first: cascading randomisation (Adebayo et
    al. 2018). The figure is the rank correlation of the absolute maps. The last stage decides;
    those before it are for a chart, on the images of the first look.
    """
    original, network = a.scorer, copy.deepcopy(a.scorer.network)
    options = {k: getattr(original, k) for k in ("batch_size", "bfloat16", "flip_tta", "number")}
    image = probe.images[:1]
    layers = weighted_layers(original, image, network)
    figures: dict[str, Parts] = {name: {} for name in probe.maps}
    done = 0
    for stage in range(1, _STAGES + 1):
        stop = max(done + 1, round(len(layers) * stage / _STAGES))
        if stop <= len(layers):
            for module in layers[done:stop]:
                _randomise_weights(module, a.config.seed, done)
                done += 1
            title = f"last {done} of {len(layers)} layers"
            with scoring(network, **options) as scorer:
                hook = a.hook and find_hook(scorer, image, a.hook.name)
                randomised = replace(a, scorer=scorer, hook=hook)
                is_last = done == len(layers)
                part = probe if is_last else probe.part(0, probe.looks.sizes[0])
                for name in probe.maps:
                    if is_last:
                        figure = _similarity(randomised, part, name, a.config.max_similarity)
                    else:
                        maps = randomised.maps(name, part.images, part.explained)
                        figure = part.mean(part.correlations(name, maps))
                    figures[name][title] = figure
        advance()
    return figures


def _similarity(
    attributor: Attributor,
    probe: Probe,
    name: str,
    threshold: float,
    images_of: Callable[[Probe], Tensor] = lambda probe: probe.images,
) -> Estimate:
    """The similarity of a method's maps of another network or other images; see `Probe.until`."""

    def values(_: int, part: Probe) -> dict[str, FloatArray]:
        maps = attributor.maps(name, images_of(part), part.explained)
        return {name: part.correlations(name, maps)}

    return probe.until(values, lambda figures, _: excludes(figures[name], threshold))[name]


def weighted_layers(scorer: Scorer, image: Tensor, network: nn.Module) -> list[nn.Module]:
    """The modules of a copied network with weights of their own, the last used first."""
    copied = {name: m for name, m in network.named_modules() if holds_weights(m)}
    original = {name: m for name, m in scorer.network.named_modules() if name in copied}
    order: list[str] = []
    with watching(original, lambda name, *_: order.append(name)), torch.no_grad():
        scorer.logits(image)
    index = {name: i for i, name in enumerate(order)}
    # Weights of a module with children (position embeddings) are used before the children.
    last_use = {n: -1 if any(m.children()) else index.get(n, -1) for n, m in copied.items()}
    return [copied[n] for n in sorted(copied, key=lambda n: -last_use[n])]


def _randomise_weights(module: nn.Module, seed: int, number: int) -> None:
    """Give a layer new weights, as before training."""
    reset = getattr(module, "reset_parameters", None)
    devices = [p.device for p in module.parameters(recurse=False) if p.is_cuda]
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed((seed + 1) * 1_000_003 + number)
        if callable(reset):
            reset()
            return
        for weight in module.parameters(recurse=False):
            std = float(weight.float().std()) if weight.numel() > 1 else 1.0
            weight.normal_(0.0, std)


def _randomisation_check(stages: Parts, config: ExplainConfig) -> MapCheck:
    figure = list(stages.values())[-1] if stages else undefined_estimate(config.confidence)
    return _make_check(
        "RANDOMISATION",
        figure,
        config.max_similarity,
        text.randomised(figure, config.max_similarity),
        stages,
    )


# --- deletion and insertion ----------------------------------------------------------------------


def _curve_check(kind: MaskingCurve, gains: Parts, plotted: Plotted) -> MapCheck:
    strongest = min(gains, key=lambda name: np.nan_to_num(gains[name].low, nan=-np.inf))
    detail = text.deletion_detail(kind, gains[strongest], gains, strongest, plotted)
    return _make_check(kind, gains[strongest], 0.0, detail, gains)


# --- completeness, stability, agreement ----------------------------------------------------------


def _completeness(scorer: Scorer, probe: Probe) -> Estimate:
    """The error of the sums of integrated gradients, relative to the scores' differences."""
    if "integrated_gradients" not in probe.maps:
        return undefined_estimate(probe.confidence)
    scores = scorer.all_scores(probe.images, probe.explained)
    baseline = scorer.all_scores(torch.zeros_like(probe.images), probe.explained)
    differences = (scores - baseline).double().cpu().numpy()
    sums = probe.maps["integrated_gradients"].sum((1, 2), dtype=np.float64)
    gaps, sizes = np.abs(sums - differences)[:, None], np.abs(differences)[:, None]
    return ratios(gaps, sizes, probe.person, confidence=probe.confidence)[0]


def _completeness_check(name: str, gap: Estimate, config: ExplainConfig) -> MapCheck:
    is_applicable = name == "integrated_gradients"
    return _make_check(
        "COMPLETENESS",
        gap if is_applicable else undefined_estimate(config.confidence),
        config.max_gap,
        text.completeness_detail(gap) if is_applicable else text.ONLY_GRADIENTS_ADD_UP,
    )


def _stability(attributor: Attributor, probe: Probe) -> Parts:
    """By method: the rank correlation of |map| with that of the image with a little noise."""

    def add_noise(part: Probe) -> Tensor:
        return _add_noise(part.images, attributor.config.seed + 11)

    threshold = attributor.config.min_stability
    return {name: _similarity(attributor, probe, name, threshold, add_noise) for name in probe.maps}


def _add_noise(x: Tensor, seed: int) -> Tensor:
    """Images with a little noise, which depends on the seed and each image."""
    scale = _NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    return x + scale * torch.stack(
        [torch.randn(i.shape, generator=image_generator(i, seed)) for i in x]
    )


def agreement(probe: Probe) -> dict[str, Parts]:
    """By method and other method: the rank correlation of absolute maps, in 8 × 8 cells."""
    cells: dict[str, NDArray[np.float32]] = {}
    for name, maps in probe.maps.items():
        strength = torch.from_numpy(np.abs(probe.cropped(maps)))[:, None]
        coarse = F.adaptive_avg_pool2d(strength, min(_AGREEMENT_CELLS, *strength.shape[2:]))
        cells[name] = coarse[:, 0].numpy()
    return {
        name: {
            other: probe.mean(rank_correlations(np.abs(own_cells), np.abs(cells[other])))
            for other in cells
            if other != name
        }
        for name, own_cells in cells.items()
    }


def _agreement_check(others: Parts, config: ExplainConfig) -> MapCheck:
    figure, detail = undefined_estimate(config.confidence), text.NO_OTHER_METHOD
    if others:
        ranked = sorted(others, key=lambda name: np.nan_to_num(others[name].value, nan=-np.inf))
        median = ranked[(len(ranked) - 1) // 2]
        figure = others[median]
        detail = text.agrees(figure, METHODS[median].title, len(others))
    return _make_check("AGREEMENT", figure, 0.0, detail, others)


# --- a figure against its threshold --------------------------------------------------------------

# Of these checks the figure must lie below its threshold, of others above.
_BELOW = {"RANDOMISATION", "COMPLETENESS"}


def _make_check(
    code: str, figure: Estimate, threshold: float, detail: str, parts: Parts | None = None
) -> MapCheck:
    direction: Literal["above", "below"] = "below" if code in _BELOW else "above"
    state = judge(figure, threshold, direction)
    title = text.TITLES[code]
    return MapCheck(code, title, state, figure, threshold, direction, detail, parts or {})


def judge(figure: Estimate, threshold: float, direction: Literal["above", "below"]) -> Verdict:
    """Passed where the whole interval lies on the right side of the threshold."""
    if figure.n == 0 or np.isnan(figure.low):
        return "not applicable"
    passed = figure.low > threshold if direction == "above" else figure.high < threshold
    return "passed" if passed else "failed"
