"""The steps of the main job: each reads files of the run's folder and writes its own.

Only here do data, training, evaluation and report know of each other.
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
from candid.data.targets import cut_into_ranges, in_ranges_of, label_of
from candid.errors import ImageError
from candid.pipeline.auditing import (
    ToneCache,
    add_comparison,
    add_tone,
    audit_function,
    write_comparison,
)
from candid.pipeline.loading import open_network
from candid.pipeline.numbers import read_explanations, write_number
from candid.pipeline.opening import Data, needs_torch
from candid.pipeline.training import build_task, encode_augmented
from candid.predictions import Predictions, read_predictions, write_predictions
from candid.predictions.numbers import AnyPredictions, read_number_predictions
from candid.records import Evaluation, Exploration, ModelCard, Provenance, read_record, write_record
from candid.records.audit import Audit
from candid.records.audit_file import write_audit
from candid.records.collecting import GroupCurves
from candid.records.external import Transfer
from candid.records.framing import FramingCard, SourceFrames
from candid.records.improvement import Improvement
from candid.records.label_check import LabelCheck
from candid.records.seeds import Seeds
from candid.records.targets import Targets
from candid.runs import Run, has_framing
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


def describe_data(
    data: Data, config: Config, *, findings: Path | None = None, quiet: bool = False
) -> tuple[Exploration, ExplorationImages]:
    """Explore the data; writes nothing but `findings`, all images behind them, if named."""
    from candid.data.exploration import explore_images
    from candid.data.synthetic import is_synthetic

    dataset, full_dataset = cut_into_ranges(data.dataset), None
    if data.streamed is not None:
        full_dataset = cut_into_ranges(data.streamed.dataset)
        dataset = in_ranges_of(full_dataset, data.dataset, data.streamed.kept)
    exploration, images = explore_images(
        dataset,
        data.store,
        whole=full_dataset,
        findings=findings,
        confidence=config.evaluate.confidence,
        draws=config.evaluate.draws,
        seed=config.evaluate.seed,
        quiet=quiet,
    )
    samples = {c: tuple(dataset.ids[list(r)].tolist()) for c, r in images.samples.items()}
    origins = [part.origin for part in data.dataset.parts] or [data.dataset.origin]
    synthetic = all(map(is_synthetic, origins))
    return replace(exploration, samples=samples, synthetic=synthetic), images


def explore_data(run: Run, data: Data) -> None:
    """Write data.json, findings.parquet, and the pictures that go with them."""
    from candid.data.pictures import png

    exploration, images = describe_data(data, run.settings, findings=run.findings, quiet=run.quiet)
    sample_ids = [i for ids in exploration.samples.values() for i in ids]
    pictures = {("picture", name): png(pixels) for name, pixels in images.pictures().items()}
    pictures |= thumbnails(data.dataset, run.settings, sample_ids)
    runs.write_pictures(run, runs.read_pictures(run) | pictures)
    write_record(run.data, exploration)  # the last: it says that exploring is done


def thumbnails(
    dataset: Dataset, config: Config, ids: Sequence[str], existing: Container[tuple[str, str]] = ()
) -> dict[tuple[str, str], bytes]:
    """Small pictures by ("thumbnail", id), without `existing` ones and undecodable images."""
    from candid.data.pictures import thumbnail

    row = {name: i for i, name in enumerate(dataset.ids.tolist())} if ids else {}
    options: dict[str, int] = {"side": _THUMBNAIL, "max_pixels": config.data.max_pixels}
    pictures = {}
    for i in dict.fromkeys(ids):
        if ("thumbnail", i) not in existing:
            with contextlib.suppress(ImageError):
                pictures["thumbnail", i] = thumbnail(dataset, row[i], **options)
    return pictures


def predict_splits(run: Run, data: Data) -> None:
    """Fit the temperature on validation, and write predictions.parquet for validation and test.

    Of several labels, for each into its folder, from one forward pass.
    """
    needs_torch()
    with open_network(run) as model:
        card, dataset, store = model.card, data.dataset, data.store
        rows = np.concatenate(
            [dataset.rows(split, store.usable) for split in ("validation", "test")]
        )
        logits = model.logits(store.pixels, rows, quiet=run.quiet).astype(np.float64)
    fingerprint = data.fingerprint
    label_runs = run.target_runs()
    if not label_runs:
        _write_model_predictions(run, card, data, rows, logits, fingerprint)
        return
    targets, provenance = read_record(run.targets, Targets), read_record(run.provenance, Provenance)
    guesses = _predict_missing_labels(targets, data, rows, logits)
    for label, label_run in zip(targets.labels, label_runs, strict=True):
        label_data, first = data.of_target(label.name, run.settings.data), label.first
        labelled = label_data.dataset.label[rows] >= 0
        label_run.path.mkdir(parents=True, exist_ok=True)
        if not label_run.provenance.is_file():
            write_record(label_run.provenance, replace(provenance, seconds={}, digests={}))
        block = logits[labelled, first : first + len(label.classes)]
        if label.number is not None:
            write_number(label_run, targets.card(label), label_data, rows[labelled], block)
            label_run.mark_done("predict")
            continue
        others = [guess[labelled] for name, guess in guesses.items() if name != label.name]
        _write_model_predictions(
            label_run, targets.card(label), label_data, rows[labelled], block, fingerprint, others
        )
        label_run.mark_done("predict")


def _predict_missing_labels(
    targets: Targets, data: Data, rows: Any, logits: Any
) -> dict[str, Attribute]:
    """Predictions for rows that lack a label, as attributes such as "Smiling (predicted)".

    They are missing where annotators wrote the label, so that nobody takes the one for the other.
    By them another label's errors are audited.
    """
    attributes = {}
    for label in targets.labels:
        labelled = label_of(data.dataset, label.name)[1][rows] >= 0
        if label.number is None and not labelled.all():
            prediction = logits[:, label.first : label.first + len(label.classes)].argmax(axis=1)
            kind: Kind = "binary" if len(label.classes) == 2 else "categorical"
            codes = np.where(labelled, -1, prediction).astype(np.int16)
            name = f"{label.name} (predicted)"
            attributes[label.name] = Attribute(name, kind, label.classes, codes)
    return attributes


def _write_model_predictions(
    run: Run,
    card: ModelCard,
    data: Data,
    rows: Any,
    logits: Any,
    fingerprint: str,
    extra: Sequence[Attribute] = (),
) -> None:
    """Write model.json with the temperature of (rows, classes) logits, and predictions.parquet."""
    fitted_on = data.dataset.split[rows] == "validation"
    provenance = {"data_fingerprint": fingerprint, "network": card.network, "kept": card.kept}
    predictions = calibrate_predictions(data, rows, logits, fitted_on, provenance)
    attributes = {**predictions.attributes, **{a.name: a for a in extra}}
    predictions = replace(predictions, attributes=attributes)
    write_record(run.model_file, replace(card, temperature=predictions.temperature))
    write_predictions(run.predictions_file, predictions)


def calibrate_predictions(
    data: Data, rows: Any, logits: Any, fitted_on: Any, provenance: dict[str, str]
) -> Predictions:
    """Predictions from (rows, classes) logits, with a temperature fitted on `fitted_on` (rows,)."""
    from candid.stats.calibration import apply_temperature, fit_temperature

    dataset = data.dataset
    temperature = fit_temperature(logits[fitted_on], dataset.label[rows][fitted_on])
    return replace(
        build_predictions(data, rows, apply_temperature(logits, temperature)),
        temperature=temperature,
        attributes={name: a[rows] for name, a in dataset.attributes.items()},
        provenance={"data": dataset.name, **provenance},
    )


def build_predictions(data: Data, rows: Any, probability: Any) -> Predictions:
    """A model's predictions for some rows of a data set, without their attributes."""
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
    evaluation = evaluate_predictions(predictions, run.settings.evaluate, history=history)
    if run.parent is not None:
        evaluation = replace(evaluation, notes=(*evaluation.notes, CURVE_OF_ALL))
    write_record(run.evaluation, evaluation)


