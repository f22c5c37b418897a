"""scikit-learn fits what `candid.models.features` extracts."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from candid.errors import DependencyError
from candid.models.features import Features
from candid.models.forward import Images, logits
from candid.progress import track
from candid.records import HistoryRow
from candid.settings import TrainConfig
from candid.stats.metrics import weighted_f1_of_answers

if TYPE_CHECKING:
    from candid.training.state import State
    from candid.training.train import Task


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


# scikit-learn's C. Features are standardised and there are thousands of them, hence so small. For
# HOG and eigenfaces on CelebA's validation images: 0.001, 0.01 and 0.1 gave "svm" a weighted F1 of
# 0.940, 0.943 and 0.939.
STRENGTH = 1e-2
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
        scikit-learn's C, the inverse of the penalty on the weights; 0: `STRENGTH`.
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
    strength = strength or STRENGTH
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


def fit_state(task: Task, state: State, config: TrainConfig, *, quiet: bool = False) -> None:
    """Fit the network of `state`, which is a `Features`, in place of training it step by step.

    Raises
    ------
    DependencyError
        Where scikit-learn is not installed.
    """
    network = state.network
    if not isinstance(network, Features):
        raise TypeError(f"only fixed features are fitted, not a {type(network).__name__}")
    row = fit_task(task, network, config, quiet=quiet)
    state.averaged, state.step, state.history = None, row.step, [row]
    state.best_f1, state.best_step = row.validation_f1, row.step
    state.best = {k: v.detach().clone() for k, v in state.network.state_dict().items()}


def fit_task(
    task: Task, network: Features, config: TrainConfig, *, quiet: bool = False
) -> HistoryRow:
    """Fit `network` to a task, in place, and measure it: the one row of its history.

    Its step is the only one, its images are those of one pass, and it has no learning rate (NaN).
    Images are not augmented.

    Raises
    ------
    DependencyError
        Where scikit-learn is not installed.
    """
    from candid.training.train import class_weights

    began = time.monotonic()
    device = next(network.parameters()).device
    balanced = config.class_weights == "inverse"
    fit(
        network, task.images, task.label, task.train, task.validation,
        balanced=balanced, seed=config.seed, quiet=quiet,
    )  # fmt: skip
    weights = class_weights(task, config)
    figures = []
    for rows in (task.train, task.validation):
        output = logits(
            network, task.images, rows, device=device, bfloat16=False, mirrored=config.mirrored
        )
        label = task.label[rows].astype(np.int64)
        loss = F.cross_entropy(torch.from_numpy(output), torch.from_numpy(label), weight=weights)
        prediction = output.argmax(1)
        f1 = weighted_f1_of_answers(label, prediction)
        figures.append((loss.item(), f1, (prediction == label).mean()))
    (train_loss, train_f1, _), (loss_there, f1_there, accuracy_there) = figures
    return HistoryRow(
        step=1,
        images=len(task.train),
        seconds=time.monotonic() - began,
        learning_rate=math.nan,
        train_loss=train_loss,
        train_f1=train_f1,
        validation_loss=loss_there,
        validation_f1=f1_there,
        validation_accuracy=float(accuracy_there),
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
    for block in track(blocks, "extract", unit="batches", quiet=quiet):
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
