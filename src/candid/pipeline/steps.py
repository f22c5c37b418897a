"""The steps of the main job: each reads files of the run's folder and writes its own.

This is where the wings meet: only here do data, training, evaluation and report know of each other.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from candid import runs
from candid.data.dataset import Dataset
from candid.data.targets import in_ranges, in_ranges_of, label_of
from candid.errors import ImageError
from candid.pipeline.auditing import (
    MeasuredTone,
    audit_for,
    compared,
    with_tone,
    write_comparison,
)
from candid.pipeline.loading import loaded
from candid.pipeline.numbers import write_number
from candid.pipeline.opening import Data, needs_torch
from candid.pipeline.training import augmented_picture, task_of
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.predictions.numbers import AnyPredictions, read_number_predictions
from candid.records import Evaluation, Exploration, ModelCard, Provenance, read_record, write_record
from candid.records.audit import Audit
from candid.records.audit_file import write_audit
from candid.records.collecting import GroupCurves
from candid.records.explanation import Explanation, read_explanation_arrays
from candid.records.external import Transfer
from candid.records.framing import FramingCard, SourceFrames
from candid.records.improvement import Improvement
from candid.records.inside import Inside, read_inside_arrays
from candid.records.label_check import LabelCheck
from candid.records.seeds import Seeds
from candid.records.targets import Targets
from candid.runs import Run, is_framed
from candid.runs.refusals import is_number_run
from candid.settings import Config
from candid.storage.files import write_text
from candid.tables.attributes import Attribute, Kind
from candid.text.inputs import ReportInput
from candid.text.notes import CURVE_OF_ALL

if TYPE_CHECKING:
    from candid.data.exploration import ExplorationImages
    from candid.inference.unfamiliar import Unfamiliar

Record = TypeVar("Record")

_THUMBNAIL = 96  # pixels per side
_LIKELY_WRONG = 40  # labels that the report shows with their pictures


def what_is_in(
    data: Data, config: Config, *, findings: Path | None = None, quiet: bool = False
) -> tuple[Exploration, ExplorationImages]:
    """What is in the data; writes nothing but `findings`, all images behind them, if named."""
    from candid.data.exploration import explore_images
    from candid.data.synthetic import is_synthetic

    dataset, whole = in_ranges(data.dataset), None
    if data.streamed is not None:
        whole = in_ranges(data.streamed.dataset)
        dataset = in_ranges_of(whole, data.dataset, data.streamed.kept)
    exploration, images = explore_images(
        dataset,
        data.store,
        whole=whole,
        findings=findings,
        confidence=config.evaluate.confidence,
        draws=config.evaluate.draws,
        seed=config.evaluate.seed,
        quiet=quiet,
    )
    samples = {c: tuple(dataset.ids[list(r)].tolist()) for c, r in images.samples.items()}
    origins = [part.origin for part in data.dataset.parts] or [data.dataset.origin]
    drawn = all(map(is_synthetic, origins))
    return replace(exploration, samples=samples, synthetic=drawn), images


def explore_data(run: Run, data: Data) -> None:
    """Write data.json, findings.parquet, and the pictures that go with them."""
    from candid.data.pictures import png

    found, images = what_is_in(data, run.settings, findings=run.findings, quiet=run.quiet)
    shown = [i for ids in found.samples.values() for i in ids]
    pictures = {("picture", name): png(pixels) for name, pixels in images.pictures().items()}
    pictures |= thumbnails(data.dataset, run.settings, shown)
    runs.write_pictures(run, runs.read_pictures(run) | pictures)
    write_record(run.data, found)  # the last: it says that exploring is done


def thumbnails(
    dataset: Dataset, config: Config, ids: Sequence[str], known: Container[tuple[str, str]] = ()
) -> dict[tuple[str, str], bytes]:
    """Small pictures of some images by ("thumbnail", id), but for those that are `known`.

    One that cannot be decoded is left out, and a page says that there is no picture of it.
    """
    from candid.data.pictures import thumbnail

    row = {name: i for i, name in enumerate(dataset.ids.tolist())} if ids else {}
    how: dict[str, int] = {"side": _THUMBNAIL, "max_pixels": config.data.max_pixels}
    found = {}
    for i in dict.fromkeys(ids):
        if ("thumbnail", i) not in known:
            with contextlib.suppress(ImageError):
                found["thumbnail", i] = thumbnail(dataset, row[i], **how)
    return found


def predict_splits(run: Run, data: Data) -> None:
    """Fit the temperature on validation, and write predictions.parquet for validation and test.

    Of several labels, that of each, from one way through the network, into the label's own folder.
    """
    needs_torch()
    with loaded(run) as model:
        card, dataset, store = model.card, data.dataset, data.store
        rows = np.concatenate(
            [dataset.rows(split, store.usable) for split in ("validation", "test")]
        )
        raw = model.logits(store.pixels, rows, quiet=run.quiet).astype(np.float64)
    fingerprint = data.fingerprint
    several = run.of_targets()
    if not several:
        _write_answers(run, card, data, rows, raw, fingerprint)
        return
    targets, about = read_record(run.targets, Targets), read_record(run.provenance, Provenance)
    guessed = _guessed(targets, data, rows, raw)
    for label, one in zip(targets.labels, several, strict=True):
        own, first = data.of_target(label.name, run.settings.data), label.first
        mine = own.dataset.label[rows] >= 0
        one.path.mkdir(parents=True, exist_ok=True)
        if not one.provenance.is_file():
            write_record(one.provenance, replace(about, seconds={}, digests={}))
        block = raw[mine, first : first + len(label.classes)]
        if label.number is not None:
            write_number(one, targets.card(label), own, rows[mine], block)
            one.note("predict")
            continue
        others = [guess[mine] for name, guess in guessed.items() if name != label.name]
        _write_answers(one, targets.card(label), own, rows[mine], block, fingerprint, others)
        one.note("predict")


def _guessed(targets: Targets, data: Data, rows: Any, raw: Any) -> dict[str, Attribute]:
    """Of each label that some of the rows lack, what the network says there, as an attribute.

    "Smiling (predicted)": missing where annotators wrote the label, so that nobody takes the one
    for the other. By it another label's errors are audited where nobody annotated this one.
    """
    found = {}
    for label in targets.labels:
        known = label_of(data.dataset, label.name)[1][rows] >= 0
        if label.number is None and not known.all():
            guess = raw[:, label.first : label.first + len(label.classes)].argmax(axis=1)
            kind: Kind = "binary" if len(label.classes) == 2 else "categorical"
            codes = np.where(known, -1, guess).astype(np.int16)
            found[label.name] = Attribute(f"{label.name} (predicted)", kind, label.classes, codes)
    return found


def _write_answers(
    run: Run,
    card: ModelCard,
    data: Data,
    rows: Any,
    raw: Any,
    fingerprint: str,
    more: Sequence[Attribute] = (),
) -> None:
    """Write model.json with the temperature of (rows, classes) logits, and predictions.parquet.

    `more` are further attributes of the rows.
    """
    fitted_on = data.dataset.split[rows] == "validation"
    about = {"data_fingerprint": fingerprint, "network": card.network, "kept": card.kept}
    predictions = calibrated_predictions(data, rows, raw, fitted_on, about)
    if more:
        attributes = {**predictions.attributes, **{one.name: one for one in more}}
        predictions = replace(predictions, attributes=attributes)
    write_record(run.model_file, replace(card, temperature=predictions.temperature))
    write_predictions(run.predictions_file, predictions)


def calibrated_predictions(
    data: Data, rows: Any, raw: Any, fitted_on: Any, about: dict[str, str]
) -> Predictions:
    """What (rows, classes) logits say, with the temperature that those `fitted_on` (rows,) give.

    `about` is what is to be known of where they come from, beside the data's name.
    """
    from candid.stats.calibration import apply_temperature, fit_temperature

    dataset = data.dataset
    temperature = fit_temperature(raw[fitted_on], dataset.label[rows][fitted_on])
    return replace(
        predictions_of(data, rows, apply_temperature(raw, temperature)),
        temperature=temperature,
        attributes={name: a[rows] for name, a in dataset.attributes.items()},
        provenance={"data": dataset.name, **about},
    )


def predictions_of(data: Data, rows: Any, probability: Any) -> Predictions:
    """What a model says about some rows of a data set, without their attributes."""
    dataset = data.dataset
    return Predictions(
        target=dataset.target,
        classes=dataset.classes,
        ids=dataset.ids[rows],
        split=dataset.split[rows],
        label=dataset.label[rows],
        probability=probability,
        person=None if dataset.person is None else dataset.person[rows],
        label_as_read=None if dataset.label_as_read is None else dataset.label_as_read[rows],
    )


def evaluate_run(run: Run) -> None:
    """Write evaluation.json from predictions.parquet and history.parquet."""
    from candid.evaluation.performance import evaluate_predictions

    predictions = read_predictions(run.predictions_file)
    history = runs.read_history(run)
    found = evaluate_predictions(predictions, run.settings.evaluate, history=history)
    if run.whole is not None:
        found = replace(found, notes=(*found.notes, CURVE_OF_ALL))
    write_record(run.evaluation, found)


def audit_run(
    run: Run,
    measured: MeasuredTone | None = None,
    *,
    before: AnyPredictions | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Audit:
    """Write audit.json from predictions.parquet, and comparison.html beside another model.

    Where skin tone is measured from the pictures, it is audited as well.
    """
    read = read_number_predictions if is_number_run(run) else read_predictions
    answers, tone = read(run.predictions_file), None
    if measured is not None:
        answers, tone = with_tone(answers, measured)
    found = audit_for(answers)(answers, run.settings.audit, source=run.path.name)
    if before is not None:
        found = compared(found, answers, run.settings.audit, before, names)
    found = replace(found, tone=tone)
    write_audit(run.audit, found)
    if found.comparison is not None:
        write_comparison(run.comparison, found.comparison)
    return found


def shown_images(evaluation: Evaluation, audit: Audit) -> list[str]:
    """The images that a page shows with their pictures."""
    shown = [e.id for s in evaluation.splits for e in (*s.surest_mistakes, *s.least_sure)]
    shown += [e.id for s in audit.splits for f in s.findings for e in f.mistakes]
    noise = audit.noise
    return shown if noise is None else shown + [w.id for w in noise.likely_wrong[:_LIKELY_WRONG]]


def show_pictures(run: Run, data: Data) -> None:
    """Add to the run's pictures what the report shows: mistakes, doubtful labels, augmentation."""
    config = run.settings
    evaluation = read_record(run.evaluation, Evaluation)
    found = read_record(run.audit, Audit)
    pictures = runs.read_pictures(run)
    pictures |= thumbnails(data.dataset, config, shown_images(evaluation, found), pictures)
    drawn = config.network.name == "features" or run.whole is not None
    if not drawn and ("picture", "augmented") not in pictures:
        pictures["picture", "augmented"] = augmented_picture(task_of(data, config), config)
    runs.write_pictures(run, pictures)


