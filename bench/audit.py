"""The audit: how fast, how often its intervals hold the truth, how often it cries wolf.

    python bench/audit.py speed [rows]           against Fairlearn's bootstrap, in turns
    python bench/audit.py coverage [data sets]   of the intervals of gaps, people correlated
    python bench/audit.py discovery [seeds]      unbiased and planted data, the whole audit

People have 1 + Poisson(3) pictures each; their mistakes go together and so do their attributes.

Measured on 2026-11-24 on one core of an AMD EPYC, shared with other work, NumPy 2.4.6 with one
thread, Fairlearn 0.15.0; speeds are of processor time, in turns in the same process.

speed, 20,000 rows of 4,967 people × 40 attributes
    accuracy, weighted F1 and error per class of all 80 values and 3,120 pairs, and of their rests,
    1,000 draws by person: 7.0 s, 456,059 group-draws per second; Fairlearn's bootstrap (accuracy of
    two groups, 10 draws by row): 25 per second, so 18,284 times as many. The whole audit, with
    slices, adjusted gaps, abstention and label noise: 16.7 s. 200 draws take 55 MiB, 2,000 take 69.

discovery, 100 seeds of 600 people, 20 attributes
    unbiased: no finding in 100 of 100, no gap called found in 100 of 100.
    planted (20% mistakes instead of 5% in 15% of the pictures): the planted group first in 100 of
    100; a finding without it in 4 of 100.

coverage of 95% intervals, 500 data sets each, people correlated (0.3 of the liability)
    groups of 50%, 20% and 5% of the pictures of 150 or 600 people, without a true gap and with one
    of 10 points; in per cent, least to most over these 12 situations:
    accuracy 93.6 to 95.8; weighted F1 93.4 to 96.0; error of a class 94.0 to 97.6; confidence 94.6
    to 96.4; overconfidence 93.8 to 97.2; ROC AUC 94.0 to 98.0. (The share itself is known to ±1.)
    Errors of a class and areas are cautious where a group has few mistakes (above 97 in 4 of 24 and
    4 of 12 situations). Overconfidence as value ± quantile · standard error held 92.4 to 96.0: with
    a handful of mistakes the truth was above the interval up to seven times in a hundred.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from candid.auditing.auc import Areas
from candid.auditing.audit import audit_groups
from candid.auditing.contrasts import Contrast, contrast
from candid.auditing.groups import SidePlan, max_groups, measure
from candid.auditing.rows import KNOWN, Rows
from candid.predictions import Attribute, Predictions
from candid.settings import AuditConfig
from candid.stats.bootstrap import resample
from candid.stats.moments import Figures

CLASSES = ("Female", "Male")


def sample(
    people: int,
    attributes: Mapping[str, float],
    rng: np.random.Generator,
    *,
    base: float = 0.05,
    planted: Mapping[str, float] | None = None,
    correlation: float = 0.3,
    images: int | None = None,
    single: bool = False,
) -> Predictions:
    """Predictions of a model with `base` mistakes, more where `planted` (name → share) says so.

    A person has a liability to mistakes, a normal one in whose tail the mistakes lie, that makes
    up `correlation` of the variance. Attributes are alike among a person's pictures too.
    """
    from statistics import NormalDist

    pictures = np.ones(people, int) if single else 1 + rng.poisson(3, people)
    person = np.repeat(np.arange(people), pictures)
    person = person if images is None else person[:images]
    n = len(person)
    label = (rng.random(people) < 0.42).astype(np.int16)[person]
    columns, wrong_share = {}, np.full(n, base)
    for name, share in attributes.items():
        own = np.sqrt(0.5) * rng.normal(size=people)[person] + np.sqrt(0.5) * rng.normal(size=n)
        has = own < NormalDist().inv_cdf(share)
        columns[name] = Attribute(name, "binary", ("no", "yes"), has.astype(np.int16))
        if planted and name in planted:
            wrong_share = np.where(has, planted[name], wrong_share)
    liability = np.sqrt(correlation) * rng.normal(size=people)[person]
    liability += np.sqrt(1 - correlation) * rng.normal(size=n)
    cut = {s: NormalDist().inv_cdf(s) for s in np.unique(wrong_share)}
    wrong = liability < np.vectorize(cut.get)(wrong_share)
    sure = np.where(wrong, 0.5 + 0.5 * rng.beta(2, 2, n), 0.5 + 0.5 * rng.beta(5, 1, n))
    answer = np.where(wrong, 1 - label, label)
    p = np.where(answer == 1, sure, 1 - sure)
    return Predictions(
        target="Male",
        classes=CLASSES,
        ids=np.char.mod("%d", np.arange(n)),
        split=np.full(n, "test"),
        label=label,
        probability=np.stack([1 - p, p], axis=1),
        person=person.astype(np.int64),
        attributes=columns,
    )


# --- coverage ------------------------------------------------------------------------------------

RARE = {"half": 0.5, "fifth": 0.2, "twentieth": 0.05}
METRICS = ("accuracy", "weighted_f1", "error:Female", "error:Male", "confidence", "overconfidence")


def gaps_of(p: Predictions, draws: int, seed: int) -> dict[str, Contrast]:
    """Contrasts of "yes" against "no" for every attribute, by metric."""
    rows = Rows(p.with_bins(), resample(len(p), p.person, draws=draws, seed=seed))
    plan = SidePlan()
    sides = []
    for a in range(len(rows.attributes)):
        group, known = rows.key((a, 1)), rows.key((a, KNOWN))
        plan.add_pair(plan.add_side(group), plan.add_side(known, group))
        sides.append((known, group))
    moments = measure(rows, plan, Figures(p.classes, rich=True))
    here = np.arange(len(sides))
    found = {m: contrast(moments, m, here, rows) for m in METRICS}
    return found | {"roc_auc": Areas(rows).contrast(sides)}


def true_gaps(planted: Mapping[str, float] | None) -> dict[str, NDArray[np.float64]]:
    """Metric → the true gap of each attribute: 0, but for the planted one.

    Attributes are drawn independently of everything else, so only the planted one's share of
    mistakes decides; figures at that share come from two million independent pictures.
    """
    gaps = {m: np.zeros(len(RARE)) for m in (*METRICS, "roc_auc")}
    for name, share in (planted or {}).items():
        figures = []
        for base in (share, 0.05):
            p = sample(2_000_000, {}, np.random.default_rng(1), base=base, single=True)
            rows, plan = Rows(p.with_bins(), resample(len(p), draws=0)), SidePlan()
            plan.add_side(())
            moments = measure(rows, plan, Figures(p.classes, rich=True))
            area = Areas(rows).side(())[0].value[0]
            figures.append({m: moments.value[moments.row(m), 0] for m in METRICS})
            figures[-1]["roc_auc"] = area
        for m, gap in gaps.items():
            gap[list(RARE).index(name)] = figures[0][m] - figures[1][m]
    return gaps


def coverage(
    people: int, planted: Mapping[str, float] | None, repetitions: int, draws: int = 500
) -> None:
    """Rows of the table: how many per cent of the intervals held the true gap, per metric."""
    truth = true_gaps(planted)
    held = {m: np.zeros(len(RARE)) for m in truth}
    below = {m: np.zeros(len(RARE)) for m in truth}
    for seed in tqdm(range(repetitions), disable=None, leave=False):
        p = sample(people, RARE, np.random.default_rng(seed), planted=planted)
        for m, c in gaps_of(p, draws, seed).items():
            low, high = c.interval(0.95)
            held[m] += (low <= truth[m]) & (truth[m] <= high)
            below[m] += c.p() <= 0.05
    for k, name in enumerate(RARE):
        cells = " ".join(f"{100 * held[m][k] / repetitions:13.1f}" for m in truth)
        gap = 100 * truth["accuracy"][k]
        print(f"{people:6d} {name:10s} {gap:6.1f} | {cells}", flush=True)
        cells = " ".join(f"{100 * below[m][k] / repetitions:13.1f}" for m in truth)
        print(f"{'':17s} p≤.05  | {cells}", flush=True)


def main_coverage(repetitions: int) -> None:
    names = " ".join(f"{m:>13s}" for m in (*METRICS, "roc_auc"))
    print(f"people group         gap | {names}")
    for people in (150, 600):
        for planted in (None, {"fifth": 0.15}):
            coverage(people, planted, repetitions)


# --- discovery -----------------------------------------------------------------------------------


def main_discovery(seeds: int, people: int = 600) -> None:
    """Findings on unbiased data; what comes first on planted data."""
    rng = np.random.default_rng(7)
    shares = {f"a{k:02d}": float(s) for k, s in enumerate(rng.uniform(0.03, 0.97, 20))}
    config = AuditConfig(draws=300)
    clean, first, any_gap, others = 0, 0, 0, 0
    for seed in tqdm(range(seeds), disable=None, leave=False):
        draw = np.random.default_rng(seed)
        s = audit_groups(sample(people, shares, draw), replace(config, seed=seed)).splits[0]
        clean += not s.findings
        any_gap += s.gaps_found > 0
        biased = sample(people, shares | {"hat": 0.15}, draw, planted={"hat": 0.2})
        s = audit_groups(biased, replace(config, seed=seed)).splits[0]
        names = [[(c.attribute, c.value) for c in f.conditions] for f in s.findings]
        first += bool(names) and names[0] == [("hat", "yes")]
        others += any(("hat", "yes") not in n for n in names)
        if (seed + 1) % 10 == 0:
            print(
                f"… {seed + 1} seeds: {clean} without a finding, {first} planted first", flush=True
            )
    print(f"unbiased: no finding in {clean} of {seeds} seeds, no gap at all in {seeds - any_gap}")
    print(f"planted (20% mistakes instead of 5% in 15% of pictures): first in {first} of {seeds}")
    print(f"          findings without the planted group in {others} of {seeds}")


# --- speed ---------------------------------------------------------------------------------------


def main_speed(n: int) -> None:
    """All single attributes and pairs, and Fairlearn's bootstrap of one attribute."""
    from fairlearn.metrics import MetricFrame
    from sklearn.metrics import accuracy_score

    rng = np.random.default_rng(0)
    shares = {f"a{k:02d}": float(s) for k, s in enumerate(rng.uniform(0.05, 0.95, 40))}
    p = sample(n // 3, shares, rng, images=n)
    people = p.n_people()
    print(f"{len(p):,} images of {people:,} people, 40 attributes")

    draws = 10
    start = time.process_time()
    MetricFrame(
        metrics=accuracy_score,
        y_true=p.label,
        y_pred=p.prediction,
        sensitive_features=p.attributes["a00"].data,
        n_boot=draws,
        ci_quantiles=[0.025, 0.975],
        random_state=0,
    )
    theirs = 2 * draws / (time.process_time() - start)
    print(f"Fairlearn: accuracy of 2 groups, {theirs:,.0f} group-draws per second")

    draws = 1000
    rows = Rows(p.with_bins(), resample(len(p), p.person, draws=draws))
    values = [(a, v) for a in range(40) for v in range(2)]
    pairs = [(x, y) for i, x in enumerate(values) for y in values[i + 1 :] if x[0] != y[0]]
    start, groups = time.process_time(), 0
    plain = Figures(p.classes, rich=False)
    room = max_groups(rows, plain) - len(values) - 1
    work = [(v,) for v in values] + pairs
    for begin in range(0, len(work), room):
        plan = SidePlan()
        for key in work[begin : begin + room]:
            group = rows.key(*key)
            plan.add_pair(plan.add_side(group), plan.add_side((), group))
            groups += 1
        measure(rows, plan, plain)
    seconds = time.process_time() - start
    ours = groups * draws / seconds
    print(
        f"Candid: accuracy, weighted F1, error per class of {groups:,} groups and of their rests, "
        f"{draws} draws by person: {seconds:.1f} s, {ours:,.0f} group-draws per second, "
        f"{ours / theirs:,.0f} times as many"
    )
    start = time.process_time()
    audit_groups(p)
    print(f"the whole audit: {time.process_time() - start:.1f} s")
    for draws in (200, 2000):
        rows = Rows(p.with_bins(), resample(len(p), p.person, draws=draws))
        tracemalloc.start()
        plan = SidePlan()
        for key in work[:200]:
            plan.add_side(rows.key(*key))
        measure(rows, plan, plain)
        print(f"{draws} draws: {tracemalloc.get_traced_memory()[1] / 2**20:.0f} MiB at most")
        tracemalloc.stop()


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "speed"
    number = int(sys.argv[2]) if len(sys.argv) > 2 else None
    {"speed": main_speed, "coverage": main_coverage, "discovery": main_discovery}[what](
        number or {"speed": 20_000, "coverage": 500, "discovery": 100}[what]
    )
