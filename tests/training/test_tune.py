"""The search on made-up trainings, whose best settings are known."""

import contextlib
import gc
import itertools
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from candid.config import load_config
from candid.errors import ConfigError, RunError, TrainingError
from candid.settings import NETWORKS, AugmentConfig, Config, DeepConfig, TrainConfig, TuneConfig
from candid.training.tuning import study as study_module
from candid.training.tuning.finals import (
    Candidate,
    candidates,
    last_seed,
    repeat_finalists,
    train_last,
    winner,
)
from candid.training.tuning.search import best_trial, closed, importances, search
from candid.training.tuning.space import (
    Choices,
    Range,
    default_space,
    read_space,
    value_of,
    with_changes,
)
from candid.training.tuning.study import (
    count_trials,
    open_study,
    quiet_optuna,
    run_trial,
    was_queued,
)

PLAIN = load_config(recipe="plain")
BASE = replace(
    PLAIN,
    train=replace(PLAIN.train, evaluations=5, steps=50, batch_size=64),
    tune=TuneConfig(trials=8, finalists=2, seeds=3, startup=4),
)
SPACE = {
    "train.learning_rate": Range(1e-4, 1e-1, log=True),
    "augment.erase": Range(0.0, 1.0),
    "train.optimizer": Choices(("adam", "sgd")),
}


def truth(config: Config) -> float:
    """The best is a learning rate of 0.01."""
    return 0.95 - 0.05 * abs(math.log10(config.train.learning_rate) + 2)


def objective(config, report):
    for evaluation in range(1, 6):
        f1 = truth(config) - 0.2 * (5 - evaluation) / 5
        if report(evaluation, f1, 640 * evaluation):
            return f1
    return f1


def opened(path, base=BASE, space=None, **more):
    """A study at an address, or in a journal at a path: eight times as quick as a database."""
    url = str(path) if ":" in str(path) else f"journal:{path}"
    OPENED.append(open_study(url, "study", base, space or SPACE, **more))
    return OPENED[-1]


OPENED: list[study_module.Study] = []


@pytest.fixture(autouse=True)
def close_what_was_opened():
    """Python 3.13 warns of a database whose connection is left to the collector."""
    yield
    while OPENED:
        OPENED.pop().close()


_LEFT_OPEN = "ignore:.*deleted while still open:ResourceWarning"  # by the pool of SQLAlchemy
_DATABASE = pytest.param("postgresql", marks=pytest.mark.filterwarnings(_LEFT_OPEN))


@pytest.fixture(params=["sqlite", "journal", _DATABASE])
def place(request, tmp_path):
    """The address of each kind of storage; of a database that is named, where there is one."""
    if request.param != "postgresql":
        kind = {"sqlite": "sqlite:///", "journal": "journal:"}[request.param]
        yield f"{kind}{tmp_path / 'study'}"
        return
    url = os.environ.get("CANDID_TEST_POSTGRESQL")
    if not url:
        pytest.skip("no database: set CANDID_TEST_POSTGRESQL to the address of an empty one")
    for name in optuna.study.get_all_study_names(url):
        optuna.delete_study(study_name=name, storage=url)
    yield url
    gc.collect()


def made(study) -> list:
    return [t for t in study.search.get_trials() if t.state.name in ("COMPLETE", "PRUNED")]


# --- the search ----------------------------------------------------------------------------------


def test_the_search_gets_near_the_best_settings(tmp_path):
    study = opened(tmp_path / "a.log", replace(BASE, tune=replace(BASE.tune, trials=14)))
    search(study, objective, quiet=True)
    assert len(made(study)) == 14
    best = best_trial(study)
    start = study.search.trials[0]
    assert start.params == {name: value_of(BASE, name) for name in SPACE}  # it comes first
    assert start.value == pytest.approx(truth(BASE))
    assert best.value > start.value + 0.02
    assert abs(math.log10(best.params["train.learning_rate"]) + 2) < 0.5
    assert closed(study) == "14 trials are made"