def _framer_of(run: Run) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
    """What brings pixels to the training pictures' frame; None where the run has none."""
    if not is_framed(run):  # so that torch is loaded only where there is one
        return None
    from candid.models.framing import TorchFramer, load_framing

    framer = TorchFramer(load_framing(run.framing_weights))
    return lambda pixels: framer(pixels)[0]


def fit_look(data: Data, config: Config, **how: Any) -> Unfamiliar:
    """What tells pictures like a data set's training pictures from others, as `fit_unfamiliar`."""
    from candid.inference.unfamiliar import fit_unfamiliar

    dataset, store = data.dataset, data.store
    return fit_unfamiliar(
        store.pixels,
        dataset.rows("train", store.usable),
        dataset.rows("validation", store.usable),
        store.widths,
        store.heights,
        false_alarms=config.predict.false_alarms,
        seed=config.train.seed,
        **how,
    )


def learn_unfamiliar(run: Run, data: Data) -> Unfamiliar:
    """Write unfamiliar.npz: what tells pictures like the training pictures from others."""
    from candid.inference.unfamiliar import write_unfamiliar

    how: dict[str, Any] = {}
    if (framer := _framer_of(run)) is not None:
        how = {"framed": framer, "stretch": math.exp(2 * run.settings.framing.aspect)}
    unfamiliar = fit_look(data, run.settings, **how)
    write_unfamiliar(run.unfamiliar, unfamiliar)
    return unfamiliar