def audit_run(
    run: Run,
    tones: ToneCache | None = None,
    *,
    before: AnyPredictions | None = None,
    names: tuple[str, str] = ("A", "B"),
) -> Audit:
    """Write audit.json from predictions.parquet and `tones`, and with `before` comparison.html."""
    read_answers = read_number_predictions if is_number_run(run) else read_predictions
    answers, tone = read_answers(run.predictions_file), None
    if tones is not None:
        answers, tone = add_tone(answers, tones)
    result = audit_function(answers)(answers, run.settings.audit, source=run.path.name)
    if before is not None:
        result = add_comparison(result, answers, run.settings.audit, before, names)
    result = replace(result, tone=tone)
    write_audit(run.audit, result)
    if result.comparison is not None:
        write_comparison(run.comparison, result.comparison)
    return result


def page_images(evaluation: Evaluation, audit: Audit) -> list[str]:
    """The ids of the images that a page shows."""
    ids = [e.id for s in evaluation.splits for e in (*s.surest_mistakes, *s.least_sure)]
    ids += [e.id for s in audit.splits for f in s.findings for e in f.mistakes]
    noise = audit.noise
    return ids if noise is None else ids + [w.id for w in noise.likely_wrong[:_LIKELY_WRONG]]


def add_report_images(run: Run, data: Data) -> None:
    """Add images for the report to the run's: mistakes, doubtful labels, augmentation."""
    config = run.settings
    evaluation = read_record(run.evaluation, Evaluation)
    audit = read_record(run.audit, Audit)
    pictures = runs.read_pictures(run)
    pictures |= thumbnails(data.dataset, config, page_images(evaluation, audit), pictures)
    skip_augmented = config.network.name == "features" or run.parent is not None
    if not skip_augmented and ("picture", "augmented") not in pictures:
        pictures["picture", "augmented"] = encode_augmented(build_task(data, config), config)
    runs.write_pictures(run, pictures)