def test_pruning_spares_images_and_never_the_last_evaluation(tmp_path):
    study = opened(tmp_path / "a.log")
    search(study, objective, quiet=True)
    pruned = [t for t in made(study) if t.state.name == "PRUNED"]
    finished = [t for t in made(study) if t.state.name == "COMPLETE"]
    assert pruned
    assert finished
    assert all(t.user_attrs["images"] == 640 * len(t.intermediate_values) < 3200 for t in pruned)
    assert all(t.user_attrs["images"] == 3200 for t in finished)
    for trial in pruned:  # by hand: below the median of those that were finished before it
        at, best = max(trial.intermediate_values), max(trial.intermediate_values.values())
        others = [t.intermediate_values[at] for t in finished if t.number < trial.number]
        assert best < np.median(others)


@pytest.mark.parametrize("pruner", ["halving", "none"])
def test_other_pruners(tmp_path, pruner):
    base = replace(BASE, tune=replace(BASE.tune, pruner=pruner))
    study = opened(tmp_path / "a.log", base)
    search(study, objective, quiet=True)
    pruned = sum(t.state.name == "PRUNED" for t in made(study))
    assert (pruned > 0) == (pruner == "halving")


def test_the_same_seed_suggests_the_same(tmp_path):
    def suggested(name: str, seed: int) -> list[dict]:
        base = replace(BASE, tune=replace(BASE.tune, trials=6, seed=seed))
        study = opened(tmp_path / name, base)
        search(study, objective, quiet=True)
        return [t.params for t in study.search.trials]

    first = suggested("a.log", 0)
    assert suggested("b.log", 0) == first
    assert suggested("c.log", 1)[1:] != first[1:]


def test_few_choices_are_tried_once_each(tmp_path):
    space = {"train.optimizer": Choices(("adam", "sgd")), "train.batch_size": Choices((64, 128))}
    base = replace(BASE, tune=replace(BASE.tune, trials=99))
    study = opened(tmp_path / "a.log", base, space)
    search(study, objective, quiet=True)
    tried = sorted(tuple(sorted(map(str, t.params.values()))) for t in made(study))
    assert len(tried) == len(set(tried)) == 4
    assert closed(study) == "every combination was tried"


def test_a_training_that_diverges_is_one_trial_of_many(tmp_path):
    def sometimes(config, report):
        if config.train.optimizer == "sgd":
            report(1, 0.5, 640)
            raise TrainingError("The loss of batch 7 is nan.", expected="", todo="")
        return objective(config, report)

    study = opened(tmp_path / "a.log")
    search(study, sometimes, quiet=True)
    broken = [t for t in made(study) if t.params["train.optimizer"] == "sgd"]
    assert broken
    assert all(t.state.name == "PRUNED" for t in broken)
    assert all(t.user_attrs["note"] == "The loss of batch 7 is nan." for t in broken)
    assert best_trial(study).params["train.optimizer"] == "adam"


def test_settings_that_do_not_go_together_are_noted(tmp_path):
    space = {"augment.erase_smallest": Range(0.0, 0.5), "augment.erase_largest": Range(0.0, 0.5)}
    study = opened(tmp_path / "a.log", space=space)
    search(study, objective, quiet=True)
    noted = [t for t in made(study) if "erase_smallest" in t.user_attrs.get("note", "")]
    wrong = [t for t in made(study)
             if t.params["augment.erase_smallest"] > t.params["augment.erase_largest"]]  # fmt: skip
    assert [t.number for t in noted] == [t.number for t in wrong] != []


def test_other_errors_are_not_swallowed(tmp_path):
    def broken(config, report):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(opened(tmp_path / "a.log"), broken, quiet=True)


def test_image_passes_end_it(tmp_path):
    base = replace(BASE, tune=replace(BASE.tune, images=7000, trials=100, pruner="none"))
    study = opened(tmp_path / "a.log", base)
    search(study, objective, quiet=True)
    assert len(made(study)) == 3  # of 3,200 images each
    assert closed(study) == "7,000 images went through training"


