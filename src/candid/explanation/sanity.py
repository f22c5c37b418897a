"""Is a map worth anything? Six tests, each with a figure, its interval and a threshold.

A method passes a test when the whole interval lies on the right side of the threshold. A map that
fails is shown as failed: it may look convincing, which is the danger.

What costs passes of the network is done on more and more images until the interval that decides
lies on one side of its threshold, at most on all of them (`candid.stats.sequential`).
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

from candid.arrays import Floats
from candid.explanation.attribution import METHODS, Attributor, generator_of
from candid.explanation.curves import Curves, MaskingCurve, Plotted
from candid.explanation.hidden import holds_weights
from candid.explanation.layers import find_hook
from candid.explanation.probe import Parts, Probe
from candid.explanation.scoring import Scorer, scoring, watching
from candid.records import Estimate
from candid.records.explanation import MapCheck, Verdict
from candid.settings import ExplainConfig
from candid.stats.associations import rank_correlations
from candid.stats.intervals import ratios, unknown
from candid.stats.sequential import leaves_out
from candid.text import map_checks as text

_AGREEMENT_CELLS = 8  # methods are compared at the resolution of the coarsest
_FEW = 24  # images at most for the tests that need every map anew
_STAGES = 4  # how far down weights are randomised, in as many steps
_NOISE = 0.01  # standard deviation of the small noise, as a share of the image's range

STEPS = _STAGES + 2  # calls of `advance` by `map_checks`


def map_checks(
    by: Attributor, probe: Probe, advance: Callable[[], object] = lambda: None
) -> dict[str, tuple[MapCheck, ...]]:
    """Every check of every method, in a fixed order; `advance` is called `STEPS` times."""
    few = probe.part(0, _FEW)
    randomised = _randomised(by, few, advance)
    curves = Curves(by, probe)
    deletion, insertion = (
        {name: curves.gains(kind, name) for name in probe.maps}
        for kind in ("DELETION", "INSERTION")
    )
    advance()
    stable = _noisy(by, few)
    advance()
    agreed, gap = agreement(probe), _completeness(by.scorer, probe)
    config, plotted = by.config, {name: curves.plotted(name) for name in probe.maps}
    return {
        name: (
            _randomisation_check(randomised[name], config),
            _curve_check("DELETION", deletion[name], plotted[name]),
            _curve_check("INSERTION", insertion[name], plotted[name]),
            _completeness_check(name, gap, config),
            _judged(
                "STABILITY",
                stable[name],
                config.min_stability,
                text.under_noise(stable[name], _NOISE),
            ),
            _agreement_check(agreed[name], config),
        )
        for name in probe.maps
    }


def badge(checks: tuple[MapCheck, ...]) -> Verdict:
    """One failure fails, and without a single test there is nothing to say."""
    states = [c.state for c in checks]
    if "failed" in states:
        return "failed"
    return "passed" if "passed" in states else "not applicable"


# --- randomised weights --------------------------------------------------------------------------


def _randomised(by: Attributor, probe: Probe, advance: Callable[[], object]) -> dict[str, Parts]:
    """By method and stage: how like the maps of a network with fresh weights are to the real ones.

    The last layers get fresh weights first, then the earlier ones, too: cascading randomisation
    (Adebayo et al. 2018). The figure is the rank correlation of the absolute maps. The last stage
    decides; those before it are for a chart, and stand on the images of the first look.
    """
    known, network = by.scorer, copy.deepcopy(by.scorer.network)
    how = {"bfloat16": known.bfloat16, "flip_tta": known.flip_tta, "number": known.number}
    image = probe.images[:1]
    layers = weighted_layers(known, image, network)
    found: dict[str, Parts] = {name: {} for name in probe.maps}
    done = 0
    for stage in range(1, _STAGES + 1):
        upto = max(done + 1, round(len(layers) * stage / _STAGES))
        if upto <= len(layers):
            for module in layers[done:upto]:
                _fresh(module, by.config.seed, done)
                done += 1
            title = f"last {done} of {len(layers)} layers"
            with scoring(network, batch_size=known.batch_size, **how) as scorer:
                hook = by.hook and find_hook(scorer, image, by.hook.name)
                fresh = replace(by, scorer=scorer, hook=hook)
                decides = done == len(layers)
                some = probe if decides else probe.part(0, probe.looks.sizes[0])
                for name in probe.maps:
                    if decides:
                        figure = _likeness(fresh, some, name, by.config.max_similarity)
                    else:
                        anew = fresh.maps(name, some.images, some.explained)
                        figure = some.mean(some.alike(name, anew))
                    found[name][title] = figure
        advance()
    return found


def _likeness(
    by: Attributor,
    probe: Probe,
    name: str,
    threshold: float,
    images_of: Callable[[Probe], Tensor] = lambda probe: probe.images,
) -> Estimate:
    """How like a method's maps by another network, or of other images, are; see `Probe.until`."""

    def values(_: int, some: Probe) -> dict[str, Floats]:
        return {name: some.alike(name, by.maps(name, images_of(some), some.explained))}

    return probe.until(values, lambda found, _: leaves_out(found[name], threshold))[name]


