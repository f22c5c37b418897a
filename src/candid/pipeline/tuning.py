"""The search of settings: its folder, its trainings, its result."""

from __future__ import annotations

import math
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.config import differences, read_config, to_toml
from candid.data.source_settings import resolve_settings
from candid.errors import CandidError, ConfigError, OutputError, RunError
from candid.pipeline.main_job import run_main_job
from candid.pipeline.opening import Data, begin_or_resume, needs_torch, new_provenance
from candid.pipeline.training import build_task, start_training
from candid.pipeline.views import choose_window
from candid.records import (
    Estimate,
    Evaluation,
    Provenance,
    from_plain,
    read_record,
    to_plain,
    write_record,
)
from candid.records.tuning import Finalist, Trial, Tuning
from candid.runs import Run, claim
from candid.settings import Config, NetworkConfig
from candid.settings.network import DeepConfig
from candid.stats.intervals import mean_of_labels, mean_over_seeds
from candid.storage.files import write_text, writing

if TYPE_CHECKING:
    from candid.training.state import Task
    from candid.training.tuning.finals import Candidate
    from candid.training.tuning.search import Report
    from candid.training.tuning.study import Study

# A study's settings: written first, and whole. A folder with them is a study's, whatever else a
# database or a killed process left there.
MARK = "study.toml"


def study_folder(path: Path | None) -> Path:
    """The named folder, or the next free one below runs/."""
    return claim(Path("runs"), "tune") if path is None else path


def needs_optuna() -> None:
    """Raise a DependencyError where libraries for the search are missing."""
    from candid.training.tuning.study import load_optuna

    needs_torch()
    load_optuna()


def search_settings(
    out: Path,
    data: Data,
    config: Config,
    *,
    storage: str = "",
    name: str = "candid",
    quiet: bool = False,
) -> Tuning:
    """Search settings, repeat the finalists, train the winner, and write the result to `out`.

    An existing study in `out` or the storage goes on, beside others who work on it; of a finished
    one the result is written again. `config` are the settings to start from; `storage` and `name` a
    database's address (or "journal:" and a file) and the study's name in it. Raises OutputError
    where the folder holds something else; RunError for a study with other settings or data.
    """
    needs_optuna()
    from candid.data.layouts.assembly import check_learnable
    from candid.models.device import memory_kept, threads
    from candid.reporting.page import render_search
    from candid.training.tuning.finals import repeat_finalists, train_last
    from candid.training.tuning.search import search

    check_learnable(data.dataset, data.store.usable)
    _refuse_search(config, data)
    study = _open_study(out, data, config, storage, name)
    config = study.base
    with closing(study), threads(config.train.threads), memory_kept():
        task = build_task(data, config)
        # Once, not in every trial.
        window = choose_window(task, config, data.dataset, record=Run(out).views, quiet=quiet)

        def run_trial(config: Config, report: Report = lambda *_: False) -> float:
            return _run_trial(task, _use_window(config, window.config.network), report)

        search(study, run_trial, quiet=quiet)
        repeat_finalists(study, run_trial, quiet=quiet)
        # On as many threads as the finals, of which it is one.
        train = partial(_train_winner, out / "best", data=data, quiet=quiet)
        final = train_last(study, train, quiet=quiet)
        provenance = read_record(Run(out).provenance, Provenance)
        result = _build_result(study, data, task, final, provenance)
        write_text(out / "best.toml", _format_best(study, result))
    write_record(out / "tuning.json", result)
    write_text(out / "report.html", render_search(result))
    return result


def _open_study(out: Path, data: Data, config: Config, storage: str, name: str) -> Study:
    """The study in its folder and storage, begun or joined."""
    from candid.training.tuning.space import read_space
    from candid.training.tuning.study import open_study

    space = read_space(config.tune.search, config)
    existed = (out / MARK).is_file()
    config = _open_folder(out, config, data)
    url = storage or f"sqlite:///{(out / 'study.db').resolve()}"
    try:
        with writing(out, "--out"):
            return open_study(url, name, config, space, about=data.fingerprint)
    except CandidError:
        if not existed:
            _remove_folder(out)
        raise


