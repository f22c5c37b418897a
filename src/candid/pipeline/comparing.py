"""Several models on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from candid import __version__
from candid.config import load_config
from candid.errors import ConfigError
from candid.pipeline.auditing import compare_options, read_any, read_any_number
from candid.pipeline.opening import Place, path_of, sole_label_run
from candid.predictions import Predictions
from candid.predictions.choosing import Columns
from candid.predictions.from_table import holds_number, written_by_candid
from candid.predictions.numbers import NumberAnswers
from candid.records.compare_runs import RunComparison
from candid.runs import Run
from candid.runs.refusals import is_number_run, refuse_several
from candid.settings import Config
from candid.storage.files import write_text


def compare(
    *models: Predictions | NumberAnswers | Run | Place,
    config: Config | None = None,
    page: Place | None = None,
    quiet: bool = True,
) -> RunComparison:
    """How well several models do on the same images, and what differs between any two.

    Parameters
    ----------
    models
        Two or more: runs, their folders, files of predictions that Candid wrote, `Predictions`, or
        `NumberAnswers`. What is not a run is called by its place: "A", "B", …, or by its file.
    config
        Its `audit` section says draws, confidence and rates; None: the defaults.
    page
        An HTML file for what is found.
    quiet
        No progress bars.

    Raises
    ------
    PredictionsError
        Where they have no labelled image in common, not the same classes, or are of a number and
        of classes.
    RunError
        Where one has no predictions, or learned several labels.
    """
    from candid.evaluation.several_models import compare_models

    audit_config = (config or load_config()).audit
    predictions = [_read_predictions(model) for model in models]
    comparison = compare_models(
        predictions,
        _choose_names(models),
        quiet=quiet,
        **compare_options(audit_config),
    )
    if page is not None:
        from candid.reporting.page import render_run_comparison

        write_text(Path(page), render_run_comparison(comparison, __version__))
    return comparison


def _read_predictions(
    model: Predictions | NumberAnswers | Run | Place,
) -> Predictions | NumberAnswers:
    if isinstance(model, Predictions | NumberAnswers):
        return model
    if not isinstance(model, Run | str | PathLike):
        raise ConfigError(
            f"There is a {type(model).__name__} among the models.",
            expected="runs, their folders, files of predictions that Candid wrote, Predictions, or "
            "NumberAnswers",
            todo="make them: candid.Predictions.from_arrays or from_table; of a number "
            "candid.NumberAnswers.from_arrays",
        )
    path = path_of(model)
    if Run(path).config.is_file():
        path = sole_label_run(Run(path)).path
        refuse_several(Run(path))
    require_own_format(path)
    if is_number_run(Run(path)) or (path.is_file() and holds_number(path)):
        return read_any_number(path, Columns())
    return read_any(path, Columns())


def require_own_format(path: Path) -> None:
    """Raise ConfigError for a table that Candid did not write."""
    if path.is_file() and not written_by_candid(path):
        raise ConfigError(
            f"{path} is a table whose columns nobody names.",
            expected="a run's folder, or a file of predictions that Candid wrote",
            todo=f"candid audit {path.name} OTHER --label gender --prediction p_Male compares two "
            "tables; from Python, candid.Predictions.from_table makes what this compares",
        )


def _choose_names(models: Sequence[Predictions | NumberAnswers | Run | Place]) -> list[str]:
    """The last part of each path, with as many before it as distinguish them."""
    parts = [
        (chr(ord("A") + index),)
        if isinstance(model, Predictions | NumberAnswers)
        else path_of(model).absolute().parts
        for index, model in enumerate(models)
    ]
    n_parts = max((len(path) for path in parts), default=1)
    for count in range(1, n_parts + 1):
        names = ["/".join(path[-count:]) for path in parts]
        if len({*names}) == len(names):
            return names
    return [f"{name} ({index})" for index, name in enumerate(names, 1)]  # one model twice
