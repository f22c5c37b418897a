"""How a run's model does on another place's pictures: `candid evaluate RUN DATA` from Python."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.errors import ConfigError
from candid.pipeline.answered import Answered
from candid.pipeline.external_numbers import (
    NumberHome,
    number_at_home,
    number_begun,
    number_source,
    refuse_for_number,
    singles_there,
)
from candid.pipeline.judging import evaluate
from candid.pipeline.labelled import (
    AnsweringRun,
    Chosen,
    answer,
    answering_run,
    check_distinct,
    check_name,
    choose_rows,
    name_for,
)
from candid.pipeline.labelling import Answering, labeller
from candid.pipeline.opening import Place
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import Estimate, read_record, write_record
from candid.records.audit import SplitAudit
from candid.records.calibration import NumberCalibration, PlaceCalibration, calibration_path
from candid.records.external import ExternalFigures, ExternalSource, Transfer
from candid.records.external_number import NumberSource, NumberTransfer
from candid.runs import Run
from candid.runs.refusals import is_number_run
from candid.settings import AuditConfig, Config
from candid.tables.attributes import Attribute
from candid.tables.columns import NO_YES

if TYPE_CHECKING:
    from candid.evaluation.external import GivenAnswers
    from candid.inference.abstaining import Rule
    from candid.inference.classify import Labeller


def transfer(
    run: Run | Place,
    data: Dataset | Place | Sequence[Dataset | Place],
    config: Config | None = None,
    *,
    target: str | None = None,
    split: str | None = None,
    name: str | None = None,
    workers: int = 0,
    home: Place | None = None,
    cache: Path | None = None,
    quiet: bool = True,
    **how: Unpack[Answering],
) -> Transfer | NumberTransfer:
    """How a run's model does on labelled pictures from elsewhere, into its `transfer.json`.

    Each is answered exactly as `candid.predict` would, and the predictions are kept in the run as
    `transfer/<name>.parquet`. What the file holds of other data sets stays; of the same name, it
    is replaced. What it holds of another model than the run's present one is dropped.

    Parameters
    ----------
    run
        A run whose training was finished; of several labels, the folder of one. Of a number it is a
        `NumberTransfer`, without what is said of sureness and promises.
    data
        One or several data sets, as `candid.load` gave them or where they lie, in any layout.
    config
        Its `data` section says how they are read, `evaluate` and `audit` how they are judged;
        None: the defaults, and the run's own.
    target
        Their label; None: the settings', else the run's, else the layout's own. Its classes must
        be the run's (in any case); `data.class_names` maps others.
    split
        train, validation or test; None: all images. Of the run's own data, those that it tested
        on.
    name
        What to call a single data set; None: its own name.
    engine, abstain_below, check, crop, detector, calibration, common_frame, workers
        As for `candid.predict`. Of several faces in a picture, the largest counts.
    home, cache, quiet
        Where the run's own data lie now, where its packed images are kept (both only where it has
        not predicted yet), and no progress bars.

    Raises
    ------
    DataError
        Where a data set cannot be read, or its classes are not the run's.
    """
    answering = answering_run(run, config, quiet, number=True)
    read = [answering.read(d, target) for d in _each(data)]
    names = _names(read, name, how)
    asked = _asked(answering, home, cache, workers, how)
    found = _begun(asked)
    for one, called in zip(read, names, strict=True):
        found = _with_source(asked, found, one, called, split)
    return found


@dataclass(frozen=True, eq=False)
class _Home:
    """The run's own test images: what the model says of them, and how it does."""

    predictions: Predictions
    figures: ExternalFigures


@dataclass(frozen=True, eq=False)
class _Asked:
    """A model that is ready to answer, and how it does at home, if that is known."""

    answering: AnsweringRun
    ready: Labeller
    own: _Home | NumberHome | None
    calibration: str
    workers: int


def _asked(
    answering: AnsweringRun, home: Place | None, cache: Path | None, workers: int, how: Answering
) -> _Asked:
    from candid.inference.abstaining import abstention_rule

    run, data = answering.run, None if home is None else Path(home)
    how = {**how, "crop": how.get("crop", False) or how.get("detector") is not None}
    if answering.card.number is not None:
        refuse_for_number(how)
    ready = labeller(run, data=data, cache=cache, quiet=run.quiet, number=True, **how)
    own: _Home | NumberHome | None
    if answering.card.number is not None:
        own = number_at_home(run, answering.settings)
    else:
        rule = abstention_rule(run, how.get("abstain_below"), run.settings.predict.target_error)
        own = _at_home(run, rule, answering.settings, home, cache)
    return _Asked(answering, ready, own, how.get("calibration", ""), workers)