def _load_framer(run: Run) -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None:
    """The function that brings pixels to the training images' frame; None where there is none."""
    if not has_framing(run):  # so that torch is loaded only where there is one
        return None
    from candid.models.framing import TorchFramer, load_framing

    framer = TorchFramer(load_framing(run.framing_weights))
    return lambda pixels: framer(pixels)[0]


def fit_unfamiliar_on(data: Data, config: Config, **options: Any) -> Unfamiliar:
    """A detector of images unlike a data set's training images, as `fit_unfamiliar`."""
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
        **options,
    )


def learn_unfamiliar(run: Run, data: Data) -> Unfamiliar:
    """Write unfamiliar.npz, the detector of images unlike the training images."""
    from candid.inference.unfamiliar import write_unfamiliar

    options: dict[str, Any] = {}
    if (framer := _load_framer(run)) is not None:
        options = {"framed": framer, "stretch": math.exp(2 * run.settings.framing.aspect)}
    unfamiliar = fit_unfamiliar_on(data, run.settings, **options)
    write_unfamiliar(run.unfamiliar, unfamiliar)
    return unfamiliar


def read_report_inputs(run: Run) -> ReportInput:
    """The inputs of the report and the model card, from the run's files."""
    from candid.pipeline.embedding import embed_model

    pictures = runs.read_pictures(run)
    exploration = _read_optional(run.data, Exploration)
    embedded = embed_model(run)
    return ReportInput(
        config=run.settings,
        provenance=read_record(run.provenance, Provenance),
        evaluation=read_record(run.evaluation, Evaluation),
        exploration=exploration,
        history=runs.read_history(run),
        model=_read_optional(run.model_file, ModelCard),
        thumbnails={name: png for (kind, name), png in pictures.items() if kind == "thumbnail"},
        pictures={name: png for (kind, name), png in pictures.items() if kind == "picture"},
        samples=exploration.samples if exploration else {},
        audit=_read_optional(run.audit, Audit),
        transfer=_read_optional(run.transfer, Transfer),
        framing=_read_optional(run.framing, FramingCard),
        source_frames=_read_optional(run.source_frames, SourceFrames),
        improvement=_read_optional(run.improvement, Improvement),
        seeds=_read_optional(run.seeds, Seeds),
        curves=_read_optional(run.curves, GroupCurves),
        check=_read_optional(run.checked, LabelCheck),
        embedded=None if isinstance(embedded, str) else embedded,
        not_embedded=embedded if isinstance(embedded, str) else "",
        **read_explanations(run),
    )


def write_report(run: Run) -> None:
    """Write report.html and the model card from the files of the run."""
    from candid.reporting.card import card
    from candid.reporting.page import render

    inputs = read_report_inputs(run)
    write_text(run.report, render(inputs))
    write_text(run.card, card(inputs))


def _read_optional(file: Path, kind: type[Record]) -> Record | None:
    return read_record(file, kind) if file.is_file() else None
