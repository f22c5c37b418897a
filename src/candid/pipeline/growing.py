"""Learning curves within groups: trainings on parts of a group's people (`curve.json`).

Each is a folder below `improve/curve/` until it has answered. Its answers stay, so that the same
command goes on where it was stopped.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from candid.arrays import BoolArray
from candid.errors import ConfigError, RunError, did_you_mean
from candid.improvement.retrained import CONTROL, TrainingChange
from candid.pipeline.auditing import audited_split
from candid.pipeline.data_places import Places
from candid.pipeline.improved import lock_improving
from candid.pipeline.loading import open_network
from candid.pipeline.opening import Data, Place, needs_torch, reload, reopen_run
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
    folder = reopen_run(run, quiet=quiet)
    refuse_untrained(folder)
    split = _read_split(folder)
    gaps = _choose_gaps(split, groups)
    with lock_improving(folder):
        packed = reload(folder, data, cache=cache)
        trainer = _CurveTrainer(Retraining(folder, packed, None, data, cache), split)
        trainer.refuse()
        curves = trainer.measure(gaps) if gaps else ()
        target, model = packed.dataset.target, file_digest(folder.weights)
        record = GroupCurves(target, model, split.split, curves)
        write_record(folder.curves, record)
    return record


def _read_split(run: Run) -> SplitAudit:
    split = audited_split(run)
    if run.parent is not None or split is None:
        raise RunError(
            f"{run.path} has no audit of one label.",
            expected="a run of one label whose gaps are known",
            todo=f"candid audit {run.path}",
        )
    return split


def _choose_gaps(split: SplitAudit, groups: Sequence[str]) -> list[AuditFinding]:
    """The gaps to measure: of values of single attributes, the surest of each story."""
    stories = [s.findings for s in split.stories if s.stands_for is None]
    gaps = []
    for indices in stories if split.stories else [(i,) for i in range(len(split.findings))]:
        findings = [f for f in map(split.findings.__getitem__, indices) if _is_behind(f)]
        gaps += findings[:1]
    attributes = list(dict.fromkeys(f.conditions[0].attribute for f in gaps))
    if missing := [name for name in groups if name not in attributes]:
        raise ConfigError(
            f"The audit found no gap of {missing[0]!r} alone.",
            expected=f"one of: {', '.join(attributes)}" if attributes else "a gap that was found",
            todo=did_you_mean(missing[0], attributes) if attributes else "leave --curve out",
        )
    return [f for f in gaps if not groups or f.conditions[0].attribute in groups][:_MOST]


def _is_behind(f: AuditFinding) -> bool:
    return f.kind == "group" and len(f.conditions) == 1 and f.errors[0] > f.errors[1]


@dataclass(frozen=True, eq=False)
class _Group:
    """A finding with masks (n,) of its group's images and of the rest."""

    finding: AuditFinding
    inside: BoolArray
    rest: BoolArray


