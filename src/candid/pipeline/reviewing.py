"""`candid review`: what a run knows becomes a page on which a person looks at labels."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from candid.errors import DataError, RunError
from candid.pipeline.auditing import audited_split
from candid.pipeline.data_places import Places, place_of, places_of
from candid.pipeline.opening import Place, path_of, with_own_corrections
from candid.predictions import read_predictions
from candid.records import Provenance, read_record
from candid.records.review import ReviewSummary, Why
from candid.runs import Run, open_run
from candid.runs.refusals import refuse_number
from candid.storage.files import reading, regular

if TYPE_CHECKING:
    from collections.abc import Iterator

    from candid.data.dataset import Dataset
    from candid.predictions import Predictions
    from candid.reviewing.session import Known, Session
    from candid.reviewing.suspects import Suspects

_LONGEST = 640  # pixels a side of a picture on the page
_COMPANIONS = 8  # other pictures of a person
QUEUES: dict[str, Why] = {
    "labels": "likely wrong",
    "people": "person",
    "slice": "slice",
    "copies": "copy",
}


@dataclass(frozen=True, eq=False)
class Reviewed:
    """A session, and how its pictures are drawn."""

    session: Session
    picture: Callable[[str], bytes]


@contextmanager
def open_review(
    run: Run | Place,
    *,
    who: str,
    out: Place | None = None,
    queues: Sequence[str] = (),
    data: Places | None = None,
    seed: int = 0,
) -> Iterator[Reviewed]:
    """What a run suspects, ready to be looked at; decisions go to `out` or the run's own file.

    Raises
    ------
    RunError
        Where the run's data are gone, or are not those that it predicted.
    DataError
        Where there is nothing to look at.
    """
    from candid.data.pictures import preview
    from candid.reviewing.plan import plan_review
    from candid.reviewing.session import Session
    from candid.reviewing.summary import Review
    from candid.tables.corrections import open_log
    from candid.text.review import NOTHING

    run = open_run(path_of(run))
    refuse_number(run)
    dataset = _labels(run, data)
    predictions = read_predictions(run.predictions_file) if run.predictions_file.is_file() else None
    if predictions is not None:
        _check_same(run, dataset, predictions)
    wanted = [why for name, why in QUEUES.items() if not queues or name in queues]
    suspects = _suspects(run, dataset, predictions, wanted)
    others = dataset.ids[dataset.label >= 0].tolist()
    showings = plan_review(suspects, others, seed=seed)
    if not showings:
        raise DataError(NOTHING, expected="labelled images", todo="name another run")
    known = _known(dataset, predictions, suspects, [s.image for s in showings])
    row = {str(i): k for k, i in enumerate(dataset.ids.tolist())}
    most = run.settings.data.max_pixels

    def picture(image: str) -> bytes:
        return preview(dataset, row[image], longest=_LONGEST, max_pixels=most)

    with open_log(run.corrections if out is None else Path(out)) as log:
        yield Reviewed(Session(Review(showings, len(others)), known, log, who), picture)


def review(
    run: Run | Place,
    *,
    who: str,
    out: Place | None = None,
    queues: Sequence[str] = (),
    port: int = 0,
    data: Places | None = None,
    seed: int = 0,
    started: Callable[[str, int, int, str], None] = lambda url, shown, done, file: None,
) -> ReviewSummary:
    """Show a page on which a person decides about a run's suspects: `candid review` from Python.

    It ends with SIGINT or SIGTERM, and gives what the decisions so far amount to.

    Parameters
    ----------
    run
        A run that has explored or predicted its data.
    who
        The reviewer's name, which stands in every line.
    out
        The file of corrections; None: the run's own `corrections.csv`. Where it holds decisions of
        `who`, the review goes on after them.
    queues
        Some of "labels", "people", "slice" and "copies"; none: all.
    port
        Of this machine's own address, 127.0.0.1; 0: any that is free.
    data
        Where the run's data lie now.
    seed
        Decides which decoys are drawn, and their places.
    started
        Told the page's address, how many showings there are, how many are decided, and the file.
    """
    from candid.serving.serve import needs_server, serve_page

    needs_server()
    from candid.serving.reviewing import create_review_app

    with open_review(run, who=who, out=out, queues=queues, data=data, seed=seed) as ready:
        session, token = ready.session, secrets.token_urlsafe(18)
        known = session.known
        app = create_review_app(
            session, ready.picture, target=known.target, classes=known.classes, token=token
        )
        state = session.state()

        def told(url: str) -> None:
            started(f"{url}/{token}/", state["total"], state["done"], str(session.log.path))

        serve_page(app, port, started=told)
        return session.summary()


# --- what the run knows --------------------------------------------------------------------------


def _labels(run: Run, where: Places | None) -> Dataset:
    """The labels of a run's data; no picture is packed."""
    from candid.data.joining import load_places

    about = read_record(run.provenance, Provenance)
    found = place_of(run, about, None if where is None else places_of(where))
    return load_places(found, with_own_corrections(run).data, names=tuple(about.sources))