def _refuse_search(config: Config, data: Data) -> None:
    if config.network.name in ("own", "features"):
        raise ConfigError(
            f"The network {config.network.name!r} is not trained from settings in steps.",
            expected="plain, deep, vit or timm",
            todo="set network.name",
        )
    if numbers := data.dataset.numbers:
        raise ConfigError(
            f"A search raises the weighted F1 of classes, and {numbers[0]!r} is a number.",
            expected="labels with classes",
            todo="name some, and learn the number with the settings that are found",
        )


def _open_folder(out: Path, config: Config, data: Data) -> Config:
    """Make the study's folder, or join an existing one; the full settings."""
    config = replace(config, data=resolve_settings(config.data, data.dataset))
    mark, provenance = out / MARK, Run(out).provenance
    # A name with a dot in front is what a process left that was killed while it wrote.
    foreign = [p.name for p in out.iterdir() if p.name[0] != "."] if out.is_dir() else []
    if mark.is_file():  # after the folder was listed: another process may begin just now
        previous, budget = read_config(mark), config.tune
        tune = replace(
            previous.tune, trials=budget.trials, minutes=budget.minutes, images=budget.images
        )
        if other := differences(config, replace(previous, tune=tune)):
            raise RunError(
                f"{out} holds a study with other settings: {', '.join(other)}.",
                expected="the settings that it began with; only the budget may change",
                todo="give the same command, or name another folder with --out",
            )
    elif foreign:
        raise OutputError(
            f"{out} holds {min(foreign)} and is no study: it has no {MARK}.",
            expected="a new or empty folder, or that of a study to go on with",
            todo="name another place with --out",
        )
    else:
        write_text(mark, to_toml(config))
    if not provenance.is_file():
        write_record(provenance, new_provenance(data, config.tune.seed))
    return config


def _remove_folder(out: Path) -> None:
    """Undo `_open_folder` where there is no study."""
    for file in (out / MARK, Run(out).provenance):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # another file is in it
        out.rmdir()


# --- trainings -----------------------------------------------------------------------------------


def _use_window(config: Config, chosen: NetworkConfig) -> Config:
    """A trial's settings with the window that was found, where they name none."""
    network = config.network
    if isinstance(network, DeepConfig) and isinstance(chosen, DeepConfig) and network.finds_window:
        return replace(config, network=replace(network, window=chosen.window))
    return config


def _run_trial(task: Task, config: Config, report: Report) -> float:
    """Train, reporting every evaluation; the F1 of the weights that are kept."""
    from candid.training.loop import train_in_steps as steps

    state = start_training(task, config)
    f1 = math.nan
    rows = steps(task, state, config.train, config.augment, quiet=True)
    for evaluation, row in enumerate(rows, start=1):
        f1 = row.validation_f1
        if report(evaluation, f1, row.images):
            break
    return state.best_f1 if config.train.keep == "best" else f1


def _train_winner(
    path: Path, config: Config, data: Data, *, quiet: bool
) -> tuple[float, dict[str, Any]]:
    """Train the winner, or go on with it; its figures (a mean over labels), as plain data."""
    import torch

    if not Run(path).config.is_file():
        train = replace(config.train, threads=torch.get_num_threads())
        config = replace(config, train=train)
    run, data = begin_or_resume(data, config, path, quiet=quiet)
    run_main_job(run, data)
    evaluations = [read_record(r.evaluation, Evaluation) for r in run.target_runs() or [run]]
    splits = [s for evaluation in evaluations for s in evaluation.splits if s.n]
    f1 = {
        split: mean_of_labels([s.metrics["weighted_f1"] for s in splits if s.split == split])
        for split in dict.fromkeys(s.split for s in splits)
    }
    return f1["validation"].value, {split: to_plain(estimate) for split, estimate in f1.items()}


# --- what came of it -----------------------------------------------------------------------------


