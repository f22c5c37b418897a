"""Is a map worth anything? Six tests, each with a figure, its interval and a threshold.

A method passes a test when the whole interval lies on the right side of the threshold. A map that
fails is shown as failed: it may look convincing, which is the danger.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from candid.explanation.layers import Hook, find_hook
from candid.explanation.pixels import blurred, edges
from candid.explanation.saliency import METHODS, TITLES, generator_of
from candid.explanation.scoring import Scorer, scoring
from candid.records import Estimate
from candid.records.explanation import MapCheck, Verdict
from candid.settings import ExplainConfig
from candid.stats.associations import rank_correlations
from candid.stats.intervals import mean, ratios, unknown

Maps = Mapping[str, NDArray[np.float32]]  # (n, side, side) by method

_CELLS = 16  # the curves remove cells of 1/16 of the side: single pixels act as noise
_AGREEMENT_CELLS = 8  # methods are compared at the resolution of the coarsest
_FEW = 24  # images for the tests that need every map anew
_STAGES = 4  # how far down weights are randomised, in as many steps
_NOISE = 0.01  # standard deviation of the small noise, as a share of the image's range


@dataclass(frozen=True, eq=False)
class Trial:
    """The images on which maps are checked.

    Attributes
    ----------
    images
        (n, 3, side, side), normalised.
    explained
        (n,) the class that each map speaks for.
    maps
        The maps to check, by method.
    cluster
        (n,) the number of the person; None: every image stands for itself.
    hook
        Where Grad-CAM looks.
    """

    images: Tensor
    explained: Tensor
    maps: Maps
    cluster: NDArray[Any] | None
    hook: Hook | None

    def first(self, n: int) -> Trial:
        """The same for the first n images."""
        return Trial(
            self.images[:n],
            self.explained[:n],
            {name: maps[:n] for name, maps in self.maps.items()},
            None if self.cluster is None else self.cluster[:n],
            self.hook,
        )


def check(
    scorer: Scorer,
    trial: Trial,
    config: ExplainConfig,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, tuple[MapCheck, ...]]:
    """Every test of every method, in a fixed order.

    Parameters
    ----------
    scorer
        The network.
    trial
        What to test on.
    config
        Thresholds, steps and the methods' own settings.
    advance
        Called `STEPS` times on the way: for a progress bar.
    """
    few = trial.first(_FEW)
    similar = _randomised(scorer, few, config, advance)
    deletion, insertion = _curves(scorer, trial, config)
    advance()
    stable = _noisy(scorer, few, config)
    advance()
    agreed = agreement(trial.maps, trial.cluster, config.confidence)
    gap = _completeness(scorer, trial, config)
    return {
        name: (
            _randomisation_check(similar[name], config),
            _curve_check("DELETION", deletion[name], config),
            _curve_check("INSERTION", insertion[name], config),
            _completeness_check(name, gap, config),
            _stability_check(stable[name], config),
            _agreement_check(agreed[name], config),
        )
        for name in trial.maps
    }


STEPS = _STAGES + 2  # calls of `advance`


def verdict(checks: tuple[MapCheck, ...]) -> Verdict:
    """The badge: one failure fails, and without a single test there is nothing to say."""
    states = [c.state for c in checks]
    if "failed" in states:
        return "failed"
    return "passed" if "passed" in states else "not applicable"


# --- randomised weights --------------------------------------------------------------------------


def _randomised(
    scorer: Scorer, trial: Trial, config: ExplainConfig, advance: Callable[[], object]
) -> dict[str, dict[str, Estimate]]:
    """By method and stage: how like the maps of a network with fresh weights are to the real ones.

    The last layers get fresh weights first, then the earlier ones, too: cascading randomisation
    (Adebayo et al. 2018). The figure is the rank correlation of the absolute maps.
    """
    network = copy.deepcopy(scorer.network)
    layers = _weighted(scorer, trial.images[:1], network)
    found: dict[str, dict[str, Estimate]] = {name: {} for name in trial.maps}
    done = 0
    for stage in range(1, _STAGES + 1):
        upto = max(done + 1, round(len(layers) * stage / _STAGES))
        if upto <= len(layers):
            for module in layers[done:upto]:
                _fresh(module, config.seed, done)
                done += 1
            title = f"last {done} of {len(layers)} layers"
            with scoring(
                network,
                batch_size=scorer.batch_size,
                bfloat16=scorer.bfloat16,
                mirrored=scorer.mirrored,
            ) as other:
                hook = trial.hook and find_hook(other, trial.images[:1], trial.hook.name)
                for name, maps in trial.maps.items():
                    fresh = METHODS[name](other, trial.images, trial.explained, config, hook)
                    similar = rank_correlations(np.abs(maps), np.abs(fresh.cpu().numpy()))
                    found[name][title] = mean(similar, trial.cluster, confidence=config.confidence)
        advance()
    return found


def _weighted(scorer: Scorer, image: Tensor, network: nn.Module) -> list[nn.Module]:
    """The parts of a copied network that have weights of their own, the last used first."""
    names = [n for n, m in network.named_modules() if any(True for _ in m.parameters(False))]
    original = dict(scorer.network.named_modules())
    order: list[str] = []
    hooks = [original[n].register_forward_hook(lambda *_, n=n: order.append(n)) for n in names]
    try:
        with torch.no_grad():
            scorer.logits(image)
    finally:
        for hook in hooks:
            hook.remove()
    last = {name: i for i, name in enumerate(order)}
    copied = dict(network.named_modules())
    # What holds weights of its own besides parts (places of tokens) is used before its parts.
    own = {n: last.get(n, -1) if not any(copied[n].children()) else -1 for n in names}
    return [copied[n] for n in sorted(names, key=lambda n: -own[n])]


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


def _randomisation_check(stages: dict[str, Estimate], config: ExplainConfig) -> MapCheck:
    figure = list(stages.values())[-1] if stages else unknown(config.confidence)
    return _judged(
        "RANDOMISATION",
        "Depends on what was learned",
        figure,
        config.max_similarity,
        "below",
        f"With every weight randomised, maps still correlate at {_told(figure)} with those of the "
        f"trained network; above {config.max_similarity:g} a map shows the picture, not the "
        "network.",
        stages,
    )


# --- deletion and insertion ----------------------------------------------------------------------


def _curves(
    scorer: Scorer, trial: Trial, config: ExplainConfig
) -> tuple[dict[str, dict[str, Estimate]], dict[str, dict[str, Estimate]]]:
    """By method and baseline: how much sooner the answer falls (rises) than in that order."""
    side = trial.images.shape[-1]
    baselines = _baselines(trial.images, config.seed)
    orders = baselines | {name: torch.from_numpy(m) for name, m in trial.maps.items()}
    nothing = torch.zeros_like(trial.images)
    # A blurred picture, not a grey one: what is inserted should not be told by its outline.
    smooth = blurred(trial.images, side / 8)
    areas: dict[str, dict[str, NDArray[np.float64]]] = {"deletion": {}, "insertion": {}}
    for name, order in orders.items():
        rank = _cell_ranks(order)
        areas["deletion"][name] = _area(scorer, trial, rank, trial.images, nothing, config)
        areas["insertion"][name] = _area(scorer, trial, rank, smooth, trial.images, config)

    def gains(kind: str, sign: int) -> dict[str, dict[str, Estimate]]:
        area = areas[kind]
        return {
            name: {
                against: mean(
                    sign * (area[against] - area[name]), trial.cluster, confidence=config.confidence
                )
                for against in baselines
            }
            for name in trial.maps
        }

    return gains("deletion", 1), gains("insertion", -1)


def _baselines(images: Tensor, seed: int) -> dict[str, Tensor]:
    """Orders that know nothing of the network: at random, by edges, from the centre outwards."""
    n, _, height, width = images.shape
    y = (torch.arange(height) - (height - 1) / 2)[:, None]
    x = (torch.arange(width) - (width - 1) / 2)[None, :]
    chance = [
        torch.rand(height, width, generator=generator_of(image, seed + 7)) for image in images
    ]
    centre = -((y / height) ** 2 + (x / width) ** 2)
    return {
        "random": torch.stack(chance),
        "edges": edges(images),
        "centre": centre.expand(n, -1, -1),
    }


def _cell_ranks(maps: Tensor) -> Tensor:
    """(n, cells, cells): 0 for the cell with the highest mean, then 1, and so on."""
    cells = min(_CELLS, maps.shape[-1])
    mean_of_cells = F.adaptive_avg_pool2d(maps.float()[:, None], cells)[:, 0]
    order = mean_of_cells.flatten(1).argsort(dim=1, descending=True, stable=True)
    return order.argsort(dim=1).reshape(mean_of_cells.shape)


def _area(
    scorer: Scorer,
    trial: Trial,
    rank: Tensor,
    start: Tensor,
    end: Tensor,
    config: ExplainConfig,
) -> NDArray[np.float64]:
    """(n,) area under the probability of the explained class while `start` becomes `end`."""
    cells = rank[0].numel()
    heights = []
    for step in range(config.curve_steps + 1):
        changed = (rank < round(cells * step / config.curve_steps)).float()[:, None]
        mask = F.interpolate(changed, trial.images.shape[-2:], mode="nearest")
        logits = scorer.all_logits(start + (end - start) * mask)
        chosen = trial.explained.to(logits.device)[:, None]
        heights.append(logits.softmax(1).gather(1, chosen)[:, 0].double().cpu().numpy())
    curve = np.stack(heights)
    return np.asarray((curve[1:] + curve[:-1]).mean(0) / 2, np.float64)


def _curve_check(
    kind: Literal["DELETION", "INSERTION"], gains: dict[str, Estimate], config: ExplainConfig
) -> MapCheck:
    against = min(gains, key=lambda name: np.nan_to_num(gains[name].low, nan=-np.inf))
    figure = gains[against]
    done = "Removing" if kind == "DELETION" else "Adding"
    moves = "falls" if kind == "DELETION" else "rises"
    return _judged(
        kind,
        "Finds what the answer needs" if kind == "DELETION" else "Finds what is enough",
        figure,
        0.0,
        "above",
        f"{done} what the map ranks first, the answer's probability {moves} faster than in the "
        f"order of the best of three baselines ({', '.join(gains)}) by an area of {_told(figure)}: "
        f"that is {against!r}.",
        gains,
    )


# --- completeness, stability, agreement ----------------------------------------------------------


def _completeness(scorer: Scorer, trial: Trial, config: ExplainConfig) -> Estimate:
    """How far the sums of integrated gradients miss the difference that they should make up."""
    name = "integrated_gradients"
    if name not in trial.maps:
        return unknown(config.confidence)
    whole = scorer.all_scores(trial.images, trial.explained)
    empty = scorer.all_scores(torch.zeros_like(trial.images), trial.explained)
    real = (whole - empty).double().cpu().numpy()
    gap = np.abs(trial.maps[name].sum((1, 2), dtype=np.float64) - real)
    return ratios(gap[:, None], np.abs(real)[:, None], trial.cluster, confidence=config.confidence)[
        0
    ]


def _completeness_check(name: str, gap: Estimate, config: ExplainConfig) -> MapCheck:
    applies = name == "integrated_gradients"
    return _judged(
        "COMPLETENESS",
        "Adds up",
        gap if applies else unknown(config.confidence),
        config.max_gap,
        "below",
        f"The sums of the maps miss the change of the score by {_told(gap)} of it."
        if applies
        else "Only integrated gradients promise that a map's sum is the change of the score.",
        {},
    )


def _noisy(scorer: Scorer, trial: Trial, config: ExplainConfig) -> dict[str, Estimate]:
    """By method: the rank correlation of |map| with that of the image with a little noise."""
    x = trial.images
    spread = _NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    noise = [torch.randn(i.shape, generator=generator_of(i, config.seed + 11)) for i in x]
    noisy = x + spread * torch.stack(noise)
    found = {}
    for name, maps in trial.maps.items():
        moved = METHODS[name](scorer, noisy, trial.explained, config, trial.hook).cpu().numpy()
        similar = rank_correlations(np.abs(maps), np.abs(moved))
        found[name] = mean(similar, trial.cluster, confidence=config.confidence)
    return found


def _stability_check(figure: Estimate, config: ExplainConfig) -> MapCheck:
    return _judged(
        "STABILITY",
        "Stays the same under noise",
        figure,
        config.min_stability,
        "above",
        f"Noise of {_NOISE:.0%} of the image's range leaves maps that correlate at "
        f"{_told(figure)} with those of the image itself.",
        {},
    )


def agreement(
    maps: Maps, cluster: NDArray[Any] | None, confidence: float
) -> dict[str, dict[str, Estimate]]:
    """By method and other method: the rank correlation of where they look, in 8 × 8 cells."""
    cells = {}
    for name, each in maps.items():
        coarse = F.adaptive_avg_pool2d(
            torch.from_numpy(np.abs(each))[:, None], min(_AGREEMENT_CELLS, each.shape[-1])
        )
        cells[name] = coarse[:, 0].numpy()
    return {
        name: {
            other: mean(
                rank_correlations(cells[name], cells[other]), cluster, confidence=confidence
            )
            for other in maps
            if other != name
        }
        for name in maps
    }


def _agreement_check(others: dict[str, Estimate], config: ExplainConfig) -> MapCheck:
    if others:
        ranked = sorted(others, key=lambda name: np.nan_to_num(others[name].value, nan=-np.inf))
        middle = ranked[(len(ranked) - 1) // 2]
        figure = others[middle]
        detail = (
            f"In coarse cells, where it looks correlates at {_told(figure)} with "
            f"{TITLES[middle]}, the middle one of {len(others)} other methods."
        )
    else:
        figure, detail = unknown(config.confidence), "There is no other method to compare with."
    return _judged("AGREEMENT", "Other methods say the same", figure, 0.0, "above", detail, others)


# --- a figure against its threshold --------------------------------------------------------------


def _judged(
    code: str,
    title: str,
    figure: Estimate,
    threshold: float,
    direction: Literal["above", "below"],
    detail: str,
    parts: dict[str, Estimate],
) -> MapCheck:
    """Passed where the whole interval lies on the right side of the threshold."""
    state: Verdict = "failed"
    if figure.n == 0 or np.isnan(figure.low):
        state = "not applicable"
    elif figure.low > threshold if direction == "above" else figure.high < threshold:
        state = "passed"
    return MapCheck(code, title, state, figure, threshold, direction, detail, parts)


def _told(figure: Estimate) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"
