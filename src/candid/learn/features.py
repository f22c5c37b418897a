"""Extraction and classification apart: HOG and eigenfaces, and a linear classifier behind them.

What was done before networks learned their own features. Extraction is fixed (histograms of
oriented gradients) or learned without labels (principal components of the pixels); scikit-learn
fits the classifier. The result is a module like any network: the same weights file, the same
verbs, and gradients back to the pixels. HOG is written with the operations of torch for that
reason; scikit-image's `hog` is what the tests hold it to.

N. Dalal and B. Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
M. Turk and A. Pentland, "Eigenfaces for recognition", 1991.
"""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from candid.errors import ConfigError, DependencyError

if TYPE_CHECKING:
    from candid.learn.forward import Images

Kind = Literal["hog", "eigenfaces", "both"]
Classifier = Literal["logistic", "svm"]

KINDS: tuple[Kind, ...] = ("hog", "eigenfaces", "both")
CLASSIFIERS: tuple[Classifier, ...] = ("logistic", "svm")


# --- extraction ----------------------------------------------------------------------------------


class Hog(nn.Module):
    """Histograms of oriented gradients: how strong edges of each direction are, place by place.

    At every pixel the colour channel with the strongest gradient counts. Its length goes into one
    of `orientations` equal parts of 180 degrees, averaged over cells of `cell` × `cell` pixels;
    every block of `block` × `block` cells is normalised by L2-Hys. The order of the features and
    every detail are those of `skimage.feature.hog`. It holds no parameters.

    Raises
    ------
    ConfigError
        Where the image is smaller than one block.
    """

    def __init__(self, side: int, *, cell: int = 8, block: int = 2, orientations: int = 9) -> None:
        super().__init__()
        blocks = side // cell - block + 1
        if blocks < 1:
            raise ConfigError(
                f"Histograms of gradients need images larger than {side} pixels per side.",
                expected=f"at least {cell * block}: {block} cells of {cell} pixels",
                todo="set data.side, or network.features=eigenfaces",
            )
        self.cell, self.block, self.orientations = cell, block, orientations
        self.length = (blocks * block) ** 2 * orientations

    def extra_repr(self) -> str:
        """For the report's drawing."""
        return f"cell={self.cell}, block={self.block}, orientations={self.orientations}"

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 3, side, side) → (batch, blocks² · block² · orientations)."""
        down, right = self._strongest(images)  # each (batch, side, side)
        square = down.square() + right.square()
        # The root has no slope at 0, and a plain wall no edge.
        length = torch.where(square > 0, square.clamp_min(1e-30).sqrt(), torch.zeros_like(square))
        cells = self._cells(length, self._bins(down, right))
        return self._blocks(cells).flatten(1)

    @staticmethod
    def _strongest(images: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the channel where it is longest; 0 at the outer pixels."""
        down = F.pad(images[:, :, 2:] - images[:, :, :-2], (0, 0, 1, 1))
        right = F.pad(images[:, :, :, 2:] - images[:, :, :, :-2], (1, 1, 0, 0))
        square = down.square() + right.square()
        best_down, best_right, best = down[:, 0], right[:, 0], square[:, 0]
        for channel in range(1, images.shape[1]):
            longer = square[:, channel] > best
            best_down = torch.where(longer, down[:, channel], best_down)
            best_right = torch.where(longer, right[:, channel], best_right)
            best = torch.where(longer, square[:, channel], best)
        return best_down, best_right

    def _bins(self, down: Tensor, right: Tensor) -> Tensor:
        """Which part of the half circle each direction lies in, without an arc tangent.

        A direction and its opposite are one. It lies beyond as many of the borders between the
        parts as it has a positive cross product with.
        """
        upper = (down > 0) | ((down == 0) & (right >= 0))
        down, right = torch.where(upper, down, -down), torch.where(upper, right, -right)
        beyond = torch.zeros_like(down)
        for k in range(1, self.orientations):
            angle = math.pi * k / self.orientations
            beyond = beyond + (down * math.cos(angle) >= right * math.sin(angle)).to(down.dtype)
        return beyond

    def _cells(self, length: Tensor, bins: Tensor) -> Tensor:
        """(batch, orientations, cells, cells): mean length per direction in every cell."""
        parts = [
            torch.where(bins == k, length, torch.zeros_like(length))
            for k in range(self.orientations)
        ]
        return F.avg_pool2d(torch.stack(parts, dim=1), self.cell)

    def _blocks(self, cells: Tensor) -> Tensor:
        """(batch, blocks, blocks, block, block, orientations), normalised by L2-Hys."""
        tiles = cells.unfold(2, self.block, 1).unfold(3, self.block, 1)
        tiles = tiles.permute(0, 2, 3, 4, 5, 1)
        tiles = _unit(tiles).clamp_max(0.2)
        return _unit(tiles)


def _unit(blocks: Tensor) -> Tensor:
    """Every block divided by its length; scikit-image's constant keeps empty ones at 0."""
    return blocks / (blocks.square().sum((3, 4, 5), keepdim=True) + 1e-10).sqrt()


