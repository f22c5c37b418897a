"""Settings of the data: which images, and how they become an array."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from candid.errors import ConfigError
from candid.settings.bounds import MOST_PIXELS, setting, without_unused

# What is said of one label, and of no several.
_ABOUT_ONE = ("class_names", "exclude_classes", "corrections")


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they become an array."""

    target: str = setting("", "the label to learn; empty: the layout's own")
    targets: tuple[str, ...] = setting(
        (),
        'several labels to learn in one training, in place of target; "*": all others that can be',
    )
    numbers: tuple[str, ...] = setting(
        (),
        "labels to learn as numbers though they look like classes, such as an age that counts from "
        "1 on with none left out",
    )
    layout: str = setting("", "how the data lies on disk; empty: recognised")
    side: int = setting(64, "pixels per side of the square that the network sees", 8, 1024)
    fit: Literal["stretch", "crop", "pad"] = setting(
        "stretch",
        "how a picture becomes a square: stretch it, crop its centre, or pad it with its mean",
    )
    attributes: tuple[str, ...] = setting((), "the attributes to audit; empty: every other column")
    image_folder: str = setting(
        "", "table, celeba, fairface: where the pictures lie; empty: beside their labels"
    )
    encoding: str = setting(
        "", "how a table is encoded, such as latin-1; empty: UTF-8, or UTF-16 by its mark"
    )
    missing: tuple[str, ...] = setting(
        ("NA", "N/A", "NaN", "null", "#N/A", "<NA>"),
        "table: the words for a missing value, in any case; an empty cell always is one",
    )
    class_names: tuple[str, ...] = setting(
        (), 'names for the classes: ["0=Female", "1=Male"]; two with one name become one'
    )
    exclude_classes: tuple[str, ...] = setting((), "classes whose images are left out")
    corrections: str = setting(
        "",
        "a file of corrections: labels that change, images that are left out, who it is; empty: "
        "none",
    )
    source_settings: tuple[str, ...] = setting(
        (),
        'of several data sets, what holds for one alone, by its name: ["faces.target=sex", '
        '"faces.class_names=["0=Female"]"]',
    )
    align_sources: bool = setting(
        False,
        "of several data sets, whether the pictures of all are brought to the frame of one before "
        "training; not where framing.steps is 0",
        off=False,
    )
    reference_source: str = setting(
        "",
        "the data set, by its name, to whose frame the others are brought; empty: the one with "
        "the most training images",
        off="",
    )
    path_column: str = setting("", "table: the column with the paths; empty: recognised")
    split_column: str = setting("", "table: the column with the splits; empty: recognised")
    person_column: str = setting("", "table: the column that says who it is; empty: recognised")
    validation_share: float = setting(
        0.1, "share of the images for validation, where the data has no split", 0, 0.9
    )
    test_share: float = setting(
        0.1, "share of the images for test, where the data has no split", 0, 0.9
    )
    max_bad_share: float = setting(
        0.05, "more unreadable images than this share of all is an error", 0, 1
    )
    max_pixels: int = setting(
        100_000_000, "an image that claims more pixels than this is listed as bad", 1, MOST_PIXELS
    )
    workers: int = setting(0, "processes that decode images; 0: one per core", 0, 1024)
    stream: Literal["auto", "always", "never"] = setting(
        "auto",
        "shards: train from a stream of them, without a pack; auto: where a pack would not fit on "
        "the disk",
    )
    stream_buffer: int = setting(
        8192, "encoded pictures in memory, from which a stream draws at random", 1, 10**7
    )
    stream_sample: int = setting(
        20_000,
        "training pictures of a stream that are packed all the same, to normalise by and to look "
        "at",
        1,
        10**8,
    )

    __repr__ = without_unused

    def __post_init__(self) -> None:
        self._settle_targets()
        for name in ("image_folder", "corrections"):  # a run that goes on elsewhere must find them
            if path := getattr(self, name):
                object.__setattr__(self, name, os.path.abspath(os.path.expanduser(path)))
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError as error:
            raise ConfigError(
                f"data.encoding = {self.encoding!r} is not possible: {error}.",
                expected="an encoding that Python knows, such as latin-1, cp1252 or utf-16",
                todo="set data.encoding",
            ) from error
        for word in self.class_names:
            if not all(word.partition("=")):
                raise ConfigError(
                    f"data.class_names holds {word!r}.",
                    expected="class=name, such as 0=Female",
                    todo="set data.class_names",
                )

    def _settle_targets(self) -> None:
        """Turn one name in `targets` into `target`; several exclude settings about one label."""
        names = tuple(dict.fromkeys(self.targets))
        conflicts = [n for n in (*_ABOUT_ONE, "target") if getattr(self, n)]
        if len(names) == 1 and names != ("*",) and self.target in ("", *names):
            object.__setattr__(self, "target", names[0])
            names = ()
        elif names and conflicts:
            raise ConfigError(
                f"data.targets names several labels, and data.{conflicts[0]} is about one.",
                expected=f"data.target, data.{', data.'.join(_ABOUT_ONE)}: all empty beside it",
                todo=f"leave data.{conflicts[0]} out, or learn one label with data.target",
            )
        object.__setattr__(self, "targets", names)

    @property
    def is_several(self) -> bool:
        """Whether a run has a folder for each label: it learns several, or a number."""
        return bool(self.targets) or (bool(self.target) and self.target in self.numbers)
