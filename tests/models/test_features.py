"""Held to scikit-image (HOG) and scikit-learn (everything after it)."""

import numpy as np
import pytest
import torch
from skimage.feature import hog
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import f1_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from candid.errors import ConfigError
from candid.models.features import Features, Hog
from candid.models.forward import Images, channel_statistics, logits
from candid.models.networks import describe
from candid.settings import TrainConfig
from candid.training.fitting import fit, fit_task
from candid.training.state import Task

SIDE = 24
CPU = torch.device("cpu")


def drawn(classes: int, n: int = 160, seed: int = 0) -> tuple[Images, np.ndarray]:
    """Pictures in noise, whose class is the direction of their stripes."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n).astype(np.int16)
    y, x = np.mgrid[:SIDE, :SIDE]
    angle = np.pi * label / classes
    phase = rng.uniform(0, 2 * np.pi, n)
    wave = np.sin(0.8 * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y)
                  + phase[:, None, None])  # fmt: skip
    noise = rng.normal(0, 60, (n, SIDE, SIDE, 3))
    pixels = np.clip(128 + 40 * wave[..., None] + noise, 0, 255).astype(np.uint8)
    return Images(pixels, *channel_statistics(pixels, np.arange(n))), label


def softmax_of(network: Features, images: Images, rows: np.ndarray) -> np.ndarray:
    raw = logits(network, images, rows, device=CPU, bfloat16=False)
    return torch.from_numpy(raw).double().softmax(1).numpy()


# --- HOG -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "cell", "block", "orientations"),
                         [(24, 8, 2, 9), (37, 5, 3, 9), (30, 6, 1, 8)])  # fmt: skip
def test_hog_is_that_of_scikit_image(side, cell, block, orientations):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 3, side, side))
    images[1] = 0.25 * np.round(4 * images[1])  # ties between channels, exact angles, flat places
    images[2, :, : side // 2] = 0.5
    images[3] = 1.0
    expected = [
        hog(image.transpose(1, 2, 0), orientations, (cell, cell), (block, block), channel_axis=2)
        for image in images
    ]
    network = Hog(side, cell=cell, block=block, orientations=orientations)
    found = network(torch.from_numpy(images))
    assert found.shape == (4, network.length)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_hog_has_the_slope_of_small_differences():
    """Where no direction changes its bin, the gradient is that of finite differences."""
    torch.manual_seed(0)
    image = torch.randn(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    network = Hog(16)
    way, weights = torch.randn(1, 3, 16, 16), torch.randn(network.length)
    way = way.double() * 1e-7
    (slope,) = torch.autograd.grad((network(image) * weights).sum(), image)
    with torch.no_grad():
        change = ((network(image + way) - network(image - way)) * weights).sum() / 2
    assert (slope * way).sum().item() == pytest.approx(change.item(), rel=1e-3)


def test_flat_pictures_have_a_finite_slope():
    image = torch.zeros(1, 3, 16, 16, requires_grad=True)
    Hog(16)(image).sum().backward()
    assert torch.isfinite(image.grad).all()


# --- classifiers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_on_hog_is_scikit_learn_s(classes):
    images, label = drawn(classes)
    train, other = np.arange(100), np.arange(100, 160)
    network = Features(SIDE, classes, features="hog")
    told = fit(network, images, label, train, other, strength=0.01)
    normalised = images.batch(np.arange(160), CPU).numpy()
    found = np.stack(
        [hog(i.transpose(1, 2, 0), 9, (8, 8), (2, 2), channel_axis=2) for i in normalised]
    )
    peer = make_pipeline(
        StandardScaler(),
        LogisticRegression(C=0.01, class_weight="balanced", max_iter=300, tol=1e-6),
    ).fit(found[train], label[train])
    expected = peer.predict_proba(found[other])
    np.testing.assert_allclose(softmax_of(network, images, other), expected, atol=2e-3)
    assert (told.images, told.features, told.converged) == (100, 2 * 2 * 4 * 9, True)
    right = softmax_of(network, images, other).argmax(1) == label[other]
    assert right.mean() > 0.8  # it learned something


@pytest.mark.parametrize("classes", [2, 3])
def test_svm_has_the_probabilities_of_scikit_learn_s_calibration(classes):
    images, label = drawn(classes)
    train, other = np.arange(100), np.arange(100, 160)
    network = Features(SIDE, classes, features="hog", classifier="svm")
    fit(network, images, label, train, other, strength=0.001, balanced=False)
    with torch.no_grad():
        found = network.extract(images.batch(np.arange(160), CPU)).numpy().astype(np.float64)
    scaler = StandardScaler().fit(found[train])
    found = scaler.transform(found)
    machine = SGDClassifier(
        loss="hinge", alpha=1 / (0.001 * 100), average=True, max_iter=300, tol=1e-3, random_state=0
    ).fit(found[train], label[train])
    peer = CalibratedClassifierCV(FrozenEstimator(machine), method="sigmoid", cv=2)
    expected = peer.fit(found[other], label[other]).predict_proba(found[other])
    np.testing.assert_allclose(softmax_of(network, images, other), expected, atol=2e-3)


def test_eigenfaces_are_principal_components():
    images, label = drawn(2)
    train = np.arange(100)
    network = Features(SIDE, 2, features="eigenfaces", components=8)
    fit(network, images, label, train, train)
    flat = images.batch(np.arange(160), CPU).flatten(1).numpy()
    expected = PCA(8, svd_solver="full").fit(flat[train]).transform(flat)
    with torch.no_grad():
        found = network.extract(images.batch(np.arange(160), CPU)).numpy()
    signs = np.sign((found * expected).sum(0))
    # The solver draws at random, so the last components are near and not equal.
    np.testing.assert_allclose(found[:, :3], (expected * signs)[:, :3], atol=0.05)
    weight = network.eigenfaces.weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(8), atol=1e-4, rtol=0)


def test_both_are_one_beside_the_other():
    network = Features(SIDE, 2, features="both", components=5)
    batch = torch.randn(3, 3, SIDE, SIDE)
    found = network.extract(batch)
    torch.testing.assert_close(found[:, :-5], Hog(SIDE)(batch))
    torch.testing.assert_close(found[:, -5:], network.eigenfaces(batch.flatten(1)))


def test_the_same_seed_gives_the_same_weights():
    images, label = drawn(2)
    rows = np.arange(160)

    def weights(seed: int) -> torch.Tensor:
        network = Features(SIDE, 2, features="both", components=5, classifier="svm")
        fit(network, images, label, rows, rows, seed=seed)
        return network.head.weight

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_balanced_weights_make_the_rare_class_count():
    images, label = drawn(2)
    rows = np.concatenate([np.flatnonzero(label == 0), np.flatnonzero(label == 1)[:8]])

    def rare(balanced: bool) -> float:
        network = Features(SIDE, 2, features="hog")
        fit(network, images, label, rows, rows, strength=1e-4, balanced=balanced)
        return softmax_of(network, images, np.arange(160))[:, 1].mean()

    assert rare(True) > rare(False) + 0.1


def test_a_class_without_training_images_is_never_answered():
    images, label = drawn(3)
    rows = np.flatnonzero(label != 1)
    for classifier in ("logistic", "svm"):
        network = Features(SIDE, 3, features="hog", classifier=classifier)
        fit(network, images, label, rows, np.arange(160))
        assert softmax_of(network, images, np.arange(160))[:, 1].max() < 1e-6


def test_fewer_images_than_components_leave_zeros():
    images, label = drawn(2)
    network = Features(SIDE, 2, features="eigenfaces", components=20)
    fit(network, images, label, np.arange(12), np.arange(160))
    assert torch.count_nonzero(network.eigenfaces.weight[12:]) == 0
    assert np.isfinite(softmax_of(network, images, np.arange(160))).all()


def test_the_row_of_history_is_what_scikit_learn_measures():
    images, label = drawn(2)
    task = Task(images, label, 2, np.arange(100), np.arange(100, 160))
    network = Features(SIDE, 2, features="hog")
    row = fit_task(task, network, TrainConfig(flip_tta=False), quiet=True)
    p = softmax_of(network, images, np.arange(160))
    assert (row.step, row.images) == (1, 100)
    for rows, loss, f1 in (
        (task.train, row.train_loss, row.train_f1),
        (task.validation, row.validation_loss, row.validation_f1),
    ):
        assert loss == pytest.approx(log_loss(label[rows], p[rows]), abs=1e-5)
        found = f1_score(label[rows], p[rows].argmax(1), average="weighted")
        assert f1 == pytest.approx(found, abs=1e-12)
    right = (p[task.validation].argmax(1) == label[task.validation]).mean()
    assert row.validation_accuracy == right


# --- the face of a network -----------------------------------------------------------------------


@pytest.mark.parametrize("features", ["hog", "eigenfaces", "both"])
def test_weights_alone_make_it_again(features):
    images, label = drawn(2)
    options = {"features": features, "classifier": "svm", "components": 6}
    network = Features(SIDE, 2, **options)
    fit(network, images, label, np.arange(100), np.arange(100, 160))
    again = Features(SIDE, 2, **options)
    again.load_state_dict({k: v.clone() for k, v in network.state_dict().items()})
    batch = images.batch(np.arange(9), CPU)
    assert torch.equal(network(batch), again(batch))
    layers, multiply_adds = describe(network, SIDE)
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    assert multiply_adds > 0


def test_bfloat16_changes_nothing():
    images, label = drawn(2)
    network = Features(SIDE, 2, features="both", components=6)
    fit(network, images, label, np.arange(100), np.arange(100, 160))
    plain, fast = (
        logits(network, images, np.arange(160), device=CPU, bfloat16=b) for b in (False, True)
    )
    np.testing.assert_array_equal(plain, fast)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": "hogs"}, "network.features"),
        ({"features": "hog", "classifier": "tree"}, "network.classifier"),
        ({"features": "eigenfaces", "components": 4000}, "network.components"),
        ({"features": "hog", "cell": 13}, "data.side"),
    ],
)
def test_what_cannot_be_is_said(options, said):
    with pytest.raises(ConfigError) as error:
        Features(SIDE, 2, **options)
    assert said in str(error.value)
    assert error.value.expected
