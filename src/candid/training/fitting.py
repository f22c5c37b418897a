"""scikit-learn fits what `candid.models.features` extracts."""

from __future__ import annotations

import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from candid.errors import DependencyError
from candid.models.features import Features
from candid.models.forward import Images, logits
from candid.progress import track
from candid.records import HistoryRow
from candid.settings import TrainConfig
from candid.training.loss import class_weights, compute_metrics
from candid.training.state import Task, TrainingState


@dataclass(frozen=True)
class FitResult:
    """Size, time and convergence of a fit.

    `seconds` are those of extraction (eigenfaces included) and of the classifier. `converged` is
    False if scikit-learn stopped at its limit of iterations.
    """

    images: int
    features: int
    seconds: tuple[float, float]
    iterations: int
    converged: bool


# scikit-learn's C. Features are standardised and there are thousands of them, hence so small. For
# HOG and eigenfaces on CelebA's validation images: 0.001, 0.01 and 0.1 gave "svm" a weighted F1 of
# 0.940, 0.943 and 0.939.
DEFAULT_STRENGTH = 1e-2
_MAX_ITERATIONS = 300
# More images tell the principal components no better, and memory would grow with them.
_MAX_PCA_IMAGES = 6000
_BLOCK = 256  # images at once
_ABSENT_LOGIT = -50.0  # the logit of a class without training images


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
) -> FitResult:
    """Fit the eigenfaces and the classifier of `network`, in place.

    The network extracts on the device that it is on; scikit-learn works on the CPU. `train` are the
    rows to fit on, `validation` those on which the sigmoids of "svm" are fitted. `strength` is
    scikit-learn's C (0: `STRENGTH`); `balanced` makes every class weigh the same; `seed` is that of
    the images for the eigenfaces, and of the solvers.

    Raises DependencyError where scikit-learn is not installed.
    """
    _require_sklearn()
    strength = strength or DEFAULT_STRENGTH
    start = time.monotonic()
    if network.eigenfaces is not None:
        _fit_eigenfaces(network.eigenfaces, images, train, seed)
    # Memory-mapped, as the features of many images need not fit into memory.
    with tempfile.TemporaryFile() as file:
        features = np.memmap(file, np.float32, "w+", shape=(len(train), network.head.in_features))
        mean, scale = _extract_into(features, network, images, train, quiet)
        extraction_end = time.monotonic()
        kind = network.classifier
        model = _fit_classifier(kind, features, label[train], strength, balanced, seed)
        del features
    weight, offset = model.coef_, model.intercept_
    is_binary = len(model.classes_) == 2  # scikit-learn then has one row: second against first
    if kind == "svm":
        blocks = (validation[block] for block in _blocks(len(validation)))
        parts = [(_features(network, images, rows) - mean) * scale for rows in blocks]
        weight, offset = _calibrate(model, parts, label[validation])
    elif is_binary:
        weight, offset = 0.5 * weight, 0.5 * offset
    if is_binary:
        weight, offset = np.concatenate([-weight, weight]), np.concatenate([-offset, offset])
    _set_head(network.head, model.classes_, weight * scale, offset - (weight * scale) @ mean)
    iterations = int(np.max(model.n_iter_))
    return FitResult(
        images=len(train),
        features=network.head.in_features,
        seconds=(extraction_end - start, time.monotonic() - extraction_end),
        iterations=iterations,
        converged=iterations < model.max_iter,
    )


def fit_state(
    task: Task, state: TrainingState, config: TrainConfig, *, quiet: bool = False
) -> None:
    """Fit the network of `state`, which is a `Features`, in place of training it step by step.

    Raises DependencyError where scikit-learn is not installed.
    """
    network = state.network
    if not isinstance(network, Features):
        raise TypeError(f"only fixed features are fitted, not a {type(network).__name__}")
    row = fit_task(task, network, config, quiet=quiet)
    state.ema, state.step, state.history = None, row.step, [row]
    state.best_f1 = -math.inf
    state.keep_best(row)


