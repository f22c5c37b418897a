"""What a network looks at, and whether the maps are worth anything: everything, in one call."""

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
from candid.explanation.answers import NetworkAnswers
from candid.explanation.attribution import METHODS, Attributor
from candid.explanation.classes import ClassAnswers
from candid.explanation.layers import find_hook, window_of
from candid.explanation.mapping import Begun, Mapped, MapsJob
from candid.explanation.masking import Masked
from candid.explanation.notes import notes_of
from candid.explanation.numbers import ExplainedNumbers, NumberFacts
from candid.explanation.probe import Probe
from candid.explanation.regions import Regions, commonest, masks_of, regions_seen
from candid.explanation.sample import (
    Sample,
    comparable,
    sample_of,
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
from candid.stats.intervals import unknown
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
        Takes normalised images (batch, 3, side, side) and gives logits (batch, classes), or one
        logit per image. It is left as it was found, also after an exception.
    images
        (n, side, side, 3) uint8, or normalised floats (n, 3, side, side).
    mean, std
        Per channel of pixels scaled to 0…1. The mean colour is the baseline, "nothing to see".
    classes, target
        The label's values in the order of the logits, and its name.
    label, person, ids
        (n,) index of the annotated class, -1 unknown (without labels nothing is claimed); the same
        number for the same person, for intervals by person; what to call the images.
    attributes, regions
        Annotations by name, for groups; the parts of the faces (`candid.explanation.regions`).
    config, layer, quiet
        How methods are computed; the layer for Grad-CAM, empty: picked; show no progress bar.
    bfloat16, flip_tta
        Compute products in bfloat16, quicker and less exact; average an image and its mirror image.

    Raises
    ------
    CandidError
        Where shapes do not fit each other, or the network gives no finite logits.
    """
    how = config or ExplainConfig()
    sample = sample_of(
        *(images, classes, target, mean, std),
        *(label, person, ids, attributes),
    )
    _check_sample(sample, regions)
    with scoring(
        network, batch_size=how.batch_size, bfloat16=bfloat16, flip_tta=flip_tta
    ) as scorer:
        answers = _class_answers(scorer, sample, how)
        return _explained(_begun(scorer, sample, regions, answers, how, layer, quiet))


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
    """As `explain_network`, of a network that gives a number, (batch, 1) in its own unit.

    The classes and labels of the sample are ranges of the true value; `facts` are of its images.
    With `flip_tta` the number is the mean of that of an image and that of its mirror image.
    """
    how = config or ExplainConfig()
    _check_sample(sample, regions)
    with scoring(
        network, batch_size=how.batch_size, bfloat16=bfloat16, flip_tta=flip_tta, number=True
    ) as scorer:
        looking, images = ScoredNumbers(scorer), sample.tensor()
        answers = ExplainedNumbers(
            facts=facts,
            means=looking.of(images).numpy(),
            blank=float(looking.of(torch.zeros_like(images[:1]))[0]),
            explained=np.ones(len(sample), np.int64),
        )
        return _explained(_begun(scorer, sample, regions, answers, how, "", quiet))


# --- all of it -----------------------------------------------------------------------------------


def _class_answers(scorer: Scorer, sample: Sample, config: ExplainConfig) -> ClassAnswers:
    """What the network answers, and which class each map speaks for."""
    logits = scorer.all_logits(sample.tensor()).double().cpu()
    if logits.shape[1] != len(sample.classes):
        raise ConfigError(
            f"The network gives {logits.shape[1]} logits, and there are {len(sample.classes)} "
            "classes.",
            expected="a class for every logit (two for a single one)",
            todo="pass classes= in the order of the logits",
        )
    probability = logits.softmax(1).numpy()
    labelled = (config.explained == "label") & (sample.label >= 0)
    explained = np.where(labelled, sample.label, probability.argmax(1)).astype(np.int64)
    return ClassAnswers(probability, explained)


def _begun(
    scorer: Scorer,
    sample: Sample,
    regions: Regions | None,
    answers: NetworkAnswers,
    config: ExplainConfig,
    layer: str,
    quiet: bool,
) -> MapsJob:
    """What is to be explained."""
    tensor, sets = sample.tensor(), answers.sets(sample, config)
    hook = find_hook(scorer, tensor[:1], layer) if "grad_cam" in config.methods else None
    return MapsJob(
        by=Attributor(scorer, config, hook, alternate=True),
        sample=sample,
        regions=regions,
        tensor=tensor,
        answers=answers,
        sets=sets,
        pairs=comparable(sets),
        shown=answers.shown(sample, config.examples),
        order=np.random.default_rng(config.seed).permutation(len(sample)),
        ends=time.monotonic() + (config.budget or math.inf),
        quiet=quiet,
    )


def _explained(job: MapsJob) -> tuple[Explanation, ExplanationArrays]:
    """The steps, one after the other: maps to check, checks, masking, more maps, record."""
    sample, begun = job.sample, _begun_maps(job)
    checks = _checks(job, {name: b.tested for name, b in begun.items()})
    masked, unmasked = _masked(job)
    mapped: dict[str, Mapped] = {}
    with progress("maps", len(sample) * len(begun), quiet=job.quiet) as bar:
        for name, some in begun.items():
            mapped[name] = mapping.mapped(job, name, some, sanity.badge(checks[name]), bar.update)
    record = _record(job, mapped, checks)
    if masked is not None:
        sets = [s for s in job.sets if s.about.kind in ("class", "group") and not s.too_few]
        record = job.answers.masked(record, masked, sample, sets, job.by.config)
    record = replace(
        record,
        claims=claims_of(record.methods, record.shares, record.region_maskings, record.skill),
        notes=tuple(notes_of(job, record.methods, mapped, unmasked)),
    )
    return record, _arrays(job, [m.arrays for m in mapped.values()])


def _record(
    job: MapsJob, mapped: Mapping[str, Mapped], checks: Mapping[str, tuple[MapCheck, ...]]
) -> Explanation:
    """The record without what was masked, what is claimed of it, and notes."""
    config, sample, regions = job.by.config, job.sample, job.regions
    seen = () if regions is None else regions_seen(regions.names, regions.areas(len(sample)))
    record = Explanation(
        target=sample.target,
        classes=(),
        split="",
        n=len(sample),
        people=job.sets[0].about.people,
        side=sample.side,
        explained="",
        template="" if regions is None else regions.source,
        skill=unknown(config.confidence),
        methods=tuple(_method(job, name, m, checks[name]) for name, m in mapped.items()),
        subsets=tuple(s.about for s in job.sets),
        differences=tuple(
            MapDifference(a.about.key, b.about.key, {n: m.marked[i] for n, m in mapped.items()})
            for i, (a, b) in enumerate(job.pairs)
        ),
        examples=(),
        regions=tuple(seen),
        shares=tuple(share for m in mapped.values() for share in m.shares),
        maskings=(),
        claims=(),
        confidence=config.confidence,
        seed=config.seed,
    )
    return job.answers.described(record, sample, job.shown, config)


def _begun_maps(job: MapsJob) -> dict[str, Begun]:
    """By method, the maps that it makes in any case; the first method, whatever the time."""
    names = [n for n in job.by.config.methods if n != "grad_cam" or job.by.hook is not None]
    begun: dict[str, Begun] = {}
    with progress("maps to check", len(names), quiet=job.quiet) as bar:
        for name in names:
            if not begun or not job.is_over():
                begun[name] = mapping.begin_maps(job, name)
            bar.update()
    return begun


def _checks(
    job: MapsJob, maps: Mapping[str, NDArray[np.float32]]
) -> dict[str, tuple[MapCheck, ...]]:
    """Every method's checks; none where there are no images to check on, or no time."""
    rows = job.tested
    if not len(rows) or job.is_over():
        return dict.fromkeys(maps, ())
    person, confidence = job.sample.persons(rows), job.by.config.confidence
    images = job.tensor[torch.from_numpy(rows)]
    window = window_of(job.by.scorer.network)
    probe = Probe(images, job.classes_of(rows), maps, person, confidence, window)
    with progress("checks", sanity.STEPS, quiet=job.quiet) as bar:
        return sanity.map_checks(job.by, probe, bar.update)


def _masked(job: MapsJob) -> tuple[Masked | None, str]:
    """The answers where regions are painted over; and what of it there was no time for."""
    config, sample = job.by.config, job.sample
    if job.regions is None or not config.fills:
        return None, ""
    if job.is_over():
        return None, text.NO_MASKING
    with progress("masking", len(sample), quiet=job.quiet) as bar:
        masked = masking.masked_answers(
            *(job.by.scorer, sample, job.regions, config),
            costs=job.answers.costs,
            order=job.order,
            advance=bar.update,
            is_over=job.is_over,
        )
    return masked, text.FEWER_MASKED if masked.cut else ""


def _method(job: MapsJob, name: str, made: Mapped, checks: tuple[MapCheck, ...]) -> Method:
    about, hook, number = METHODS[name], job.by.hook, job.by.scorer.number
    layer = hook.name if hook is not None and name == "grad_cam" else ""
    return Method(
        name=name,
        title=about.title,
        about=about.of_number if number else about.about,
        signed=about.signed,
        # Of a number, as it is called without what makes a number of its distribution.
        layer=layer.removeprefix("network.") if number else layer,
        state=sanity.badge(checks),
        checks=checks,
        seconds=round(made.seconds, 3),
        n=made.n,
        subset_n=made.subset_n if made.n < len(job.sample) else (),
    )


def _arrays(job: MapsJob, of_methods: list[dict[str, NDArray[np.float16]]]) -> ExplanationArrays:
    """The pictures that go with the record."""
    pictures, side = job.sample.pictures(), job.sample.side
    return ExplanationArrays(
        **{key: np.stack([arrays[key] for arrays in of_methods]) for key in of_methods[0]},
        example_images=pictures[job.shown],
        example_regions=masks_of(job.regions, job.shown, side),
        mean_images=averages.mean_images(pictures, job.sets),
        template=commonest(job.regions, side),
    )


def claims_of(
    methods: Sequence[Method],
    shares: Sequence[RegionShare],
    maskings: Sequence[Masking | NumberMasking],
    skill: Estimate,
) -> tuple[Claim, ...]:
    """Which regions the answers rest on, by every method that may say so; see `Claim`."""
    dense = {(s.method, s.region): s.density for s in shares if s.subset == "all"}
    names = list(dict.fromkeys(s.region for s in shares))
    costs = {name: [m.excess_cost for m in maskings if m.region == name] for name in names}
    able = bool(skill.low > 0)

    def state(method: Method, region: str) -> Verdict:
        known = [e for e in costs[region] if not np.isnan(e.low)]
        if method.state != "passed" or not able or not known or len(known) < len(costs[region]):
            return "not applicable"
        rests = dense[method.name, region].low > 1 and all(e.low > 0 for e in known)
        return "passed" if rests else "failed"

    return tuple(Claim(m.name, region, state(m, region)) for m in methods for region in names)


def _check_sample(sample: Sample, regions: Regions | None) -> None:
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
