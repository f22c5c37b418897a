"""What a network looks at, and whether the maps are worth anything: everything, in one call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.errors import ConfigError, did_you_mean
from candid.explanation import assembly, causal, checks
from candid.explanation.averages import (
    FEWEST,
    map_differences,
    mean_maps,
    normalised,
    pairs,
    subsets,
    too_few,
)
from candid.explanation.layers import Hook, find_hook
from candid.explanation.regions import Regions
from candid.explanation.saliency import ABOUT, METHODS, SIGNED, TITLES
from candid.explanation.sample import Sample, sample_of
from candid.explanation.scoring import Scorer, scoring
from candid.predictions import Attribute
from candid.progress import progress
from candid.records.explanation import (
    Explanation,
    ExplanationArrays,
    MapCheck,
    MapDifference,
    Masking,
    Method,
    RegionShare,
    Subset,
    SubsetMasking,
)
from candid.settings import ExplainConfig


def explain_network(
    network: nn.Module,
    images: NDArray[Any] | Tensor,
    *,
    classes: Sequence[str],
    label: NDArray[Any] | None = None,
    identity: NDArray[Any] | None = None,
    ids: NDArray[Any] | None = None,
    attributes: Mapping[str, Attribute] | None = None,
    regions: Regions | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    config: ExplainConfig | None = None,
    target: str = "label",
    layer: str = "",
    bfloat16: bool = False,
    mirrored: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """Explain any network's answers: maps, their means, regions, masking, and badges.

    Parameters
    ----------
    network
        Takes normalised images (batch, 3, side, side) and gives logits (batch, classes), or one
        logit per image. It is left as it was found, also after an exception.
    images
        (n, side, side, 3) uint8, with `mean` and `std`, or normalised floats (n, 3, side, side).
        All of them are explained; `config.images` and `config.split` are the stage's.
    classes
        The label's values, in the order of the logits.
    label
        (n,) index of the annotated class, -1 unknown. Without labels there is no F1 to lose, so
        nothing is claimed.
    identity
        (n,) the same number for the same person; intervals are then by person.
    ids
        (n,) what to call the images.
    attributes
        Annotations by name, for groups.
    regions
        Where the parts of the faces are, from `candid.explanation.regions`.
    mean, std
        Per channel, of pixels scaled to 0…1. The mean colour is the baseline, "nothing to see".
    config
        Methods and how they are computed.
    target
        The label's name.
    layer
        The layer for Grad-CAM; empty: picked.
    bfloat16
        Whether products are computed in bfloat16: quicker where the processor can, a little less
        exact.
    mirrored
        Whether the answer is the mean of those to an image and to its mirror image.
    quiet
        Show no progress bar.

    Raises
    ------
    CandidError
        Where shapes do not fit each other, or the network gives no finite logits.
    """
    config = config or ExplainConfig()
    sample = sample_of(
        images,
        label=label,
        identity=identity,
        ids=ids,
        attributes=attributes or {},
        mean=mean,
        std=std,
    )
    _check_sample(sample, classes, regions)
    with scoring(
        network, batch_size=config.batch_size, bfloat16=bfloat16, mirrored=mirrored
    ) as scorer:
        return _explained(scorer, sample, tuple(classes), regions, config, target, layer, quiet)


def saliency_maps(
    network: nn.Module,
    images: Tensor,
    explained: NDArray[Any] | Tensor | None = None,
    *,
    method: str = "integrated_gradients",
    config: ExplainConfig | None = None,
    layer: str = "",
    bfloat16: bool = False,
    mirrored: bool = False,
) -> NDArray[np.float32]:
    """One method's maps (n, height, width) of normalised images (n, 3, height, width).

    Parameters
    ----------
    network, layer, bfloat16, mirrored
        As in `explain_network`.
    images
        On any device.
    explained
        (n,) the class that each map speaks for; None: the network's answer.
    method
        "gradient", "smoothgrad", "integrated_gradients", "grad_cam", "occlusion", "rise".
    config
        How it is computed.

    Raises
    ------
    ConfigError
        For another method, or Grad-CAM of a network that has no map.
    """
    config = config or ExplainConfig()
    if method not in METHODS:
        raise ConfigError(
            f"There is no method {method!r}.",
            expected="one of: " + ", ".join(METHODS),
            todo=did_you_mean(method, METHODS),
        )
    with scoring(
        network, batch_size=config.batch_size, bfloat16=bfloat16, mirrored=mirrored
    ) as scorer:
        if explained is None:
            explained = scorer.all_logits(images).argmax(1).cpu()
        chosen = torch.as_tensor(explained, dtype=torch.int64)
        hook = find_hook(scorer, images[:1], layer) if method == "grad_cam" else None
        if method == "grad_cam" and hook is None:
            raise ConfigError(
                f"{type(network).__name__} has no layer that gives a map.",
                expected="a convolution, or tokens of places",
                todo="choose another method",
            )
        made: NDArray[np.float32] = (
            METHODS[method](scorer, images, chosen, config, hook).cpu().numpy()
        )
        return made


# --- all of it -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Work:
    """What every step needs.

    `tensor` holds the normalised images, `explained` the class that each map speaks for, `found`
    the subsets and which images belong to each, `which` the pairs that are compared, `shown` the
    rows of the examples, and `tested` the rows on which maps are checked.
    """

    scorer: Scorer
    sample: Sample
    tensor: Tensor
    explained: Tensor
    hook: Hook | None
    regions: Regions | None
    config: ExplainConfig
    found: list[tuple[Subset, NDArray[np.bool_]]]
    which: list[tuple[str, str]]
    shown: NDArray[np.intp]
    tested: NDArray[np.intp]
    quiet: bool


@dataclass(frozen=True, eq=False)
class _Mapped:
    """What one method's maps of the whole sample come to."""

    seconds: float
    trial: NDArray[np.float32]
    marked: list[float]
    shares: list[RegionShare]
    arrays: dict[str, NDArray[np.float16]]