def _build_result(
    study: Study, data: Data, task: Task, final: dict[str, Any], provenance: Provenance
) -> Tuning:
    from candid.training.tuning.finals import candidates, last_seed, winner
    from candid.training.tuning.search import closed, importances

    base = study.base
    trials = _list_trials(study)
    n = len(task.validation)
    finished = sum(t.state == "finished" for t in trials)
    best = winner(study)
    finalists = sorted(
        candidates(study), key=lambda c: (c.number != best.number, -_nan_last(c.mean))
    )
    baseline = next(c for c in finalists if c.is_baseline)
    by_number = {t.number: t.f1 for t in trials}
    return Tuning(
        study=study.search.study_name,
        data=data.dataset.name,
        target=", ".join(data.dataset.targets),
        classes=() if data.dataset.is_several else data.dataset.classes,
        n_validation=n,
        images_per_trial=base.train.steps * min(base.train.batch_size, len(task.train)),
        evaluations=base.train.evaluations,
        sampler=base.tune.sampler,
        pruner=base.tune.pruner,
        closed=closed(study),
        space={name: str(kind) for name, kind in study.space.items()},
        trials=trials,
        given_up=_count_failed(study),
        importance={
            setting: Estimate(
                *shares, n, f"5% to 95% over resampled trials, of {finished}", draws=12,
                confidence=0.9,
            )
            for setting, shares in importances(study, draws=12).items()
        },
        finalists=tuple(_build_finalist(c, by_number, n) for c in finalists),
        winner=best.number,
        difference=_compare_to_start(best, baseline, n),
        validation=_parse_estimate(final, "validation"),
        test=_parse_estimate(final, "test"),
        seconds=sum(t.seconds for t in trials),
        images=sum(t.images for t in trials),
        started=provenance.started,
        candid=provenance.candid,
        seed=last_seed(study, best),
    )  # fmt: skip


def _list_trials(study: Study) -> tuple[Trial, ...]:
    from candid.training.tuning.space import value_of

    base = {name: value_of(study.base, name) for name in study.space}
    return tuple(
        Trial(
            number=t.number,
            state="finished" if t.state.name == "COMPLETE" else "stopped",
            f1=math.nan if t.value is None else t.value,
            settings=dict(t.params),
            curve=tuple(f1 for _, f1 in sorted(t.intermediate_values.items())),
            images=t.user_attrs.get("images", 0),
            seconds=t.user_attrs.get("seconds", 0.0),
            note=t.user_attrs.get("note", ""),
            is_start=t.params == base,
        )
        for t in study.search.get_trials(deepcopy=False)
        if t.state.name in ("COMPLETE", "PRUNED")
    )


def _count_failed(study: Study) -> int:
    """Trials that failed after an evaluation."""
    trials = study.search.get_trials(deepcopy=False)
    return sum(t.state.name == "FAIL" and bool(t.intermediate_values) for t in trials)


def _build_finalist(candidate: Candidate, search_f1: dict[int, float], n: int) -> Finalist:
    seeds = sorted(candidate.f1)
    f1 = [candidate.f1[seed] for seed in seeds]
    return Finalist(
        number=candidate.number,
        is_start=candidate.is_baseline,
        settings=dict(candidate.values),
        search_f1=search_f1.get(candidate.number, math.nan),
        seeds=tuple(seeds),
        f1=tuple(f1),
        mean=_clip_f1(mean_over_seeds(f1, n)),
    )


def _clip_f1(f1: Estimate) -> Estimate:
    """An F1 whose interval, from few seeds, stays between 0 and 1."""
    return replace(f1, low=float(np.maximum(f1.low, 0.0)), high=float(np.minimum(f1.high, 1.0)))


def _compare_to_start(best: Candidate, baseline: Candidate, n: int) -> Estimate | None:
    shared = sorted(
        seed for seed, f1 in best.f1.items() if math.isfinite(f1 - baseline.f1.get(seed, math.nan))
    )
    if best is baseline or not shared:
        return None
    return mean_over_seeds([best.f1[seed] - baseline.f1[seed] for seed in shared], n)


def _nan_last(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _parse_estimate(estimates: dict[str, Any], split: str) -> Estimate | None:
    return from_plain(Estimate, estimates[split]) if split in estimates else None


def _format_best(study: Study, result: Tuning) -> str:
    from candid.training.tuning.space import with_changes

    best = result.best
    mean = best.mean
    figure = (
        f"validation F1 {mean.value:.4f}, the mean of {len(best.f1)} fresh seeds"
        if best.f1
        else f"validation F1 {best.search_f1:.4f} in the search"
    )
    return (
        f"# The best settings of the study {result.study!r} on {result.data!r}:\n"
        f"# {figure}, after {len(result.trials)} trials.\n"
        "# They were chosen on validation, which flatters that figure.\n\n"
        + to_toml(with_changes(study.base, {**best.settings, "train.seed": result.seed}))
    )