def test_minutes_end_it(tmp_path):
    base = replace(BASE, tune=replace(BASE.tune, minutes=0.02, trials=10_000))
    study = opened(tmp_path / "a.log", base)
    began = time.monotonic()
    search(study, objective, quiet=True)
    assert time.monotonic() - began >= 1.2
    assert closed(study) == "0.02 minutes are over"
    before = len(made(study))
    search(study, objective, quiet=True)  # it stays closed
    assert len(made(study)) == before


# --- several processes ---------------------------------------------------------------------------

WORKER = """
import sys, time
sys.path.insert(0, {folder!r})
import test_tune as t
from dataclasses import replace
def slow(config, report):
    for evaluation in range(1, 6):
        time.sleep({pause})
        f1 = t.truth(config) - 0.2 * (5 - evaluation) / 5
        if report(evaluation, f1, 640 * evaluation):
            return f1
    return f1
base = replace(t.BASE, tune=replace(t.BASE.tune, trials={trials}))
study = t.opened({path!r}, base, heartbeat=1, grace=90)
print("open", flush=True)
sys.stdin.readline()
t.search(study, slow, quiet=True)
own = []
t.repeat_finalists(study, lambda c: own.append(c.train.seed) or t.truth(c), quiet=True)
def last(config):
    own.append("last")
    return t.truth(config), {{"f1": t.truth(config)}}
told = t.train_last(study, last, quiet=True)
print(t.json.dumps({{"own": own, "told": told, "winner": t.winner(study).number}}))
"""


def worker(path, *, trials: int, pause: float) -> subprocess.Popen:
    folder = os.path.dirname(__file__)
    code = WORKER.format(folder=folder, path=str(path), trials=trials, pause=pause)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)


