"""Learning curves within groups: trainings on parts of a group's people (`curve.json`).

The others are learned from as before. Each training is a folder below `improve/curve/` until it has
answered; its answers stay, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from candid.errors import ConfigError, RunError, did_you_mean
from candid.improvement.retrained import CONTROL, TrainingChange
from candid.pipeline.auditing import audited_split
from candid.pipeline.data_places import Places
from candid.pipeline.improved import alone_improving
from candid.pipeline.loading import loaded
from candid.pipeline.opening import Data, Place, needs_torch, reload, run_at
from candid.pipeline.retraining import Retraining, remedy_folder
from candid.pipeline.training import train_network
from candid.progress import stages
from candid.records import Estimate, write_record
from candid.records.audit import AuditFinding, SplitAudit
from candid.records.collecting import CurvePoint, GroupCurve, GroupCurves
from candid.runs import Run
from candid.runs.folders import IMPROVED
from candid.runs.refusals import refuse_untrained
from candid.stats.intervals import share
from candid.stats.learning_curve import PowerLaw, fit_power_law
from candid.stats.planning import MOST_PEOPLE
from candid.storage.archives import reading_archive, write_archive
from candid.storage.files import file_digest
from candid.storage.jobs import job_digest
from candid.text.collecting import BEYOND, FLAT

SHARES = (0.25, 0.5)  # of a group's people; all of them twice: the run, and from another seed
_MOST = 3  # gaps whose curves are measured


def learning_curves(
    run: Run | Place,
    *,
    groups: Sequence[str] = (),
    data: Places | None = None,
    cache: Path | None = None,
    quiet: bool = True,
) -> GroupCurves:
    """How many more people of a group would likely halve its gap: `candid improve RUN --curve`.

    Of the gaps that the audit found, at most three, networks are trained anew on a quarter and on
    half of the group's people, and once on all of them from another seed: the run's training
    again, twice for each group and once more. `curve.json` holds what was found; the report's
    list of what to collect shows it.

    Parameters
    ----------
    run
        A run of one label whose training was finished and that was audited.
    groups
        Attributes whose gaps count; none: all.
    data, cache, quiet
        Where the run's data lie now, where packed images are kept, and no progress bars.

    Raises
    ------
    ConfigError
        Where no gap of an attribute of these names was found, or pictures are streamed.
    RunError
        Where nothing was trained or audited, or several labels.
    """
    needs_torch()
    folder = run_at(run, quiet=quiet)
    refuse_untrained(folder)
    split = _audited(folder)
    wanted = _wanted(split, groups)
    with alone_improving(folder):
        there = reload(folder, data, cache=cache)
        growing = _Growing(Retraining(folder, there, None, data, cache), split)
        growing.refuse()
        found = growing.measure(wanted) if wanted else ()
        about = GroupCurves(there.dataset.target, file_digest(folder.weights), split.split, found)
        write_record(folder.curves, about)
    return about


def _audited(run: Run) -> SplitAudit:
    split = audited_split(run)
    if run.whole is not None or split is None:
        raise RunError(
            f"{run.path} has no audit of one label.",
            expected="a run of one label whose gaps are known",
            todo=f"candid audit {run.path}",
        )
    return split


def _wanted(split: SplitAudit, groups: Sequence[str]) -> list[AuditFinding]:
    """The gaps to look into: of values of single attributes, of each story the surest."""
    stories = [s.findings for s in split.stories if s.stands_for is None]
    behind = []
    for places in stories if split.stories else [(i,) for i in range(len(split.findings))]:
        mine = [f for f in map(split.findings.__getitem__, places) if _is_behind(f)]
        behind += mine[:1]
    known = list(dict.fromkeys(f.conditions[0].attribute for f in behind))
    if missing := [name for name in groups if name not in known]:
        raise ConfigError(
            f"The audit found no gap of {missing[0]!r} alone.",
            expected=f"one of: {', '.join(known)}" if known else "a gap that was found",
            todo=did_you_mean(missing[0], known) if known else "leave --curve out",
        )
    return [f for f in behind if not groups or f.conditions[0].attribute in groups][:_MOST]


def _is_behind(f: AuditFinding) -> bool:
    return f.kind == "group" and len(f.conditions) == 1 and f.errors[0] > f.errors[1]


@dataclass(frozen=True, eq=False)
class _Group:
    """Whose curve it is: (n,) marks of the data's images."""

    finding: AuditFinding
    inside: NDArray[np.bool_]
    rest: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Growing:
    retraining: Retraining
    split: SplitAudit

    @property
    def run(self) -> Run:
        return self.retraining.run

    @property
    def data(self) -> Data:
        return self.retraining.data

    def refuse(self) -> None:
        """Raise where parts of a group cannot be trained on."""
        self.retraining.refuse()
        if self.data.streamed is not None:
            raise ConfigError(
                "Curves are not measured on pictures that are streamed.",
                expected="a pack of all pictures, of which a part can be learned from",
                todo="set data.stream = never in a new run where a pack fits on the disk",
            )

    def measure(self, wanted: Sequence[AuditFinding]) -> tuple[GroupCurve, ...]:
        groups = [self._group(f) for f in wanted]
        names = ["another seed", *(_name(g, part) for g in groups for part in SHARES)]
        with stages(names, quiet=self.run.quiet) as shown:
            with shown.begin(names[0]):
                seed = {"train": {"seed": self.run.settings.train.seed + 1}}
                control = self.retraining.train(TrainingChange(CONTROL, "another seed", "", seed))
                again = self._answers(control, self.data)
            as_it_is = self._answers(self.run, self.data)
            curves = []
            for group in groups:
                parts = []
                for part in SHARES:
                    with shown.begin(_name(group, part)):
                        parts.append(self._part(group, part))
                curves.append(self._curve(group, parts, as_it_is, again))
        return tuple(curves)

    def _group(self, finding: AuditFinding) -> _Group:
        (condition,) = finding.conditions
        dataset = self.data.dataset
        attribute = dataset.attributes[condition.attribute]
        if condition.value not in attribute.values:
            raise ConfigError(
                f"{condition.attribute!r} has numbers, of which {condition.value!r} is a range.",
                expected="an attribute with values",
                todo="name others with --group",
            )
        there = attribute.data == attribute.values.index(condition.value)
        among = (attribute.data >= 0) & (dataset.label >= 0) & self.data.store.usable
        if finding.label is not None:
            among &= dataset.label == dataset.classes.index(finding.label)
        return _Group(finding, there & among, among & ~there)

    # --- trainings -------------------------------------------------------------------------------

    def _kept(self, group: _Group, part: float) -> NDArray[np.bool_]:
        """(n,) the group's training images of so large a part of its people; parts are nested."""
        dataset = self.data.dataset
        mine = group.inside & (dataset.split == "train")
        known = dataset.persons()
        person = np.arange(len(dataset)) if known is None else known
        names = np.unique(person[mine])
        luck = np.random.default_rng(self.run.settings.train.seed).permutation(len(names))
        chosen = names[luck[: max(1, round(part * len(names)))]]
        kept: NDArray[np.bool_] = mine & np.isin(person, chosen)
        return kept

    def _part(self, group: _Group, part: float) -> tuple[int, int, NDArray[np.bool_]]:
        """People and images that were learned from, and which of all images come out wrong."""
        dataset, kept = self.data.dataset, self._kept(group, part)
        away = group.inside & (dataset.split == "train") & ~kept
        less = replace(dataset, split=np.where(away, "", dataset.split))
        data, config = replace(self.data, dataset=less), self.run.settings
        job = {"data": data.fingerprint, "settings": [repr(config.network), repr(config.train)]}
        job |= {"augment": repr(config.augment), "split": self.split.split}
        name = f"curve/{job_digest(job)[:16]}"
        file = self.run.path / IMPROVED / f"{name}.npz"
        if not file.is_file():
            made = remedy_folder(self.run, name, config, data)
            train_network(made, data)
            write_archive(file, {"wrong": self._answers(made, data)})
            shutil.rmtree(made.path)
        with reading_archive(file, expected="what a training answered", todo=f"remove {file}") as a:
            wrong = a["wrong"]
        return self._people(kept), int(np.count_nonzero(kept)), wrong

    def _people(self, kept: NDArray[np.bool_]) -> int:
        people = self.data.dataset.n_people(kept)
        return int(np.count_nonzero(kept)) if people is None else people

    def _answers(self, made: Run, data: Data) -> NDArray[np.bool_]:
        """(n,) which images of the split the network of a run gets wrong; False elsewhere."""
        rows = data.dataset.rows(self.split.split, data.store.usable)
        with loaded(made) as model:
            said = model.logits(data.store.pixels, rows, quiet=self.run.quiet)
        wrong = np.zeros(len(data.dataset), np.bool_)
        wrong[rows] = said.argmax(axis=1) != data.dataset.label[rows]
        return wrong

    # --- what they amount to ---------------------------------------------------------------------

    def _curve(
        self,
        group: _Group,
        parts: Sequence[tuple[int, int, NDArray[np.bool_]]],
        as_it_is: NDArray[np.bool_],
        again: NDArray[np.bool_],
    ) -> GroupCurve:
        dataset, audit = self.data.dataset, self.run.settings.audit
        judged = group.inside & (dataset.split == self.split.split)
        rest = group.rest & (dataset.split == self.split.split)
        everyone = group.inside & (dataset.split == "train")
        full = self._people(everyone), int(np.count_nonzero(everyone))
        seed = self.run.settings.train.seed
        trainings = [*parts, (*full, as_it_is), (*full, again)]
        seeds = [*(seed for _ in parts), seed, seed + 1]
        person = dataset.persons()
        law = fit_power_law(
            np.array([float(people) for people, _, _ in trainings]),
            np.stack([wrong[judged] for _, _, wrong in trainings]),
            dataset.persons(judged),
            draws=audit.draws,
            confidence=audit.confidence,
        )
        points = tuple(
            CurvePoint(n, images, s, share(wrong & judged, judged, person, audit.confidence))
            for (n, images, wrong), s in zip(trainings, seeds, strict=True)
        )
        others = float(as_it_is[rest].mean()) if rest.any() else math.nan
        return grown_curve(group.finding, points, law, others)