def _with_source(
    asked: _Asked,
    found: Transfer | NumberTransfer,
    dataset: Dataset,
    name: str,
    split: str | None,
) -> Transfer | NumberTransfer:
    """The record with how the model does on one more data set, written down."""
    chosen = choose_rows(asked.answering.run, dataset, split)
    found = _replaced(found, _source(asked, dataset, chosen, name))
    write_record(asked.answering.run.transfer, found)
    return found


def _replaced(
    found: Transfer | NumberTransfer, source: ExternalSource | NumberSource
) -> Transfer | NumberTransfer:
    """The record with a source, in place of one of the same name."""
    if isinstance(found, NumberTransfer) and isinstance(source, NumberSource):
        others = [s for s in found.sources if s.name != source.name]
        return replace(found, sources=(*others, source))
    if isinstance(found, Transfer) and isinstance(source, ExternalSource):
        kept = [s for s in found.sources if s.name != source.name]
        return replace(found, sources=(*kept, source))
    raise ValueError(f"{type(source).__name__} is no source of {type(found).__name__}")


def _flattered(run: Run, dataset: Dataset, calibration: str) -> tuple[str, ...]:
    """A note where a calibration is tried on the data that it was made on."""
    if not calibration or not dataset.origin:
        return ()
    path = calibration_path(run.path, calibration)
    is_number = is_number_run(run)
    made = (
        read_record(path, NumberCalibration) if is_number else read_record(path, PlaceCalibration)
    )
    if made.data != dataset.origin:
        return ()
    return (
        f"The calibration {calibration} was made on these data, so these figures flatter it; its "
        "own are of pictures that had no part in the fit.",
    )


def _each(data: Dataset | Place | Sequence[Dataset | Place]) -> list[Dataset | Path]:
    several = [data] if isinstance(data, Dataset | str | PathLike) else data
    return [Path(d) if isinstance(d, str | PathLike) else d for d in several]


def _names(read: Sequence[Dataset], name: str | None, how: Answering) -> list[str]:
    if name is not None and len(read) > 1:
        raise ConfigError(
            f"The name {name!r} was given for {len(read)} data sets.",
            expected="a name for one",
            todo="name them one by one, each with --name",
        )
    suffixes = "cropped" if how.get("crop") else "", how.get("calibration", "")
    names = [name_for(d, *suffixes) if name is None else name for d in read]
    check_distinct(names)
    return [check_name(n) for n in names]


def _at_home(
    run: Run, rule: Rule | None, settings: Config, data: Place | None, cache: Path | None
) -> _Home | None:
    """On the run's own test predictions; None where there are none with a label."""
    from candid.evaluation.external import external_figures

    if not run.predictions_file.is_file():
        evaluate(run, data=data, cache=cache, quiet=run.quiet)
    own = read_predictions(run.predictions_file)
    tested = own[(own.split == "test") & (own.label >= 0)]
    if not len(tested):
        return None
    figures = external_figures(tested, _answers(tested, rule), settings.evaluate)
    return _Home(tested, figures)


def _answers(p: Predictions, rule: Rule | None, answered: Answered | None = None) -> GivenAnswers:
    from candid.evaluation.external import GivenAnswers

    unlike = None if answered is None else answered.unlike
    if rule is None:
        return GivenAnswers(np.ones(len(p), np.bool_), unlike)
    sure = ~rule.abstains(p.probability)
    return GivenAnswers(sure, unlike, rule.target_error, rule.confidence)


def _begun(asked: _Asked) -> Transfer | NumberTransfer:
    """The record with what it held of this model before."""
    run, ready, own = asked.answering.run, asked.ready, asked.own
    card, model = asked.answering.card, ready.classifier.made_from
    if card.number is not None:
        home = own.figures if isinstance(own, NumberHome) else None
        return number_begun(run, card, model, home, asked.answering.settings)
    sources: tuple[ExternalSource, ...] = ()
    if run.transfer.is_file():
        before = read_record(run.transfer, Transfer)
        sources = before.sources if before.model == model else ()
    return Transfer(
        card.target, card.classes, model, own.figures if isinstance(own, _Home) else None, sources
    )


