"""How a model does away from home: its figures elsewhere, and whether it knew when it was wrong.

External validation, as clinical prediction models ask for it (Altman & Royston 2000; TRIPOD 2015):
discrimination and calibration on another place's pictures, beside those on the model's own test
pictures. And what the model says of itself is held against what came true: how sure it was, which
pictures it called unlike the training data, and the promise that few of its answers are wrong.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray
from candid.errors import PredictionsError
from candid.evaluation.comparison import compare_predictions
from candid.evaluation.performance import evaluate_predictions
from candid.predictions import Predictions, require_probabilities
from candid.records import Estimate, SplitEvaluation
from candid.records.external import ExternalFigures, PromiseCheck, PromiseState
from candid.settings import EvaluateConfig
from candid.stats.differences import independent_difference
from candid.stats.exact import binomial_bounds
from candid.stats.intervals import mean, share, undefined_estimate

# What is compared with home: figures of one scale, whatever the shares of the classes.
COMPARED = ("accuracy", "weighted_f1", "balanced_accuracy", "roc_auc", "log_loss", "brier_score")
_PAIRED: tuple[Literal["accuracy", "weighted_f1"], ...] = ("accuracy", "weighted_f1")


@dataclass(frozen=True, eq=False)
class GivenAnswers:
    """Which of n pictures were answered, and the promise about the answers."""

    sure: BoolArray  # (n,) whether the model was sure enough to answer
    # (n,) whether it was flagged as unlike the training data; None where that was not checked
    unlike: BoolArray | None = None
    # at most this share of the answers is wrong; None: no promise
    target_error: float | None = None
    confidence: float = 0.95  # with which that was promised

    @property
    def given(self) -> BoolArray:
        """(n,) whether there was an answer."""
        return self.sure if self.unlike is None else self.sure & ~self.unlike


def external_figures(
    predictions: Predictions, answers: GivenAnswers, config: EvaluateConfig
) -> ExternalFigures:
    """The figures of one place.

    Raises PredictionsError where there is no labelled picture, or no probabilities.

    Parameters
    ----------
    predictions
        With a label each; they are taken together, whatever their split.
    answers
        What became of each.
    config
        Draws, confidence, bins, seed.
    """
    require_probabilities(predictions)
    p = replace(predictions, split=np.full(len(predictions), "test"))
    evaluation = evaluate_predictions(p, replace(config, examples=0)).splits[0]
    person, confidence = p.persons(), config.confidence
    correct, top_probability = ~p.wrong, p.confidence
    everyone = np.ones(len(p), np.bool_)
    nothing = undefined_estimate(confidence)
    flagged, flagged_accuracy, unflagged_accuracy = nothing, nothing, nothing
    if answers.unlike is not None:
        flagged = share(answers.unlike, everyone, person, confidence)
        flagged_accuracy = share(correct, answers.unlike, person, confidence)
        unflagged_accuracy = share(correct, ~answers.unlike, person, confidence)
    return ExternalFigures(
        evaluation=evaluation,
        confidence=mean(top_probability, person, confidence=confidence),
        overconfidence=mean(top_probability - correct, person, confidence=confidence),
        flagged=flagged,
        flagged_accuracy=flagged_accuracy,
        unflagged_accuracy=unflagged_accuracy,
        coverage=share(answers.given, everyone, person, confidence),
        wrong=share(~correct, answers.given, person, confidence),
        promise=check_promise(answers, ~correct, person, seed=config.seed),
    )


def check_promise(
    answers: GivenAnswers, wrong: BoolArray, person: NDArray[np.int64] | None, *, seed: int = 0
) -> PromiseCheck | None:
    """Check the promise by exact one-sided bounds; None where there was none.

    Two pictures of one person are not two trials: where people are known, one picture of each is
    drawn, as where the threshold was found, and its answer counts if there is one.
    """
    if answers.target_error is None:
        return None
    chosen = np.random.default_rng(seed).permutation(len(wrong))
    if person is not None:
        chosen = chosen[np.unique(person[chosen], return_index=True)[1]]
    counted = chosen[answers.given[chosen]]
    n, mistakes = len(counted), int(np.count_nonzero(wrong[counted]))
    low, high = binomial_bounds(mistakes, n, answers.confidence)
    state: PromiseState = "too few to say"
    if low > answers.target_error:
        state = "broken"
    elif high <= answers.target_error:
        state = "kept"
    return PromiseCheck(
        target_error=answers.target_error,
        confidence=answers.confidence,
        n=n,
        mistakes=mistakes,
        by_person=person is not None,
        low=low,
        high=high,
        state=state,
    )


def differences_to_home(here: SplitEvaluation, home: SplitEvaluation) -> dict[str, Estimate]:
    """Figures here less those at home; the two have no person in common.

    Where all are labelled with one class, its recall alone: no other figure is of one scale then.
    """
    if only := here.only_class:
        (home_class,) = (c for c in home.classes if c.name == only.name)
        return {"recall": independent_difference(only.recall, home_class.recall)}
    return {
        name: independent_difference(here.metrics[name], home.metrics[name]) for name in COMPARED
    }


def paired_differences(
    here: Predictions, home: Predictions, config: EvaluateConfig
) -> dict[str, Estimate]:
    """Paired differences, by person, for pictures of the same names and labels.

    Raises PredictionsError where the two have no labelled image in common, or not the same classes.
    """
    pair = [replace(p, split=np.full(len(p), "test")) for p in (home, here)]
    comparison = compare_predictions(
        *pair, draws=config.draws, confidence=config.confidence, seed=config.seed
    )
    return {name: comparison.overall.metrics[name].difference for name in _PAIRED}


def same_images(here: Predictions, home: Predictions) -> bool:
    """Whether nearly all of these images are home's, by their names, with the same labels."""
    label = dict(zip(home.ids.tolist(), home.label.tolist(), strict=True))
    same = [label.get(i) == y for i, y in zip(here.ids.tolist(), here.label.tolist(), strict=True)]
    return bool(same) and sum(same) >= 0.95 * len(same)


def require_answers(answered: Sized, name: str) -> None:
    """Raise a PredictionsError where nothing of a data set could be answered."""
    if not len(answered):
        raise PredictionsError(
            f"Not one labelled picture of {name} could be read, or has a face in it.",
            expected="pictures that can be decoded",
            todo="check the paths; without --crop every picture is taken as a face",
        )