def fit_task(
    task: Task, network: Features, config: TrainConfig, *, quiet: bool = False
) -> HistoryRow:
    """Fit `network` to a task, in place, and measure it: the one row of its history.

    Its step is the only one, its images are those of one pass, and it has no learning rate (NaN).
    Images are not augmented.

    Raises DependencyError where scikit-learn is not installed.
    """
    start = time.monotonic()
    device, weights = next(network.parameters()).device, class_weights(task, config)
    fit(
        network, task.images, task.label, task.train, task.validation,
        balanced=config.class_weights == "inverse", seed=config.seed, quiet=quiet,
    )  # fmt: skip

    def evaluate(rows: NDArray[np.intp]) -> tuple[float, float, float]:
        output = logits(
            network, task.images, rows, device=device, bfloat16=False, flip_tta=config.flip_tta
        )
        return compute_metrics(output, task.label[rows], weights)

    (train_loss, train_f1, _), validation = evaluate(task.train), evaluate(task.validation)
    return HistoryRow(
        1,
        len(task.train),
        time.monotonic() - start,
        math.nan,
        train_loss,
        train_f1,
        *validation,
    )


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            "The network 'features' needs scikit-learn.",
            expected="the extra 'features'",
            todo="pip install 'candid-faces[features]'",
        ) from error


def _fit_eigenfaces(linear: nn.Linear, images: Images, train: NDArray[np.intp], seed: int) -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(seed)
    subset = np.sort(rng.permutation(train)[:_MAX_PCA_IMAGES])
    flat = images.batch(subset, torch.device("cpu")).flatten(1).numpy()
    # Fewer images than components: the rest stay zeros, which tell nothing apart.
    k = min(linear.out_features, len(subset))
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
    return network.extract(images.batch(rows, device)).cpu().numpy()


def _extract_into(
    out: NDArray[np.float32], network: Features, images: Images, rows: NDArray[np.intp], quiet: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Write the standardised features of the rows; return their mean and scale."""
    sums = np.zeros((2, out.shape[1]))
    blocks = list(_blocks(len(rows)))
    for block in track(blocks, "extract", unit="batches", quiet=quiet):
        out[block] = features = _features(network, images, rows[block])
        precise = features.astype(np.float64)
        sums += precise.sum(0), np.square(precise).sum(0)
    first, second = sums / len(rows)  # moments
    std = np.sqrt(np.maximum(second - first**2, 0))
    mean = first.astype(np.float32)
    # A constant feature carries no information.
    scale = (1 / np.where(std > 1e-6, std, 1.0)).astype(np.float32)
    for block in blocks:
        out[block] = (out[block] - mean) * scale
    return mean, scale


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, n, _BLOCK))


def _fit_classifier(
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
            C=strength, class_weight=weights, max_iter=_MAX_ITERATIONS, tol=1e-5
        )
    else:
        model = SGDClassifier(  # with the hinge loss: a linear support vector machine
            loss="hinge", alpha=1 / (strength * len(label)), class_weight=weights, average=True,
            max_iter=_MAX_ITERATIONS, tol=1e-3, random_state=seed,
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # `FitResult.converged` reports it
        return model.fit(features, label)


def _calibrate(
    model: Any, features: list[NDArray[np.float32]], label: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights and offsets whose sigmoid is a probability against the rest (Platt, 1999).

    Uncalibrated where validation lacks a class.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    weight, offset = model.coef_, model.intercept_
    usable = np.isin(label, model.classes_)
    classes, counts = np.unique(label[usable], return_counts=True)
    if len(classes) == len(model.classes_) and counts.min() >= 2:
        calibrated = CalibratedClassifierCV(FrozenEstimator(model), method="sigmoid", cv=2)
        calibrated.fit(np.concatenate(features)[usable], label[usable])
        sigmoids = calibrated.calibrated_classifiers_[0].calibrators
        slope = -np.array([s.a_ for s in sigmoids])  # 1 / (1 + exp(a · margin + b))
        weight, offset = slope[:, None] * weight, slope * offset - [s.b_ for s in sigmoids]
    return weight, offset


def _set_head(
    head: nn.Linear,
    classes: NDArray[np.integer[Any]],
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
) -> None:
    """Write weights and biases of the classes that occur in train."""
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(_ABSENT_LOGIT)
        index = torch.from_numpy(classes.astype(np.int64))
        head.weight[index] = torch.from_numpy(weight).to(head.weight)
        head.bias[index] = torch.from_numpy(bias).to(head.bias)
