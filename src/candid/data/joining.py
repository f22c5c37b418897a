"""Several data sets joined to one, each read by its own layout.

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
from candid.data.correcting import apply_corrections_file
from candid.data.dataset import Dataset, Part
from candid.data.findings import make_finding
from candid.data.layouts.assembly import check_class_settings, check_learnable, rename_classes
from candid.data.source_settings import settings_of, source_names
from candid.data.sources import ConcatSource
from candid.data.splits import SOURCE, of_source
from candid.data.targets import first_target, with_targets
from candid.data.uniting import unite_attributes, unite_labels, unite_numbers
from candid.errors import ConfigError, TargetError, did_you_mean
from candid.records import Finding
from candid.settings import DataConfig
from candid.tables.attributes import Attribute
from candid.tables.columns import ALL, NO_SUCH_TARGET, UNCLEAR_TARGET
from candid.text.data_layouts import lacking_class


def load_labels(
    paths: Path | Sequence[Path], config: DataConfig, *, names: Sequence[str] = ()
) -> Dataset:
    """Read the labels at a path, or at several as one data set, without opening images.

    The settings' corrections are applied. `names` are those of several data sets; none: as of
    `source_names`. Raises TargetError also where one of them has no such label, or classes that no
    other has; ConfigError also where one is named twice, or settings name a missing one; DataError
    as for `layouts.load_dataset`.
    """
    if isinstance(paths, Path):
        return _apply_corrections(_load_one(paths, config), config)
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
    names = tuple(names) or source_names(paths)
    if (reference := config.reference_source) and reference not in names:
        raise ConfigError(
            f"data.reference_source = {reference!r} is none of the data sets.",
            expected=f"one of: {', '.join(names)}; or empty",
            todo=did_you_mean(reference, names),
        )
    settings = {name: settings_of(config, name, names) for name in names}
    datasets = _read_each(dict(zip(names, paths, strict=True)), settings, config)
    return _apply_corrections(join_datasets(datasets, settings, config), config)


def _apply_corrections(dataset: Dataset, config: DataConfig) -> Dataset:
    if not config.corrections:
        return dataset
    if dataset.is_number:
        raise ConfigError(
            f"The label {dataset.target!r} is a number, and data.corrections corrects classes.",
            expected="data.corrections empty for a number",
            todo="leave it out, and mend the column itself",
        )
    dataset = apply_corrections_file(dataset, config.corrections)
    check_learnable(dataset)
    return dataset


def _load_one(path: Path, config: DataConfig) -> Dataset:
    options: dict[str, Any] = {"target": first_target(config), "layout": config.layout or None}
    if not config.targets:
        return layouts.load_dataset(path, config=config, **options)
    options["config"] = replace(config, attributes=())  # targets need not be among them
    try:
        dataset = layouts.load_dataset(path, learnable=False, **options)
    except TargetError as error:
        if error.code != UNCLEAR_TARGET:
            raise
        dataset = layouts.load_dataset(path, learnable=False, **options | {"target": ALL})
    dataset = with_targets(dataset, config)
    check_learnable(dataset)
    return dataset


# --- each ----------------------------------------------------------------------------------------


def _read_each(
    paths: Mapping[str, Path], settings: Mapping[str, DataConfig], config: DataConfig
) -> dict[str, Dataset]:
    """Read each data set by its own layout.

    One without the common target is read for its layout's default, if that has the same classes.
    """
    datasets: dict[str, Dataset] = {}
    errors: dict[str, TargetError] = {}
    for name, path in paths.items():
        try:
            datasets[name] = _read(path, settings[name], settings[name].target)
        except TargetError as error:
            if error.code != NO_SUCH_TARGET or settings[name].target != config.target:
                raise error.of(name) from error
            errors[name] = error
    if not datasets:
        name, cause = next(iter(errors.items()))
        raise cause.of(name)
    classes = {c.casefold() for d in datasets.values() for c in d.classes}
    for name, cause in errors.items():
        datasets[name] = _read_default_target(paths[name], name, settings[name], classes, cause)
    _reject_mixed(datasets)
    return {name: datasets[name] for name in paths}


def _reject_mixed(datasets: Mapping[str, Dataset]) -> None:
    """Raise where the label is a number in some data sets and has classes in others."""
    number = next((name for name, d in datasets.items() if d.is_number), None)
    classes = next((name for name, d in datasets.items() if not d.is_number), None)
    if number is None or classes is None:
        return
    words = ", ".join(map(repr, datasets[classes].classes[:4]))
    raise TargetError(
        f"The target {datasets[number].target!r} is a number in {number!r}, and in {classes!r} "
        f"{datasets[classes].target!r} has the classes {words}.",
        expected="a number in all data sets, or classes in all",
        todo="where the classes are numbers, name it in data.numbers; else name another target, or "
        f"another label of {classes!r} with data.source_settings",
    )


def _read(path: Path, config: DataConfig, target: str) -> Dataset:
    config = replace(config, attributes=())  # selected among those of all data sets
    layout = config.layout or None
    return layouts.read_place(path, target=target or None, layout=layout, config=config)


def _read_default_target(
    path: Path, name: str, config: DataConfig, classes: set[str], error: TargetError
) -> Dataset:
    """Read a data set without the target for its layout's default one, if that has `classes`.

    Raises TargetError where it has not, or the layout has no default.
    """
    try:
        dataset = _read(path, config, "")
    except TargetError as unclear:
        detail, labels = "", unclear.expected
    else:
        if {c.casefold() for c in dataset.classes} == classes:
            return dataset
        words = ", ".join(map(repr, dataset.classes[:4]))
        detail = f", and its {dataset.target!r} has the classes {words}"
        labels = f"a target; {did_you_mean('', [dataset.target, *dataset.attributes])}"
    raise TargetError(
        f"The data set {name!r} has no label called {config.target!r}{detail}.",
        expected=f"{labels}; or its layout's own with the same classes as the others' "
        f"{config.target!r}",
        todo=f"name it with --set 'data.source_settings=[\"{name}.target=…\"]', and its classes, "
        "where they are other words, with data.class_names",
    ) from error


# --- joined --------------------------------------------------------------------------------------


def join_datasets(
    datasets: Mapping[str, Dataset], settings: Mapping[str, DataConfig], config: DataConfig
) -> Dataset:
    """Join data sets by name; `settings` are those of each, `config` those of all.

    Numbers are joined by their values. Raises TargetError where the classes differ; ConfigError
    where the settings name a class or an attribute that none of them has.
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
        _check_classes(datasets, target, settings, config)
        words = (word.partition("=")[2] for c in settings.values() for word in c.class_names)
        classes, label = unite_labels(parts, names, frozenset(map(str.casefold, words)))
    ids = [np.char.add(f"{name}/", d.ids) for name, d in datasets.items()]
    dataset = Dataset(
        name=" + ".join(names),
        layout=", ".join(dict.fromkeys(d.layout for d in parts)),
        target=target,
        classes=classes,
        ids=np.concatenate(ids),
        label=label,
        split=np.concatenate([d.split for d in parts]),
        source=ConcatSource([d.source for d in parts]),
        person=_concatenate_persons(parts),
        attributes=_select_attributes(*unite_attributes(parts, names, target), parts, config),
        findings=_findings(datasets, () if is_number else classes),
        split_hash=_concatenate_hashes(parts),
        numbers=(target,) if is_number else (),
        parts=tuple(Part(n, d.origin, d.layout, d.target) for n, d in datasets.items()),
    )
    check_learnable(dataset)
    return dataset