def _explained(
    scorer: Scorer,
    sample: Sample,
    classes: tuple[str, ...],
    regions: Regions | None,
    config: ExplainConfig,
    target: str,
    layer: str,
    quiet: bool,
) -> tuple[Explanation, ExplanationArrays]:
    """The steps, one after the other: maps, checks, masking, record."""
    tensor = sample.tensor()
    logits = scorer.all_logits(tensor).double().cpu()
    if logits.shape[1] != len(classes):
        raise ConfigError(
            f"The network gives {logits.shape[1]} logits, and there are {len(classes)} classes.",
            expected="a class for every logit (two for a single one)",
            todo="pass classes= in the order of the logits",
        )
    probability = logits.softmax(1).numpy()
    answers = probability.argmax(1)
    labelled = config.explained == "label"
    chosen = np.where(sample.label >= 0, sample.label, answers) if labelled else answers
    found = subsets(sample, answers, classes, config)
    order = np.random.default_rng(config.seed).permutation(len(sample))
    work = _Work(
        scorer=scorer,
        sample=sample,
        tensor=tensor,
        explained=torch.from_numpy(chosen.astype(np.int64)),
        hook=find_hook(scorer, tensor[:1], layer) if "grad_cam" in config.methods else None,
        regions=regions,
        config=config,
        found=found,
        which=pairs(found),
        shown=assembly.example_rows(sample, probability, config.examples),
        tested=order[: config.check_images],
        quiet=quiet,
    )
    names = [n for n in config.methods if n != "grad_cam" or work.hook is not None]
    with progress("maps", len(sample) * len(names), quiet=quiet) as bar:
        mapped = {name: _mapped(work, name, bar.update) for name in names}
    tests = _tests(work, {name: m.trial for name, m in mapped.items()})
    maskings, of_subsets = _maskings(work, len(classes))
    skill = causal.skill(answers, sample, len(classes), config)
    methods = tuple(_method(work, name, mapped[name].seconds, tests[name]) for name in names)
    shares = tuple(share for m in mapped.values() for share in m.shares)
    record = Explanation(
        target=target,
        classes=classes,
        split="",
        n=len(sample),
        people=found[0][0].people,
        side=sample.side,
        explained=config.explained,
        template="" if regions is None else regions.source,
        skill=skill,
        methods=methods,
        subsets=tuple(s for s, _ in found),
        differences=tuple(
            MapDifference(a, b, {name: m.marked[i] for name, m in mapped.items()})
            for i, (a, b) in enumerate(work.which)
        ),
        examples=assembly.examples(sample, classes, probability, chosen, work.shown),
        regions=() if regions is None else assembly.region_records(regions, len(sample)),
        shares=shares,
        maskings=maskings,
        claims=() if regions is None else assembly.claims(methods, shares, maskings, skill),
        confidence=config.confidence,
        seed=config.seed,
        notes=tuple(_notes(work)),
        subset_maskings=of_subsets,
    )
    pictures = sample.pictures()
    arrays = ExplanationArrays(
        **{
            key: np.stack([m.arrays[key] for m in mapped.values()])
            for key in ("means", "strengths", "differences", "half_widths", "examples")
        },
        example_images=pictures[work.shown],
        example_regions=assembly.example_regions(regions, work.shown, sample.side),
        mean_images=assembly.mean_images(pictures, [mask for _, mask in found]),
        template=assembly.commonest(regions, sample.side),
    )
    return record, arrays


