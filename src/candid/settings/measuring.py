"""Settings of what is measured: evaluation, explanation and audit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from candid.errors import ConfigError
from candid.settings.bounds import LARGEST_SEED, refuse_words, setting

MAP_METHODS = (
    *("gradient", "smoothgrad", "integrated_gradients"),
    *("grad_cam", "occlusion", "rise"),
)
MASK_FILLS = ("mean", "blur", "noise", "other")


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Figures and their intervals."""

    draws: int = setting(1000, "bootstrap draws", 50, 100_000)
    confidence: float = setting(0.95, "confidence of every interval", 0.5, 0.999)
    reliability_bins: int = setting(15, "bins of the reliability diagram", 2, 100)
    examples: int = setting(24, "surest mistakes and least sure images to keep", 0, 500)
    tolerance: float = setting(
        0.0,
        "of a number: how far off a prediction may be to count as near; 0: 5 where the middle half "
        "of the training values spans 10 to 100, as ages in years are told, else a third of that "
        "span",
        0,
        1e12,
    )
    seed: int = setting(0, "seed of the draws", 0, LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class ExplainConfig:
    """What the network looks at, and how far the maps can be trusted."""

    make: bool = setting(True, "explain at all; candid explain does so in any case")
    budget: float = setting(
        0.0,
        "seconds after which nothing more is begun, and the report says what was left out; 0: any",
        0,
        10**8,
    )
    methods: tuple[str, ...] = setting(MAP_METHODS, "which maps to make")
    images: int = setting(
        300, "images of the split to explain at most, drawn at random; 0: all", 0, 10**8
    )
    split: Literal["train", "validation", "test"] = setting("validation", "whose images")
    explained: Literal["prediction", "label"] = setting(
        "prediction", "the class that a map speaks for: the network's answer, or the label"
    )
    groups: tuple[str, ...] = setting(
        (), "attributes whose groups get a mean map each; empty: those that go most with the label"
    )
    max_groups: int = setting(12, "how many such attributes, where none are named", 0, 1000)
    min_group: int = setting(30, "images that a group needs for a mean map", 2, 10**8)
    examples: int = setting(12, "images whose own maps are kept", 0, 500)
    regions: str = setting(
        "auto",
        "where the parts of the face are: auto, none, celeba, a file with masks or points (.npz), "
        "or five points in shares of width and height: eyes, nose, corners of the mouth",
    )
    smoothgrad_samples: int = setting(12, "SmoothGrad: noisy copies per image", 1, 1000)
    smoothgrad_noise: float = setting(
        0.15, "SmoothGrad: standard deviation, as a share of the image's range", 0, 2
    )
    integration_steps: int = setting(16, "integrated gradients: steps of the path", 1, 1000)
    occlusion_window: float = setting(
        0.25, "occlusion: the patch's side, as a share of the image's", 0.01, 0.9
    )
    occlusion_stride: float = setting(
        0.125, "occlusion: the step between patches, as a share of the image's side", 0.01, 1
    )
    rise_masks: int = setting(100, "RISE: random masks", 2, 100_000)
    rise_cells: int = setting(5, "RISE: cells of a mask per side", 2, 64)
    rise_kept: float = setting(0.5, "RISE: share of cells that are kept", 0.05, 0.95)
    check_images: int = setting(
        64, "images on which maps are checked at most; 0: no checks, no badges", 0, 10**6
    )
    curve_steps: int = setting(10, "steps of the deletion and insertion curves", 2, 200)
    max_similarity: float = setting(
        0.5,
        "highest rank correlation with the maps of randomised weights at which a method passes",
        0,
        1,
    )
    min_stability: float = setting(
        0.5, "lowest rank correlation with the maps of slightly noisy images", 0, 1
    )
    max_gap: float = setting(
        0.05,
        "integrated gradients: largest gap of completeness, as a share of the difference",
        0,
        10,
    )
    fills: tuple[str, ...] = setting(
        ("mean", "blur", "other"), f"what a masked region is filled with: {', '.join(MASK_FILLS)}"
    )
    batch_size: int = setting(
        0, "images and their copies per pass of the network; 0: what suits the device", 0, 65_536
    )
    draws: int = setting(1000, "bootstrap draws", 50, 100_000)
    confidence: float = setting(0.95, "confidence of every interval", 0.5, 0.999)
    seed: int = setting(0, "the same seed gives the same maps", 0, LARGEST_SEED)

    def __post_init__(self) -> None:
        refuse_words("explain.methods", self.methods, MAP_METHODS, "some")
        refuse_words("explain.fills", self.fills, MASK_FILLS, "some")
        if not self.methods:
            raise ConfigError(
                "explain.methods is empty.",
                expected=f"at least one of: {', '.join(MAP_METHODS)}",
                todo="set explain.methods",
            )


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """For whom the model fails."""

    splits: tuple[str, ...] = setting(
        ("test",), "which splits to audit: train, validation, test; the first is the one to read"
    )
    attributes: tuple[str, ...] = setting((), "which attributes to audit; empty: all")
    smallest: int = setting(
        10, "people (or images, where nobody knows who is who) that a group needs", 2, 10**8
    )
    most_values: int = setting(
        50, "attributes with more values than this are left out: they look like names", 2, 10_000
    )
    false_discovery_rate: float = setting(
        0.05, "share of the gaps found that may be chance", 0.0001, 0.5
    )
    pairs: bool = setting(True, "look at every pair of values of two attributes")
    intersections: int = setting(200, "pairs of values to list at most", 0, 100_000)
    slices: int = setting(10, "slices to search for; 0: no search", 0, 100)
    slice_conditions: int = setting(3, "values that make a slice at most", 1, 3)
    slice_share: float = setting(
        0.01, "smallest slice, as a share of the images (and at least 32)", 0, 0.5
    )
    shortcut_association: float = setting(
        0.2, "an attribute may be a shortcut from this association with the label on", 0, 1
    )
    findings: int = setting(40, "findings to tell of at most, the surest first", 1, 10_000)
    examples: int = setting(12, "surest mistakes to keep per finding", 0, 100)
    more: bool = setting(True, "abstention, label noise and adjusted gaps, too")
    reliability_bins: int = setting(15, "bins of the calibration error", 2, 100)
    draws: int = setting(1000, "bootstrap draws", 50, 100_000)
    confidence: float = setting(0.95, "confidence of every interval", 0.5, 0.999)
    seed: int = setting(0, "seed of the draws", 0, LARGEST_SEED)

    def __post_init__(self) -> None:
        splits = ("train", "validation", "test")
        refuse_words("audit.splits", self.splits, splits, "one or more", least=1)


@dataclass(frozen=True, slots=True)
class SeedsConfig:
    """How much is luck: the same training with other seeds."""

    count: int = setting(
        1,
        "networks to train that differ in the seed alone, from train.seed upwards; 1: the run's",
        1,
        1000,
    )


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """Every label examined by networks that did not learn from it."""

    folds: int = setting(
        0,
        "parts of the people; each is predicted by a network that learned from the others: in a "
        "run, too, where it is not 0, which for candid check is 5",
        0,
        100,
    )
    steps: int = setting(
        200, "batches that each of these networks is trained on; 0: train.steps", 0, 10**8
    )
    person_agreement: float = setting(
        0.9,
        "other pictures of a person speak against a label only where at least this share of all "
        "is labelled like most of their person: where the label is of a person, not of a moment",
        0.5,
        1,
    )
    listed: int = setting(
        1000, "labels of each kind to list at most, the likeliest first", 1, 10**6
    )

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ConfigError(
                "check.folds = 1 leaves nobody to learn from.",
                expected="2 to 100, or 0",
                todo="set check.folds=5",
            )
