"""The step that scores validation pictures, for a watch over streams of new ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from candid.pipeline.labelled import dataset_items
from candid.pipeline.labelling import labeller, one_thread_each
from candid.pipeline.opening import Data
from candid.progress import progress
from candid.runs import Run
from candid.table import drawn_rows

_MOST = 3000  # validation pictures that are scored


def learn_drift(run: Run, data: Data) -> None:
    """Write drift.npz: the scores of validation pictures, read and answered as new ones are.

    From their files: what was packed for training is not what `predict` and `serve` see.
    """
    from candid.inference.classify import label
    from candid.inference.drift import fit_reference, score_names, write_reference

    run.drift.unlink(missing_ok=True)
    ready = replace(labeller(run, engine="torch"), scored=True)
    dataset, seed = data.dataset, run.settings.train.seed
    rows = dataset.rows("validation", data.store.usable)
    rows = drawn_rows(rows, _MOST, np.random.default_rng(seed))
    with one_thread_each(), progress("drift", len(rows), unit="pictures", quiet=run.quiet) as bar:
        blocks = list(label(ready, dataset_items(dataset, rows), bar=bar.update))
    watched = [scores for block in blocks for scores in block.scores]
    known = np.array([bool(scores) for scores in watched], np.bool_)
    if not known.any():
        return
    person = None if dataset.person is None else np.asarray(dataset.person)[rows][known]
    names = score_names(ready.classifier, ready.unfamiliar)
    scores = np.array([scores for scores in watched if scores], np.float64)
    write_reference(
        run.drift, fit_reference(names, scores, person, model=ready.classifier.made_from, seed=seed)
    )
