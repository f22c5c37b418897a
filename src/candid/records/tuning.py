"""What a search over settings found (`tuning.json`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from candid.records import Estimate
from candid.records.frames import Tabular, with_figure

Settings = dict[str, int | float | str]


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of the search."""

    number: int  # in the study
    # "finished", or "stopped": pruned, diverged, or made of settings that do not go together
    state: Literal["finished", "stopped"]
    # weighted F1 on validation: of the weights that would be kept where finished, the last one
    # where stopped; NaN where none was measured
    f1: float
    settings: Settings  # what was searched, by name
    curve: tuple[float, ...]  # weighted F1 on validation at each evaluation that was reached
    images: int  # how many images went through training
    seconds: float  # how long it took
    note: str = ""  # why it was stopped, where that was not for lagging behind
    is_start: bool = False  # whether these are the settings that the search began with


@dataclass(frozen=True, slots=True)
class Finalist:
    """Settings that were trained again with fresh seeds."""

    number: int  # the trial that they come from; -1 for the start's where no trial has them
    is_start: bool  # whether these are the settings that the search began with
    settings: Settings  # what was searched, by name
    # validation F1 in the search, which is why they are here; NaN where there was none
    search_f1: float
    seeds: tuple[int, ...]  # the fresh seeds
    f1: tuple[float, ...]  # the validation F1 that each gave
    # over the fresh seeds, with an interval that tells of the seeds and not of the images
    mean: Estimate


@dataclass(frozen=True, slots=True)
class Tuning(Tabular):
    """A search over settings, its finalists, and the last training (`tuning.json`)."""

    study: str  # its name in the storage
    # data, target, classes: what was learned from what; of several labels their names, and no
    # classes. F1 then is the mean of theirs.
    data: str
    target: str
    classes: tuple[str, ...]
    n_validation: int  # images that every trial was measured on
    images_per_trial: int  # images in a trial that is not stopped
    evaluations: int  # how often it was measured
    sampler: str  # how settings were suggested
    pruner: str  # how trials were stopped
    closed: str  # why no more trials were begun
    space: dict[str, str]  # what each setting could be, in words
    trials: tuple[Trial, ...]  # in the order of their numbers
    # trials whose process was killed or stopped; they are not among `trials`, and what was killed
    # was tried again
    given_up: int
    # each setting's share of the variance of F1 over the finished trials; empty where these are too
    # few
    importance: dict[str, Estimate]
    finalists: tuple[Finalist, ...]  # the best first
    # the number of the finalist whose settings won: those with the highest mean over fresh seeds
    winner: int
    # mean F1 of the winner less that of the start, seed by seed; None where the start won or
    # nothing was repeated
    difference: Estimate | None
    validation: Estimate | None  # weighted F1 of that training
    test: Estimate | None  # measured this once; None where there is no test split
    # seconds, images: of the search's trials together
    seconds: float
    images: int
    started: str  # when
    candid: str  # by which version
    # of its training that lies in `best/`: the fresh seed nearest to that mean, or the search's own
    # where nothing was repeated
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