def _source(
    asked: _Asked, dataset: Dataset, chosen: Chosen, name: str
) -> ExternalSource | NumberSource:
    """Ask, judge, and write the predictions."""
    from candid.evaluation.external import require_answers

    run, ready = asked.answering.run, asked.ready
    file = run.path / "transfer" / f"{name}.parquet"
    table = file.with_name(f"{name}.labels.parquet")
    answered = answer(ready, dataset, chosen.rows, table, workers=asked.workers, quiet=run.quiet)
    require_answers(answered.dataset, dataset.name)
    about: dict[str, Any] = {
        "name": name,
        "data": dataset.origin or dataset.name,
        "layout": dataset.layout,
        "target": dataset.target,
        "split": chosen.split,
        "evaluated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "cropped": ready.finder is not None,
        "engine": ready.classifier.engine,
        "pictures": len(chosen.rows),
        "unlabelled": chosen.unlabelled,
        "unread": answered.unread,
        "unread_count": answered.unread_count,
        "no_face": answered.no_face,
        "frame": answered.frame,
        "notes": (*chosen.notes, *_flattered(run, dataset, asked.calibration)),
    }
    # None of them was learned from, whatever the data call a split, unless one was asked for.
    unseen = np.full(len(answered.dataset), chosen.split or "test")
    if answered.card.number is not None:
        home = asked.own if isinstance(asked.own, NumberHome) else None
        return number_source(about, answered, home, asked.answering.settings, file, unseen)
    return _class_source(about, answered, asked, file, unseen)


def _class_source(
    about: dict[str, Any], answered: Answered, asked: _Asked, file: Path, unseen: NDArray[np.str_]
) -> ExternalSource:
    """How a model of classes does on the pictures that were answered; writes the predictions."""
    from candid.evaluation.external import external_figures
    from candid.inference.promise import lies_elsewhere

    settings, classifier, p = asked.answering.settings, asked.ready.classifier, answered.predictions
    rule = classifier.rule
    if rule is not None and lies_elsewhere(classifier, answered.frame):
        rule = replace(rule, target_error=None)
    answers = _answers(p, rule, answered)
    figures = external_figures(p, answers, settings.evaluate)
    own = asked.own if isinstance(asked.own, _Home) else None
    paired, differences = _less_home(p, figures, own, settings)
    write_predictions(file, _with_answers(replace(p, split=unseen), answers))
    return ExternalSource(
        **about,
        calibration=asked.calibration,
        figures=figures,
        differences=differences,
        paired=paired,
        audit=_by_group(p, settings.audit) if p.attributes else None,
    )


def _less_home(
    p: Predictions, figures: ExternalFigures, own: _Home | None, settings: Config
) -> tuple[bool, dict[str, Estimate]]:
    """Whether these are the run's own pictures, and the figures less those at home."""
    from candid.evaluation.external import differences_to_home, paired_differences, same_images

    if own is None:
        return False, {}
    if same_images(p, own.predictions):
        return True, paired_differences(p, own.predictions, settings.evaluate)
    return False, differences_to_home(figures.evaluation, own.figures.evaluation)


def _with_answers(p: Predictions, answers: GivenAnswers) -> Predictions:
    """The predictions with whether each was answered, and flagged, as further attributes."""
    marks = {"answered": answers.given}
    if answers.unlike is not None:
        marks["unlike the training data"] = answers.unlike
    more = {
        name: Attribute(name, "binary", NO_YES, mark.astype(np.int16))
        for name, mark in marks.items()
        if name not in p.attributes
    }
    return replace(p, attributes={**p.attributes, **more})


def _by_group(p: Predictions, config: AuditConfig) -> SplitAudit:
    """The gaps between the groups of the data set's own attributes, one by one."""
    from candid.auditing.audit import audit_groups

    single = replace(
        singles_there(config, p.attributes), pairs=False, slices=0, more=False, examples=0
    )
    everyone = replace(p, split=np.full(len(p), "test"))
    found = audit_groups(everyone, single).splits[0]
    return replace(found, groups=tuple(g for g in found.groups if g.label is None))
