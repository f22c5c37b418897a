"""The search: settings are suggested, trained briefly, and pruned where they lag behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.errors import ConfigError, TrainingError
from candid.progress import Progress, progress, write_line
from candid.settings import Config
from candid.training.tuning.space import Choices, Range, Value, combinations, value_of, with_changes
from candid.training.tuning.study import (
    POLL_SECONDS,
    Study,
    Withdrawn,
    count_trials,
    draw_by_number,
    finished_trials,
    live_trials,
    quiet_optuna,
    run_trial,
    was_queued,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# (evaluation from 1, validation F1, images so far) → whether to stop here.
Report = Callable[[int, float, int], bool]
# Trains with the settings, reporting every evaluation; returns the F1 of the weights to keep.
Objective = Callable[[Config, Report], float]

_MAX_WITHDRAWN = 40  # suggestions in a row that were tried before


def search(study: Study, objective: Objective, *, quiet: bool = False) -> None:
    """Try settings until the budget is spent, shared with the study's other processes.

    Returns when no process runs a trial any more.
    """
    work = progress("tune", study.tune.trials, unit="trials", quiet=quiet)
    with quiet_optuna(), work as bar:
        _enqueue_baseline(study)
        deadline = time.monotonic() + 60 * study.tune.minutes if study.tune.minutes else None
        withdrawn = 0
        while True:
            if reason := _stop_reason(study, deadline, withdrawn):
                close(study, reason)
            is_closed = closed(study) != ""
            # After closing: who begins later sees that it is closed.
            counts = count_trials(study, study.search)
            bar.update(min(counts["finished"], study.tune.trials) - bar.n)
            if counts["waiting"] or (counts["taken"] < study.tune.trials and not is_closed):
                trial = run_trial(study, study.search, partial(_evaluate, study, objective))
                withdrawn = 0 if trial else withdrawn + 1
                _print_trial(study, trial, bar, quiet)
            elif counts["running"]:
                bar.note("waiting for other processes")
                time.sleep(POLL_SECONDS)
            elif is_closed:
                return
            else:
                close(study, f"{study.tune.trials} trials are made")


def close(study: Study, reason: str) -> None:
    """Let no process begin another trial; the first reason stays."""
    if not closed(study):
        study.search.set_user_attr("closed", reason)


def closed(study: Study) -> str:
    """Why no more trials begin; empty while they do."""
    reason: str = study.search.user_attrs.get("closed", "")
    return reason


def _enqueue_baseline(study: Study) -> None:
    """Enqueue the settings that the user started from, where the space holds them."""
    baseline = {name: value_of(study.base, name) for name in study.space}
    existing = (t.system_attrs.get("fixed_params", t.params) for t in live_trials(study.search))
    is_in_space = all(value in study.space[name] for name, value in baseline.items())
    if is_in_space and baseline not in existing:
        study.search.enqueue_trial(baseline)


def _stop_reason(study: Study, deadline: float | None, withdrawn: int) -> str:
    """Why no more trials begin; empty while they do."""
    if deadline is not None and time.monotonic() > deadline:
        return f"{study.tune.minutes:g} minutes are over"
    if study.tune.images:
        images = sum(t.user_attrs.get("images", 0) for t in study.search.get_trials(deepcopy=False))
        if images >= study.tune.images:
            return f"{study.tune.images:,} images went through training"
    tried = {tuple(map(str, t.params.items())) for t in live_trials(study.search) if t.params}
    if len(tried) >= combinations(study.space):
        return "every combination was tried"
    if withdrawn >= _MAX_WITHDRAWN:
        return f"{withdrawn} suggestions in a row had been tried before"
    return ""


def _evaluate(study: Study, objective: Objective, trial: optuna.Trial) -> float:
    """Suggest settings, train and report; the F1."""
    import optuna

    draw_by_number(study, trial)
    values = {name: _suggest(trial, name, kind) for name, kind in study.space.items()}
    _check_needed(study, trial)
    start = time.monotonic()
    images = 0
    pruned = False

    def report(evaluation: int, f1: float, images_so_far: int) -> bool:
        nonlocal images, pruned
        images = images_so_far
        trial.report(f1, evaluation)
        pruned = trial.should_prune() and evaluation < study.base.train.evaluations
        return pruned

    def prune(note: str) -> optuna.TrialPruned:
        trial.set_user_attr("note", note)
        return optuna.TrialPruned(note)

    try:
        f1 = objective(with_changes(study.base, values), report)
    except (TrainingError, ConfigError) as error:  # it diverged, or settings do not go together
        raise prune(error.what) from error
    finally:
        trial.set_user_attr("images", images)
        trial.set_user_attr("seconds", round(time.monotonic() - start, 3))
    if pruned:
        raise optuna.TrialPruned
    return f1


def _suggest(trial: optuna.Trial, name: str, kind: Range | Choices) -> Value:
    if isinstance(kind, Choices):
        return trial.suggest_categorical(name, kind.values)  # type: ignore[return-value]
    if kind.whole:
        return trial.suggest_int(name, int(kind.low), int(kind.high), log=kind.log)
    return trial.suggest_float(name, kind.low, kind.high, log=kind.log)


def _check_needed(study: Study, trial: optuna.Trial) -> None:
    """Raise where a trial with a lower number has the same settings, or no more shall begin.

    Numbers are unique, so of two processes only one withdraws. Waits for trials that have no
    settings yet.
    """
    for _ in range(40):
        earlier = [t for t in live_trials(study.search) if t.number < trial.number]
        # A waiting trial has its settings in the system attributes.
        if all(t.state.name != "RUNNING" or len(t.params) == len(study.space) for t in earlier):
            break
        time.sleep(0.1)
    existing = (t.params or t.system_attrs.get("fixed_params", {}) for t in earlier)
    if any(params == trial.params for params in existing):
        raise Withdrawn("its settings have been tried")
    if not was_queued(study.search, trial) and (len(earlier) >= study.tune.trials or closed(study)):
        raise Withdrawn("the budget is spent")


def _print_trial(study: Study, trial: FrozenTrial | None, bar: Progress, quiet: bool) -> None:
    """Print a line per trial above the bar."""
    if trial is None:
        return
    f1 = f"{trial.value:.4f}" if trial.value is not None else "   –  "
    settings = "  ".join(f"{n.partition('.')[2]}={_brief(v)}" for n, v in trial.params.items())
    write_line(f"{trial.number:4d}  {f1}  {trial.state.name.lower():8}  {settings}", quiet=quiet)
    if best := best_trial(study):
        bar.note(f"best {best.value:.4f} (trial {best.number})")


def _brief(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def best_trial(study: Study) -> FrozenTrial | None:
    """The finished trial with the highest F1, the first of equals; None before there is one."""
    return max(
        finished_trials(study.search), key=lambda t: (t.value or 0.0, -t.number), default=None
    )


def importances(
    study: Study, *, draws: int = 12, least: int = 12
) -> dict[str, tuple[float, float, float]]:
    """Each setting's share of the variance of F1: value, and the range over resampled trials.

    Functional analysis of variance on a random forest (Hutter, Hoos and Leyton-Brown, 2014), over
    finished trials; pruned ones have no final F1. The range is that of the middle nine tenths of
    bootstrap samples of the trials. Empty with fewer than `least` finished trials, or where all
    have the same F1.
    """
    import optuna

    finished = finished_trials(study.search)
    if len(finished) < least or len({t.value for t in finished}) < 2:
        return {}
    rng = np.random.default_rng(study.tune.seed)

    def shares(trials: Sequence[FrozenTrial], seed: int) -> dict[str, float]:
        copy = optuna.create_study(direction="maximize")
        copy.add_trials(trials)
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=seed)
        return optuna.importance.get_param_importances(copy, evaluator=evaluator)

    with quiet_optuna():
        value = shares(finished, study.tune.seed)
        samples = []
        for draw in range(draws):
            resampled = [finished[i] for i in rng.integers(0, len(finished), len(finished))]
            if len({t.value for t in resampled}) > 1:
                samples.append(shares(resampled, draw))
    result = {}
    for name, share in value.items():
        sample_shares = [d.get(name, 0.0) for d in samples] or [float("nan")]
        low, high = np.quantile(sample_shares, [0.05, 0.95])
        result[name] = (float(share), min(float(low), share), max(float(high), share))
    return result
