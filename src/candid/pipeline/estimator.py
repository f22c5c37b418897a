"""scikit-learn estimators that train as `candid train` does: images or their paths in.

>>> classifier = CandidClassifier(steps=300).fit(paths, labels, groups=people)
>>> classifier.predict_proba(paths)

The run that training writes lies in a temporary folder; what is kept of it is the network with all
that it needs to answer, and what it says about the images that were held out for validation. Saved,
by pickle or by skops, an estimator is its parameters and the bytes of these files, so that nothing
in them is ever executed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from candid.arrays import FloatArray
from candid.config import DEFAULT_RECIPE, load_config, with_values
from candid.data.arrays import ImageLike, encode_image, image_name, images_of
from candid.data.dataset import Dataset
from candid.data.decode import decode
from candid.data.in_memory import load_images
from candid.errors import CandidError, DataError, DependencyError, ImageError, require_extra
from candid.inference.numbers import answers_of
from candid.pipeline.keeping import open_model_files, read_model_files
from candid.pipeline.opening import begin_or_resume
from candid.pipeline.steps import predict_splits
from candid.pipeline.training import train_framer, train_network
from candid.predictions import Predictions
from candid.predictions.numbers import NumberPredictions, read_number_predictions
from candid.records import ModelCard, read_record
from candid.records.model import NumberCard
from candid.runs import Run
from candid.settings import Config

with require_extra(
    "CandidClassifier needs", "features", expected="the extra 'features', which brings scikit-learn"
):
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import assert_all_finite, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

if TYPE_CHECKING:
    from candid.models.model import Whole

# What is read from a run's files, and so not saved beside them.
_RUN_ATTRIBUTES = ("model_", "config_", "number_", "validation_predictions_")
_BATCH = 32  # images that pass the network together
# One process, and nothing to go on from: the folder is temporary.
_FIXED_SETTINGS = {"data": {"workers": 1, "test_share": 0.0}, "train": {"checkpoints": 0}}


class _FaceEstimator(BaseEstimator):  # type: ignore[misc]
    """Parameters, training and probabilities of both estimators."""

    model_: Whole
    config_: Config
    _files: dict[str, bytes]

    def __init__(
        self,
        recipe: str = DEFAULT_RECIPE,
        *,
        side: int | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        validation_fraction: float = 0.1,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = 0,
        verbose: bool = False,
    ) -> None:
        self.recipe = recipe
        self.side = side
        self.steps = steps
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.settings = settings
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True  # paths
        tags.no_validation = True
        return tags

    def _build_config(self) -> Config:
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31 - 1)
        parameters = {
            "data.side": self.side,
            "data.validation_share": float(self.validation_fraction),
            "train.steps": self.steps,
            "train.learning_rate": self.learning_rate,
            "train.seed": int(seed),
        }
        sections: dict[str, dict[str, Any]] = {}
        given_values = {name: value for name, value in parameters.items() if value is not None}
        for name, value in (given_values | dict(self.settings or {})).items():
            section, _, key = name.partition(".")
            sections.setdefault(section, {})[key] = value
        return with_values(with_values(load_config(recipe=self.recipe), _FIXED_SETTINGS), sections)

    def _prepare(self, X: Any, y: Any, groups: Any) -> tuple[list[ImageLike], Config]:
        """The images of X, as many as there are labels and groups, and all settings."""
        with _raise_value_errors():
            images, config = images_of(X), self._build_config()
        check_consistent_length(images, y, groups)
        return images, config

    def _train(self, dataset: Dataset, config: Config) -> None:
        """Train in a temporary run, and predict its validation images."""
        with tempfile.TemporaryDirectory(prefix="candid-") as name:
            folder, quiet = Path(name), not self.verbose
            run, data = begin_or_resume(
                dataset, config, folder / "run", cache=folder / "cache", quiet=quiet
            )
            train_network(run, data)
            run.step("frame", train_framer, data)
            run.step("predict", predict_splits, data)
            self._files = read_model_files(run)
            self._load_run(run)

    def _load_run(self, run: Run) -> None:
        """Load the model and its validation predictions."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_files" in state:
            state = {name: value for name, value in state.items() if name not in _RUN_ATTRIBUTES}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_files" in state:
            with open_model_files(self._files) as run:
                self._load_run(run)

    def _predict_probability(self, X: Any) -> FloatArray:
        """(n, outputs) of images; rows sum to 1."""
        check_is_fitted(self)
        from candid.models.model import TorchEngine

        engine = TorchEngine(self.model_)
        with _raise_value_errors():
            images = images_of(X)
            blocks = [images[i : i + _BATCH] for i in range(0, len(images), _BATCH)]
            outputs = [engine(np.stack(list(map(self._decode, block)))) for block in blocks]
        if not outputs:
            raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
        probability = np.concatenate(outputs).astype(np.float64)
        normalised: FloatArray = probability / probability.sum(axis=1, keepdims=True)
        return normalised

    def _decode(self, image: Any) -> NDArray[np.uint8]:
        model, data_config = self.model_, self.config_.data
        detail = model.input_side // model.side
        try:
            return decode(
                encode_image(image),
                side=model.side,
                fit=data_config.fit,
                max_pixels=data_config.max_pixels,
                detail=detail,
            ).pixels
        except ImageError as error:
            raise DataError(
                f"{image_name(image, 0)} cannot be read: {error.what}",
                expected="pictures that can be decoded",
                todo="leave it out",
            ) from error


