"""The page of an audit: its input, and its file."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candid.errors import ConfigError
from candid.pipeline.auditing import write_comparison
from candid.pipeline.opening import Place
from candid.pipeline.provenance import collect_provenance
from candid.predictions.choosing import Columns
from candid.predictions.numbers import AnyPredictions, NumberAnswers, NumberPredictions
from candid.records import Evaluation
from candid.records.audit import Audit
from candid.settings import Config, EvaluateConfig
from candid.storage.files import reading, write_text
from candid.text.inputs import AuditedSource, AuditInput

if TYPE_CHECKING:
    from candid.data.dataset import Dataset
    from candid.pipeline.summing import FolderAudit


@dataclass(frozen=True, eq=False)
class AuditResult:
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
    answers: AnyPredictions | FolderAudit | None = None
    source: AuditedSource = field(default_factory=AuditedSource)
    files: Mapping[str, Path] = field(default_factory=dict)
    dataset: Dataset | None = None


def columns_by_role(columns: Columns) -> dict[str, tuple[str, ...]]:
    """Role → the columns that the user named."""
    roles = ("label", "prediction", "groups", "person", "split", "ids")
    names_of = {role: getattr(columns, role) for role in roles}
    return {
        role: (names,) if isinstance(names, str) else tuple(names)
        for role, names in names_of.items()
        if names
    }


def require_page(page: Place | None, output: Path | None, *inputs: Any) -> None:
    """Raise ConfigError where the page would replace another output, or a file among the inputs."""
    if page is None:
        return
    files = [Path(x) for x in inputs if isinstance(x, str | PathLike) and Path(x).is_file()]
    if Path(page).resolve() in [file.resolve() for file in (output, *files) if file is not None]:
        raise ConfigError(
            f"The page {page} is what is audited, or is written besides.",
            expected="a file of its own for the page",
            todo="name another one, such as audit.html",
        )


def write_page(page: Place | None, result: AuditResult, config: Config) -> None:
    """Write one HTML file, if it is named: what changed between two models, or the audit."""
    if page is not None and result.audit.comparison is not None:
        write_comparison(Path(page), result.audit.comparison)
    elif page is not None:
        write_text(Path(page), _render_page(result, config))


def _render_page(result: AuditResult, config: Config) -> str:
    from candid.pipeline.summing import FolderAudit

    answers, settings = result.answers, _evaluate_settings(config)
    if answers is None:
        raise ValueError("the page of a run is its report")
    if isinstance(answers, FolderAudit):
        from candid.reporting.audited import render_audit

        page_input = _build_input(result, config, answers.rows, has_degrees=answers.has_degrees)
        return render_audit(page_input, answers.evaluation)
    if isinstance(answers, NumberAnswers):
        from candid.evaluation.numbers import evaluate_number
        from candid.reporting.audited import render_number_audit

        degrees = isinstance(answers, NumberPredictions)
        page_input = _build_input(result, config, len(answers), has_degrees=degrees)
        return render_number_audit(page_input, evaluate_number(answers, settings))
    from candid.evaluation.performance import evaluate_predictions
    from candid.reporting.audited import render_audit

    page_input = _build_input(result, config, len(answers), has_degrees=not answers.hard)
    evaluation = evaluate_predictions(answers, settings)
    if result.dataset is not None:
        thumbnails = _read_thumbnails(result.dataset, result.audit, evaluation, config)
        page_input = replace(page_input, thumbnails=thumbnails)
    return render_audit(page_input, evaluation)


def _evaluate_settings(config: Config) -> EvaluateConfig:
    """Settings to measure figures beside an audit, with its draws and so the same intervals."""
    audit = config.audit
    return replace(
        config.evaluate,
        draws=audit.draws,
        confidence=audit.confidence,
        reliability_bins=audit.reliability_bins,
        seed=audit.seed,
    )


def _build_input(result: AuditResult, config: Config, n: int, *, has_degrees: bool) -> AuditInput:
    files = result.files
    source = replace(result.source, n=n, files=len(files), digest=_digest_files(files))
    provenance = collect_provenance(seed=config.audit.seed, data=source.name, data_fingerprint="")
    if "audit" not in sys.argv[1:]:
        provenance = replace(provenance, command="candid.audit(…), from Python")
    return AuditInput(result.audit, provenance, source, config, has_degrees)


def _digest_files(files: Mapping[str, Path]) -> str:
    """SHA-256 of a file; of several, of the lines that sha256sum writes for them."""
    digests = {}
    for name, path in files.items():
        with (
            reading(path, expected="the file that was audited", todo="audit it again"),
            path.open("rb") as file,
        ):
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    if len(digests) < 2:
        return next(iter(digests.values()), "")
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _read_thumbnails(
    dataset: Dataset, audit: Audit, evaluation: Evaluation, config: Config
) -> Mapping[str, bytes]:
    """Small pictures of the images that the page shows."""
    from candid.pipeline.steps import page_images, thumbnails

    images = thumbnails(dataset, config, page_images(evaluation, audit))
    return {name: png for (_, name), png in images.items()}