def _check_classes(
    datasets: Mapping[str, Dataset], target: str, own: Mapping[str, DataConfig], config: DataConfig
) -> None:
    """Raise where common settings name a class that no data set has, or one's own an absent one."""
    words = {n: rename_classes(d.class_words, own[n]) for n, d in datasets.items()}
    check_class_settings(
        [word for d in datasets.values() for word in d.class_words],
        [word for ws in words.values() for word in ws],
        target,
        config,
    )
    for name, dataset in datasets.items():
        defaults: dict[str, Any] = {
            key: ()
            for key in ("class_names", "exclude_classes")
            if getattr(own[name], key) == getattr(config, key)
        }
        c = replace(own[name], **defaults)
        check_class_settings(dataset.class_words, words[name], f"{dataset.target} in {name}", c)


def _concatenate_persons(datasets: Sequence[Dataset]) -> NDArray[np.int64] | None:
    """(n,) a number per person, which data sets do not share; -1 unknown."""
    if all(d.person is None for d in datasets):
        return None
    numbers, first = [], 0
    for dataset in datasets:
        number = np.full(len(dataset), -1, np.int64)
        if dataset.person is not None:
            has_person = dataset.person >= 0
            persons, index = np.unique(dataset.person[has_person], return_inverse=True)
            number[has_person] = first + index
            first += len(persons)
        numbers.append(number)
    return np.concatenate(numbers)


def _concatenate_hashes(datasets: Sequence[Dataset]) -> NDArray[np.uint64] | None:
    """(n,) the hashes by which splits were chosen, 0 where a data set has its own split."""
    if all(d.split_hash is None for d in datasets):
        return None
    return np.concatenate(
        [np.zeros(len(d), np.uint64) if d.split_hash is None else d.split_hash for d in datasets]
    )


def _select_attributes(
    attributes: dict[str, Attribute],
    original_names: Mapping[str, str],
    datasets: Sequence[Dataset],
    config: DataConfig,
) -> dict[str, Attribute]:
    """The attributes to audit, by their name or their original one; `SOURCE` always."""
    if not config.attributes:
        return attributes
    names = dict.fromkeys(config.attributes)
    known_names = {name for d in datasets for name in (*d.attributes, d.target)}
    for name in names:
        if name not in attributes and name not in known_names:
            raise ConfigError(
                f"data.attributes names {name!r}, which none of the data sets has.",
                expected=f"one of the {len(attributes)} attributes",
                todo=did_you_mean(name, attributes),
            )
    return {
        name: attribute
        for name, attribute in attributes.items()
        if name == SOURCE or name in names or original_names[name] in names
    }


def _findings(datasets: Mapping[str, Dataset], classes: Sequence[str]) -> tuple[Finding, ...]:
    """The layouts' findings, classes that some data sets lack, and whether some have no persons."""
    findings = [of_source(f, name) for name, d in datasets.items() for f in d.findings]
    classes_of = {n: {c.casefold() for c in d.classes} for n, d in datasets.items()}
    lacking: list[list[Any]] = [
        [word, without]
        for word in classes
        if (without := [n for n, words_of in classes_of.items() if word.casefold() not in words_of])
    ]
    findings.append(
        make_finding(
            "CLASSES-OF-SOME-SOURCES",
            count=len(lacking),
            of=len(classes),
            severity="warning",
            examples=tuple(lacking_class(*entry) for entry in lacking),
            lacking=lacking,
        )
    )
    unknown = {n: len(d) for n, d in datasets.items() if d.person is None}
    if 0 < len(unknown) < len(datasets):
        code, total = "PEOPLE-OF-SOME-SOURCES", sum(map(len, datasets.values()))
        many = sum(unknown.values())
        findings.append(make_finding(code, count=many, of=total, state="found", sources=[*unknown]))
    return tuple(findings)