def report_inputs(run: Run) -> ReportInput:
    """What the report and the model card are made of, from the files of the run."""
    from candid.pipeline.embedding import embedded_model

    pictures = runs.read_pictures(run)
    exploration = _read(run.data, Exploration)
    explanation, inside = _read(run.explanation, Explanation), _read(run.inside, Inside)
    embedded = embedded_model(run)
    inputs = ReportInput(
        config=run.settings,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        history=runs.read_history(run),
        model=_read(run.model_file, ModelCard),
        thumbnails={name: png for (kind, name), png in pictures.items() if kind == "thumbnail"},
        pictures={name: png for (kind, name), png in pictures.items() if kind == "picture"},
        samples=exploration.samples if exploration else {},
        audit=_read(run.audit, Audit),
        explanation=explanation,
        inside=inside,
        transfer=_read(run.transfer, Transfer),
        framing=_read(run.framing, FramingCard),
        source_frames=_read(run.source_frames, SourceFrames),
        improvement=_read(run.improvement, Improvement),
        seeds=_read(run.seeds, Seeds),
        curves=_read(run.curves, GroupCurves),
        check=_read(run.checked, LabelCheck),
        embedded=None if isinstance(embedded, str) else embedded,
        not_embedded=embedded if isinstance(embedded, str) else "",
    )
    if explanation is not None and run.explanation_arrays.is_file():
        inputs = replace(inputs, maps=read_explanation_arrays(run.explanation_arrays))
    if inside is not None and run.inside_arrays.is_file():
        inputs = replace(inputs, inside_pictures=read_inside_arrays(run.inside_arrays))
    return inputs


def write_report(run: Run) -> None:
    """Write report.html and the model card from the files of the run."""
    from candid.reporting.card import card
    from candid.reporting.page import render

    inputs = report_inputs(run)
    write_text(run.report, render(inputs))
    write_text(run.card, card(inputs))


def _read(file: Path, kind: type[Record]) -> Record | None:
    return read_record(file, kind) if file.is_file() else None
