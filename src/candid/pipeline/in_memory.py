"""Images in memory, or a list of paths, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from candid.settings import Config

if TYPE_CHECKING:
    from candid.data.dataset import Dataset


def load_images(
    images: Any,
    label: Any,
    *,
    target: str = "label",
    classes: Sequence[Any] | None = None,
    person: Any = None,
    groups: Any = None,
    split: Any = None,
    config: Config | None = None,
) -> Dataset:
    """A data set of images that are in memory, or of a list of paths.

    A run on images in memory cannot find them again: what needs them later is for `train` and
    `run`, while the data set is there.

    Parameters
    ----------
    images
        uint8 pixels (n, height, width, 3), a list of such arrays, what Pillow opened, or n paths.
    label
        (n,) words, whole numbers or booleans.
    target
        What the label is called.
    classes
        The label's values in the wanted order; None: those that occur, sorted.
    person
        (n,) who is in the image.
    groups
        What to audit by: a data frame, a mapping of names to (n,) values, or one column.
    split
        (n,) train, validation or test; None: chosen by person, in the shares of the settings.
    config
        Its `data` section says the shares; None: the defaults.

    Raises
    ------
    DataError
        Where values are missing, lengths differ, or something is no image.
    """
    from candid.data.in_memory import dataset_of

    return dataset_of(
        images,
        label,
        target=target,
        classes=classes,
        person=person,
        groups=groups,
        split=split,
        config=(config or Config()).data,
    )
