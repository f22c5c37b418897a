"""Finalists again with fresh seeds, so that a lucky one does not win; then one last training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.errors import TrainingError
from candid.progress import progress
from candid.settings import Config
from candid.training.tuning.search import best_trial
from candid.training.tuning.space import Value, value_of, with_changes
from candid.training.tuning.study import (
    PATIENCE,
    Study,
    Withdrawn,
    alive,
    counts,
    finished_trials,
    one,
    quietly,
    was_queued,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

BASELINE = -1  # the number of the settings that the search began with, where no trial has them


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings that are trained again with fresh seeds.

    `f1` maps each seed to the validation F1 that it gave; the search's own seed is not among them,
    because its F1 is why the settings are here.
    """

    number: int
    values: Mapping[str, Value]
    is_baseline: bool
    f1: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Of the seeds that are done; NaN before there is one, and where one diverged."""
        return float(np.mean(list(self.f1.values()))) if self.f1 else math.nan


def candidates(study: Study) -> list[Candidate]:
    """The best trials of the search, and the settings that it began with, with what is done."""
    finished = sorted(finished_trials(study.search), key=lambda t: (-(t.value or 0.0), t.number))
    base = {name: value_of(study.base, name) for name in study.space}
    own = next((t.number for t in finished if t.params == base), BASELINE)
    chosen = [t for t in finished if t.number != own][: study.tune.finalists]
    found = [Candidate(t.number, dict(t.params), is_baseline=False) for t in chosen]
    found.append(Candidate(own, base, is_baseline=True))
    done = finished_trials(study.finals)
    for candidate in found:
        for trial in done:
            if trial.params["candidate"] == candidate.number and not trial.params["last"]:
                diverged = "diverged" in trial.user_attrs["told"]
                f1 = math.nan if diverged else trial.value or 0.0
                candidate.f1[trial.params["seed"]] = f1
    return found


def fresh_seeds(base: Config) -> list[int]:
    """The seeds of the repetitions: none of them is that of the search."""
    return [base.train.seed + 1 + i for i in range(base.tune.seeds)]


def winner(study: Study) -> Candidate:
    """The candidate with the highest mean F1 over fresh seeds.

    Without fresh seeds, the best trial of the search.
    """
    found = candidates(study)
    if study.tune.seeds:
        return max(found, key=lambda c: (c.mean if math.isfinite(c.mean) else -1, c.is_baseline))
    best = best_trial(study)
    return next((c for c in found if best is not None and c.number == best.number), found[-1])


def last_seed(study: Study, best: Candidate) -> int:
    """The winner's fresh seed whose F1 is nearest to their mean: not its luckiest training.

    Without fresh seeds the search's own, of the trial that won.
    """
    finite = {seed: f1 for seed, f1 in sorted(best.f1.items()) if math.isfinite(f1)}
    if not finite:
        return study.base.train.seed
    mean = float(np.mean(list(finite.values())))
    return min(finite, key=lambda seed: abs(finite[seed] - mean))


def repeat_finalists(
    study: Study, objective: Callable[[Config], float], *, quiet: bool = False
) -> None:
    """Train every candidate with every fresh seed, beside whoever else works on the study."""
    jobs = [
        {"candidate": c.number, "seed": seed, "last": False}
        for seed in fresh_seeds(study.base)
        for c in candidates(study)
    ]

    def work(config: Config) -> tuple[float, dict[str, Any]]:
        try:
            return objective(config), {}
        except TrainingError as error:
            return 0.0, {"diverged": error.what}  # NaN to whoever reads it: Optuna takes none

    _queue(study, jobs, work, "finalists", quiet)


def train_last(
    study: Study, work: Callable[[Config], tuple[float, dict[str, Any]]], *, quiet: bool = False
) -> dict[str, Any]:
    """The winner's last training, once for all processes; what `work` tells of it, as plain data.

    It is one of its finals again, so that it is what won: see `last_seed`.
    """
    best = winner(study)
    job = {"candidate": best.number, "seed": last_seed(study, best), "last": True}
    _queue(study, [job], work, "best", quiet)
    return next(t.user_attrs["told"] for t in finished_trials(study.finals) if t.params["last"])


def _queue(
    study: Study,
    jobs: Sequence[Mapping[str, Any]],
    work: Callable[[Config], tuple[float, dict[str, Any]]],
    title: str,
    quiet: bool,
) -> None:
    """Do the jobs that nobody has done, each once; return when all are done."""
    by_number = {c.number: c.values for c in candidates(study)}

    def do(trial: optuna.Trial) -> float:
        if not was_queued(study.finals, trial):
            raise Withdrawn("the queue was empty")  # somebody took the last job just before
        job = {
            "candidate": trial.suggest_int("candidate", BASELINE, 10**9),
            "seed": trial.suggest_int("seed", 0, 2**32),
            "last": trial.suggest_categorical("last", (False, True)),
        }
        if any(_job_of(t) == job for t in alive(study.finals) if t.number < trial.number):
            raise Withdrawn("it is done")
        config = with_changes(
            study.base, {**by_number[job["candidate"]], "train.seed": job["seed"]}
        )
        value, told = work(config)
        trial.set_user_attr("told", told)
        return value

    with quietly(), progress(title, len(jobs), unit="runs", quiet=quiet) as bar:
        known = [_job_of(t) for t in alive(study.finals)]
        for job in jobs:
            if job not in known:
                study.finals.enqueue_trial(dict(job))
        while True:
            now = counts(study, study.finals)
            done = [_job_of(t) for t in finished_trials(study.finals)]
            bar.update(sum(job in done for job in jobs) - bar.n)
            if now["waiting"]:
                one(study, study.finals, do)
            elif bar.n == len(jobs):
                return
            elif now["running"]:
                time.sleep(PATIENCE)
            else:
                raise TrainingError(
                    "Some of the last trainings were given up again and again.",
                    expected="a process that lives until its training is done",
                    todo="look why they were killed (memory?), then give the same command again",
                )


def _job_of(trial: FrozenTrial) -> dict[str, Any]:
    job: dict[str, Any] = trial.system_attrs.get("fixed_params", trial.params)
    return job
