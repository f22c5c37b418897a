"""How well a run's model does on other data: `candid evaluate RUN DATA` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from candid.data.dataset import Dataset
from candid.errors import ConfigError
from candid.pipeline.answers import ModelAnswers
from candid.pipeline.external_numbers import (
    UNLIKE,
    NumberJudge,
    add_marks,
    refuse_for_number,
    single_group_settings,
)
from candid.pipeline.judging import evaluate
from candid.pipeline.labelled import (
    LabelledRows,
    TrainedRun,
    check_distinct,
    check_name,
    choose_rows,
    default_name,
    describe_source,
    open_trained_run,
    predict_dataset,
)
from candid.pipeline.labelling import PredictOptions, open_labeller
from candid.pipeline.opening import Place
from candid.pipeline.provenance import utc_now
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.records import Estimate, read_record, write_record
from candid.records.audit import SplitAudit
from candid.records.calibration import NumberCalibration, PlaceCalibration, calibration_path
from candid.records.external import ExternalFigures, ExternalSource, Transfer
from candid.records.external_number import NumberSource, NumberTransfer
from candid.runs import Run
from candid.runs.refusals import is_number_run
from candid.settings import AuditConfig, Config

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
    **how: Unpack[PredictOptions],
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
    trained_run = open_trained_run(run, config, quiet, number=True)
    sources = [data] if isinstance(data, Dataset | str | PathLike) else data
    datasets = [trained_run.read(source, target) for source in sources]
    names = _set_names(datasets, name, how)
    job = _prepare_job(trained_run, home, cache, workers, how)
    record = job.judge.open_record(job.labeller.classifier.made_from)
    for dataset, label in zip(datasets, names, strict=True):
        record = _add_source(job, record, dataset, label, split)
    return record


@dataclass(frozen=True, eq=False)
class _TransferJob:
    """A model to evaluate, and how its answers are judged."""

    trained_run: TrainedRun
    labeller: Labeller
    judge: ClassJudge | NumberJudge
    calibration: str
    workers: int


def _prepare_job(
    trained_run: TrainedRun,
    home: Place | None,
    cache: Path | None,
    workers: int,
    options: PredictOptions,
) -> _TransferJob:
    run, is_number = trained_run.run, trained_run.card.number is not None
    data = None if home is None else Path(home)
    options = {**options, "crop": options.get("crop", False) or options.get("detector") is not None}
    if is_number:
        refuse_for_number(options)
    labeller = open_labeller(run, data=data, cache=cache, quiet=run.quiet, number=True, **options)
    judge: ClassJudge | NumberJudge
    if is_number:
        judge = NumberJudge.open(trained_run)
    else:
        judge = ClassJudge.open(trained_run, labeller, home, cache, options)
    return _TransferJob(trained_run, labeller, judge, options.get("calibration", ""), workers)


def _add_source(
    job: _TransferJob, record: Any, dataset: Dataset, name: str, split: str | None
) -> Any:
    """Evaluate on one more data set, and write the record with it, in place of one of its name."""
    choice = choose_rows(job.trained_run.run, dataset, split)
    source = _evaluate_source(job, dataset, choice, name)
    others = [s for s in record.sources if s.name != source.name]
    record = replace(record, sources=(*others, source))
    write_record(job.trained_run.run.transfer, record)
    return record


def _calibration_notes(run: Run, dataset: Dataset, calibration: str) -> tuple[str, ...]:
    """A note where a calibration is evaluated on the data that it was fitted on."""
    if not calibration or not dataset.origin:
        return ()
    path = calibration_path(run.path, calibration)
    is_number = is_number_run(run)
    record = (
        read_record(path, NumberCalibration) if is_number else read_record(path, PlaceCalibration)
    )
    if record.data != dataset.origin:
        return ()
    return (
        f"The calibration {calibration} was made on these data, so these figures flatter it; its "
        "own are of pictures that had no part in the fit.",
    )


def _set_names(datasets: Sequence[Dataset], name: str | None, options: PredictOptions) -> list[str]:
    if name is not None and len(datasets) > 1:
        raise ConfigError(
            f"The name {name!r} was given for {len(datasets)} data sets.",
            expected="a name for one",
            todo="name them one by one, each with --name",
        )
    suffixes = "cropped" if options.get("crop") else "", options.get("calibration", "")
    names = [default_name(d, *suffixes) if name is None else name for d in datasets]
    check_distinct(names)
    return [check_name(n) for n in names]


def _apply_rule(
    p: Predictions, rule: Rule | None, answers: ModelAnswers | None = None
) -> GivenAnswers:
    from candid.evaluation.external import GivenAnswers

    unlike = None if answers is None else answers.unlike
    if rule is None:
        return GivenAnswers(np.ones(len(p), np.bool_), unlike)
    is_sure = ~rule.abstains(p.probability)
    return GivenAnswers(is_sure, unlike, rule.target_error, rule.confidence)


def _evaluate_source(
    job: _TransferJob, dataset: Dataset, choice: LabelledRows, name: str
) -> ExternalSource | NumberSource:
    """Predict, evaluate, and write the predictions."""
    from candid.evaluation.external import require_answers

    run, labeller = job.trained_run.run, job.labeller
    file = run.path / "transfer" / f"{name}.parquet"
    table = file.with_name(f"{name}.labels.parquet")
    options: dict[str, Any] = {"workers": job.workers, "quiet": run.quiet}
    answers = predict_dataset(labeller, dataset, choice.rows, table, **options)
    require_answers(answers.dataset, dataset.name)
    fields: dict[str, Any] = {
        **describe_source(labeller, dataset, choice, answers),
        "name": name,
        "target": dataset.target,
        "evaluated": utc_now(),
        "engine": labeller.classifier.engine,
        "pictures": len(choice.rows),
        "unlabelled": choice.unlabelled,
        "unread": answers.unread,
        "unread_count": answers.unread_count,
        "no_face": answers.no_face,
        "notes": (*choice.notes, *_calibration_notes(run, dataset, job.calibration)),
    }
    # None of them was learned from, whatever the data call a split, unless one was named.
    split = np.full(len(answers.dataset), choice.split or "test")
    return job.judge.judge(fields, answers, file, split)


@dataclass(frozen=True, eq=False)
class ClassJudge:
    """Judges the answers of a run of classes elsewhere, beside those to its own test images."""

    trained_run: TrainedRun
    labeller: Labeller
    calibration: str
    home: tuple[Predictions, ExternalFigures] | None  # None: it has no labelled test images

    @classmethod
    def open(
        cls,
        trained_run: TrainedRun,
        labeller: Labeller,
        data: Place | None,
        cache: Path | None,
        options: PredictOptions,
    ) -> ClassJudge:
        """With the run's own test predictions, which are made where they are missing."""
        from candid.evaluation.external import external_figures
        from candid.inference.abstaining import abstention_rule

        run, settings = trained_run.run, trained_run.settings
        rule = abstention_rule(run, options.get("abstain_below"), run.settings.predict.target_error)
        if not run.predictions_file.is_file():
            evaluate(run, data=data, cache=cache, quiet=run.quiet)
        predictions = read_predictions(run.predictions_file)
        test = predictions[(predictions.split == "test") & (predictions.label >= 0)]
        home = None
        if len(test):
            home = test, external_figures(test, _apply_rule(test, rule), settings.evaluate)
        return cls(trained_run, labeller, options.get("calibration", ""), home)

    def open_record(self, model: str) -> Transfer:
        """The record, with what it already holds of this model."""
        run, card = self.trained_run.run, self.trained_run.card
        sources: tuple[ExternalSource, ...] = ()
        if run.transfer.is_file():
            previous = read_record(run.transfer, Transfer)
            sources = previous.sources if previous.model == model else ()
        figures = None if self.home is None else self.home[1]
        return Transfer(card.target, card.classes, model, figures, sources)

    def judge(
        self, fields: dict[str, Any], answers: ModelAnswers, file: Path, split: NDArray[np.str_]
    ) -> ExternalSource:
        """Evaluate on the answered images; writes the predictions, in the splits (n,) `split`."""
        from candid.evaluation.external import external_figures
        from candid.inference.promise import lies_elsewhere

        settings, classifier = self.trained_run.settings, self.labeller.classifier
        p, rule = answers.predictions, classifier.rule
        if rule is not None and lies_elsewhere(classifier, answers.frame):
            rule = replace(rule, target_error=None)
        given = _apply_rule(p, rule, answers)
        figures = external_figures(p, given, settings.evaluate)
        paired, differences = self._compare_home(p, figures)
        marks = {"answered": given.given, UNLIKE: given.unlike}
        write_predictions(file, add_marks(replace(p, split=split), marks))
        return ExternalSource(
            **fields,
            calibration=self.calibration,
            figures=figures,
            differences=differences,
            paired=paired,
            audit=_audit_groups(p, settings.audit) if p.attributes else None,
        )

    def _compare_home(
        self, p: Predictions, figures: ExternalFigures
    ) -> tuple[bool, dict[str, Estimate]]:
        """Whether these are the run's own pictures, and the figures less those at home."""
        from candid.evaluation.external import differences_to_home, paired_differences, same_images

        if self.home is None:
            return False, {}
        home, home_figures = self.home
        if same_images(p, home):
            return True, paired_differences(p, home, self.trained_run.settings.evaluate)
        return False, differences_to_home(figures.evaluation, home_figures.evaluation)


def _audit_groups(p: Predictions, config: AuditConfig) -> SplitAudit:
    """The gaps between the groups of the data set's own attributes, one by one."""
    from candid.auditing.audit import audit_groups

    settings = replace(
        single_group_settings(config, p.attributes), pairs=False, slices=0, more=False, examples=0
    )
    as_test = replace(p, split=np.full(len(p), "test"))
    audit = audit_groups(as_test, settings).splits[0]
    return replace(audit, groups=tuple(g for g in audit.groups if g.label is None))