def _mapped(work: _Work, name: str, advance: Callable[[int], object]) -> _Mapped:
    """One method's maps, and everything that is made of them; the maps themselves are let go."""
    config, sample = work.config, work.sample
    began = time.monotonic()
    maps = np.empty((len(sample), *work.tensor.shape[2:]), np.float32)
    for start in range(0, len(sample), work.scorer.batch_size):
        rows = slice(start, start + work.scorer.batch_size)
        part = METHODS[name](
            work.scorer, work.tensor[rows], work.explained[rows], config, work.hook
        )
        maps[rows] = part.cpu().numpy()
        advance(len(part))
    seconds = time.monotonic() - began
    trial = maps[work.tested]
    maps = normalised(maps)
    means, strengths = mean_maps(maps, work.found)
    gaps, halves, marked = map_differences(maps, work.found, work.which, sample, config.confidence)
    shares: list[RegionShare] = []
    if work.regions is not None:
        shares = assembly.shares(name, maps, work.regions, work.found, sample, config.confidence)
    arrays = {
        "means": means,
        "strengths": strengths,
        "differences": gaps,
        "half_widths": halves,
        "examples": maps[work.shown].astype(np.float16),
    }
    return _Mapped(seconds, trial, marked, shares, arrays)


def _tests(work: _Work, maps: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[MapCheck, ...]]:
    """Every method's checks; none where there are no images to check on."""
    if not len(work.tested):
        return dict.fromkeys(maps, ())
    cluster = work.sample.cluster
    trial = checks.Trial(
        work.tensor[work.tested],
        work.explained[work.tested],
        maps,
        None if cluster is None else cluster[work.tested],
        work.hook,
    )
    with progress("checks", checks.STEPS, quiet=work.quiet) as bar:
        return checks.check(work.scorer, trial, work.config, bar.update)


def _maskings(work: _Work, classes: int) -> tuple[tuple[Masking, ...], tuple[SubsetMasking, ...]]:
    """What painting over the regions costs: all images, and each class and group."""
    if work.regions is None or not work.config.fills:
        return (), ()
    with progress("masking", len(work.sample), quiet=work.quiet) as bar:
        masked = causal.masked_answers(
            work.scorer, work.sample, work.regions, work.config, bar.update
        )
    sets = [(s, m) for s, m in work.found if s.kind in ("class", "group") and not too_few(s)]
    return (
        causal.maskings(masked, work.sample, classes, work.config),
        causal.subset_maskings(masked, work.sample, sets, work.config.confidence),
    )


def _method(work: _Work, name: str, seconds: float, tests: tuple[MapCheck, ...]) -> Method:
    return Method(
        name=name,
        title=TITLES[name],
        about=ABOUT[name],
        signed=name in SIGNED,
        layer=work.hook.name if work.hook is not None and name == "grad_cam" else "",
        state=checks.verdict(tests),
        checks=tests,
        seconds=round(seconds, 3),
    )


def _notes(work: _Work) -> Iterator[str]:
    """What a reader must know."""
    config = work.config
    if "grad_cam" in config.methods and work.hook is None:
        yield "Grad-CAM is left out: the network has no layer that still knows where things are."
    if work.regions is None:
        yield "There are no regions: nothing says where the parts of the faces are."
    elif len(work.regions.masks) == 1:
        yield (
            "The regions are those of an average face, laid over every image alike. Hair, neck and "
            "background are the least certain of them."
        )
    if not (work.sample.label >= 0).any():
        yield "There are no labels, so no F1 to lose, and nothing is claimed."
    few = [s for s, _ in work.found if s.kind in ("class", "outcome") and too_few(s)]
    if few and (work.sample.label >= 0).any():
        told = ", ".join(f"{s.title} ({s.n})" for s in few)
        yield (
            f"Too few to say how their mean maps differ, below {FEWEST} people or images: {told}."
        )
    if not len(work.tested):
        yield "Nothing was checked, so no method bears a badge."
    unknown = [name for name in config.groups if name not in work.sample.attributes]
    if unknown:
        yield f"There is no attribute called {', '.join(unknown)}."


def _check_sample(sample: Sample, classes: Sequence[str], regions: Regions | None) -> None:
    """Raise a ConfigError where labels or regions do not fit."""
    if len(classes) < 2 or int(sample.label.max()) >= len(classes):
        raise ConfigError(
            f"There are {len(classes)} classes, and labels up to {int(sample.label.max())}.",
            expected="at least two classes, and labels that index them (-1 for unknown)",
            todo="pass classes= in the order of the logits",
        )
    if regions is None:
        return
    n, side = len(regions.masks), regions.masks.shape[1]
    if n not in (1, len(sample)) or side != sample.side:
        raise ConfigError(
            f"The regions are {n} masks of {side} pixels per side.",
            expected=f"one for all, or {len(sample)}, of {sample.side} pixels per side",
            todo="make them with candid.explanation.regions for these images",
        )