def go(*workers: subprocess.Popen) -> None:
    """Let workers begin once all of them have opened the study."""
    for process in workers:
        assert process.stdout.readline() == "open\n"
    for process in workers:
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_what_waits_is_begun_once(place):
    """Two connections to one file, which both look for what waits."""
    studies = [opened(place) for _ in range(2)]
    for i in range(30):
        studies[0].finals.enqueue_trial({"candidate": i, "seed": 0, "last": False})
    begun = []

    def take(study):
        while any(t.state.name == "WAITING" for t in study.finals.get_trials(deepcopy=False)):
            trial = study.finals.ask()
            if was_queued(study.finals, trial):
                begun.append(trial.number)

    threads = [threading.Thread(target=take, args=[study]) for study in studies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(begun) == list(range(30))


def test_two_processes_share_a_study_and_repeat_nothing(place):
    first = worker(place, trials=7, pause=0.05)
    second = worker(place, trials=7, pause=0.05)
    go(first, second)
    told = [json.loads(p.communicate(timeout=120)[0].splitlines()[-1]) for p in (first, second)]
    study = opened(place, replace(BASE, tune=replace(BASE.tune, trials=7)))
    trials = made(study)
    assert len(trials) == 7
    assert len({json.dumps(t.params, sort_keys=True) for t in trials}) == 7
    overlaps = [(a, b) for a in trials for b in trials if a.number < b.number
                and b.datetime_start < a.datetime_complete]  # fmt: skip
    assert overlaps  # they did work side by side
    # The finals: each once, by one of the two; both come to the same end.
    jobs = sorted(map(str, told[0]["own"] + told[1]["own"]))
    assert jobs == sorted(["1", "2", "3"] * 3 + ["last"])
    assert told[0]["told"] == told[1]["told"]
    assert told[0]["winner"] == told[1]["winner"]


def test_a_process_that_is_killed_is_missed(place):
    victim = worker(place, trials=4, pause=0.4)
    go(victim)
    base = replace(BASE, tune=replace(BASE.tune, trials=4))
    study = opened(place, base, heartbeat=1, grace=2)
    while not any(t.number == 1 and t.intermediate_values for t in study.search.get_trials()):
        time.sleep(0.05)
        assert victim.poll() is None
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    (cut,) = [t for t in study.search.get_trials() if t.state.name == "RUNNING"]
    search(study, objective, quiet=True)
    states = {t.number: t.state.name for t in study.search.get_trials()}
    assert states[cut.number] == "FAIL"
    again = [t for t in made(study) if t.params == cut.params]
    assert len(again) == 1  # what was killed was tried again, once
    assert len(made(study)) == 4
    assert "RUNNING" not in states.values()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_process_that_was_killed_at_birth_is_missed(place):
    """Between taking a trial and its first sign of life, when Optuna does not notice."""
    study = opened(place, heartbeat=1, grace=1)
    lost = study.search.ask().number
    search(study, objective, quiet=True)
    assert study.search.trials[lost].state.name == "FAIL"
    assert len(made(study)) == 8
    assert any(t.system_attrs.get("failed_trial") == lost for t in made(study))


def test_a_process_that_seemed_dead_lets_go(place):
    """Another process gave its first trial up while it worked: it goes on with others."""
    study, other = opened(place), opened(place)
    given_up = []

    def slow(config, report):
        if not given_up:
            (mine,) = [t for t in other.search.get_trials() if t.state.name == "RUNNING"]
            given_up.append(mine.number)
            other.search.tell(mine.number, state=TrialState.FAIL)
        return objective(config, report)

    search(study, slow, quiet=True)
    assert study.search.trials[given_up[0]].state.name == "FAIL"
    assert len(made(study)) == 8


class Killed(BaseException):
    """Nothing may catch it, as nothing catches a kill."""


def killed_at(statement: int, path) -> bool:
    """Open a study, dying before the so-manieth statement; whether it came so far."""
    left = itertools.count(1)

    def die(*_) -> None:
        if next(left) == statement:
            raise Killed

    event.listen(Engine, "before_cursor_execute", die)
    try:
        opened(path)
    except Killed:
        return True
    finally:
        event.remove(Engine, "before_cursor_execute", die)
    return False


# What a study had open that was killed while Optuna made it, nobody can close.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_a_study_goes_on_wherever_its_making_was_killed(tmp_path):
    """A kill leaves what was committed, as an error does that nobody catches."""
    killed = [n for n in range(1, 400, 13) if killed_at(n, f"sqlite:///{tmp_path}/{n}.db")]
    assert len(killed) > 3
    for n in killed:
        study = opened(f"sqlite:///{tmp_path}/{n}.db")
        assert run_trial(study, study.search, lambda trial: 0.5).value == 0.5
    gc.collect()


def test_a_study_that_is_closed_has_no_file_open(tmp_path):
    file = tmp_path / "study.db"
    study = opened(f"sqlite:///{file}")
    search(study, objective, quiet=True)
    assert str(file) in files_open()
    study.close()
    assert str(file) not in files_open()
    assert len(made(study)) == 8  # and opens it again where it is asked once more
    with pytest.raises(RunError, match="other data"):
        opened(f"sqlite:///{file}", about="other")
    study.close()
    assert str(file) not in files_open()


def files_open() -> set[str]:
    """What this process has open, as the system knows it."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing is closed by now
            found.add(os.readlink(f"/proc/self/fd/{entry}"))
    return found


def test_joining_waits_for_a_locked_database(tmp_path, monkeypatch):
    """SQLite says at once that it is locked where waiting could last for ever."""
    url = f"sqlite:///{tmp_path}/study.db"
    opened(url)
    real, refused = study_module._storage, []

    def busy(*words):
        if len(refused) < 3:
            refused.append(OperationalError("BEGIN", {}, sqlite3.OperationalError("locked")))
            raise refused[-1]
        return real(*words)

    monkeypatch.setattr(study_module, "_storage", busy)
    monkeypatch.setattr(study_module, "_RETRY_SECONDS", (0, 0, 0))
    assert opened(url).search.study_name == "study"
    assert len(refused) == 3
    refused.clear()
    monkeypatch.setattr(study_module, "_RETRY_SECONDS", ())
    with pytest.raises(RunError, match="locked"):
        opened(url)


def test_a_writer_is_waited_for(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    opened(url)
    writer = sqlite3.connect(tmp_path / "study.db", isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(1.5, lambda: writer.execute("COMMIT"))
    release.start()
    began = time.monotonic()
    opened(url)
    assert time.monotonic() - began > 1
    release.join()
    writer.close()


# --- the finals ----------------------------------------------------------------------------------


def test_a_lucky_seed_does_not_win(tmp_path):
    """In the search every rate above 0.02 is lucky; with other seeds it is as bad as it is."""

    def lucky(config, report):
        luck = 0.3 if config.train.learning_rate > 0.02 and config.train.seed == 0 else 0.0
        return min(0.99, objective(config, lambda *_: False) + luck)

    study = opened(tmp_path / "a.log", replace(BASE, tune=replace(BASE.tune, finalists=6)))
    search(study, lucky, quiet=True)
    assert best_trial(study).params["train.learning_rate"] > 0.02
    seeds = []
    repeat_finalists(
        study,
        lambda c: seeds.append(c.train.seed) or lucky(c, lambda *_: False),
        quiet=True,
    )
    assert sorted(seeds) == sorted([1, 2, 3] * 7)  # six and the start; the search's seed is not one
    by_truth = max(candidates(study), key=lambda c: truth(with_changes(BASE, c.values)))
    assert winner(study).number == by_truth.number
    repeat_finalists(study, lambda c: pytest.fail("done before"), quiet=True)


def test_the_start_wins_where_nothing_is_better(tmp_path):
    base = replace(BASE, train=replace(BASE.train, learning_rate=0.01))
    study = opened(tmp_path / "a.log", base)
    search(study, objective, quiet=True)
    repeat_finalists(study, truth, quiet=True)
    assert winner(study).is_baseline
    assert winner(study).number == 0


def test_a_start_outside_the_space_is_a_finalist_still(tmp_path):
    space = {"train.learning_rate": Range(0.05, 0.1)}  # far from the best
    base = replace(BASE, train=replace(BASE.train, learning_rate=0.01))
    study = opened(tmp_path / "a.log", base, space)
    search(study, objective, quiet=True)
    assert all(t.params["train.learning_rate"] >= 0.05 for t in made(study))
    repeat_finalists(study, truth, quiet=True)
    assert (winner(study).number, winner(study).is_baseline) == (-1, True)


def test_the_last_training_happens_once(tmp_path):
    study = opened(tmp_path / "a.log")
    search(study, objective, quiet=True)
    repeat_finalists(study, truth, quiet=True)
    trained = []

    def last(config):
        trained.append(config)
        return truth(config), {"test": 0.5}

    assert train_last(study, last, quiet=True) == {"test": 0.5}
    assert train_last(study, last, quiet=True) == {"test": 0.5}
    (config,) = trained
    best = winner(study)
    assert config == with_changes(BASE, {**best.values, "train.seed": last_seed(study, best)})
    assert config.train.seed in best.f1


@pytest.mark.parametrize(
    ("f1", "seed"),
    [
        ({1: 0.9, 2: 0.5, 3: 0.71}, 3),  # nearest to the mean, 0.703; the luckiest is 1
        ({3: 0.8, 2: 0.7, 1: 0.6}, 2),
        ({2: 0.5, 1: 0.7}, 1),  # as near: the first
        ({1: math.nan, 2: 0.8}, 2),
        ({}, 0),  # nothing was repeated: the search's own
    ],
)
def test_the_last_training_is_the_winner_s_usual_one(tmp_path, f1, seed):
    best = Candidate(4, {}, is_baseline=False, f1=f1)
    assert last_seed(opened(tmp_path / "a.log"), best) == seed


def test_a_finalist_that_diverges_does_not_win(tmp_path):
    study = opened(tmp_path / "a.log")
    search(study, objective, quiet=True)
    favourite = best_trial(study)

    def once(config):
        rate = favourite.params["train.learning_rate"]
        if config.train.learning_rate == rate and config.train.seed == 2:
            raise TrainingError("The loss of batch 7 is nan.", expected="", todo="")
        return truth(config)

    repeat_finalists(study, once, quiet=True)
    assert winner(study).number != favourite.number
    (broken,) = [c for c in candidates(study) if c.number == favourite.number]
    assert math.isnan(broken.mean)
    assert [seed for seed, f1 in broken.f1.items() if math.isnan(f1)] == [2]


@pytest.mark.parametrize("rate", [1e-3, 1e-2])
def test_without_seeds_the_best_trial_wins(tmp_path, rate):
    base = replace(BASE, train=replace(BASE.train, learning_rate=rate))
    study = opened(tmp_path / "a.log", replace(base, tune=replace(BASE.tune, seeds=0)))
    search(study, objective, quiet=True)
    repeat_finalists(study, lambda c: pytest.fail("no seeds"), quiet=True)
    assert winner(study).number == best_trial(study).number
    assert winner(study).is_baseline == (rate == 1e-2)  # which nothing beats


# --- importance ----------------------------------------------------------------------------------


def test_the_setting_that_decides_is_the_important_one(tmp_path):
    """Sixty trials at random, whose F1 is that of their learning rate alone."""
    rng = np.random.default_rng(0)
    distributions = {
        "train.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "augment.erase": FloatDistribution(0, 1),
        "train.optimizer": CategoricalDistribution(["adam", "sgd"]),
    }
    study = opened(tmp_path / "a.log")
    for _ in range(60):
        values = {
            "train.learning_rate": float(10 ** rng.uniform(-4, -1)),
            "augment.erase": float(rng.uniform()),
            "train.optimizer": str(rng.choice(["adam", "sgd"])),
        }
        study.search.add_trial(
            create_trial(
                params=values, distributions=distributions, value=truth(with_changes(BASE, values))
            )
        )
    found = importances(study, draws=3)
    assert set(found) == set(SPACE)
    assert sum(value for value, _, _ in found.values()) == pytest.approx(1)
    assert found["train.learning_rate"][0] > 0.9
    assert all(low <= value <= high for value, low, high in found.values())


def test_few_trials_tell_nothing(tmp_path):
    study = opened(tmp_path / "a.log", replace(BASE, tune=replace(BASE.tune, trials=5)))
    search(study, objective, quiet=True)
    assert importances(study) == {}


# --- joining -------------------------------------------------------------------------------------


def test_another_budget_may_join_and_other_settings_may_not(tmp_path):
    path = tmp_path / "a.log"
    opened(path, about="abc")
    opened(path, replace(BASE, tune=replace(BASE.tune, trials=3, minutes=1.0)), about="abc")
    for base, space, about, said in (
        (replace(BASE, augment=AugmentConfig(flip=0.0)), SPACE, "abc", "other settings"),
        (BASE, SPACE | {"augment.flip": Range(0.0, 1.0)}, "abc", "other space"),
        (BASE, SPACE, "abd", "other data"),
    ):
        with pytest.raises(RunError, match=said) as error:
            opened(path, base, space, about=about)
        assert "--study" in error.value.todo


@pytest.mark.parametrize(
    "url",
    ["nonsense", "sqlite:////no/such/a.db", "nodialect://host/name", "journal:/no/such/a.log"],
)
def test_a_storage_that_cannot_be_opened(url):
    with pytest.raises(RunError) as error:
        open_study(url, "study", BASE, SPACE)
    assert error.value.expected
    assert "--storage" in error.value.todo


@pytest.mark.parametrize("text", ["a line\n", '{"a": 1}\n', "1\n2\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, text):
    path = tmp_path / "notes"
    path.write_text(text)
    with pytest.raises(RunError, match="no journal"):
        opened(f"journal:{path}")
    assert path.read_text() == text


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_slow_trial_in_a_journal_is_not_given_up(tmp_path):
    """Signs of life come while it works, longer than a process may be silent."""
    path = f"journal:{tmp_path / 'study'}"
    study, other = (opened(path, heartbeat=1, grace=2) for _ in range(2))

    def slow(trial):
        until = time.monotonic() + 4
        while time.monotonic() < until:
            count_trials(other, other.search)  # gives up who shows no sign of life
            time.sleep(0.2)
        return 0.5

    with quiet_optuna():
        assert run_trial(study, study.search, slow).state.name == "COMPLETE"


# --- the space -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "deep", "vit"])
def test_the_usual_space_holds_the_start_and_is_possible(name):
    base = Config(network=NETWORKS[name](), train=TrainConfig(batch_size=100, steps=10))
    space = default_space(base)
    assert {"train.learning_rate", "train.batch_size", "train.optimizer", "network.width",
            "augment.rotation_degrees", "augment.erase"} <= space.keys()  # fmt: skip
    assert ("network.name" in space) == (name != "vit")
    for setting, kind in space.items():
        assert value_of(base, setting) in kind
        for value in (kind.low, kind.high) if isinstance(kind, Range) else kind.values:
            with_changes(base, {setting: value})


def test_every_trial_sees_as_many_images():
    for size in (16, 32, 128, 64):
        train = with_changes(BASE, {"train.batch_size": size}).train
        assert train.steps * train.batch_size == 50 * 64
    assert with_changes(BASE, {"augment.flip": 0.1}).train == BASE.train


def test_words_make_a_space():
    words = [
        "train.learning_rate=1e-4..1e-2", "train.weight_decay = 0..0.1", "network.depth=1..3",
        "train.optimizer=adam, muon", "train.batch_size=64,128", "train.flip_tta=true,false",
        "augment.flip=0,0.5", "network.width=8..128",
    ]  # fmt: skip
    assert read_space(words, BASE) == {
        "train.learning_rate": Range(1e-4, 1e-2, log=True),
        "train.weight_decay": Range(0.0, 0.1),
        "network.depth": Range(1, 3, whole=True),
        "train.optimizer": Choices(("adam", "muon")),
        "train.batch_size": Choices((64, 128)),
        "train.flip_tta": Choices((True, False)),
        "augment.flip": Choices((0.0, 0.5)),
        "network.width": Range(8, 128, log=True, whole=True),
    }
    assert read_space([], BASE) == default_space(BASE)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("train.learning_rate", "Cannot read"),
        ("train.learning_rate=", "Cannot read"),
        ("train.learning_rate=1e-2..1e-4", "Cannot read"),
        ("train.learning_rate=low..high", "Cannot read"),
        ("network.depth=1..2.5", "Cannot read"),
        ("train.optimizer=a..b", "Cannot read"),
        ("train.optimizer=adam,adamm", "train.optimizer"),
        ("augment.flip=0..2", "augment.flip"),
        ("train.learning_rat=0..1", "train.learning_rate"),
        ("train.seed=0..9", "train.seed cannot be searched"),
        ("train.steps=1..9", "train.steps cannot be searched"),
        ("data.side=32,64", "data.side cannot be searched"),
    ],
)
def test_words_that_are_no_space(word, said):
    with pytest.raises(ConfigError) as error:
        read_space([word], BASE)
    assert said in str(error.value)
    assert error.value.expected
    assert error.value.todo


def test_whole_numbers_are_suggested_whole(tmp_path):
    base = replace(BASE, network=DeepConfig())
    space = read_space(["network.width=8..128", "train.flip_tta=true,false"], base)
    study = opened(tmp_path / "a.log", base, space)
    seen = []
    search(study, lambda c, report: seen.append(c) or 0.5, quiet=True)
    assert all(type(c.network.width) is int for c in seen)
    assert {c.train.flip_tta for c in seen} == {True, False}
