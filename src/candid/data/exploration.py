"""Exploration of a data set and its store, with a few images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.data import decode
from candid.data.checks import check_data, luma_statistics
from candid.data.dataset import Dataset
from candid.data.duplicate_findings import find_links
from candid.data.duplicates import find_copies, row_blocks
from candid.data.findings import shorten_finding, write_findings
from candid.data.store import Store
from candid.records import (
    SPLITS,
    AttributeSummary,
    Count,
    Exploration,
    Histogram,
    SizeCount,
    Split,
    SplitSummary,
)
from candid.stats.associations import associations
from candid.stats.intervals import wilson_shares
from candid.table import person_numbers
from candid.tables.attributes import Attribute, bin_attribute

SAMPLES = 12
_BINS = 32
_MOST_SIZES = 40


@dataclass(frozen=True, eq=False)
class ExplorationImages:
    """Images of an Exploration, all from the training split."""

    classes: tuple[str, ...]
    # (classes, side, side, 3), 0 to 255: each class's mean face; NaN for one without images
    mean: NDArray[np.float32]
    # (classes, side, side, 3), signed: the mean face less the mean of the other classes' mean faces
    difference: NDArray[np.float32]
    samples: dict[str, tuple[int, ...]]  # class → rows of a random sample of its images

    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """Name → (side, side, 3) uint8: "mean-<class>", and "difference" or "difference-<class>".

        A difference is drawn around mid-grey, with its largest value at the end of the scale. For
        two classes there is one, of the second less the first.
        """
        images: dict[str, NDArray[np.uint8]] = {}
        for name, mean in zip(self.classes, self.mean, strict=True):
            if not np.isnan(mean).any():
                images[f"mean-{name}"] = np.rint(mean).astype(np.uint8)
        two = len(self.classes) == 2
        for c in [1] if two else range(len(self.classes)):
            difference = self.difference[c]
            if not np.isnan(difference).any():
                levels = 127.5 + 127.5 * difference / max(float(np.abs(difference).max()), 1e-6)
                name = "difference" if two else f"difference-{self.classes[c]}"
                images[name] = np.rint(levels).astype(np.uint8)
        return images


def explore_images(
    dataset: Dataset,
    store: Store,
    *,
    whole: Dataset | None = None,
    findings: Path | None = None,
    confidence: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    quiet: bool = False,
) -> tuple[Exploration, ExplorationImages]:
    """Count, compare and check a data set before training.

    Splits, classes and attributes count usable images with the (first) label; intervals are by
    known people. Where `dataset` is a sample of the data set `whole`, images, people and classes of
    the splits are counted in that, all else in the sample. `findings` is a file for
    `write_findings`; `draws` are those of the associations, `seed` also draws the samples.
    """
    # An image may lack the first label and have another: only the first counts.
    dataset = replace(dataset, further_targets=())
    whole = None if whole is None else replace(whole, further_targets=())
    population, usable = (dataset, store.usable) if whole is None else (whole, None)
    summaries = [_summarize_split(population, usable, split, confidence) for split in SPLITS]
    rows = np.flatnonzero(store.usable)
    brightness, contrast = luma_statistics(store, rows)
    all_findings = (*dataset.findings, *check_data(dataset, store, contrast=contrast, quiet=quiet))
    labelled = dataset.label[rows] >= 0
    labelled_rows = rows[labelled]
    if findings is not None:
        links = find_links(dataset, find_copies(store))
        write_findings(findings, dataset, all_findings, links, store.reasons)
    exploration = Exploration(
        name=dataset.name,
        layout=dataset.layout,
        target=dataset.target,
        classes=dataset.classes,
        n=len(population),
        unreadable=int(np.count_nonzero(~store.usable)),
        unlabelled=int(np.count_nonzero(population.label < 0)),
        people=None if population.person is None else _count_persons(population.person),
        side=store.side,
        fingerprint=data_fingerprint(dataset, store),
        sizes=_sizes(store),
        modes=_counts(store.modes[store.usable]),
        formats=_counts(store.formats[store.usable]),
        splits=tuple(s for s in summaries if s.n),
        attributes=_summarize_splits(dataset, store, confidence, draws, seed),
        brightness=_histograms(dataset, labelled_rows, brightness[labelled], 1.0),
        contrast=_histograms(dataset, labelled_rows, contrast[labelled], 0.5),
        findings=tuple(shorten_finding(f) for f in all_findings),
    )
    return exploration, _images(dataset, store, seed)


def data_fingerprint(dataset: Dataset, store: Store, side: int = 0) -> str:
    """A digest of pixels and annotations, the same for a copy of the data.

    `side` is the size of the images; 0: the store's.
    """
    words = (decode.VERSION, side or store.side, dataset.target, dataset.classes)
    return _digest(dataset, words, [store.digests, store.usable])


def streamed_fingerprint(dataset: Dataset, part: str) -> str:
    """A digest of the annotations and of `part`, the digest of the packed images."""
    return _digest(dataset, (part,), [])


def _digest(dataset: Dataset, words: tuple[object, ...], more: list[NDArray[np.generic]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((*words, sorted(dataset.attributes))).encode("utf-8", "backslashreplace"))
    columns: list[NDArray[np.generic]] = [dataset.ids, *more, dataset.label, dataset.split]
    columns += [] if dataset.person is None else [dataset.person]
    for _, attribute in sorted(dataset.attributes.items()):
        digest.update(repr((attribute.kind, attribute.values)).encode("utf-8", "backslashreplace"))
        columns.append(attribute.data)
    for column in columns:
        digest.update(repr((column.dtype.str, column.shape)).encode())
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


# --- counts --------------------------------------------------------------------------------------


def _count_persons(person: NDArray[np.int64]) -> int:
    return len(np.unique(person[person >= 0]))


def _counts(words: NDArray[np.str_]) -> tuple[Count, ...]:
    """The count of each word, the commonest first."""
    values, counts = np.unique(words, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return tuple(Count(str(values[i]), int(counts[i])) for i in order)


def _sizes(store: Store) -> tuple[SizeCount, ...]:
    sizes = np.stack([store.widths[store.usable], store.heights[store.usable]], axis=1)
    values, counts = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    entries = [
        SizeCount(f"{w}×{h}", int(counts[i]), w, h) for i in order for w, h in [values[i].tolist()]
    ]
    if len(entries) <= _MOST_SIZES:
        return tuple(entries)
    rest = entries[_MOST_SIZES - 1 :]
    remainder = SizeCount(f"{len(rest):,} other sizes", sum(c.count for c in rest))
    return (*entries[: _MOST_SIZES - 1], remainder)


def _persons(dataset: Dataset, rows: NDArray[np.intp]) -> NDArray[np.int64] | None:
    return person_numbers(None if dataset.person is None else dataset.person[rows])


def _summarize_split(
    dataset: Dataset, usable: NDArray[np.bool_] | None, split: Split, confidence: float
) -> SplitSummary:
    rows = dataset.rows(split, usable)
    cluster = _persons(dataset, rows)
    of_class = dataset.label[rows][:, None] == np.arange(len(dataset.classes))
    return SplitSummary(
        split=split,
        n=len(rows),
        people=None if cluster is None else len(np.unique(cluster)),
        counts=tuple(int(c) for c in of_class.sum(0)),
        shares=tuple(wilson_shares(of_class, None, cluster, confidence)),
    )


# --- attributes ----------------------------------------------------------------------------------


def _summarize_splits(
    dataset: Dataset, store: Store, confidence: float, draws: int, seed: int
) -> tuple[AttributeSummary, ...]:
    """Every value of every attribute in every split that has images."""
    train = dataset.rows("train", store.usable)
    attributes = [bin_attribute(attribute, train) for attribute in dataset.attributes.values()]
    by_split = {
        split: _summarize_attributes(dataset, split, rows, attributes, confidence, draws, seed)
        for split in SPLITS
        if attributes and len(rows := dataset.rows(split, store.usable))
    }
    # All splits of a value together, as a reader compares them.
    return tuple(row for rows in zip(*by_split.values(), strict=True) for row in rows)


def _summarize_attributes(
    dataset: Dataset,
    split: Split,
    rows: NDArray[np.intp],
    attributes: Iterable[Attribute],
    confidence: float,
    draws: int,
    seed: int,
) -> list[AttributeSummary]:
    names = [(a.name, value) for a in attributes for value in a.values]
    codes = [(a.data[rows], code) for a in attributes for code in range(len(a.values))]
    hits = np.stack([data == code for data, code in codes], axis=1)  # (rows, values)
    known = np.stack([data >= 0 for data, _ in codes], axis=1)
    label, classes = dataset.label[rows], len(dataset.classes)
    cluster = _persons(dataset, rows)
    prevalence = wilson_shares(hits, known, cluster, confidence)
    v = associations(
        hits, known, label, classes, cluster, draws=draws, confidence=confidence, seed=seed
    )
    by_class = []
    for in_this in (label == c for c in range(classes)):
        persons = None if cluster is None else cluster[in_this]
        by_class.append(wilson_shares(hits[in_this], known[in_this], persons, confidence))
    return [
        AttributeSummary(
            attribute=name,
            value=value,
            split=split,
            prevalence=prevalence[i],
            class_shares=tuple(c[i].value for c in by_class),
            association=v[i],
            class_estimates=tuple(c[i] for c in by_class),
        )
        for i, (name, value) in enumerate(names)
    ]


# --- pixels --------------------------------------------------------------------------------------


def _histograms(
    dataset: Dataset, rows: NDArray[np.intp], values: NDArray[np.float64], top: float
) -> tuple[Histogram, ...]:
    """One per class, all with the same edges from 0 to `top`, the largest possible value."""
    edges = np.linspace(0, top, _BINS + 1)
    histograms = []
    for c, name in enumerate(dataset.classes):
        of_class = np.minimum(values[dataset.label[rows] == c], top)  # float32 rounds up, too
        counts = np.histogram(of_class, edges)[0]
        mean = float(of_class.mean()) if len(of_class) else float("nan")
        deviation = float(of_class.std(ddof=1)) if len(of_class) > 1 else float("nan")
        histograms.append(
            Histogram(
                name, tuple(map(float, edges)), tuple(int(k) for k in counts), mean, deviation
            )
        )
    return tuple(histograms)


def _images(dataset: Dataset, store: Store, seed: int) -> ExplorationImages:
    rows = dataset.rows("train", store.usable)
    classes, side = len(dataset.classes), store.side
    total = np.zeros((classes, side * side * 3))
    for block in row_blocks(rows):
        of_class = dataset.label[block][None] == np.arange(classes)[:, None]  # (classes, block)
        total += of_class.astype(np.float32) @ store.pixels[block].reshape(len(block), -1)
    counts = np.bincount(dataset.label[rows], minlength=classes)
    with np.errstate(invalid="ignore"):
        mean = (total / counts[:, None]).reshape(classes, side, side, 3).astype(np.float32)
    rest = [np.delete(mean, c, axis=0) for c in range(classes)]
    no_mean = np.full((side, side, 3), np.nan, np.float32)
    difference = np.stack(
        [mean[c] - (o.mean(0) if len(o) else no_mean) for c, o in enumerate(rest)]
    )
    rng = np.random.default_rng(seed)
    samples = {}
    for c, name in enumerate(dataset.classes):
        members = rows[dataset.label[rows] == c]
        sample = rng.choice(members, min(SAMPLES, len(members)), replace=False)
        samples[name] = tuple(int(row) for row in sample)
    return ExplorationImages(dataset.classes, mean, difference, samples)
