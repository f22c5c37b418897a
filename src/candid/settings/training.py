"""Settings of training: augmentation, framing and the loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from candid.errors import ConfigError
from candid.settings.bounds import LARGEST_SEED, setting, without_unused
from candid.settings.named_parts import refuse_no_part


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """What happens to every image of every training batch anew."""

    flip: float = setting(0.5, "probability of a horizontal flip", 0, 1)
    rotation_degrees: float = setting(5.0, "largest rotation either way", 0, 180)
    rotation: float = setting(1.0, "probability of a rotation", 0, 1)
    perspective_shift: float = setting(
        0.05, "largest move of a corner, as a share of half the side", 0, 0.9
    )
    perspective: float = setting(0.5, "probability of a perspective change", 0, 1)
    zoom: float = setting(
        0.0, "largest change of scale: by a factor from e^-zoom to e^zoom, uniform in its log", 0, 2
    )
    aspect: float = setting(
        0.0, "largest stretch: width by e^aspect and height by its inverse, or the other way", 0, 1
    )
    shift: float = setting(0.0, "largest move either way, as a share of the side", 0, 1)
    outside: Literal["border", "reflection"] = setting(
        "border",
        "what stands where a change reaches outside the image: its edge, or its mirror",
    )
    crop: float = setting(
        0.1,
        "share of the images of which a rectangle is left, with its mirror image around it, as a "
        "picture that was cropped tightly is read in the frame of the others",
        0,
        1,
        off=0.0,
    )
    crop_smallest: float = setting(
        0.45,
        "least that such a crop leaves of the height and of the width",
        0.1,
        1,
        off=0.45,
    )
    brightness: float = setting(
        0.45, "most that is added to or taken from every channel, in standard deviations", 0, 10
    )
    contrast: float = setting(
        0.3, "most that contrast rises or falls, as a share of what it is", 0, 1
    )
    saturation: float = setting(
        0.3, "most that saturation rises or falls, as a share of what it is", 0, 1
    )
    erase: float = setting(0.1, "probability that each patch is erased", 0, 1)
    erase_patches: int = setting(1, "patches per image", 0, 64)
    erase_smallest: float = setting(0.02, "smallest patch, as a share of the image", 0, 1)
    erase_largest: float = setting(0.05, "largest patch, as a share of the image", 0, 1)
    extra: str = setting(
        "",
        "package.module:function of your own, from normalised images (batch, 3, side, side) and a "
        "random generator to images, after all else; empty: none",
        off="",
    )

    __repr__ = without_unused

    def __post_init__(self) -> None:
        refuse_no_part("augment.extra", self.extra)
        if self.erase_smallest > self.erase_largest:
            raise ConfigError(
                f"augment.erase_smallest = {self.erase_smallest} is above "
                f"augment.erase_largest = {self.erase_largest}.",
                expected="the smallest patch no larger than the largest",
                todo="set both",
            )


@dataclass(frozen=True, slots=True)
class FramingConfig:
    """The network that brings pictures to the frame of the training pictures."""

    steps: int = setting(
        -1,
        "batches that it is trained on; -1: so many that it sees as many images as the classifier, "
        "at most 1,800; 0: no such network, and pictures are taken as they come",
        -1,
        10**7,
    )
    batch_size: int = setting(64, "images per batch; 0: train.batch_size", 0, 65_536)
    learning_rate: float = setting(5e-3, "learning rate, the highest of the schedule", 0, 100)
    width: int = setting(16, "channels of its first stage", 1, 256)
    scale: float = setting(
        0.95, "largest change of scale that it learns to undo: a factor from e^-scale to e^scale",
        0, 2,
    )  # fmt: skip
    aspect: float = setting(0.35, "largest stretch that it learns to undo, as a logarithm", 0, 1)
    shift: float = setting(
        0.4, "largest move that it learns to undo, as a share of the smaller of picture and frame",
        0, 1,
    )  # fmt: skip
    rotation_degrees: float = setting(20.0, "largest rotation that it learns to undo", 0, 180)
    looks: int = setting(2, "how often it looks: each look undoes what the last one left", 1, 5)
    untouched: float = setting(
        0.8,
        "share of the validation pictures that are left as they are, since no more is found in "
        "them than noise",
        0.5,
        0.9999,
    )


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The training loop."""

    steps: int = setting(635, "batches to train on", 1, 10**8)
    batch_size: int = setting(256, "images per batch; one has no spread to normalise by", 2, 65_536)
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = setting(
        "muon", "the optimiser; sgd is with Nesterov's momentum"
    )
    learning_rate: float = setting(4e-3, "learning rate, the highest of the schedule", 0, 100)
    schedule: Literal["constant", "cosine"] = setting(
        "cosine",
        "the learning rate after the warm-up: constant, or falling to 0 along half a cosine",
    )
    warmup: float = setting(
        0.15, "share of the steps in which the learning rate rises from 0", 0, 0.9
    )
    weight_decay: float = setting(
        0.02, "decay of weights (adamw, sgd, muon); scales and offsets are left alone", 0, 100
    )
    ema_decay: float = setting(
        0.99,
        "decay of the moving average of the weights that is measured and kept; 0: no average",
        0,
        0.99999,
    )
    label_smoothing: float = setting(
        0.1, "share of each label that is spread over all classes", 0, 0.9
    )
    loss: str = setting(
        "",
        "package.module:function of your own, from logits (batch, classes) and classes (batch,) to "
        "the loss of each image, in place of cross-entropy and of label smoothing; empty: none",
        off="",
    )
    mixup: float = setting(
        0.0, "alpha of the beta distribution that two images are mixed by; 0: none", 0, 100
    )
    cutmix: float = setting(
        0.0, "alpha of the beta distribution of a patch from another image; 0: none", 0, 100
    )
    progressive_side: int = setting(
        0,
        "pixels per side of the images at the start, growing to all of them; 0: all from the start",
        0,
        1024,
    )
    progressive_share: float = setting(
        0.6, "share of the steps after which images have their full size", 0.05, 1
    )
    patience: int = setting(
        0, "stop after so many evaluations without a better one; 0: never", 0, 10**6
    )
    flip_tta: bool = setting(
        True, "average the logits of a picture and its mirror image wherever the model predicts"
    )
    class_weights: Literal["inverse", "none"] = setting(
        "none", "weights of the loss: inverse class frequency in train, or none"
    )
    target_weights: Literal["inverse", "none"] = setting(
        "inverse",
        "of several labels, weights of their losses: inverse to what their base rates alone would "
        "give, so that rare ones are not drowned, and none below that of two classes in balance; "
        "or none, which serves labels in balance",
        off="inverse",
    )
    balance: Literal["none", "group", "reweighing", "dro"] = setting(
        "none",
        "what groups that are few weigh: group makes every combination of label and "
        "balance_attributes weigh the same, reweighing makes label and balance_attributes "
        "independent, dro follows the group with the highest loss; each takes the place of "
        "class_weights",
    )
    balance_attributes: tuple[str, ...] = setting(
        (), "the attributes whose combinations with the label are balanced"
    )
    evaluations: int = setting(
        10, "how often, evenly spread, the whole validation set is measured", 1, 10**6
    )
    checkpoints: int = setting(20, "how often, evenly spread, the state is saved", 0, 10**6)
    checkpoint_seconds: float = setting(
        30.0,
        "and so long after it was saved last, or 20 times as long as saving takes, whichever is "
        "more; 0: never",
        0,
        86_400,
    )
    keep: Literal["best", "last"] = setting(
        "last", "which weights the model has: of the best validation F1, or the last"
    )
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "auto",
        "arithmetic: float32, bfloat16 with float32 weights, or auto: bfloat16 where the "
        "processor has instructions for it",
    )
    compile: Literal["auto", "always", "never"] = setting(
        "auto",
        "let torch.compile capture the step of one process: always, never, or auto: on a GPU, "
        "where a small network would wait for its launches",
    )
    device: str = setting("auto", "auto, cpu, cuda, or one of several: cuda:1")
    threads: int = setting(
        0,
        "processor threads, at most one per core; 0: as many as other programs leave cores idle "
        "when the run begins; other numbers give other last digits, so a run keeps its own",
        0,
        1024,
    )
    seed: int = setting(0, "the same seed gives the same result", 0, LARGEST_SEED)
    initial: str = setting(
        "",
        "a run, or a .safetensors file of the same network, whose weights training begins with; "
        "empty: with fresh ones",
        off="",
    )
    freeze: int = setting(
        0,
        "leading layers that stay as they begin; a layer is a convolution or a matrix, with what "
        "follows it up to the next; -1: all but the last",
        -1,
        10_000,
        off=0,
    )
    depth_decay: float = setting(
        1.0,
        "factor on the learning rate per layer from the last towards the first; 1: one rate for "
        "all",
        0.01,
        1,
        off=1.0,
    )

    __repr__ = without_unused

    def __post_init__(self) -> None:
        refuse_no_part("train.loss", self.loss)
        if self.initial:  # a run that is repeated elsewhere must find it
            object.__setattr__(self, "initial", os.path.abspath(os.path.expanduser(self.initial)))
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
