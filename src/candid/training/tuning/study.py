"""Where the processes of a search meet: two studies of Optuna in one storage."""

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

_HEARTBEAT, _GRACE = 5, 90  # seconds between signs of life, and without one until given up
_RETRIES = 3
_WAITS = (0.1, 0.3, 1, 3)  # seconds, after each of which a process tries to join again
_JOURNAL = "journal:"
PATIENCE = 0.5  # seconds between looks at what the other processes do


class Withdrawn(Exception):
    """A trial that somebody else makes, or that the budget does not hold."""


@dataclass(frozen=True, eq=False)
class Study:
    """Where the processes meet.

    `search` holds the trials of the search, `finals` repetitions of the finalists with fresh seeds
    and the last training; both lie in `storage`. The search starts from `base` (`base.tune` has
    budget and method) and goes through `space`. `unborn` are trials that were seen to run without
    a first sign of life, and since when.
    """

    search: optuna.Study
    finals: optuna.Study
    base: Config
    space: Space
    storage: optuna.storages.RDBStorage | SharedJournal
    unborn: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def tune(self) -> TuneConfig:
        """Budget and method."""
        return self.base.tune

    def close(self) -> None:
        """Close what is open of a database; Python 3.13 warns of what is left to its collector."""
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
    are seconds between signs of life, and without one until a trial is given up.

    Raises
    ------
    DependencyError
        Where Optuna, or the database's driver, is not installed.
    RunError
        Where the study was begun with other settings or data, or the storage cannot be opened.
    """
    optuna = load_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    def joined() -> Study:
        return _join(_storage(url, heartbeat, grace), name, base, space, about)

    try:
        with quietly():
            return _patiently(joined)
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
        _agree(study, about)
    except RunError:
        study.close()
        raise
    return study


def _patiently(joined: Callable[[], Study]) -> Study:
    """Join once more where another process locks the database or makes its tables just now."""
    import optuna
    from sqlalchemy.exc import DatabaseError

    for seconds in _WAITS:
        with contextlib.suppress(DatabaseError, optuna.exceptions.StorageInternalError):
            return joined()
        time.sleep(seconds)
    return joined()


def _storage(url: str, heartbeat: int, grace: int) -> optuna.storages.RDBStorage | SharedJournal:
    import optuna
    from sqlalchemy import Connection, event

    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
    if url.startswith(_JOURNAL):
        from candid.training.tuning.journal import SharedJournal

        path = Path(url.removeprefix(_JOURNAL))
        return SharedJournal(path, interval=heartbeat, grace=grace, stale=again)
    is_sqlite = url.startswith("sqlite")
    storage = optuna.storages.RDBStorage(
        url,
        # Several processes write to one file: each waits for its turn.
        engine_kwargs={"connect_args": {"timeout": 120}} if is_sqlite else None,
        heartbeat_interval=heartbeat,
        grace_period=grace,
        heartbeat_stale_trial_callback=again,
    )
    if is_sqlite:
        # SQLite locks nothing when a row is only read, so two processes could both read that a
        # trial waits, and both begin it. This way each transaction has the file for itself.
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
def quietly() -> Iterator[None]:
    """Optuna's own lines are not printed, nor that heartbeats are new in it."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _first_line(error: BaseException) -> str:
    error = error.__cause__ or error  # Optuna says only that something went wrong
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _agree(study: Study, about: str) -> None:
    """Write down what is searched, or raise a RunError where others search something else."""
    # The budget may be another one: whoever joins brings minutes of its own.
    tune = replace(study.tune, trials=1, minutes=0.0, images=0)
    settings = Config(
        network=study.base.network, augment=study.base.augment, train=study.base.train, tune=tune
    )
    mine = {
        "settings": to_toml(settings),
        "space": "; ".join(f"{name}: {kind}" for name, kind in sorted(study.space.items())),
        "data": about,
    }
    theirs = study.search.user_attrs.get("candid")
    if theirs is None:
        study.search.set_user_attr("candid", mine)
        return
    other = [key for key in mine if mine[key] != theirs.get(key)]
    if other:
        raise RunError(
            f"The study {study.search.study_name!r} was begun with other {' and '.join(other)}.",
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
    """Let what is suggested for a trial depend on the study's seed and the trial's number alone."""
    import optuna

    words = np.random.SeedSequence([study.tune.seed, trial.number])
    seed = int(words.generate_state(1)[0])
    study.search.sampler = (
        optuna.samplers.RandomSampler(seed)
        if study.tune.sampler == "random"
        else optuna.samplers.TPESampler(n_startup_trials=study.tune.startup, seed=seed)
    )


# --- trials -------------------------------------------------------------------------------------


def counts(study: Study, part: optuna.Study) -> dict[str, int]:
    """How many trials wait, run, are finished; `taken` are all of these.

    Trials whose process no longer shows signs of life are given up first, and wait again.
    """
    import optuna

    optuna.storages.fail_stale_trials(part)
    _give_up_the_unborn(study, part)
    states = [t.state.name for t in part.get_trials(deepcopy=False)]
    found = {
        "waiting": states.count("WAITING"),
        "running": states.count("RUNNING"),
        "finished": states.count("COMPLETE") + states.count("PRUNED"),
    }
    return found | {"taken": sum(found.values())}


def _give_up_the_unborn(study: Study, part: optuna.Study) -> None:
    """Give up what was killed before its first sign of life, of which Optuna takes no notice."""
    import optuna

    again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES)
    for trial in part.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if trial.user_attrs.get("begun") == trial.number:
            continue
        since = study.unborn.setdefault((part.study_name, trial.number), time.monotonic())
        if time.monotonic() - since > (study.storage.grace_period or 0):
            # Where two processes see it, the storage lets one of them give it up.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                part.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                again(part, trial)


def one(
    study: Study, part: optuna.Study, work: Callable[[optuna.Trial], float]
) -> FrozenTrial | None:
    """Make one trial; None where it withdrew, or another process took it away."""
    import optuna

    raised: list[Exception] = []
    done: list[FrozenTrial] = []

    def watched(trial: optuna.Trial) -> float:
        try:
            study.storage.record_heartbeat(trial._trial_id)  # before anything tells of it
            trial.set_user_attr("begun", trial.number)
            return work(trial)
        except Exception as error:
            raised.append(error)
            raise

    taken = optuna.exceptions.UpdateFinishedTrialError
    try:
        part.optimize(
            watched, n_trials=1, catch=(Withdrawn,), callbacks=[lambda _, t: done.append(t)]
        )
    except (taken, ValueError) as error:
        # Where this process seemed dead, another gave the trial up: then nothing can be told of it
        # any more, and Optuna says so in one of these ways.
        if raised and not isinstance(raised[0], (taken, optuna.TrialPruned, Withdrawn)):
            raise raised[0] from error
        if not raised and isinstance(error, ValueError) and "annot tell" not in str(error):
            raise
    return done[0] if done and done[0].state.name != "FAIL" else None


def alive(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that wait, run or are finished, in the order of their numbers."""
    return [t for t in study.get_trials(deepcopy=False) if t.state.name != "FAIL"]


def finished_trials(part: optuna.Study) -> list[FrozenTrial]:
    """The trials that were neither pruned nor given up, in the order of their numbers."""
    return [t for t in part.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]


def was_queued(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Whether its settings were decided beforehand: by the queue, or by a trial that was killed."""
    told = study.get_trials(deepcopy=False)[trial.number].system_attrs
    return bool({"fixed_params", "failed_trial"} & told.keys())
