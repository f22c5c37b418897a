"""What a search over settings found (`tuning.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.records import Estimate
from candid.records.frames import Tabular, with_figure

Settings = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search.

    Attributes
    ----------
    number
        In the study.
    state
        "finished", or "stopped": pruned, diverged, or made of settings that do not go together.
    f1
        Weighted F1 on validation: of the weights that would be kept where finished, the last one
        where stopped; NaN where none was measured.
    settings
        What was searched, by name.
    curve
        Weighted F1 on validation at each evaluation that was reached.
    images
        How many images went through training.
    seconds
        How long it took.
    note
        Why it was stopped, where that was not for lagging behind.
    is_start
        Whether these are the settings that the search began with.
    """

    number: int
    state: Literal["finished", "stopped"]
    f1: float
    settings: Settings
    curve: tuple[float, ...]
    images: int
    seconds: float
    note: str = ""
    is_start: bool = False


@dataclass(frozen=True, slots=True)
class Finalist:
    """Settings that were trained again with fresh seeds.

    Attributes
    ----------
    number
        The trial that they come from; -1 for the start's where no trial has them.
    is_start
        Whether these are the settings that the search began with.
    settings
        What was searched, by name.
    search_f1
        Validation F1 in the search, which is why they are here; NaN where there was none.
    seeds, f1
        The fresh seeds, and the validation F1 that each gave.
    mean
        Over the fresh seeds, with an interval that tells of the seeds and not of the images.
    """

    number: int
    is_start: bool
    settings: Settings
    search_f1: float
    seeds: tuple[int, ...]
    f1: tuple[float, ...]
    mean: Estimate


@dataclass(frozen=True, slots=True)
class Tuning(Tabular):
    """A search over settings, its finalists, and the last training (`tuning.json`).

    Attributes
    ----------
    study
        Its name in the storage.
    data, target, classes
        What was learned from what; of several labels their names, and no classes. F1 then is the
        mean of theirs.
    n_validation
        Images that every trial was measured on.
    images_per_trial, evaluations
        Images in a trial that is not stopped, and how often it was measured.
    sampler, pruner
        How settings were suggested and trials stopped.
    closed
        Why no more trials were begun.
    space
        What each setting could be, in words.
    trials
        In the order of their numbers.
    given_up
        Trials whose process was killed or stopped; they are not among `trials`, and what was
        killed was tried again.
    importance
        Each setting's share of the variance of F1 over the finished trials; empty where these are
        too few.
    finalists
        The best first.
    winner
        The number of the finalist whose settings won: those with the highest mean over fresh seeds.
    seed
        Of its training that lies in `best/`: the fresh seed nearest to that mean, or the search's
        own where nothing was repeated.
    difference
        Mean F1 of the winner less that of the start, seed by seed; None where the start won or
        nothing was repeated.
    validation, test
        Weighted F1 of that training. Test was measured this once; None where there is no test
        split.
    seconds, images
        Of the search's trials together.
    started, candid
        When, and by which version.
    """

    study: str
    data: str
    target: str
    classes: tuple[str, ...]
    n_validation: int
    images_per_trial: int
    evaluations: int
    sampler: str
    pruner: str
    closed: str
    space: dict[str, str]
    trials: tuple[Trial, ...]
    given_up: int
    importance: dict[str, Estimate]
    finalists: tuple[Finalist, ...]
    winner: int
    difference: Estimate | None
    validation: Estimate | None
    test: Estimate | None
    seconds: float
    images: int
    started: str
    candid: str
    seed: int = 0

    def rows(self) -> list[dict[str, Any]]:
        """One row for each finalist: its settings, and weighted F1 over fresh seeds."""
        names = dict.fromkeys(name for f in self.finalists for name in f.settings)
        return [
            with_figure(
                {
                    "trial": f.number,
                    "won": f.number == self.winner,
                    "search_f1": f.search_f1,
                    **{name: f.settings.get(name) for name in names},
                },
                f.mean,
            )
            for f in self.finalists
        ]

    @property
    def best(self) -> Finalist:
        """The finalist that won."""
        return next(f for f in self.finalists if f.number == self.winner)
