"""The shared state of a search's processes: two studies of Optuna in one storage."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from candid.config import to_toml
from candid.errors import DependencyError, RunError
from candid.settings import Config, TuneConfig
from candid.training.tuning.space import Space

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from candid.training.tuning.journal import SharedJournal

_HEARTBEAT, _GRACE = 5, 90  # seconds between heartbeats, and without one until given up
_RETRIES = 3
_RETRY_SECONDS = (0.1, 0.3, 1, 3)  # waits between attempts to join
_JOURNAL = "journal:"
POLL_SECONDS = 0.5


class Withdrawn(Exception):
    """A trial that another process runs, or that exceeds the budget."""


@dataclass(frozen=True, eq=False)
class Study:
    """The state that the processes share.

    `search` holds the trials of the search, `finals` repetitions of the finalists with fresh seeds
    and the last training; both lie in `storage`. The search starts from `base` (`base.tune` has
    budget and method) and goes through `space`. `unstarted` maps trials that run without a first
    heartbeat to the time when this was first seen.
    """

    search: optuna.Study
    finals: optuna.Study
    base: Config
    space: Space
    storage: optuna.storages.RDBStorage | SharedJournal
    unstarted: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def tune(self) -> TuneConfig:
        """Budget and method."""
        return self.base.tune

    def close(self) -> None:
        """Close a database's connections, as Python 3.13 warns of open ones."""
        from optuna.storages import RDBStorage

        if isinstance(self.storage, RDBStorage):
            self.storage.engine.dispose()


def open_study(
    url: str,
    name: str,
    base: Config,
    space: Space,
    *,
    about: str = "",
    heartbeat: int = _HEARTBEAT,
    grace: int = _GRACE,
) -> Study:
    """Begin a study, or join the one of that name.

    `url` is SQLAlchemy's address of a database ("sqlite:///study.db", "postgresql://…"), or a file
    in a folder that all share ("journal:/shared/study.log"); `name` is the study's among others
    there. `about` is the data's fingerprint: who joins must have the same. `heartbeat` and `grace`
    are seconds between heartbeats, and without one until a trial is given up.

    Raises DependencyError where Optuna, or the database's driver, is not installed; RunError where
    the study was begun with other settings or data, or the storage cannot be opened.
    """
    optuna = load_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    def join() -> Study:
        return _join(_storage(url, heartbeat, grace), name, base, space, about)

    try:
        with quiet_optuna():
            return _join_with_retries(join)
    except (
        *(SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError),
        *(RuntimeError, OSError, LookupError),
    ) as error:
        raise RunError(
            f"Cannot open the study's storage: {_first_line(error)}",
            expected="an address such as sqlite:///study.db, and a database that answers, or "
            "journal:study.log",
            todo="check --storage, and that the database's driver is installed",
        ) from error


def _join(
    storage: optuna.storages.RDBStorage | SharedJournal,
    name: str,
    base: Config,
    space: Space,
    about: str,
) -> Study:
    import optuna

    parts = ((name, _pruner(base)), (f"{name} finals", optuna.pruners.NopPruner()))
    search, finals = (
        optuna.create_study(
            storage=storage,
            study_name=part,
            direction="maximize",
            sampler=optuna.samplers.RandomSampler(),
            pruner=pruner,
            load_if_exists=True,
        )
        for part, pruner in parts
    )
    study = Study(search, finals, base, space, storage)
    try:
        _check_agreement(study, about)
    except RunError:
        study.close()
        raise
    return study


def _join_with_retries(join: Callable[[], Study]) -> Study:
    """Retry while another process locks the database or makes its tables."""
    import optuna
    from sqlalchemy.exc import DatabaseError

    for seconds in _RETRY_SECONDS:
        with contextlib.suppress(DatabaseError, optuna.exceptions.StorageInternalError):
            return join()
        time.sleep(seconds)
    return join()


