"""The step that scores validation images, the reference for streams of new ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.pipeline.labelled import dataset_items
from candid.pipeline.labelling import open_labeller, single_threaded
from candid.pipeline.opening import Data
from candid.progress import progress
from candid.runs import Run
from candid.table import sample_rows

_MAX_IMAGES = 3000  # validation pictures that are scored


def fit_drift(run: Run, data: Data) -> None:
    """Write drift.npz: the scores of validation images, read from their files as new images are."""
    from candid.inference.classify import label
    from candid.inference.drift import fit_reference, score_names, write_reference

    run.drift.unlink(missing_ok=True)
    labeller = replace(open_labeller(run, engine="torch"), with_scores=True)
    dataset, seed = data.dataset, run.settings.train.seed
    rows = dataset.rows("validation", data.store.usable)
    rows = sample_rows(rows, _MAX_IMAGES, np.random.default_rng(seed))
    with single_threaded(), progress("drift", len(rows), unit="pictures", quiet=run.quiet) as bar:
        blocks = list(label(labeller, dataset_items(dataset, rows), bar=bar.update))
    scores_of = [scores for block in blocks for scores in block.scores]
    is_scored = np.array([bool(scores) for scores in scores_of], np.bool_)
    if not is_scored.any():
        return
    person = None if dataset.person is None else np.asarray(dataset.person)[rows][is_scored]
    names, model = (
        score_names(labeller.classifier, labeller.unfamiliar),
        labeller.classifier.made_from,
    )
    scores = np.array([scores for scores in scores_of if scores], np.float64)
    write_reference(run.drift, fit_reference(names, scores, person, model=model, seed=seed))
