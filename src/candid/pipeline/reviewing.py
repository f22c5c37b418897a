"""`candid review`: a page on which a person decides about suspicious labels."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.data.dataset import Dataset
from candid.errors import DataError
from candid.pipeline.data_places import Places
from candid.pipeline.opening import Place
from candid.pipeline.reviewable import Reviewable, examine_pixels, open_reviewable, start_nearest
from candid.records.review import ReviewSummary, Why
from candid.runs import Run
from candid.settings import Config
from candid.tables.corrections import open_log
from candid.text.findings import group_name

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from candid.reviewing.session import Known, Session
    from candid.reviewing.summary import Review
    from candid.reviewing.suspects import PictureFindings, Suspects

_LONGEST = 640  # pixels a side of a picture on the page
_COMPANIONS = 8  # other pictures of a person
QUEUES: dict[str, Why] = {
    "labels": "likely wrong",
    "people": "person",
    "slice": "slice",
    "strange": "strange",
    "copies": "copy",
    "unreadable": "unreadable",
}


@dataclass(frozen=True, eq=False)
class OpenReview:
    """A session, and the function that draws its images."""

    session: Session
    picture: Callable[[str], bytes]


@contextlib.contextmanager
def open_review(
    place: Run | Place | Dataset | Places,
    *,
    who: str,
    config: Config | None = None,
    out: Place | None = None,
    queues: Sequence[str] = (),
    data: Places | None = None,
    seed: int = 0,
    cache: Path | None = None,
    quiet: bool = True,
) -> Iterator[OpenReview]:
    """Open a review of the suspects among a run's labels or a data set's.

    Raises RunError where a run's data are gone or others; DataError where nothing is to be
    reviewed.
    """
    from candid.data.pictures import preview
    from candid.reviewing.session import Session
    from candid.reviewing.suspects import find_suspects

    labels = open_reviewable(place, config, data_places=data, cache=cache, quiet=quiet)
    row = {str(i): k for k, i in enumerate(labels.dataset.ids.tolist())}
    max_pixels = labels.config.data.max_pixels

    def picture(image: str) -> bytes:
        return preview(labels.dataset, row[image], longest=_LONGEST, max_pixels=max_pixels)

    # A file that cannot be written is known before all pictures are looked at.
    with open_log(labels.corrections if out is None else Path(out)) as log:
        reasons = [reason for name, reason in QUEUES.items() if name in (queues or QUEUES)]
        pixels = examine_pixels(labels, reasons, quiet=quiet)
        suspects = find_suspects(
            labels.dataset, labels.predictions, labels.audited, pixels, reasons
        )
        planned = _plan_review(labels, suspects, pixels, seed)
        images = dict.fromkeys(i for s in planned.showings for i in (s.image, s.other) if i)
        with start_nearest(labels, images) as neighbours:
            facts = _build_known(labels, suspects, pixels, images, neighbours)
            yield OpenReview(Session(planned, facts, log, who), picture)


def _plan_review(
    labels: Reviewable, suspects: Suspects, pixels: PictureFindings, seed: int
) -> Review:
    """The showings in their order; a DataError where there are none."""
    from candid.reviewing.plan import plan_review
    from candid.reviewing.summary import Review
    from candid.text.review import NOTHING

    labelled = labels.dataset.ids[labels.dataset.label >= 0].tolist()
    others = [image for image in labelled if image not in pixels.unreadable]
    showings = plan_review(suspects, others, seed=seed)
    if not showings:
        raise DataError(NOTHING, expected="labelled images", todo="name other data")
    return Review(showings, len(others))


def review(
    place: Run | Place | Dataset | Places,
    *,
    who: str,
    config: Config | None = None,
    out: Place | None = None,
    queues: Sequence[str] = (),
    port: int = 0,
    data: Places | None = None,
    seed: int = 0,
    cache: Path | None = None,
    quiet: bool = True,
    started: Callable[[str, int, int, str], None] = lambda url, shown, done, file: None,
) -> ReviewSummary:
    """Show a page on which a person decides about suspects: `candid review` from Python.

    It ends with SIGINT or SIGTERM, and gives what the decisions so far amount to.

    Parameters
    ----------
    place
        A run that has explored or predicted its data, or a data set: of this the copies, the people
        who contradict themselves, the strange pictures and those that cannot be read, and what
        `candid check` found, where a folder in runs/ holds that for the same data.
    who
        The reviewer's name, which stands in every line.
    config
        How a data set is read; a run has its own settings.
    out
        The file of corrections; None: the run's own `corrections.csv`, of a data set
        `corrections-NAME.csv` here. Where it holds decisions of `who`, the review goes on after
        them.
    queues
        Some of "labels", "people", "slice", "strange", "copies" and "unreadable"; none: all.
    port
        Of this machine's own address, 127.0.0.1; 0: any that is free.
    seed
        Decides which decoys are drawn, and their places.
    data, cache, quiet
        Where a run's data lie now, where packed images are kept, and no progress bars.
    started
        Called with the page's address, the numbers of showings and of decisions, and the file.
    """
    from candid.serving.serve import listen, needs_server, serve_page

    needs_server()
    options: dict[str, Any] = {"config": config, "out": out, "queues": queues, "data": data}
    options |= {"seed": seed, "cache": cache, "quiet": quiet}
    with (
        contextlib.closing(listen("127.0.0.1", port)) as listener,
        open_review(place, who=who, **options) as open_session,
    ):
        session, token = open_session.session, secrets.token_urlsafe(18)
        state, file = session.state(), str(session.log.path)
        serve_page(
            _build_app(open_session, token),
            listener,
            started=lambda url: started(f"{url}/{token}/", state["total"], state["done"], file),
        )
        return session.summary()


def _build_app(review: OpenReview, token: str) -> Starlette:
    from candid.serving.reviewing import create_review_app

    facts = review.session.known
    return create_review_app(
        review.session, review.picture, target=facts.target, classes=facts.classes, token=token
    )


def _build_known(
    labels: Reviewable,
    suspects: Suspects,
    pixels: PictureFindings,
    images: Iterable[str],
    neighbours: Callable[[], dict[str, list[tuple[str, str]]] | None],
) -> Known:
    from candid.reviewing.session import Known

    dataset, predictions = labels.dataset, labels.predictions
    words, answer = dataset.classes, {}
    labelled = zip(dataset.ids.tolist(), dataset.label.tolist(), strict=True)
    if predictions is not None:
        answers = zip(predictions.prediction.tolist(), predictions.confidence.tolist(), strict=True)
        named_answers = ((words[k], p) for k, p in answers)
        answer = dict(zip(predictions.ids.tolist(), named_answers, strict=True))
    return Known(
        target=dataset.target,
        classes=words,
        label={image: words[code] for image, code in labelled if code >= 0},
        answer=answer,
        companions=_find_companions(dataset, images),
        group=group_name(suspects.group),
        neighbours=neighbours,
        strange=pixels.strange,
        unreadable=pixels.unreadable,
    )


def _find_companions(dataset: Dataset, images: Iterable[str]) -> dict[str, list[str]]:
    """A few other images of the same person, for each image."""
    if dataset.person is None:
        return {}
    ids, people = dataset.ids.tolist(), dataset.person.tolist()
    person_of = dict(zip(ids, people, strict=True))
    numbers = {person_of[image] for image in images} - {-1}
    images_of: dict[int, list[str]] = {number: [] for number in numbers}
    for image, number in zip(ids, people, strict=True):
        if number in numbers:
            images_of[number].append(image)
    return {
        image: [other for other in images_of[person_of[image]] if other != image][:_COMPANIONS]
        for image in images
        if person_of[image] in numbers
    }
