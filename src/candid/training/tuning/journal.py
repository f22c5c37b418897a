"""A study in a file to which every process appends: for machines that share folders, no database.

SQLite trusts the locks of the file system, which network file systems often do not keep. Optuna's
journal only needs atomic links. It has no heartbeats, though; this module adds them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

_BEAT = "candid:beat"


class SharedJournal(optuna.storages.JournalStorage, BaseHeartbeat):
    """Optuna's journal in a file, with heartbeats as its databases have them.

    A running trial's heartbeat is a number that its process raises. Each process measures by its
    own clock for how long it did not change, so that clocks need not agree. `interval` and `grace`
    are seconds between heartbeats, and without one until a trial is given up: then `on_stale` is
    called with the study and the trial. Raises an OSError where the file cannot be read or made,
    and a ValueError where it is another kind of file.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: int,
        grace: int,
        on_stale: Callable[[optuna.Study, FrozenTrial], None],
    ) -> None:
        _check_is_journal(path)
        super().__init__(JournalFileBackend(str(path)))
        self.interval, self.grace_period, self._on_stale = interval, grace, on_stale
        self._beats = itertools.count()
        # By trial: its last beat, and since when.
        self._last_beats: dict[int, tuple[object, float]] = {}

    def record_heartbeat(self, trial_id: int) -> None:
        """Show that this process works on the trial, unless it was given up meanwhile."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.set_trial_system_attr(trial_id, _BEAT, next(self._beats))

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        stale_ids = []
        trials = self.get_all_trials(study_id, deepcopy=False, states=(TrialState.RUNNING,))
        for trial in trials:
            beat, now = trial.system_attrs.get(_BEAT), time.monotonic()
            last, since = self._last_beats.get(trial._trial_id, (None, now))
            since = since if beat == last else now
            self._last_beats[trial._trial_id] = (beat, since)
            if now - since > self.grace_period:
                stale_ids.append(trial._trial_id)
        return stale_ids

    def get_heartbeat_interval(self) -> int:
        """Seconds between heartbeats."""
        return self.interval

    def get_heartbeat_stale_trial_callback(self) -> Callable[[optuna.Study, FrozenTrial], None]:
        """The function to call with a trial that was given up."""
        return self._on_stale


def _check_is_journal(path: Path) -> None:
    """Raise a ValueError where the file holds something else: Optuna would append to it."""
    line = b""
    if path.exists():
        with path.open("rb") as file:
            line = file.readline()
    with contextlib.suppress(ValueError, TypeError):
        if not line or "op_code" in json.loads(line):
            return
    raise ValueError(f"{path} is no journal of Optuna's")
