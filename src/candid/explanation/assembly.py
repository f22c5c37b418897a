"""The explanation of a network: maps, their checks, masking and claims, in one call."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from candid.errors import ConfigError
from candid.explanation import averages, mapping, masking, sanity
from candid.explanation.attribution import METHODS, Attributor
from candid.explanation.classes import ClassAnswers
from candid.explanation.layers import find_hook, window_of
from candid.explanation.mapping import InitialMaps, MapsJob, MethodMaps
from candid.explanation.masking import MaskingResult
from candid.explanation.notes import make_notes
from candid.explanation.numbers import ExplainedNumbers, NumberFacts
from candid.explanation.probe import Probe
from candid.explanation.regions import Regions, most_common_regions, region_masks, visible_regions
from candid.explanation.sample import (
    Sample,
    comparable_pairs,
    make_sample,
)
from candid.explanation.scoring import ScoredNumbers, Scorer, scoring
from candid.predictions import Attribute
from candid.progress import progress
from candid.records import Estimate
from candid.records.explanation import (
    Claim,
    Explanation,
    ExplanationArrays,
    MapCheck,
    MapDifference,
    Masking,
    Method,
    NumberMasking,
    RegionShare,
    Verdict,
)
from candid.settings import ExplainConfig
from candid.stats.intervals import undefined_estimate
from candid.text import notes as text


def explain_network(
    network: nn.Module,
    images: NDArray[Any] | Tensor,
    *,
    classes: Sequence[str],
    label: NDArray[Any] | None = None,
    person: NDArray[Any] | None = None,
    ids: NDArray[Any] | None = None,
    attributes: Mapping[str, Attribute] | None = None,
    regions: Regions | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    config: ExplainConfig | None = None,
    target: str = "label",
    layer: str = "",
    bfloat16: bool = False,
    flip_tta: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """Explain any network's answers: maps, their means, regions, masking, and badges.

    Parameters
    ----------
    network
        Maps normalised images (batch, 3, side, side) to logits (batch, classes), or one logit per
        image. Its state is restored, also after an exception.
    images
        (n, side, side, 3) uint8, or normalised floats (n, 3, side, side).
    mean, std
        Per channel of pixels scaled to 0…1. The mean colour is the baseline, "nothing to see".
    classes, target
        The label's values in the order of the logits, and its name.
    label, person, ids
        (n,) index of the annotated class, -1 unknown (without labels there are no claims); a number
        for each person, for intervals by person; names of the images.
    attributes, regions
        Annotations by name, for groups; the parts of the faces (`candid.explanation.regions`).
    config, layer, quiet
        Settings of the methods; Grad-CAM's layer, empty: found; show no progress bar.
    bfloat16, flip_tta
        Compute products in bfloat16, quicker and less exact; average an image and its mirror image.

    Raises
    ------
    CandidError
        Where shapes do not fit each other, or the network's output is no finite logits.
    """
    config = config or ExplainConfig()
    sample = make_sample(
        *(images, classes, target, mean, std),
        *(label, person, ids, attributes),
    )
    _check_inputs(sample, regions)
    with scoring(
        network, batch_size=config.batch_size, bfloat16=bfloat16, flip_tta=flip_tta
    ) as scorer:
        answers = _class_answers(scorer, sample, config)
        return _explain(_make_job(scorer, sample, regions, answers, config, layer, quiet))


def explain_number(
    network: nn.Module,
    sample: Sample,
    facts: NumberFacts,
    *,
    regions: Regions | None = None,
    config: ExplainConfig | None = None,
    bfloat16: bool = False,
    flip_tta: bool = False,
    quiet: bool = True,
) -> tuple[Explanation, ExplanationArrays]:
    """`explain_network` for a network that predicts a number, (batch, 1) in its own unit.

    The classes and labels of the sample are ranges of the true value; `facts` are of its images.
    With `flip_tta` the number is the mean of that of an image and that of its mirror image.
    """
    config = config or ExplainConfig()
    _check_inputs(sample, regions)
    with scoring(
        network, batch_size=config.batch_size, bfloat16=bfloat16, flip_tta=flip_tta, number=True
    ) as scorer:
        predictor, images = ScoredNumbers(scorer), sample.tensor()
        answers = ExplainedNumbers(
            facts=facts,
            means=predictor.predict(images).numpy(),
            blank=float(predictor.predict(torch.zeros_like(images[:1]))[0]),
            explained=np.ones(len(sample), np.int64),
        )
        return _explain(_make_job(scorer, sample, regions, answers, config, "", quiet))


# --- steps ---------------------------------------------------------------------------------------


def _class_answers(scorer: Scorer, sample: Sample, config: ExplainConfig) -> ClassAnswers:
    """The network's probabilities, and the class that each map explains."""
    logits = scorer.all_logits(sample.tensor()).double().cpu()
    if logits.shape[1] != len(sample.classes):
        raise ConfigError(
            f"The network gives {logits.shape[1]} logits, and there are {len(sample.classes)} "
            "classes.",
            expected="a class for every logit (two for a single one)",
            todo="pass classes= in the order of the logits",
        )
    probability = logits.softmax(1).numpy()
    by_label = (config.explained == "label") & (sample.label >= 0)
    explained = np.where(by_label, sample.label, probability.argmax(1)).astype(np.int64)
    return ClassAnswers(probability, explained)


