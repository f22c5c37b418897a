"""The page of an audit of answers: what it is made of, and its file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from candid.errors import ConfigError
from candid.pipeline.auditing import write_comparison
from candid.pipeline.provenance import provenance_now
from candid.predictions.choosing import Columns
from candid.predictions.numbers import AnyPredictions, NumberAnswers, NumberPredictions
from candid.records import Evaluation
from candid.records.audit import Audit
from candid.settings import Config, EvaluateConfig
from candid.storage.files import reading, write_text
from candid.text.inputs import AuditedSource, AuditInput

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.pipeline.summing import SummedFolder


@dataclass(frozen=True, eq=False)
class Audited:
    """An audit, and what its page is made of beside it.

    Attributes
    ----------
    audit
        The record.
    answers
        What was audited: of each image, or the sums of a folder; None of a run, which has a report.
    source
        Where they are from, without a digest.
    files
        Name → the files that they are in, in the order in which their digests are put together.
    dataset
        The pictures, where a model was asked about them.
    """

    audit: Audit
    answers: AnyPredictions | SummedFolder | None = None
    source: AuditedSource = field(default_factory=AuditedSource)
    files: Mapping[str, Path] = field(default_factory=dict)
    dataset: Dataset | None = None


def named_columns(columns: Columns) -> dict[str, tuple[str, ...]]:
    """Role → the columns that somebody named for it."""
    roles = ("label", "prediction", "groups", "person", "split", "ids")
    found = {role: getattr(columns, role) for role in roles}
    return {
        role: (names,) if isinstance(names, str) else tuple(names)
        for role, names in found.items()
        if names
    }


def require_page(page: Path, *places: Path | None) -> None:
    """Raise ConfigError where the page would be written over what is read or written besides."""
    if page.resolve() in [place.resolve() for place in places if place is not None]:
        raise ConfigError(
            f"The page {page} is what is audited, or is written besides.",
            expected="a file of its own for the page",
            todo="name another one, such as audit.html",
        )


def write_page(page: Path, found: Audited, config: Config) -> None:
    """Write what was found as one HTML file: what changed between two models, or the audit."""
    if found.audit.comparison is not None:
        write_comparison(page, found.audit.comparison)
    else:
        write_text(page, _rendered(found, config))


def _rendered(found: Audited, config: Config) -> str:
    from candid.pipeline.summing import SummedFolder

    answers, how = found.answers, _measured_like(config)
    if answers is None:
        raise ValueError("the page of a run is its report")
    if isinstance(answers, SummedFolder):
        from candid.reporting.audited import render_audit

        about = _about(found, config, answers.rows, has_degrees=answers.has_degrees)
        return render_audit(about, answers.evaluation)
    if isinstance(answers, NumberAnswers):
        from candid.evaluation.numbers import evaluate_number
        from candid.reporting.audited import render_number_audit

        degrees = isinstance(answers, NumberPredictions)
        about = _about(found, config, len(answers), has_degrees=degrees)
        return render_number_audit(about, evaluate_number(answers, how))
    from candid.evaluation.performance import evaluate_predictions
    from candid.reporting.audited import render_audit

    about = _about(found, config, len(answers), has_degrees=not answers.hard)
    evaluation = evaluate_predictions(answers, how)
    if found.dataset is not None:
        shown = _pictures(found.dataset, found.audit, evaluation, config)
        about = replace(about, thumbnails=shown)
    return render_audit(about, evaluation)


def _measured_like(config: Config) -> EvaluateConfig:
    """How figures are measured beside an audit: with its draws, so that both have one interval."""
    audit = config.audit
    return replace(
        config.evaluate,
        draws=audit.draws,
        confidence=audit.confidence,
        reliability_bins=audit.reliability_bins,
        seed=audit.seed,
    )


def _about(found: Audited, config: Config, n: int, *, has_degrees: bool) -> AuditInput:
    source = replace(found.source, n=n, files=len(found.files), digest=_digest(found.files))
    about = provenance_now(seed=config.audit.seed, data=source.name, data_fingerprint="")
    if "audit" not in sys.argv[1:]:
        about = replace(about, command="candid.audit(…), from Python")
    return AuditInput(found.audit, about, source, config, has_degrees)


def _digest(files: Mapping[str, Path]) -> str:
    """SHA-256 of a file; of several, of the lines that sha256sum writes for them."""
    each = {}
    for name, path in files.items():
        with (
            reading(path, expected="the file that was audited", todo="audit it again"),
            path.open("rb") as file,
        ):
            each[name] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(each) < 2:
        return next(iter(each.values()), "")
    lines = "".join(f"{digest}  {name}\n" for name, digest in each.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _pictures(
    dataset: Dataset, audit: Audit, evaluation: Evaluation, config: Config
) -> Mapping[str, bytes]:
    """Small pictures of the images that the page shows."""
    from candid.pipeline.steps import shown_images, thumbnails

    found = thumbnails(dataset, config, shown_images(evaluation, audit))
    return {name: picture for (_, name), picture in found.items()}