# --- the module ----------------------------------------------------------------------------------


class Features(nn.Module):
    """Fixed features and a linear classifier, with the face of a network.

    Until `fit` has filled it, its weights are zeros and every class is as probable as another.

    Parameters
    ----------
    side, classes
        Pixels per side of the images, and how many classes there are.
    features
        "hog", "eigenfaces" (the pixels' principal components), or "both" side by side.
    classifier
        "logistic": logistic regression. "svm": a linear support vector machine, whose margins
        Platt's sigmoid makes probabilities.
    components
        How many eigenfaces.
    cell
        Pixels per side of HOG's cells.

    Raises
    ------
    ConfigError
        For another word, or images too small for the features.
    """

    def __init__(
        self,
        side: int,
        classes: int,
        *,
        features: str = "both",
        classifier: str = "logistic",
        components: int = 400,
        cell: int = 8,
    ) -> None:
        super().__init__()
        _known("features", features, KINDS)
        _known("classifier", classifier, CLASSIFIERS)
        pixels = 3 * side * side
        if features != "hog" and components > pixels:
            raise ConfigError(
                f"{components} eigenfaces are more than {side} × {side} pixels have.",
                expected=f"at most {pixels}",
                todo="set network.components",
            )
        self.classifier = classifier
        self.hog = Hog(side, cell=cell) if features != "eigenfaces" else None
        self.eigenfaces = None if features == "hog" else _zeros(pixels, components)
        length = (0 if self.hog is None else self.hog.length) + (
            0 if self.eigenfaces is None else components
        )
        self.head = _zeros(length, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, side, side)."""
        # Always in float32: there is little to win, and scikit-learn fitted it so.
        with torch.autocast(images.device.type, enabled=False):
            margins: Tensor = self.head(self.extract(images.float()))
        if self.classifier == "svm":
            # Each class against the rest: the softmax of these divides the sigmoids by their sum.
            return F.logsigmoid(margins)
        return margins

    def extract(self, images: Tensor) -> Tensor:
        """(batch, features) of normalised images (batch, 3, side, side)."""
        parts = [] if self.hog is None else [self.hog(images)]
        if self.eigenfaces is not None:
            parts.append(self.eigenfaces(images.flatten(1)))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _known(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        raise ConfigError(
            f"network.{name} = {word!r} is not possible.",
            expected=f"one of: {', '.join(known)}",
            todo=f"set network.{name}",
        )


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


# --- fitting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """What fitting took.

    `seconds` are those of extraction (eigenfaces included) and of the classifier. `converged` is
    False where scikit-learn stopped at its limit of iterations.
    """

    images: int
    features: int
    seconds: tuple[float, float]
    iterations: int
    converged: bool


# scikit-learn's C. Features are standardised and there are thousands of them, hence so small;
# measured on CelebA.
STRENGTH = {"logistic": 1e-2, "svm": 1e-4}
_MOST_ITERATIONS = 300
# More images tell the principal components no better, and memory would grow with them.
_MOST_FOR_COMPONENTS = 6000
_NEVER = -50.0  # the logit of a class without training images


def fit(
    network: Features,
    images: Images,
    label: NDArray[np.integer[Any]],
    train: NDArray[np.intp],
    validation: NDArray[np.intp],
    *,
    strength: float = 0.0,
    balanced: bool = True,
    seed: int = 0,
    quiet: bool = True,
) -> Fitted:
    """Find the eigenfaces and fit the classifier of `network`, in place.

    Parameters
    ----------
    network
        On any device, which then extracts; scikit-learn works on the CPU.
    images
        The packed pixels and how they are normalised.
    label
        (n,) indices of classes.
    train
        Rows to fit on.
    validation
        Rows on which the sigmoids of "svm" are fitted; "logistic" does without.
    strength
        scikit-learn's C, the inverse of the penalty on the weights; 0: that of `STRENGTH`.
    balanced
        Whether every class weighs the same, however many images it has.
    seed
        Of the images that the eigenfaces are found on, and of the solvers.
    quiet
        No progress bar.

    Raises
    ------
    DependencyError
        Where scikit-learn is not installed.
    """
    _needs_sklearn()
    strength = strength or STRENGTH[network.classifier]
    began = time.monotonic()
    if network.eigenfaces is not None:
        _find_eigenfaces(network.eigenfaces, images, train, seed)
    # In a file that the system pages in and out: the features of many images need not fit memory.
    with tempfile.TemporaryFile() as file:
        found = np.memmap(file, np.float32, "w+", shape=(len(train), network.head.in_features))
        mean, scale = _extract_into(found, network, images, train, quiet)
        extracted = time.monotonic()
        model = _fitted(network.classifier, found, label[train], strength, balanced, seed)
        del found
    converged = int(np.max(model.n_iter_)) < model.max_iter
    if network.classifier == "logistic":
        rows = (model.coef_, model.intercept_)
        if len(model.classes_) == 2:  # one row: half of it for and half against
            rows = _mirrored(0.5 * model.coef_, 0.5 * model.intercept_)
    else:
        parts = [
            (_features(network, images, validation[block]) - mean) * scale
            for block in _blocks_of(len(validation))
        ]
        rows = _with_sigmoids(model, parts, label[validation])
    _set_head(network.head, model.classes_, rows, mean, scale)
    return Fitted(
        images=len(train),
        features=network.head.in_features,
        seconds=(extracted - began, time.monotonic() - extracted),
        iterations=int(np.max(model.n_iter_)),
        converged=converged,
    )


def _needs_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "The network 'features' needs scikit-learn.",
            expected="the extra 'features'",
            todo="pip install 'candid[features]'",
        ) from error


def _find_eigenfaces(linear: nn.Linear, images: Images, train: NDArray[np.intp], seed: int) -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(seed)
    some = np.sort(rng.permutation(train)[:_MOST_FOR_COMPONENTS])
    flat = images.batch(some, torch.device("cpu")).flatten(1).numpy()
    # Fewer images than components: the rest stay zeros, which tell nothing apart.
    k = min(linear.out_features, len(some))
    pca = PCA(k, svd_solver="randomized", random_state=seed).fit(flat)
    components = torch.from_numpy(pca.components_)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
        linear.weight[:k] = components
        linear.bias[:k] = -(components @ torch.from_numpy(pca.mean_))


@torch.no_grad()
def _features(network: Features, images: Images, rows: NDArray[np.intp]) -> NDArray[np.float32]:
    device = next(network.parameters()).device
    found: NDArray[np.float32] = network.extract(images.batch(rows, device)).cpu().numpy()
    return found


def _extract_into(
    found: NDArray[np.float32],
    network: Features,
    images: Images,
    rows: NDArray[np.intp],
    quiet: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write the standardised features of the rows; return their mean and the factor to it."""
    sums = np.zeros((2, found.shape[1]))
    blocks = list(_blocks_of(len(rows)))
    for block in tqdm(blocks, desc="extract", unit="batch", disable=quiet or None):
        found[block] = part = _features(network, images, rows[block])
        exact = part.astype(np.float64)
        sums += exact.sum(0), np.square(exact).sum(0)
    mean, square = sums / len(rows)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    scale = 1 / np.where(std > 1e-6, std, 1.0)  # what never changes tells nothing
    centre, factor = mean.astype(np.float32), scale.astype(np.float32)
    for block in blocks:
        found[block] = (found[block] - centre) * factor
    return centre, factor