def _check_same(run: Run, dataset: Dataset, predictions: Predictions) -> None:
    label = dict(zip(dataset.ids.tolist(), dataset.label.tolist(), strict=True))
    pairs = zip(predictions.ids.tolist(), predictions.label.tolist(), strict=True)
    other = sum(label.get(image) != code for image, code in pairs)
    if other or dataset.classes != predictions.classes:
        raise RunError(
            f"The data in {dataset.origin or dataset.name} are not those that the run {run.path} "
            f"predicted: {other:,} of {len(predictions):,} images are gone or labelled otherwise.",
            expected="the same images and labels",
            todo="put the data back, or say where they lie now with --data",
        )


def _suspects(
    run: Run, dataset: Dataset, predictions: Predictions | None, wanted: Sequence[Why]
) -> Suspects:
    from candid.reviewing.suspects import find_suspects

    return find_suspects(dataset, predictions, audited_split(run), _linked(run), wanted)


def _linked(run: Run) -> Iterable[tuple[str, str, str]]:
    """The code, the image and its partner of every finding about two images."""
    import pyarrow.parquet as pq

    if not run.findings.is_file():
        return []
    todo = f"candid run --resume {run.path}"
    with reading(run.findings, expected="a file that this version of Candid wrote", todo=todo):
        table = pq.read_table(regular(run.findings), columns=["code", "id", "partner"])
        rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        return [(code, image, partner) for code, image, partner in rows if partner is not None]


def _known(
    dataset: Dataset,
    predictions: Predictions | None,
    suspects: Suspects,
    images: Iterable[str],
) -> Known:
    from candid.reviewing.session import Known
    from candid.text.findings import group_name

    words, answer = dataset.classes, {}
    pairs = zip(dataset.ids.tolist(), dataset.label.tolist(), strict=True)
    if predictions is not None:
        said = zip(predictions.prediction.tolist(), predictions.confidence.tolist(), strict=True)
        named = ((words[k], p) for k, p in said)
        answer = dict(zip(predictions.ids.tolist(), named, strict=True))
    return Known(
        target=dataset.target,
        classes=words,
        label={image: words[code] for image, code in pairs if code >= 0},
        answer=answer,
        companions=_companions(dataset, images),
        group=group_name(suspects.group),
    )


def _companions(dataset: Dataset, images: Iterable[str]) -> dict[str, list[str]]:
    """Each image's other pictures of the same person, a few of them."""
    if dataset.person is None:
        return {}
    ids, who = dataset.ids.tolist(), dataset.person.tolist()
    person = dict(zip(ids, who, strict=True))
    wanted = {person[image] for image in images} - {-1}
    every: dict[int, list[str]] = {number: [] for number in wanted}
    for image, number in zip(ids, who, strict=True):
        if number in wanted:
            every[number].append(image)
    return {
        image: [other for other in every[person[image]] if other != image][:_COMPANIONS]
        for image in images
        if person[image] in wanted
    }
