"""Which of all labels are likely wrong, before two witnesses: a model, and the same person.

The model did not learn from the label (`Predictions.out_of_fold`); it contradicts the label by
confident learning (`label_noise`). The person's other pictures contradict it where more than
half of them are labelled otherwise, and where labels mostly hold of a person: a smile does not.

A label that both contradict is likely wrong; there the model need not be sure, only answer
otherwise. Where only the person's pictures do, while the model answers what the label says, the
label may be right and the identity wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from candid.arrays import BoolArray, IndexArray
from candid.auditing.label_noise import find_likely_wrong, label_noise, label_quality
from candid.auditing.own_person import (
    FEWEST_PICTURES,
    PersonVotes,
    count_person_votes,
    find_outvoted_labels,
)
from candid.predictions import Predictions
from candid.records import SPLITS, Estimate
from candid.records.label_check import CheckedFold, DoubtedLabel, LabelCheck
from candid.settings import CheckConfig, EvaluateConfig
from candid.stats.intervals import share
from candid.text import label_check as text


@dataclass(frozen=True, eq=False)
class Doubts:
    """Rows of predictions by what contradicts their labels; see `LabelCheck` for their order."""

    by_both: IndexArray
    by_model: IndexArray
    by_person: IndexArray

    @property
    def wrong(self) -> IndexArray:
        """The likely wrong labels, the likeliest first."""
        return np.concatenate([self.by_both, self.by_model])


def find_doubted_labels(predictions: Predictions, *, persons_count: bool) -> Doubts:
    """The labels that the model or the person's other pictures contradict.

    Parameters
    ----------
    predictions
        Of labelled images that the model did not learn from.
    persons_count
        Whether other pictures of a person are a witness.
    """
    label = predictions.label
    model = find_likely_wrong(label, predictions.probability)
    if not persons_count:
        return Doubts(model[:0], model, model[:0])
    person = find_outvoted_labels(predictions)
    # Before a second witness, the first need not be sure.
    both, person_only = person[predictions.wrong[person]], person[~predictions.wrong[person]]
    margin = label_quality(label, predictions.probability)
    model_only = model[~np.isin(model, both)]
    person_agrees = count_person_votes(predictions).majority[model_only] == label[model_only]
    return Doubts(
        both[np.argsort(margin[both], kind="stable")],
        model_only[np.argsort(person_agrees, kind="stable")],
        person_only[np.argsort(-margin[person_only], kind="stable")],
    )


def person_agreement(predictions: Predictions, confidence: float = 0.95) -> Estimate | None:
    """The share of labels that are those of most pictures of the same person; None without any.

    Of people with three labelled pictures or more, whatever they agree on.
    """
    votes = count_person_votes(predictions)
    eligible = votes.pictures >= FEWEST_PICTURES
    if not eligible.any():
        return None
    agree = eligible & (votes.majority == predictions.label)
    return share(agree, eligible, predictions.persons(), confidence)


def check_labels(
    predictions: Predictions,
    fold: NDArray[np.integer],
    config: CheckConfig | None = None,
    figures: EvaluateConfig | None = None,
) -> LabelCheck:
    """Check all labels by predictions out of fold.

    Raises PredictionsError where there is no image, or a model gave no probabilities.

    Parameters
    ----------
    predictions
        Of labelled images, each from a model that did not learn from it.
    fold
        (n,) the part of the people that each image belongs to, from 0.
    config, figures
        Who is a witness and how many labels are listed; draws, confidence and seed of intervals.
    """
    config, figures = config or CheckConfig(), figures or EvaluateConfig()
    p, confidence = predictions, figures.confidence
    bare = replace(p, attributes={})
    noise = label_noise(bare, most=0, draws=figures.draws, confidence=confidence, seed=figures.seed)
    agreement = person_agreement(p, confidence)
    counts = agreement is not None and agreement.value >= config.person_agreement
    doubts, votes = find_doubted_labels(p, persons_count=counts), count_person_votes(p)

    def build_listed(rows: IndexArray) -> tuple[DoubtedLabel, ...]:
        return tuple(_build_doubted(p, votes, rows[: config.listed]))

    return LabelCheck(
        data=p.provenance.get("data", ""),
        target=p.target,
        classes=p.classes,
        n=len(p),
        people=p.n_people(),
        of_split=_count_by_split(p.split),
        folds=tuple(
            CheckedFold(int(mask.sum()), p.n_people(mask), _estimate_accuracy(p, mask, confidence))
            for mask in (fold == k for k in range(int(fold.max()) + 1))
        ),
        accuracy=_estimate_accuracy(p, np.ones(len(p), np.bool_), confidence),
        noise=noise,
        person_agreement=agreement,
        persons_count=counts,
        found_by_both=len(doubts.by_both),
        found_by_model=len(doubts.by_model),
        found_by_person=len(doubts.by_person),
        wrong_in_split=_count_by_split(p.split[doubts.wrong]),
        by_both=build_listed(doubts.by_both),
        by_model=build_listed(doubts.by_model),
        by_person=build_listed(doubts.by_person),
        notes=(*noise.notes, *text.notes(agreement, counts, p.n_people())),
    )


def _estimate_accuracy(p: Predictions, mask: BoolArray, confidence: float) -> Estimate:
    return share(mask & ~p.wrong, mask, p.persons(), confidence)


def _count_by_split(split: NDArray[np.str_]) -> dict[str, int]:
    counts = {name: int(np.count_nonzero(split == name)) for name in SPLITS}
    return {name: count for name, count in counts.items() if count}


def _build_doubted(p: Predictions, votes: PersonVotes, rows: IndexArray) -> Sequence[DoubtedLabel]:
    quality = label_quality(p.label[rows], p.probability[rows])
    labels = []
    for row, margin in zip(rows.tolist(), quality.tolist(), strict=True):
        label, answer = int(p.label[row]), int(p.prediction[row])
        majority = int(votes.majority[row])
        labels.append(
            DoubtedLabel(
                id=str(p.ids[row]),
                split=str(p.split[row]),
                label=p.classes[label],
                answer=p.classes[answer],
                label_probability=float(p.probability[row, label]),
                answer_probability=float(p.probability[row, answer]),
                quality=margin,
                person_label=p.classes[majority] if majority >= 0 else "",
                others=max(0, int(votes.pictures[row]) - 1),
                agreeing=max(0, int(votes.same[row]) - 1),
            )
        )
    return labels