def _blocks_of(n: int, size: int = 256) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, start + size)


def _fitted(
    kind: str,
    features: NDArray[np.float32],
    label: NDArray[np.integer[Any]],
    strength: float,
    balanced: bool,
    seed: int,
) -> Any:
    """scikit-learn's classifier; neither copies the features."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, SGDClassifier

    weights = "balanced" if balanced else None
    if kind == "logistic":
        model = LogisticRegression(
            C=strength, class_weight=weights, max_iter=_MOST_ITERATIONS, tol=1e-5
        )
    else:
        model = SGDClassifier(  # with the hinge loss: a linear support vector machine
            loss="hinge", alpha=1 / (strength * len(label)), class_weight=weights, average=True,
            max_iter=_MOST_ITERATIONS, tol=1e-3, random_state=seed,
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is told in the result
        return model.fit(features, label)


Rows = tuple[NDArray[np.float64], NDArray[np.float64]]  # weights (rows, features), offsets (rows,)


def _mirrored(weight: NDArray[np.float64], offset: NDArray[np.float64]) -> Rows:
    """The row for the second of two classes, and before it its opposite for the first."""
    return np.concatenate([-weight, weight]), np.concatenate([-offset, offset])


def _with_sigmoids(
    model: Any, features: list[NDArray[np.float32]], label: NDArray[np.integer[Any]]
) -> Rows:
    """One row per class, whose sigmoid is a probability against the rest (Platt, 1999).

    As it comes out of the machine where validation lacks a class.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    weight, offset = model.coef_, model.intercept_
    known = np.isin(label, model.classes_)
    found, counts = np.unique(label[known], return_counts=True)
    if len(found) == len(model.classes_) and counts.min() >= 2:
        calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=2)
        calibrated.fit(np.concatenate(features)[known], label[known])
        sigmoids = calibrated.calibrated_classifiers_[0].calibrators
        slope = -np.array([s.a_ for s in sigmoids])  # 1 / (1 + exp(a · margin + b))
        weight, offset = slope[:, None] * weight, slope * offset - [s.b_ for s in sigmoids]
    return _mirrored(weight, offset) if len(model.classes_) == 2 else (weight, offset)


def _set_head(
    head: nn.Linear,
    classes: NDArray[np.integer[Any]],
    rows: Rows,
    mean: NDArray[np.float32],
    scale: NDArray[np.float32],
) -> None:
    """Put the rows into the layer, with the standardisation in them."""
    weight = rows[0] * scale
    bias = rows[1] - weight @ mean
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(_NEVER)
        where = torch.from_numpy(classes.astype(np.int64))
        head.weight[where] = torch.from_numpy(weight).to(head.weight)
        head.bias[where] = torch.from_numpy(bias).to(head.bias)
