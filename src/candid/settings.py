"""Every setting, its default, and the sentence that explains it: one frozen dataclass per stage."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

from candid.errors import ConfigError, did_you_mean

_MOST_PIXELS = 10**9  # 3 GB once decoded
_LARGEST_SEED = 2**32 - 1  # what every generator of random numbers takes


def setting(
    default: Any,
    explanation: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with its explanation and the values that it may take.

    Every number has both bounds: what lies beyond is refused before any data is read.
    """
    about = {"explanation": explanation, "low": low, "high": high, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Which images, and how they become an array."""

    target: str = setting("", "the label to learn; empty: the layout's own")
    layout: str = setting("", "how the data lies on disk; empty: recognised")
    side: int = setting(64, "pixels per side of the square that the network sees", low=8, high=1024)
    fit: str = setting(
        "stretch",
        "how a picture becomes a square: stretch it, crop its centre, or pad it with its mean",
        choices=("stretch", "crop", "pad"),
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
    path_column: str = setting("", "table: the column with the paths; empty: recognised")
    split_column: str = setting("", "table: the column with the splits; empty: recognised")
    identity_column: str = setting("", "table: the column that says who it is; empty: recognised")
    validation_share: float = setting(
        0.1,
        "share of the images for validation, where the data has no split",
        low=0,
        high=0.9,
    )
    test_share: float = setting(
        0.1, "share of the images for test, where the data has no split", low=0, high=0.9
    )
    max_bad_share: float = setting(
        0.05, "more unreadable images than this share of all is an error", low=0, high=1
    )
    max_pixels: int = setting(
        100_000_000,
        "an image that claims more pixels than this is listed as bad",
        low=1,
        high=_MOST_PIXELS,
    )
    workers: int = setting(0, "processes that decode images; 0: one per core", low=0, high=1024)
    stream: str = setting(
        "auto",
        "shards: train from a stream of them, without a pack; auto: where a pack would not fit on "
        "the disk",
        choices=("auto", "always", "never"),
    )
    stream_buffer: int = setting(
        8192, "encoded pictures in memory, from which a stream draws at random", low=1, high=10**7
    )
    stream_sample: int = setting(
        20_000,
        "training pictures of a stream that are packed all the same, to normalise by and to look "
        "at",
        low=1,
        high=10**8,
    )

    def __post_init__(self) -> None:
        if self.image_folder:  # a run that goes on elsewhere must find the same folder
            absolute = os.path.abspath(os.path.expanduser(self.image_folder))
            object.__setattr__(self, "image_folder", absolute)
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


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The network."""

    name: str = setting(
        "deep",
        "which network; own: a module that Python handed in",
        choices=("plain", "deep", "vit", "features", "timm", "own"),
    )
    width: int = setting(
        0,
        "deep, vit: channels of the first stage, or of a token; 0: the network's own",
        low=0,
        high=1024,
    )
    depth: int = setting(
        0,
        "deep, vit: residual blocks per stage, or of attention; 0: the network's own",
        low=0,
        high=32,
    )
    members: int = setting(
        1, "deep: networks that share each batch and answer together", low=1, high=16
    )
    drop: float = setting(0.1, "vit: how often the last block is passed by", low=0, high=0.9)
    features: str = setting(
        "both",
        "features: histograms of oriented gradients, eigenfaces, or both side by side",
        choices=("hog", "eigenfaces", "both"),
    )
    classifier: str = setting(
        "logistic",
        "features: logistic regression, or a linear support vector machine",
        choices=("logistic", "svm"),
    )
    components: int = setting(400, "features: how many eigenfaces", low=1, high=6000)
    cell: int = setting(8, "features: pixels per side of the cells of gradients", low=2, high=512)
    model: str = setting("", "timm: the name of the model in that library")


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """What happens to every image of every training batch anew."""

    flip: float = setting(0.5, "probability of a horizontal flip", low=0, high=1)
    rotation_degrees: float = setting(5.0, "largest rotation either way", low=0, high=180)
    rotation: float = setting(1.0, "probability of a rotation", low=0, high=1)
    perspective_shift: float = setting(
        0.05, "largest move of a corner, as a share of half the side", low=0, high=0.9
    )
    perspective: float = setting(0.5, "probability of a perspective change", low=0, high=1)
    brightness: float = setting(
        0.45,
        "most that is added to or taken from every channel, in standard deviations",
        low=0,
        high=10,
    )
    contrast: float = setting(
        0.3, "most that contrast rises or falls, as a share of what it is", low=0, high=1
    )
    saturation: float = setting(
        0.3, "most that saturation rises or falls, as a share of what it is", low=0, high=1
    )
    erase: float = setting(0.5, "probability that each patch is erased", low=0, high=1)
    erase_patches: int = setting(1, "patches per image", low=0, high=64)
    erase_smallest: float = setting(0.02, "smallest patch, as a share of the image", low=0, high=1)
    erase_largest: float = setting(0.05, "largest patch, as a share of the image", low=0, high=1)

    def __post_init__(self) -> None:
        if self.erase_smallest > self.erase_largest:
            raise ConfigError(
                f"augment.erase_smallest = {self.erase_smallest} is above "
                f"augment.erase_largest = {self.erase_largest}.",
                expected="the smallest patch no larger than the largest",
                todo="set both",
            )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The training loop."""

    steps: int = setting(635, "batches to train on", low=1, high=10**8)
    batch_size: int = setting(
        256, "images per batch; one has no spread to normalise by", low=2, high=65_536
    )
    optimizer: str = setting(
        "muon",
        "the optimiser; sgd is with Nesterov's momentum",
        choices=("adam", "adamw", "sgd", "muon"),
    )
    learning_rate: float = setting(
        4e-3, "learning rate, the highest of the schedule", low=0, high=100
    )
    schedule: str = setting(
        "cosine",
        "the learning rate after the warm-up: constant, or falling to 0 along half a cosine",
        choices=("constant", "cosine"),
    )
    warmup: float = setting(
        0.15, "share of the steps in which the learning rate rises from 0", low=0, high=0.9
    )
    weight_decay: float = setting(
        0.02,
        "decay of weights (adamw, sgd, muon); scales and offsets are left alone",
        low=0,
        high=100,
    )
    average: float = setting(
        0.99,
        "decay of the moving average of the weights that is measured and kept; 0: no average",
        low=0,
        high=0.99999,
    )
    label_smoothing: float = setting(
        0.1, "share of each label that is spread over all classes", low=0, high=0.9
    )
    mixup: float = setting(
        0.0, "alpha of the beta distribution that two images are mixed by; 0: none", low=0, high=100
    )
    cutmix: float = setting(
        0.0,
        "alpha of the beta distribution of a patch from another image; 0: none",
        low=0,
        high=100,
    )
    first_side: int = setting(
        0,
        "pixels per side of the images at the start, growing to all of them; 0: all from the start",
        low=0,
        high=1024,
    )
    grown: float = setting(
        0.6, "share of the steps after which images have their full size", low=0.05, high=1
    )
    patience: int = setting(
        0, "stop after so many evaluations without a better one; 0: never", low=0, high=10**6
    )
    mirrored: bool = setting(
        True, "average the logits of a picture and its mirror image wherever the model predicts"
    )
    class_weights: str = setting(
        "none",
        "weights of the loss: inverse class frequency in train, or none",
        choices=("inverse", "none"),
    )
    balance: str = setting(
        "none",
        "what groups that are few weigh: group makes every combination of label and "
        "balance_attributes weigh the same, dro follows the group with the highest loss; either "
        "takes the place of class_weights",
        choices=("none", "group", "dro"),
    )
    balance_attributes: tuple[str, ...] = setting(
        (), "the attributes whose combinations with the label are balanced"
    )
    evaluations: int = setting(
        10, "how often, evenly spread, the whole validation set is measured", low=1, high=10**6
    )
    checkpoints: int = setting(
        20, "how often, evenly spread, the state is saved", low=0, high=10**6
    )
    checkpoint_seconds: float = setting(
        30.0,
        "and so long after it was saved last, or 20 times as long as saving takes, whichever is "
        "more; 0: never",
        low=0,
        high=86_400,
    )
    keep: str = setting(
        "last",
        "which weights the model has: of the best validation F1, or the last",
        choices=("best", "last"),
    )
    precision: str = setting(
        "auto",
        "arithmetic: float32, bfloat16 with float32 weights, or auto: bfloat16 where the "
        "processor has instructions for it",
        choices=("auto", "float32", "bfloat16"),
    )
    compile: str = setting(
        "auto",
        "let torch.compile capture the step of one process: always, never, or auto: on a GPU, "
        "where a small network would wait for its launches",
        choices=("auto", "always", "never"),
    )
    device: str = setting("auto", "auto, cpu, cuda, or one of several: cuda:1")
    threads: int = setting(
        0,
        "processor threads, at most one per core; 0: as many as other programs leave cores idle "
        "when the run begins; other numbers give other last digits, so a run keeps its own",
        low=0,
        high=1024,
    )
    seed: int = setting(0, "the same seed gives the same result", low=0, high=_LARGEST_SEED)

    def __post_init__(self) -> None:
        if self.balance == "none":
            return
        if not self.balance_attributes:
            raise ConfigError(
                f"train.balance = {self.balance!r} does not say between which groups.",
                expected="the attributes that make the groups",
                todo='set train.balance_attributes=["Eyeglasses"], for example',
            )
        if self.mixup or self.cutmix:
            raise ConfigError(
                f"train.balance = {self.balance!r} goes together with no mixtures of images.",
                expected="train.mixup = 0 and train.cutmix = 0: a mixture belongs to two groups",
                todo="set both to 0, or train.balance=none",
            )


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """Figures and their intervals."""

    draws: int = setting(1000, "bootstrap draws", low=50, high=100_000)
    confidence: float = setting(0.95, "confidence of every interval", low=0.5, high=0.999)
    reliability_bins: int = setting(15, "bins of the reliability diagram", low=2, high=100)
    examples: int = setting(24, "surest mistakes and least sure images to keep", low=0, high=500)
    seed: int = setting(0, "seed of the draws", low=0, high=_LARGEST_SEED)


MAP_METHODS = (
    *("gradient", "smoothgrad", "integrated_gradients"),
    *("grad_cam", "occlusion", "rise"),
)
MASK_FILLS = ("mean", "blur", "noise", "other")


@dataclass(frozen=True, slots=True)
class ExplainConfig:
    """What the network looks at, and how far the maps can be trusted."""

    methods: tuple[str, ...] = setting(MAP_METHODS, "which maps to make")
    images: int = setting(
        300, "images of the split to explain, drawn at random; 0: all", low=0, high=10**8
    )
    split: str = setting("validation", "whose images", choices=("train", "validation", "test"))
    explained: str = setting(
        "prediction",
        "the class that a map speaks for: the network's answer, or the label",
        choices=("prediction", "label"),
    )
    groups: tuple[str, ...] = setting(
        (), "attributes whose groups get a mean map each; empty: those that go most with the label"
    )
    max_groups: int = setting(
        12, "how many such attributes, where none are named", low=0, high=1000
    )
    min_group: int = setting(30, "images that a group needs for a mean map", low=2, high=10**8)
    examples: int = setting(12, "images whose own maps are kept", low=0, high=500)
    regions: str = setting(
        "auto",
        "where the parts of the face are: auto, none, celeba, a file with masks or points (.npz), "
        "or five points in shares of width and height: eyes, nose, corners of the mouth",
    )
    smoothgrad_samples: int = setting(12, "SmoothGrad: noisy copies per image", low=1, high=1000)
    smoothgrad_noise: float = setting(
        0.15, "SmoothGrad: standard deviation, as a share of the image's range", low=0, high=2
    )
    integration_steps: int = setting(
        16, "integrated gradients: steps of the path", low=1, high=1000
    )
    occlusion_window: float = setting(
        0.25, "occlusion: the patch's side, as a share of the image's", low=0.01, high=0.9
    )
    occlusion_stride: float = setting(
        0.125,
        "occlusion: the step between patches, as a share of the image's side",
        low=0.01,
        high=1,
    )
    rise_masks: int = setting(100, "RISE: random masks", low=2, high=100_000)
    rise_cells: int = setting(5, "RISE: cells of a mask per side", low=2, high=64)
    rise_kept: float = setting(0.5, "RISE: share of cells that are kept", low=0.05, high=0.95)
    check_images: int = setting(
        64, "images on which the maps are checked; 0: no checks, no badges", low=0, high=10**6
    )
    curve_steps: int = setting(10, "steps of the deletion and insertion curves", low=2, high=200)
    max_similarity: float = setting(
        0.5,
        "highest rank correlation with the maps of randomised weights at which a method passes",
        low=0,
        high=1,
    )
    min_stability: float = setting(
        0.5, "lowest rank correlation with the maps of slightly noisy images", low=0, high=1
    )
    max_gap: float = setting(
        0.05,
        "integrated gradients: largest gap of completeness, as a share of the difference",
        low=0,
        high=10,
    )
    fills: tuple[str, ...] = setting(
        ("mean", "blur", "other"), f"what a masked region is filled with: {', '.join(MASK_FILLS)}"
    )
    batch_size: int = setting(
        0,
        "images and their copies per pass of the network; 0: what suits the device",
        low=0,
        high=65_536,
    )
    draws: int = setting(1000, "bootstrap draws", low=50, high=100_000)
    confidence: float = setting(0.95, "confidence of every interval", low=0.5, high=0.999)
    seed: int = setting(0, "the same seed gives the same maps", low=0, high=_LARGEST_SEED)

    def __post_init__(self) -> None:
        for name, given, known in (
            ("methods", self.methods, MAP_METHODS),
            ("fills", self.fills, MASK_FILLS),
        ):
            strange = [word for word in given if word not in known]
            if strange or len(set(given)) < len(given):
                raise ConfigError(
                    f"explain.{name} = {list(given)} is not possible.",
                    expected=f"some of, each once: {', '.join(known)}",
                    todo=did_you_mean(strange[0], known) if strange else f"set explain.{name}",
                )
        if not self.methods:
            raise ConfigError(
                "explain.methods is empty.",
                expected=f"at least one of: {', '.join(MAP_METHODS)}",
                todo="set explain.methods",
            )


@dataclass(frozen=True, slots=True)
class ServeConfig:
    """The server: where it listens, how it batches, what it takes in at most."""

    host: str = setting("127.0.0.1", "the address to listen on; 0.0.0.0: everyone who reaches it")
    port: int = setting(8000, "the port; 0: any that is free", low=0, high=65535)
    hosts: tuple[str, ...] = setting(
        (), "names that it may be called by; empty: localhost where it listens there, else any"
    )
    origins: tuple[str, ...] = setting(
        (), "web pages from elsewhere that may ask it (CORS): https://example.org"
    )
    key_file: str = setting(
        "", "a file with the key that requests must carry; empty: $CANDID_API_KEY, or no key"
    )
    engine: str = setting(
        "auto",
        "what computes: onnx, int8 (which candid export --int8 made), torch, or auto",
        choices=("auto", "onnx", "int8", "torch"),
    )
    batch: int = setting(32, "most pictures that go through a model together", low=1, high=4096)
    wait_milliseconds: float = setting(
        2.0, "how long a picture waits for company while nothing else is computed", low=0, high=1e4
    )
    queue: int = setting(
        512, "most pictures that are decoded or wait; more are refused", low=1, high=10**6
    )
    workers: int = setting(1, "batches that are computed at the same time", low=1, high=64)
    threads: int = setting(0, "processor threads of one batch; 0: one per core", low=0, high=1024)
    decoders: int = setting(0, "threads to decode large pictures; 0: one per core", low=0, high=256)
    timeout: float = setting(30.0, "seconds for a request, and for a stop", low=0.05, high=3600)
    connections: int = setting(
        256, "most requests that are worked on; more are refused", low=1, high=65_536
    )
    max_images: int = setting(64, "most pictures in a request", low=1, high=10**6)
    max_bytes: int = setting(20_000_000, "most bytes in a request", low=1, high=10**12)
    max_memory: int = setting(
        200_000_000,
        "most bytes of all requests that are worked on (more are refused), and most that decoding "
        "their pictures takes at a time (others wait; one that needs more is refused)",
        low=1,
        high=10**12,
    )
    max_pixels: int = setting(
        50_000_000, "a picture that claims more pixels is refused", low=1, high=_MOST_PIXELS
    )
    explain_queue: int = setting(
        8, "most pictures that wait for a map; 0: no maps", low=0, high=10**6
    )

    def __post_init__(self) -> None:
        for larger, smaller in (("queue", "max_images"), ("max_memory", "max_bytes")):
            if getattr(self, larger) < getattr(self, smaller):
                raise ConfigError(
                    f"serve.{larger} = {getattr(self, larger)} is below "
                    f"serve.{smaller} = {getattr(self, smaller)}.",
                    expected="room for at least one request",
                    todo=f"set serve.{larger} or serve.{smaller}",
                )


@dataclass(frozen=True, slots=True)
class AuditConfig:
    """For whom the model fails."""

    splits: tuple[str, ...] = setting(
        ("test",), "which splits to audit: train, validation, test; the first is the one to read"
    )
    attributes: tuple[str, ...] = setting((), "which attributes to audit; empty: all")
    smallest: int = setting(
        10,
        "people (or images, where nobody knows who is who) that a group needs",
        low=2,
        high=10**8,
    )
    most_values: int = setting(
        50,
        "attributes with more values than this are left out: they look like names",
        low=2,
        high=10_000,
    )
    false_discovery_rate: float = setting(
        0.05, "share of the gaps found that may be chance", low=0.0001, high=0.5
    )
    pairs: bool = setting(True, "look at every pair of values of two attributes")
    intersections: int = setting(200, "pairs of values to list at most", low=0, high=100_000)
    slices: int = setting(10, "slices to search for; 0: no search", low=0, high=100)
    slice_conditions: int = setting(3, "values that make a slice at most", low=1, high=3)
    slice_share: float = setting(
        0.01, "smallest slice, as a share of the images (and at least 32)", low=0, high=0.5
    )
    shortcut_association: float = setting(
        0.2, "an attribute may be a shortcut from this association with the label on", low=0, high=1
    )
    findings: int = setting(40, "findings to tell of at most, the surest first", low=1, high=10_000)
    examples: int = setting(12, "surest mistakes to keep per finding", low=0, high=100)
    more: bool = setting(True, "abstention, label noise and adjusted gaps, too")
    reliability_bins: int = setting(15, "bins of the calibration error", low=2, high=100)
    draws: int = setting(1000, "bootstrap draws", low=50, high=100_000)
    confidence: float = setting(0.95, "confidence of every interval", low=0.5, high=0.999)
    seed: int = setting(0, "seed of the draws", low=0, high=_LARGEST_SEED)

    def __post_init__(self) -> None:
        known = ("train", "validation", "test")
        strange = [word for word in self.splits if word not in known]
        if strange or not self.splits or len(set(self.splits)) < len(self.splits):
            raise ConfigError(
                f"audit.splits = {list(self.splits)} is not possible.",
                expected=f"one or more of, each once: {', '.join(known)}",
                todo=did_you_mean(strange[0], known) if strange else "set audit.splits",
            )


@dataclass(frozen=True, slots=True)
class PredictConfig:
    """When the model does not answer."""

    target_error: float = setting(
        0.01,
        "answer only where the audit promises at most this share of wrong answers; 0: always",
        low=0,
        high=0.5,
    )
    false_alarms: float = setting(
        0.01,
        "share of pictures like the validation pictures that may be flagged as unlike the "
        "training data",
        low=0.0001,
        high=0.5,
    )


@dataclass(frozen=True, slots=True)
class TuneConfig:
    """The search over settings."""

    trials: int = setting(20, "settings to try, by all processes together", low=1, high=10**6)
    minutes: float = setting(
        0.0,
        "begin no trial after so many minutes; the last one and the finals come on top; 0: any",
        low=0,
        high=10**6,
    )
    images: int = setting(
        0,
        "begin no trial once so many images went through training, in all trials; 0: any",
        low=0,
        high=10**15,
    )
    search: tuple[str, ...] = setting(
        (), "what is searched: train.learning_rate=1e-4..1e-2, …; empty: the usual settings"
    )
    sampler: str = setting(
        "tpe",
        "how settings are suggested: by a tree-structured Parzen estimator, or at random",
        choices=("tpe", "random"),
    )
    startup: int = setting(
        6,
        "trials at random before the estimator suggests, and before any is pruned",
        low=1,
        high=10**6,
    )
    pruner: str = setting(
        "median",
        "which trials are stopped early: those below the median at the same evaluation, those that "
        "successive halving drops, or none",
        choices=("median", "halving", "none"),
    )
    finalists: int = setting(
        2,
        "the best trials that are repeated with fresh seeds, beside the start's settings",
        low=1,
        high=1000,
    )
    seeds: int = setting(
        3, "fresh seeds for each finalist; 0: the best single trial wins", low=0, high=100
    )
    seed: int = setting(0, "seed of the suggestions", low=0, high=_LARGEST_SEED)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a run; the defaults are those of the recipe `deep`."""

    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    explain: ExplainConfig = field(default_factory=ExplainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    predict: PredictConfig = field(default_factory=PredictConfig)
    serve: ServeConfig = field(default_factory=ServeConfig)

    def __post_init__(self) -> None:
        if self.train.batch_size < 2 * self.network.members:
            raise ConfigError(
                f"train.batch_size = {self.train.batch_size} is too few for network.members = "
                f"{self.network.members}, which divide each batch.",
                expected="two images for each network",
                todo="raise train.batch_size or lower network.members",
            )