def _make_job(
    scorer: Scorer,
    sample: Sample,
    regions: Regions | None,
    answers: ClassAnswers | ExplainedNumbers,
    config: ExplainConfig,
    layer: str,
    quiet: bool,
) -> MapsJob:
    """The job of an explanation."""
    tensor, sets = sample.tensor(), answers.sets(sample, config)
    hook = find_hook(scorer, tensor[:1], layer) if "grad_cam" in config.methods else None
    return MapsJob(
        attributor=Attributor(scorer, config, hook, alternate=True),
        sample=sample,
        regions=regions,
        tensor=tensor,
        answers=answers,
        sets=sets,
        pairs=comparable_pairs(sets),
        example_rows=answers.example_rows(sample, config.examples),
        order=np.random.default_rng(config.seed).permutation(len(sample)),
        deadline=time.monotonic() + (config.budget or math.inf),
        quiet=quiet,
    )


def _explain(job: MapsJob) -> tuple[Explanation, ExplanationArrays]:
    """Run the steps: maps to check, checks, masking, more maps, record."""
    sample, initial = job.sample, _start_maps(job)
    checks = _checks(job, {name: maps.checked for name, maps in initial.items()})
    result, masking_note = _mask_regions(job)
    completed: dict[str, MethodMaps] = {}
    with progress("maps", len(sample) * len(initial), quiet=job.quiet) as bar:
        for name, maps in initial.items():
            state = sanity.badge(checks[name])
            completed[name] = mapping.complete_maps(job, name, maps, state, bar.update)
    record = _record(job, completed, checks)
    if result is not None:
        sets = [s for s in job.sets if s.about.kind in ("class", "group") and not s.too_few]
        record = job.answers.add_maskings(record, result, sample, sets, job.attributor.config)
    record = replace(
        record,
        claims=make_claims(record.methods, record.shares, record.region_maskings, record.skill),
        notes=tuple(make_notes(job, record.methods, completed, masking_note)),
    )
    return record, _arrays(job, [m.arrays for m in completed.values()])


def _record(
    job: MapsJob, completed: Mapping[str, MethodMaps], checks: Mapping[str, tuple[MapCheck, ...]]
) -> Explanation:
    """The record without masking, claims and notes."""
    config, sample, regions = job.attributor.config, job.sample, job.regions
    parts = () if regions is None else visible_regions(regions.names, regions.areas(len(sample)))
    record = Explanation(
        target=sample.target,
        classes=(),
        split="",
        n=len(sample),
        people=job.sets[0].about.people,
        side=sample.side,
        explained="",
        template="" if regions is None else regions.source,
        skill=undefined_estimate(config.confidence),
        methods=tuple(_method(job, name, m, checks[name]) for name, m in completed.items()),
        subsets=tuple(s.about for s in job.sets),
        differences=tuple(
            MapDifference(a.about.key, b.about.key, {n: m.marked[i] for n, m in completed.items()})
            for i, (a, b) in enumerate(job.pairs)
        ),
        examples=(),
        regions=tuple(parts),
        shares=tuple(share for m in completed.values() for share in m.shares),
        maskings=(),
        claims=(),
        confidence=config.confidence,
        seed=config.seed,
    )
    return job.answers.add_answers(record, sample, job.example_rows, config)


