"""The search itself: settings are suggested, trained shortly, pruned where they lag behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.errors import ConfigError, TrainingError
from candid.progress import Progress, progress, say
from candid.settings import Config
from candid.training.tuning.space import Choices, Range, Value, combinations, value_of, with_changes
from candid.training.tuning.study import (
    PATIENCE,
    Study,
    Withdrawn,
    alive,
    counts,
    draw_by_number,
    finished_trials,
    one,
    quietly,
    was_queued,
)

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

# (evaluation from 1, validation F1, images so far) → whether to stop here.
Report = Callable[[int, float, int], bool]
# Trains with the settings, reporting every evaluation; the F1 of the weights that it would keep.
Objective = Callable[[Config, Report], float]

_MOST_WITHDRAWN = 40  # in a row: what is suggested has been tried


def search(study: Study, objective: Objective, *, quiet: bool = False) -> None:
    """Try settings until the budget is spent, beside whoever else works on the study.

    Returns when no trial is running any more, anywhere. Where the budget was spent before, at once.
    """
    work = progress("tune", study.tune.trials, unit="trials", quiet=quiet)
    with quietly(), work as bar:
        _begin_with_the_baseline(study)
        deadline = time.monotonic() + 60 * study.tune.minutes if study.tune.minutes else None
        withdrawn = 0
        while True:
            if reason := _spent(study, deadline, withdrawn):
                close(study, reason)
            is_closed = closed(study) != ""
            # After closing: who begins later sees that it is closed.
            now = counts(study, study.search)
            bar.update(min(now["finished"], study.tune.trials) - bar.n)
            if now["waiting"] or (now["taken"] < study.tune.trials and not is_closed):
                tried = one(study, study.search, lambda trial: _try(study, trial, objective))
                withdrawn = 0 if tried else withdrawn + 1
                _tell(study, tried, bar, quiet)
            elif now["running"]:
                bar.note("waiting for other processes")
                time.sleep(PATIENCE)
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


def _begin_with_the_baseline(study: Study) -> None:
    """The settings that the user started from are tried, too, where the space holds them."""
    base = {name: value_of(study.base, name) for name in study.space}
    tried = (t.system_attrs.get("fixed_params", t.params) for t in alive(study.search))
    if all(value in study.space[name] for name, value in base.items()) and base not in tried:
        study.search.enqueue_trial(base)


def _spent(study: Study, deadline: float | None, withdrawn: int) -> str:
    """Why no more trials begin; empty while they do."""
    if deadline is not None and time.monotonic() > deadline:
        return f"{study.tune.minutes:g} minutes are over"
    if study.tune.images:
        images = sum(t.user_attrs.get("images", 0) for t in study.search.get_trials(deepcopy=False))
        if images >= study.tune.images:
            return f"{study.tune.images:,} images went through training"
    tried = {tuple(map(str, t.params.items())) for t in alive(study.search) if t.params}
    if len(tried) >= combinations(study.space):
        return "every combination was tried"
    if withdrawn >= _MOST_WITHDRAWN:
        return f"{withdrawn} suggestions in a row had been tried before"
    return ""


def _try(study: Study, trial: optuna.Trial, objective: Objective) -> float:
    """Suggest settings, train, report; what comes of it."""
    import optuna

    draw_by_number(study, trial)
    values = {name: _suggest(trial, name, kind) for name, kind in study.space.items()}
    _withdraw_where_superfluous(study, trial)
    began = time.monotonic()
    images = 0
    pruned = False

    def report(evaluation: int, f1: float, so_far: int) -> bool:
        nonlocal images, pruned
        images = so_far
        trial.report(f1, evaluation)
        pruned = trial.should_prune() and evaluation < study.base.train.evaluations
        return pruned

    def stopped(why: str) -> optuna.TrialPruned:
        trial.set_user_attr("note", why)
        return optuna.TrialPruned(why)

    try:
        f1 = objective(with_changes(study.base, values), report)
    except (TrainingError, ConfigError) as error:  # it diverged, or settings do not go together
        raise stopped(error.what) from error
    finally:
        trial.set_user_attr("images", images)
        trial.set_user_attr("seconds", round(time.monotonic() - began, 3))
    if pruned:
        raise optuna.TrialPruned
    return f1


def _suggest(trial: optuna.Trial, name: str, kind: Range | Choices) -> Value:
    if isinstance(kind, Choices):
        return trial.suggest_categorical(name, kind.values)  # type: ignore[return-value]
    if kind.whole:
        return trial.suggest_int(name, int(kind.low), int(kind.high), log=kind.log)
    return trial.suggest_float(name, kind.low, kind.high, log=kind.log)


def _withdraw_where_superfluous(study: Study, trial: optuna.Trial) -> None:
    """Raise where a trial with a lower number has the same settings, or no more shall begin.

    Numbers are given one by one, so of two processes only one withdraws. A trial that is being
    born has no settings yet: it is waited for.
    """
    for _ in range(40):
        before = [t for t in alive(study.search) if t.number < trial.number]
        # What waits in the queue has its settings set aside.
        if all(t.state.name != "RUNNING" or len(t.params) == len(study.space) for t in before):
            break
        time.sleep(0.1)
    given = (t.params or t.system_attrs.get("fixed_params", {}) for t in before)
    if any(params == trial.params for params in given):
        raise Withdrawn("its settings have been tried")
    if not was_queued(study.search, trial) and (len(before) >= study.tune.trials or closed(study)):
        raise Withdrawn("the budget is spent")


def _tell(study: Study, trial: FrozenTrial | None, bar: Progress, quiet: bool) -> None:
    """A line per trial that a person can read, above the bar."""
    if trial is None:
        return
    f1 = f"{trial.value:.4f}" if trial.value is not None else "   –  "
    words = "  ".join(f"{n.partition('.')[2]}={_brief(v)}" for n, v in trial.params.items())
    say(f"{trial.number:4d}  {f1}  {trial.state.name.lower():8}  {words}", quiet=quiet)
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

    with quietly():
        value = shares(finished, study.tune.seed)
        drawn = []
        for draw in range(draws):
            some = [finished[i] for i in rng.integers(0, len(finished), len(finished))]
            if len({t.value for t in some}) > 1:
                drawn.append(shares(some, draw))
    found = {}
    for name, share in value.items():
        among = [d.get(name, 0.0) for d in drawn] or [float("nan")]
        low, high = np.quantile(among, [0.05, 0.95])
        found[name] = (float(share), min(float(low), share), max(float(high), share))
    return found
