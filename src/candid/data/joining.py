"""Several data sets as one: each is read by its own layout, then they are joined.

An image's id begins with the name of its data set, and the attribute "source" holds that name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from candid.data import layouts
from candid.data.correcting import corrected
from candid.data.dataset import Dataset, Part
from candid.data.findings import make_finding
from candid.data.layouts.assembly import check_class_settings, check_learnable, named_classes
from candid.data.source_settings import settings_of, source_names
from candid.data.sources import JoinedSource
from candid.data.splits import SOURCE, of_source
from candid.data.targets import first_target, with_targets
from candid.data.uniting import unite_attributes, unite_labels, unite_numbers
from candid.errors import ConfigError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.columns import ALL, NO_SUCH_TARGET, UNCLEAR_TARGET
from candid.text.data_layouts import lacking_class


def load_places(
    where: Path | Sequence[Path], config: DataConfig, *, names: Sequence[str] = ()
) -> Dataset:
    """Read the labels at a path, or at several as one data set, as the settings' corrections have
    them; no picture is opened.

    `names` is what to call several data sets; none: as `source_names` does. Raises TargetError also
    where one of them has no such label, or classes that no other has; ConfigError also where one is
    named twice, or settings name one that is not there; DataError as for `layouts.load_dataset`.
    """
    if isinstance(where, Path):
        return _corrected(_load_one(where, config), config)
    if config.targets:
        raise ConfigError(
            "Several labels of several data sets cannot be learned together.",
            expected="one data set for data.targets, or one label of several",
            todo="name one data set, or one label with data.target",
        )
    if config.stream == "always":
        raise ConfigError(
            "Several data sets cannot be streamed together.",
            expected="data.stream = auto or never for several",
            todo="leave data.stream as it is, so that they are packed; or name one data set",
        )
    names = tuple(names) or source_names(where)
    if (reference := config.reference_source) and reference not in names:
        raise ConfigError(
            f"data.reference_source = {reference!r} is none of the data sets.",
            expected=f"one of: {', '.join(names)}; or empty",
            todo=did_you_mean(reference, names),
        )
    own = {name: settings_of(config, name, names) for name in names}
    found = _read_each(dict(zip(names, where, strict=True)), own, config)
    return _corrected(join_datasets(found, own, config), config)


def _corrected(dataset: Dataset, config: DataConfig) -> Dataset:
    if not config.corrections:
        return dataset
    if dataset.is_number:
        raise ConfigError(
            f"The label {dataset.target!r} is a number, and data.corrections corrects classes.",
            expected="data.corrections empty for a number",
            todo="leave it out, and mend the column itself",
        )
    dataset = corrected(dataset, config.corrections)
    check_learnable(dataset)
    return dataset


def _load_one(where: Path, config: DataConfig) -> Dataset:
    how: dict[str, Any] = {"target": first_target(config), "layout": config.layout or None}
    if not config.targets:
        return layouts.load_dataset(where, config=config, **how)
    how["config"] = replace(config, attributes=())  # a label to be learned may be none to audit
    try:
        read = layouts.load_dataset(where, learnable=False, **how)
    except TargetError as error:
        if error.code != UNCLEAR_TARGET:
            raise
        read = layouts.load_dataset(where, learnable=False, **how | {"target": ALL})
    dataset = with_targets(read, config)
    check_learnable(dataset)
    return dataset


# --- each by itself ------------------------------------------------------------------------------


def _read_each(
    where: Mapping[str, Path], own: Mapping[str, DataConfig], config: DataConfig
) -> dict[str, Dataset]:
    """Each data set by its own layout; one without the target that all were asked for by its own.

    That is taken where its classes are those of a data set that has the target.
    """
    found: dict[str, Dataset] = {}
    missed: dict[str, TargetError] = {}
    for name, path in where.items():
        try:
            found[name] = _read(path, own[name], own[name].target)
        except TargetError as error:
            if error.code != NO_SUCH_TARGET or own[name].target != config.target:
                raise error.of(name) from error
            missed[name] = error
    if not found:
        name, missing = next(iter(missed.items()))
        raise missing.of(name)
    classes = {c.casefold() for d in found.values() for c in d.classes}
    for name, missing in missed.items():
        found[name] = _by_usual_target(where[name], name, own[name], classes, missing)
    _refuse_mixed(found)
    return {name: found[name] for name in where}


def _refuse_mixed(found: Mapping[str, Dataset]) -> None:
    """Raise where the label is a number in some data sets and has classes in others."""
    number = next((name for name, d in found.items() if d.is_number), None)
    classes = next((name for name, d in found.items() if not d.is_number), None)
    if number is None or classes is None:
        return
    words = ", ".join(map(repr, found[classes].classes[:4]))
    raise TargetError(
        f"The target {found[number].target!r} is a number in {number!r}, and in {classes!r} "
        f"{found[classes].target!r} has the classes {words}.",
        expected="a number in all data sets, or classes in all",
        todo="where the classes are numbers, name it in data.numbers; else name another target, or "
        f"another label of {classes!r} with data.source_settings",
    )


def _read(path: Path, config: DataConfig, target: str) -> Dataset:
    about = replace(config, attributes=())  # chosen among those of all data sets
    return layouts.read_place(
        path, target=target or None, layout=config.layout or None, config=about
    )


def _by_usual_target(
    path: Path, name: str, config: DataConfig, classes: set[str], error: TargetError
) -> Dataset:
    """A data set that does not have the target, by its layout's own, where the classes are those.

    Raises TargetError where they are not, or the layout has none.
    """
    try:
        dataset = _read(path, config, "")
    except TargetError as unclear:
        instead, labels = "", unclear.expected
    else:
        if {c.casefold() for c in dataset.classes} == classes:
            return dataset
        words = ", ".join(map(repr, dataset.classes[:4]))
        instead = f", and its {dataset.target!r} has the classes {words}"
        labels = f"a target; {did_you_mean('', [dataset.target, *dataset.attributes])}"
    raise TargetError(
        f"The data set {name!r} has no label called {config.target!r}{instead}.",
        expected=f"{labels}; or its layout's own with the same classes as the others' "
        f"{config.target!r}",
        todo=f"name it with --set 'data.source_settings=[\"{name}.target=…\"]', and its classes, "
        "where they are other words, with data.class_names",
    ) from error


# --- all as one ----------------------------------------------------------------------------------


def join_datasets(
    datasets: Mapping[str, Dataset], own: Mapping[str, DataConfig], config: DataConfig
) -> Dataset:
    """Data sets as one, by the names that they are to have.

    `own` are the settings of each, `config` those of all.

    Numbers are joined by their values. Raises TargetError where the classes are not those of each
    other; ConfigError where the settings name a class or an attribute that none of them has.
    """
    names, parts = list(datasets), list(datasets.values())
    target = config.target or parts[0].target
    if target == SOURCE:
        raise TargetError(
            f"The label is called {SOURCE!r}, as is what several data sets are told apart by.",
            expected="another name",
            todo="rename the column",
        )
    is_number = all(d.is_number for d in parts)
    if is_number:
        classes, label = unite_numbers(parts, target)
    else:
        _check_classes(datasets, target, own, config)
        said = (word.partition("=")[2] for about in own.values() for word in about.class_names)
        classes, label = unite_labels(parts, names, frozenset(map(str.casefold, said)))
    ids = [np.char.add(f"{name}/", d.ids) for name, d in datasets.items()]
    joined = Dataset(
        name=" + ".join(names),
        layout=", ".join(dict.fromkeys(d.layout for d in parts)),
        target=target,
        classes=classes,
        ids=np.concatenate(ids),
        label=label,
        split=np.concatenate([d.split for d in parts]),
        source=JoinedSource([d.source for d in parts]),
        person=_people(parts),
        attributes=_chosen(*unite_attributes(parts, names, target), parts, config),
        findings=_findings(datasets, () if is_number else classes),
        split_hash=_hashes(parts),
        numbers=(target,) if is_number else (),
        parts=tuple(Part(n, d.origin, d.layout, d.target) for n, d in datasets.items()),
    )
    check_learnable(joined)
    return joined


def _check_classes(
    datasets: Mapping[str, Dataset], target: str, own: Mapping[str, DataConfig], config: DataConfig
) -> None:
    """Raise where settings of all name a class that none has, or those of one what it has not."""
    named = {n: named_classes(d.class_words, own[n]) for n, d in datasets.items()}
    check_class_settings(
        [word for d in datasets.values() for word in d.class_words],
        [word for some in named.values() for word in some],
        target,
        config,
    )
    for name, dataset in datasets.items():
        shared: dict[str, Any] = {
            key: ()
            for key in ("class_names", "exclude_classes")
            if getattr(own[name], key) == getattr(config, key)
        }
        about = replace(own[name], **shared)
        check_class_settings(dataset.class_words, named[name], f"{dataset.target} in {name}", about)


def _people(datasets: Sequence[Dataset]) -> NDArray[np.int64] | None:
    """(n,) a number per person, of which no two data sets share one; -1 unknown."""
    if all(d.person is None for d in datasets):
        return None
    numbers, first = [], 0
    for dataset in datasets:
        number = np.full(len(dataset), -1, np.int64)
        if dataset.person is not None:
            known = dataset.person >= 0
            people, counted = np.unique(dataset.person[known], return_inverse=True)
            number[known] = first + counted
            first += len(people)
        numbers.append(number)
    return np.concatenate(numbers)


def _hashes(datasets: Sequence[Dataset]) -> NDArray[np.uint64] | None:
    """(n,) the hashes by which splits were chosen, 0 where a data set says it itself."""
    if all(d.split_hash is None for d in datasets):
        return None
    return np.concatenate(
        [np.zeros(len(d), np.uint64) if d.split_hash is None else d.split_hash for d in datasets]
    )


def _chosen(
    united: dict[str, Attribute],
    own: Mapping[str, str],
    datasets: Sequence[Dataset],
    config: DataConfig,
) -> dict[str, Attribute]:
    """The attributes to audit, by their name or their own in a data set; `SOURCE` always."""
    if not config.attributes:
        return united
    wanted = dict.fromkeys(config.attributes)
    bare = {name for d in datasets for name in (*d.attributes, d.target)}
    for name in wanted:
        if name not in united and name not in bare:
            raise ConfigError(
                f"data.attributes names {name!r}, which none of the data sets has.",
                expected=f"one of the {len(united)} attributes",
                todo=did_you_mean(name, united),
            )
    return {
        name: attribute
        for name, attribute in united.items()
        if name == SOURCE or name in wanted or own[name] in wanted
    }


def _findings(datasets: Mapping[str, Dataset], classes: Sequence[str]) -> tuple[Finding, ...]:
    """What each layout saw, which classes some lack, and that some alone know who is who."""
    seen = [of_source(f, name) for name, d in datasets.items() for f in d.findings]
    having = {n: {c.casefold() for c in d.classes} for n, d in datasets.items()}
    lacking: list[list[Any]] = [
        [word, without]
        for word in classes
        if (without := [n for n, some in having.items() if word.casefold() not in some])
    ]
    seen.append(
        make_finding(
            "CLASSES-OF-SOME-SOURCES",
            count=len(lacking),
            of=len(classes),
            severity="warning",
            examples=tuple(lacking_class(*one) for one in lacking),
            lacking=lacking,
        )
    )
    unknown = {n: len(d) for n, d in datasets.items() if d.person is None}
    if 0 < len(unknown) < len(datasets):
        code, of = "PEOPLE-OF-SOME-SOURCES", sum(map(len, datasets.values()))
        many = sum(unknown.values())
        seen.append(make_finding(code, count=many, of=of, state="found", sources=[*unknown]))
    return tuple(seen)