def _name(group: _Group, part: float) -> str:
    (condition,) = group.finding.conditions
    label = "" if group.finding.label is None else f" labelled {group.finding.label}"
    return f"{condition.attribute}: {condition.value}{label}, {part:.0%}"


def grown_curve(
    finding: AuditFinding, points: tuple[CurvePoint, ...], law: PowerLaw, others: float
) -> GroupCurve:
    """What trainings on parts of a group say of how many more would halve its gap.

    `points` end in those of all people; `others` is the error of the rest.
    """
    (condition,) = finding.conditions
    now = points[-1]
    error = law.error_at(now.people).value
    target = others + (error - others) / 2
    size = law.size_for(target)
    why = ""
    if not law.fall > 0:
        why = FLAT
    elif not size.value <= MOST_PEOPLE:
        why = BEYOND
    more = _less(size, now.people, undefined=bool(why))
    per = now.images / now.people
    return GroupCurve(
        attribute=condition.attribute,
        value=condition.value,
        label=finding.label,
        points=points,
        fall=law.fall_interval,
        error=error,
        others=others,
        target=target,
        more_people=more,
        more_images=replace(more, value=more.value * per, low=more.low * per, high=more.high * per),
        why=why,
    )


def _less(size: Estimate, people: int, *, undefined: bool) -> Estimate:
    """How many more than those who are there; an end beyond all planning is none."""
    if undefined:
        return replace(size, value=math.nan, low=math.nan, high=math.nan)
    high = size.high - people if size.high <= MOST_PEOPLE else math.nan
    return replace(
        size, value=max(0.0, size.value - people), low=max(0.0, size.low - people), high=high
    )
