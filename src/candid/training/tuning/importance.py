"""Which settings matter: shares of the variance of F1 over the trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from candid.training.tuning.study import Study, quietly

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


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

    finished = [t for t in study.search.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
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
