"""Several labels of one network: which outputs are whose, and what they exclude."""

from __future__ import annotations

from typing import TYPE_CHECKING

from candid.data.dataset import Dataset
from candid.data.targets import classes_of, number_scale
from candid.errors import ConfigError
from candid.records import ModelCard
from candid.records.model import NumberCard
from candid.records.targets import TargetLabel, Targets
from candid.settings import Config
from candid.storage.files import numbered_name, plain_name

if TYPE_CHECKING:
    from candid.training.state import Task


def refuse_for_several(config: Config, *, is_number: bool = False) -> None:
    """Raise a ConfigError for settings of one label of classes alone.

    `is_number` says that a number alone is to be learned, and not several labels.
    """
    subject = "a number" if is_number else "several"
    aligns = config.data.align_sources and bool(config.data.source_settings)
    conflicts = {
        f"network.name = {config.network.name!r}": config.network.name == "features",
        f"train.balance = {config.train.balance!r}": config.train.balance != "none",
        f"train.loss = {config.train.loss!r}": bool(config.train.loss),
        f"check.folds = {config.check.folds}": config.check.folds > 0,
        "data.align_sources = true": aligns,
    }
    for setting in (setting for setting, applies in conflicts.items() if applies):
        raise ConfigError(
            f"{setting} is for one label, and the run is to learn {subject}.",
            expected="a network that is trained in steps, train.balance = none, no train.loss, "
            "check.folds = 0, and several data sets as they came",
            todo=f"set {setting.split(' ')[0]}, or learn one label with data.target",
        )


def build_targets(card: ModelCard, task: Task, dataset: Dataset, config: Config) -> Targets:
    """What each output of the network of `card` is."""
    from candid.training.several import target_weights

    labels: list[TargetLabel] = []
    first = 0

    def is_taken(folder: str) -> bool:  # on any system
        return folder.casefold() in {label.folder.casefold() for label in labels}

    for name, weight in zip(dataset.targets, target_weights(task, config.train), strict=True):
        classes, scale = classes_of(dataset, name), number_scale(dataset, name)
        number = (
            None if scale is None else NumberCard(tuple(scale.centres.tolist()), scale.quartiles)
        )
        folder = numbered_name(plain_name(name) or "label", is_taken)
        labels.append(TargetLabel(name, folder, classes, first, float(weight), number))
        first += len(classes)
    return Targets(tuple(labels), card, dict(dataset.targets_left_out))