@dataclass(frozen=True, eq=False)
class _CurveTrainer:
    retraining: Retraining
    split: SplitAudit

    @property
    def run(self) -> Run:
        return self.retraining.run

    @property
    def data(self) -> Data:
        return self.retraining.data

    def refuse(self) -> None:
        """Raise where the run cannot be trained anew on parts of a group."""
        self.retraining.refuse()
        if self.data.streamed is not None:
            raise ConfigError(
                "Curves are not measured on pictures that are streamed.",
                expected="a pack of all pictures, of which a part can be learned from",
                todo="set data.stream = never in a new run where a pack fits on the disk",
            )

    def measure(self, gaps: Sequence[AuditFinding]) -> tuple[GroupCurve, ...]:
        groups = [self._find_group(f) for f in gaps]
        names = ["another seed", *(_stage_name(g, part) for g in groups for part in SHARES)]
        with stages(names, quiet=self.run.quiet) as display:
            with display.begin(names[0]):
                seed = {"train": {"seed": self.run.settings.train.seed + 1}}
                control = self.retraining.train(TrainingChange(CONTROL, "another seed", "", seed))
                repeated = self._find_errors(control, self.data)
            original = self._find_errors(self.run, self.data)
            curves = []
            for group in groups:
                parts = []
                for part in SHARES:
                    with display.begin(_stage_name(group, part)):
                        parts.append(self._train_part(group, part))
                curves.append(self._build_curve(group, parts, original, repeated))
        return tuple(curves)

    def _find_group(self, finding: AuditFinding) -> _Group:
        (condition,) = finding.conditions
        dataset = self.data.dataset
        attribute = dataset.attributes[condition.attribute]
        if condition.value not in attribute.values:
            raise ConfigError(
                f"{condition.attribute!r} has numbers, of which {condition.value!r} is a range.",
                expected="an attribute with values",
                todo="name others with --group",
            )
        has_value = attribute.data == attribute.values.index(condition.value)
        usable = (attribute.data >= 0) & (dataset.label >= 0) & self.data.store.usable
        if finding.label is not None:
            usable &= dataset.label == dataset.classes.index(finding.label)
        return _Group(finding, has_value & usable, usable & ~has_value)

    # --- trainings -------------------------------------------------------------------------------

    def _select_images(self, group: _Group, part: float) -> BoolArray:
        """(n,) mask of the group's training images of a part of its people; parts are nested."""
        dataset = self.data.dataset
        training = group.inside & (dataset.split == "train")
        persons = dataset.persons()
        person = np.arange(len(dataset)) if persons is None else persons
        names = np.unique(person[training])
        order = np.random.default_rng(self.run.settings.train.seed).permutation(len(names))
        selected = names[order[: max(1, round(part * len(names)))]]
        subset: BoolArray = training & np.isin(person, selected)
        return subset

    def _train_part(self, group: _Group, part: float) -> tuple[int, int, BoolArray]:
        """Numbers of people and images that are learned from, and (n,) mask of the errors."""
        dataset, mask = self.data.dataset, self._select_images(group, part)
        removed = group.inside & (dataset.split == "train") & ~mask
        reduced = replace(dataset, split=np.where(removed, "", dataset.split))
        data, config = replace(self.data, dataset=reduced), self.run.settings
        job = {"data": data.fingerprint, "settings": [repr(config.network), repr(config.train)]}
        job |= {"augment": repr(config.augment), "split": self.split.split}
        name = f"curve/{job_digest(job)[:16]}"
        file = self.run.path / IMPROVED / f"{name}.npz"
        if not file.is_file():
            trained_run = remedy_folder(self.run, name, config, data)
            train_network(trained_run, data)
            write_archive(file, {"wrong": self._find_errors(trained_run, data)})
            shutil.rmtree(trained_run.path)
        with reading_archive(file, expected="what a training answered", todo=f"remove {file}") as a:
            wrong = a["wrong"]
        return self._count_people(mask), int(np.count_nonzero(mask)), wrong

    def _count_people(self, mask: BoolArray) -> int:
        people = self.data.dataset.n_people(mask)
        return int(np.count_nonzero(mask)) if people is None else people

    def _find_errors(self, run: Run, data: Data) -> BoolArray:
        """(n,) mask of the split's images that a run's network gets wrong; False elsewhere."""
        rows = data.dataset.rows(self.split.split, data.store.usable)
        with open_network(run) as model:
            logits = model.logits(data.store.pixels, rows, quiet=self.run.quiet)
        wrong = np.zeros(len(data.dataset), np.bool_)
        wrong[rows] = logits.argmax(axis=1) != data.dataset.label[rows]
        return wrong

    # --- what they amount to ---------------------------------------------------------------------

    def _build_curve(
        self,
        group: _Group,
        parts: Sequence[tuple[int, int, BoolArray]],
        original: BoolArray,
        repeated: BoolArray,
    ) -> GroupCurve:
        dataset, audit = self.data.dataset, self.run.settings.audit
        mask = group.inside & (dataset.split == self.split.split)
        rest = group.rest & (dataset.split == self.split.split)
        training = group.inside & (dataset.split == "train")
        full = self._count_people(training), int(np.count_nonzero(training))
        seed = self.run.settings.train.seed
        trainings = [*parts, (*full, original), (*full, repeated)]
        seeds = [*(seed for _ in parts), seed, seed + 1]
        person = dataset.persons()
        law = fit_power_law(
            np.array([float(people) for people, _, _ in trainings]),
            np.stack([wrong[mask] for _, _, wrong in trainings]),
            dataset.persons(mask),
            draws=audit.draws,
            confidence=audit.confidence,
        )
        points = tuple(
            CurvePoint(n, images, s, share(wrong & mask, mask, person, audit.confidence))
            for (n, images, wrong), s in zip(trainings, seeds, strict=True)
        )
        others = float(original[rest].mean()) if rest.any() else math.nan
        return build_curve(group.finding, points, law, others)


def _stage_name(group: _Group, part: float) -> str:
    (condition,) = group.finding.conditions
    label = "" if group.finding.label is None else f" labelled {group.finding.label}"
    return f"{condition.attribute}: {condition.value}{label}, {part:.0%}"


def build_curve(
    finding: AuditFinding, points: tuple[CurvePoint, ...], law: PowerLaw, others: float
) -> GroupCurve:
    """How many more people would halve a gap; the last of `points` are of all people.

    `others` is the error of the rest.
    """
    (condition,) = finding.conditions
    now = points[-1]
    error = law.error_at(now.people).value
    target = others + (error - others) / 2
    size = law.size_for(target)
    reason = ""
    if not law.fall > 0:
        reason = FLAT
    elif not size.value <= MOST_PEOPLE:
        reason = BEYOND
    more = _subtract_people(size, now.people, undefined=bool(reason))
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
        more_images=_scale(more, now.images / now.people),
        why=reason,
    )


def _scale(size: Estimate, factor: float) -> Estimate:
    return replace(size, value=size.value * factor, low=size.low * factor, high=size.high * factor)


def _subtract_people(size: Estimate, people: int, *, undefined: bool) -> Estimate:
    """How many more people than the present ones; NaN for an end beyond all planning."""
    if undefined:
        return replace(size, value=math.nan, low=math.nan, high=math.nan)
    high = size.high - people if size.high <= MOST_PEOPLE else math.nan
    return replace(
        size, value=max(0.0, size.value - people), low=max(0.0, size.low - people), high=high
    )
