"""Finalists are retrained with fresh seeds, so that luck does not win; then one last training."""

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
    POLL_SECONDS,
    Study,
    Withdrawn,
    count_trials,
    finished_trials,
    live_trials,
    quiet_optuna,
    run_trial,
    was_queued,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

BASELINE = -1  # the number of the settings that the search began with, where no trial has them


@dataclass(frozen=True, eq=False)
class Candidate:
    """Settings that are trained again with fresh seeds.

    `f1` maps each seed to its validation F1; without the search's seed, whose F1 selected them.
    """

    number: int
    values: Mapping[str, Value]
    is_baseline: bool
    f1: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean F1 of the finished seeds; NaN before there is one, and where one diverged."""
        return float(np.mean(list(self.f1.values()))) if self.f1 else math.nan


def candidates(study: Study) -> list[Candidate]:
    """The best trials of the search and its baseline, each with its finished repetitions."""
    finished = sorted(finished_trials(study.search), key=lambda t: (-(t.value or 0.0), t.number))
    base = {name: value_of(study.base, name) for name in study.space}
    baseline_number = next((t.number for t in finished if t.params == base), BASELINE)
    finalists = [t for t in finished if t.number != baseline_number][: study.tune.finalists]
    result = [Candidate(t.number, dict(t.params), is_baseline=False) for t in finalists]
    result.append(Candidate(baseline_number, base, is_baseline=True))
    repetitions = finished_trials(study.finals)
    for candidate in result:
        for trial in repetitions:
            if trial.params["candidate"] == candidate.number and not trial.params["last"]:
                diverged = "diverged" in trial.user_attrs["told"]
                f1 = math.nan if diverged else trial.value or 0.0
                candidate.f1[trial.params["seed"]] = f1
    return result


def fresh_seeds(base: Config) -> list[int]:
    """The seeds of the repetitions, without that of the search."""
    return [base.train.seed + 1 + i for i in range(base.tune.seeds)]


def winner(study: Study) -> Candidate:
    """The candidate with the highest mean F1 over fresh seeds.

    Without fresh seeds, the best trial of the search.
    """
    options = candidates(study)
    if study.tune.seeds:
        return max(options, key=lambda c: (c.mean if math.isfinite(c.mean) else -1, c.is_baseline))
    best = best_trial(study)
    return next((c for c in options if best is not None and c.number == best.number), options[-1])


def last_seed(study: Study, best: Candidate) -> int:
    """The winner's fresh seed whose F1 is nearest to their mean: not its luckiest training.

    Without fresh seeds, that of the search.
    """
    finite_f1 = {seed: f1 for seed, f1 in sorted(best.f1.items()) if math.isfinite(f1)}
    if not finite_f1:
        return study.base.train.seed
    mean = float(np.mean(list(finite_f1.values())))
    return min(finite_f1, key=lambda seed: abs(finite_f1[seed] - mean))


def repeat_finalists(
    study: Study, objective: Callable[[Config], float], *, quiet: bool = False
) -> None:
    """Train every candidate with every fresh seed, shared with the study's other processes."""
    jobs = [
        {"candidate": c.number, "seed": seed, "last": False}
        for seed in fresh_seeds(study.base)
        for c in candidates(study)
    ]

    def train(config: Config) -> tuple[float, dict[str, Any]]:
        try:
            return objective(config), {}
        except TrainingError as error:
            return 0.0, {"diverged": error.what}  # NaN to whoever reads it: Optuna takes none

    _queue(study, jobs, train, "finalists", quiet)


def train_last(
    study: Study, work: Callable[[Config], tuple[float, dict[str, Any]]], *, quiet: bool = False
) -> dict[str, Any]:
    """The winner's last training, once for all processes; the plain data that `work` returns.

    It repeats one of its finals: see `last_seed`.
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
    """Run the jobs that no process has run, each once; return when all are done."""
    by_number = {c.number: c.values for c in candidates(study)}

    def objective(trial: optuna.Trial) -> float:
        if not was_queued(study.finals, trial):
            raise Withdrawn("the queue was empty")  # somebody took the last job just before
        job = {
            "candidate": trial.suggest_int("candidate", BASELINE, 10**9),
            "seed": trial.suggest_int("seed", 0, 2**32),
            "last": trial.suggest_categorical("last", (False, True)),
        }
        if any(_job_of(t) == job for t in live_trials(study.finals) if t.number < trial.number):
            raise Withdrawn("it is done")
        config = with_changes(
            study.base, {**by_number[job["candidate"]], "train.seed": job["seed"]}
        )
        value, result = work(config)
        trial.set_user_attr("told", result)
        return value

    with quiet_optuna(), progress(title, len(jobs), unit="runs", quiet=quiet) as bar:
        existing = [_job_of(t) for t in live_trials(study.finals)]
        for job in jobs:
            if job not in existing:
                study.finals.enqueue_trial(dict(job))
        while True:
            n_trials = count_trials(study, study.finals)
            finished = [_job_of(t) for t in finished_trials(study.finals)]
            bar.update(sum(job in finished for job in jobs) - bar.n)
            if n_trials["waiting"]:
                run_trial(study, study.finals, objective)
            elif bar.n == len(jobs):
                return
            elif n_trials["running"]:
                time.sleep(POLL_SECONDS)
            else:
                raise TrainingError(
                    "Some of the last trainings were given up again and again.",
                    expected="a process that lives until its training is done",
                    todo="look why they were killed (memory?), then give the same command again",
                )


def _job_of(trial: FrozenTrial) -> dict[str, Any]:
    job: dict[str, Any] = trial.system_attrs.get("fixed_params", trial.params)
    return job