def weighted_layers(scorer: Scorer, image: Tensor, network: nn.Module) -> list[nn.Module]:
    """The parts of a copied network that have weights of their own, the last used first."""
    copied = {name: m for name, m in network.named_modules() if holds_weights(m)}
    original = {name: m for name, m in scorer.network.named_modules() if name in copied}
    order: list[str] = []
    with watching(original, lambda name, *_: order.append(name)), torch.no_grad():
        scorer.logits(image)
    last = {name: i for i, name in enumerate(order)}
    # What holds weights of its own besides parts (places of tokens) is used before its parts.
    own = {n: -1 if any(m.children()) else last.get(n, -1) for n, m in copied.items()}
    return [copied[n] for n in sorted(copied, key=lambda n: -own[n])]


def _fresh(module: nn.Module, seed: int, number: int) -> None:
    """Give a layer new weights, as before training."""
    reset = getattr(module, "reset_parameters", None)
    devices = [p.device for p in module.parameters(recurse=False) if p.is_cuda]
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        torch.manual_seed((seed + 1) * 1_000_003 + number)
        if callable(reset):
            reset()
            return
        for weight in module.parameters(recurse=False):
            spread = float(weight.float().std()) if weight.numel() > 1 else 1.0
            weight.normal_(0.0, spread)


def _randomisation_check(stages: Parts, config: ExplainConfig) -> MapCheck:
    figure = list(stages.values())[-1] if stages else unknown(config.confidence)
    return _judged(
        "RANDOMISATION",
        figure,
        config.max_similarity,
        text.randomised(figure, config.max_similarity),
        stages,
    )


# --- deletion and insertion ----------------------------------------------------------------------


def _curve_check(kind: MaskingCurve, gains: Parts, plotted: Plotted) -> MapCheck:
    against = min(gains, key=lambda name: np.nan_to_num(gains[name].low, nan=-np.inf))
    said = text.sooner(kind, gains[against], gains, against, plotted)
    return _judged(kind, gains[against], 0.0, said, gains)


# --- completeness, stability, agreement ----------------------------------------------------------


def _completeness(scorer: Scorer, probe: Probe) -> Estimate:
    """How far the sums of integrated gradients miss the difference that they should make up."""
    if "integrated_gradients" not in probe.maps:
        return unknown(probe.confidence)
    whole = scorer.all_scores(probe.images, probe.explained)
    empty = scorer.all_scores(torch.zeros_like(probe.images), probe.explained)
    real = (whole - empty).double().cpu().numpy()
    sums = probe.maps["integrated_gradients"].sum((1, 2), dtype=np.float64)
    gap, size = np.abs(sums - real)[:, None], np.abs(real)[:, None]
    return ratios(gap, size, probe.person, confidence=probe.confidence)[0]


def _completeness_check(name: str, gap: Estimate, config: ExplainConfig) -> MapCheck:
    applies = name == "integrated_gradients"
    return _judged(
        "COMPLETENESS",
        gap if applies else unknown(config.confidence),
        config.max_gap,
        text.missed(gap) if applies else text.ONLY_GRADIENTS_ADD_UP,
    )


def _noisy(by: Attributor, probe: Probe) -> Parts:
    """By method: the rank correlation of |map| with that of the image with a little noise."""

    def noisy(some: Probe) -> Tensor:
        return _with_noise(some.images, by.config.seed + 11)

    threshold = by.config.min_stability
    return {name: _likeness(by, probe, name, threshold, noisy) for name in probe.maps}


def _with_noise(x: Tensor, seed: int) -> Tensor:
    """Images with a little noise, which the seed and each image decide."""
    spread = _NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    return x + spread * torch.stack(
        [torch.randn(i.shape, generator=generator_of(i, seed)) for i in x]
    )


def agreement(probe: Probe) -> dict[str, Parts]:
    """By method and other method: the rank correlation of where they look, in 8 × 8 cells."""
    cells: dict[str, NDArray[np.float32]] = {}
    for name, maps in probe.maps.items():
        strength = torch.from_numpy(np.abs(probe.seen(maps)))[:, None]
        coarse = F.adaptive_avg_pool2d(strength, min(_AGREEMENT_CELLS, *strength.shape[2:]))
        cells[name] = coarse[:, 0].numpy()
    return {
        name: {
            other: probe.mean(rank_correlations(np.abs(own), np.abs(cells[other])))
            for other in cells
            if other != name
        }
        for name, own in cells.items()
    }


def _agreement_check(others: Parts, config: ExplainConfig) -> MapCheck:
    figure, detail = unknown(config.confidence), text.NO_OTHER_METHOD
    if others:
        ranked = sorted(others, key=lambda name: np.nan_to_num(others[name].value, nan=-np.inf))
        middle = ranked[(len(ranked) - 1) // 2]
        figure = others[middle]
        detail = text.agrees(figure, METHODS[middle].title, len(others))
    return _judged("AGREEMENT", figure, 0.0, detail, others)


# --- a figure against its threshold --------------------------------------------------------------

# Of these checks the figure must lie below its threshold, of others above.
_BELOW = {"RANDOMISATION", "COMPLETENESS"}


def _judged(
    code: str, figure: Estimate, threshold: float, detail: str, parts: Parts | None = None
) -> MapCheck:
    direction: Literal["above", "below"] = "below" if code in _BELOW else "above"
    state = verdict_of(figure, threshold, direction)
    title = text.TITLES[code]
    return MapCheck(code, title, state, figure, threshold, direction, detail, parts or {})


def verdict_of(figure: Estimate, threshold: float, direction: Literal["above", "below"]) -> Verdict:
    """Passed where the whole interval lies on the right side of the threshold."""
    if figure.n == 0 or np.isnan(figure.low):
        return "not applicable"
    passed = figure.low > threshold if direction == "above" else figure.high < threshold
    return "passed" if passed else "failed"