class CandidClassifier(ClassifierMixin, _FaceEstimator):  # type: ignore[misc]
    """A network that is trained from scratch on images of faces, as a scikit-learn classifier.

    X is a list of paths, or uint8 pixels (n, height, width, 3) in the order RGB. Probabilities are
    calibrated, and pictures are framed, as those of a run are.

    Parameters
    ----------
    recipe
        Settings that belong together: "deep", "plain", "vit", …
    side
        Pixels per side of the square that the network sees; None: as the recipe says.
    steps
        Batches to train on; None: as the recipe says.
    learning_rate
        The highest of the schedule; None: as the recipe says.
    validation_fraction
        The share of the images that is held out to choose weights and to fit the temperature; all
        images of a person go to one side.
    settings
        Any other setting by its name: `{"train.batch_size": 64, "framing.steps": 0}`.
    random_state
        The seed. The same seed gives the same result, to the last digit with a fixed
        `train.threads`; None draws one.
    verbose
        Whether to show progress.

    Attributes
    ----------
    classes_
        The values of y, sorted.
    model_
        A `torch.nn.Module`, pixels in and probabilities out; see `candid.load_model`. What is saved
        of it is what training wrote, not what is changed here.
    config_
        All settings that it was trained with.
    validation_predictions_
        `candid.Predictions` for the images that were held out: for `candid.evaluate`.
    """

    classes_: NDArray[Any]
    validation_predictions_: Predictions

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on images and their labels.

        Parameters
        ----------
        X
            n paths, or uint8 pixels (n, height, width, 3).
        y
            (n,) labels: words, whole numbers or booleans.
        groups
            (n,) who is in the image; None: each image shows another person.

        Raises
        ------
        ValueError
            Where X holds no images, or y cannot be learned.
        """
        if y is None:
            raise ValueError("CandidClassifier requires y to be passed, but the target y is None")
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        classes, code = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y has {len(classes)} class, and at least two are needed to train")
        images, config = self._prepare(X, y, groups)
        words = [str(name) for name in classes.tolist()]
        with _raise_value_errors():
            label = [words[c] for c in code]
            dataset = load_images(images, label, classes=words, person=groups, config=config)
            self._train(dataset, config)
        self.classes_ = classes
        return self

    def _load_run(self, run: Run) -> None:
        self.config_, self.model_ = run.settings, run.model
        self.validation_predictions_ = run.predictions

    def predict_proba(self, X: Any) -> FloatArray:
        """Calibrated probabilities (n, classes), in the order of `classes_`.

        Raises
        ------
        ValueError
            Where X holds no images, or one that cannot be read.
        """
        return self._predict_probability(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,) the most probable class of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        answers: NDArray[Any] = self.classes_[best]
        return answers


class CandidRegressor(RegressorMixin, _FaceEstimator):  # type: ignore[misc]
    """A network that learns a number from images of faces, as a scikit-learn regressor.

    As `CandidClassifier`, whose parameters it has. It predicts a distribution, and so an interval,
    which is calibrated on the images that are held out (see `candid.stats.distribution`).

    Attributes
    ----------
    model_
        A `torch.nn.Module`, pixels in and probabilities of the number's bins out.
    number_
        How these are read: the values of the bins, mean or median, the intervals' coverage.
    config_
        All settings that it was trained with.
    validation_predictions_
        What it says of the images that were held out, with intervals.
    """

    number_: NumberCard
    validation_predictions_: NumberPredictions

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Train on images and their numbers y, (n,) and finite; else as `CandidClassifier.fit`."""
        if y is None:
            raise ValueError("CandidRegressor requires y to be passed, but the target y is None")
        y = column_or_1d(y, dtype=np.float64, warn=True)
        assert_all_finite(y, input_name="y")
        images, config = self._prepare(X, y, groups)
        config = replace(config, data=replace(config.data, numbers=("label",)))
        with _raise_value_errors():
            dataset = load_images(images, y, person=groups, config=config)
            self._train(dataset, config)
        return self

    def _load_run(self, run: Run) -> None:
        from candid.models.framing import framing_of
        from candid.models.model import load_whole_model

        label_run = run.target_runs()[0]
        card = read_record(label_run.model_file, ModelCard)
        predictions = read_number_predictions(label_run.predictions_file)
        self.model_ = load_whole_model(run.weights, card, None, framing_of(run))
        self.config_, self.number_ = run.settings, predictions.card
        self.validation_predictions_ = predictions

    def predict(self, X: Any) -> FloatArray:
        """(n,) the number of each image.

        Raises
        ------
        ValueError
            Where X holds no images, or one that cannot be read.
        """
        return self._predict_numbers(X)[0]

    def predict_interval(self, X: Any) -> FloatArray:
        """(n, 2) the ends of the interval of each image; see `number_.coverage`."""
        _, low, high = self._predict_numbers(X)
        return np.column_stack([low, high])

    def _predict_numbers(self, X: Any) -> tuple[FloatArray, ...]:
        probability = self._predict_probability(X)
        return answers_of(self.number_, probability)


@contextmanager
def _raise_value_errors() -> Iterator[None]:
    """Turn errors that the user can mend into ValueError, as scikit-learn does."""
    try:
        yield
    except DependencyError:
        raise
    except CandidError as error:
        raise ValueError(str(error)) from error