def _storage(url: str, heartbeat: int, grace: int) -> optuna.storages.RDBStorage | SharedJournal:
    import optuna
    from sqlalchemy import Connection, event

    retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
    if url.startswith(_JOURNAL):
        from candid.training.tuning.journal import SharedJournal

        path = Path(url.removeprefix(_JOURNAL))
        return SharedJournal(path, interval=heartbeat, grace=grace, on_stale=retry)
    is_sqlite = url.startswith("sqlite")
    storage = optuna.storages.RDBStorage(
        url,
        # Several processes write to one file: each waits for its turn.
        engine_kwargs={"connect_args": {"timeout": 120}} if is_sqlite else None,
        heartbeat_interval=heartbeat,
        grace_period=grace,
        heartbeat_stale_trial_callback=retry,
    )
    if is_sqlite:
        # SQLite locks nothing on a read, so two processes could both read that a trial waits, and
        # both begin it. This way each transaction locks the file.
        @event.listens_for(storage.engine, "begin")
        def _(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return storage


def load_optuna() -> Any:
    """Optuna, or a DependencyError."""
    try:
        import optuna
    except ImportError as error:
        raise DependencyError(
            "A search needs Optuna.",
            expected="the extra 'tune'",
            todo="pip install 'candid-faces[tune]'",
        ) from error
    return optuna


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silence Optuna's log and its warning that heartbeats are experimental."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _first_line(error: BaseException) -> str:
    error = error.__cause__ or error  # Optuna says only that something went wrong
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _check_agreement(study: Study, about: str) -> None:
    """Store settings, space and data, or raise a RunError where the study has others."""
    # The budget may be another one: whoever joins brings minutes of its own.
    tune = replace(study.tune, trials=1, minutes=0.0, images=0)
    settings = Config(
        network=study.base.network, augment=study.base.augment, train=study.base.train, tune=tune
    )
    terms = {
        "settings": to_toml(settings),
        "space": "; ".join(f"{name}: {kind}" for name, kind in sorted(study.space.items())),
        "data": about,
    }
    existing = study.search.user_attrs.get("candid")
    if existing is None:
        study.search.set_user_attr("candid", terms)
        return
    changed = [key for key in terms if terms[key] != existing.get(key)]
    if changed:
        raise RunError(
            f"The study {study.search.study_name!r} was begun with other {' and '.join(changed)}.",
            expected="the command that it was begun with",
            todo="give that command, or name another study with --study or another --out",
        )


def _pruner(base: Config) -> optuna.pruners.BasePruner:
    import optuna

    first = max(1, base.train.evaluations // 5)
    if base.tune.pruner == "median":
        return optuna.pruners.MedianPruner(base.tune.startup, first, n_min_trials=3)
    if base.tune.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(first, 3)
    return optuna.pruners.NopPruner()


def draw_by_number(study: Study, trial: optuna.Trial) -> None:
    """Make a trial's suggestions depend on the study's seed and the trial's number alone."""
    import optuna

    words = np.random.SeedSequence([study.tune.seed, trial.number])
    seed = int(words.generate_state(1)[0])
    study.search.sampler = (
        optuna.samplers.RandomSampler(seed)
        if study.tune.sampler == "random"
        else optuna.samplers.TPESampler(n_startup_trials=study.tune.startup, seed=seed)
    )


# --- trials -------------------------------------------------------------------------------------


def count_trials(study: Study, part: optuna.Study) -> dict[str, int]:
    """How many trials wait, run, are finished; `taken` are all of these.

    Trials whose process has no heartbeat any more are given up first, and wait again.
    """
    import optuna

    optuna.storages.fail_stale_trials(part)
    _fail_unstarted(study, part)
    states = [t.state.name for t in part.get_trials(deepcopy=False)]
    result = {
        "waiting": states.count("WAITING"),
        "running": states.count("RUNNING"),
        "finished": states.count("COMPLETE") + states.count("PRUNED"),
    }
    return result | {"taken": sum(result.values())}


def _fail_unstarted(study: Study, part: optuna.Study) -> None:
    """Give up trials that were killed before their first heartbeat, which Optuna overlooks."""
    import optuna

    retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
    for trial in part.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if trial.user_attrs.get("begun") == trial.number:
            continue
        since = study.unstarted.setdefault((part.study_name, trial.number), time.monotonic())
        if time.monotonic() - since > (study.storage.grace_period or 0):
            # If two processes try, the storage lets one of them give it up.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                part.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                retry(part, trial)


def run_trial(
    study: Study, part: optuna.Study, work: Callable[[optuna.Trial], float]
) -> FrozenTrial | None:
    """Run one trial; None where it withdrew, or another process took it over."""
    import optuna

    errors: list[Exception] = []
    trials: list[FrozenTrial] = []

    def objective(trial: optuna.Trial) -> float:
        try:
            study.storage.record_heartbeat(trial._trial_id)  # before any other record of it
            trial.set_user_attr("begun", trial.number)
            return work(trial)
        except Exception as error:
            errors.append(error)
            raise

    taken_over = optuna.exceptions.UpdateFinishedTrialError
    try:
        part.optimize(
            objective, n_trials=1, catch=(Withdrawn,), callbacks=[lambda _, t: trials.append(t)]
        )
    except (taken_over, ValueError) as error:
        # If this process seemed dead, another gave the trial up: then Optuna refuses its result in
        # one of these ways.
        if errors and not isinstance(errors[0], (taken_over, optuna.TrialPruned, Withdrawn)):
            raise errors[0] from error
        if not errors and isinstance(error, ValueError) and "annot tell" not in str(error):
            raise
    return trials[0] if trials and trials[0].state.name != "FAIL" else None


def live_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that wait, run or are finished, in the order of their numbers."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name != "FAIL"]


def finished_trials(part: optuna.Study) -> list[FrozenTrial]:
    """The trials that were neither pruned nor given up, in the order of their numbers."""
    return [t for t in part.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def was_queued(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Whether its settings come from the queue or from a killed trial."""
    attributes = study.get_trials(deepcopy=False)[trial.number].system_attrs
    return bool({"fixed_params", "failed_trial"} & attributes.keys())