def _start_maps(job: MapsJob) -> dict[str, InitialMaps]:
    """The initial maps by method; those of the first method whatever the time."""
    config, hook = job.attributor.config, job.attributor.hook
    names = [name for name in config.methods if name != "grad_cam" or hook is not None]
    initial: dict[str, InitialMaps] = {}
    with progress("maps to check", len(names), quiet=job.quiet) as bar:
        for name in names:
            if not initial or not job.is_over():
                initial[name] = mapping.start_maps(job, name)
            bar.update()
    return initial


def _checks(
    job: MapsJob, maps: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[MapCheck, ...]]:
    """Every method's checks; none without images to check on, or without time."""
    rows = job.checked_rows
    if not len(rows) or job.is_over():
        return dict.fromkeys(maps, ())
    person, confidence = job.sample.persons(rows), job.attributor.config.confidence
    images = job.tensor[torch.from_numpy(rows)]
    window = window_of(job.attributor.scorer.network)
    probe = Probe(images, job.classes_of(rows), maps, person, confidence, window)
    with progress("checks", sanity.STEPS, quiet=job.quiet) as bar:
        return sanity.map_checks(job.attributor, probe, bar.update)


def _mask_regions(job: MapsJob) -> tuple[MaskingResult | None, str]:
    """The answers with regions painted over; and a note where time ran out."""
    config, sample = job.attributor.config, job.sample
    if job.regions is None or not config.fills:
        return None, ""
    if job.is_over():
        return None, text.NO_MASKING
    with progress("masking", len(sample), quiet=job.quiet) as bar:
        result = masking.answers_when_masked(
            *(job.attributor.scorer, sample, job.regions, config),
            costs=job.answers.costs,
            order=job.order,
            advance=bar.update,
            is_over=job.is_over,
        )
    return result, text.FEWER_MASKED if result.cut else ""


def _method(job: MapsJob, name: str, maps: MethodMaps, checks: tuple[MapCheck, ...]) -> Method:
    about, hook, number = METHODS[name], job.attributor.hook, job.attributor.scorer.number
    layer = hook.name if hook is not None and name == "grad_cam" else ""
    return Method(
        name=name,
        title=about.title,
        about=about.of_number if number else about.about,
        signed=about.signed,
        # For a number, without the prefix of `ExpectedValue`.
        layer=layer.removeprefix("network.") if number else layer,
        state=sanity.badge(checks),
        checks=checks,
        seconds=round(maps.seconds, 3),
        n=maps.n,
        subset_n=maps.subset_n if maps.n < len(job.sample) else (),
    )


def _arrays(job: MapsJob, method_arrays: list[dict[str, NDArray[np.float16]]]) -> ExplanationArrays:
    """The record's arrays."""
    pictures, side = job.sample.pictures(), job.sample.side
    return ExplanationArrays(
        **{key: np.stack([arrays[key] for arrays in method_arrays]) for key in method_arrays[0]},
        example_images=pictures[job.example_rows],
        example_regions=region_masks(job.regions, job.example_rows, side),
        mean_images=averages.mean_images(pictures, job.sets),
        template=most_common_regions(job.regions, side),
    )


def make_claims(
    methods: Sequence[Method],
    shares: Sequence[RegionShare],
    maskings: Sequence[Masking | NumberMasking],
    skill: Estimate,
) -> tuple[Claim, ...]:
    """Which regions the answers depend on, by every method that passed its checks; see `Claim`."""
    density = {(s.method, s.region): s.density for s in shares if s.subset == "all"}
    names = list(dict.fromkeys(s.region for s in shares))
    costs = {name: [m.excess_cost for m in maskings if m.region == name] for name in names}
    has_skill = bool(skill.low > 0)

    def verdict(method: Method, region: str) -> Verdict:
        cost = costs[region]
        is_defined = bool(cost) and not any(np.isnan(e.low) for e in cost)
        if method.state != "passed" or not has_skill or not is_defined:
            return "not applicable"
        is_relevant = density[method.name, region].low > 1 and all(e.low > 0 for e in cost)
        return "passed" if is_relevant else "failed"

    return tuple(Claim(m.name, region, verdict(m, region)) for m in methods for region in names)


def _check_inputs(sample: Sample, regions: Regions | None) -> None:
    """Raise a ConfigError where labels or regions do not fit."""
    n_classes, top = len(sample.classes), int(sample.label.max())
    if n_classes < 2 or top >= n_classes:
        raise ConfigError(
            f"There are {n_classes} classes, and labels up to {top}.",
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
