"""The scikit-learn estimator, in scikit-learn's own tools."""

import json
import math
import pickle
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import sklearn
import torch
from fairlearn.metrics import MetricFrame, demographic_parity_difference
from fairlearn.postprocessing import ThresholdOptimizer
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import candid
from candid.errors import ConfigError, RunError

N, SIDE = 80, 16
QUICK = {
    "train.batch_size": 32, "train.threads": 1, "train.evaluations": 1, "network.width": 4,
    "framing.steps": 0, "augment.brightness": 0.0, "augment.erase": 0.0,
    # in bfloat16 the third digit of an answer depends on how many pictures are asked at once
    "train.precision": "float32",
}  # fmt: skip


def quick(**how):
    return candid.CandidClassifier(**{"side": SIDE, "steps": 24, "settings": QUICK} | how)


@pytest.fixture(scope="module")
def faces():
    """Pictures (n, 16, 16, 3), the bright ones labelled so, and who is on each."""
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, N)
    pixels = rng.integers(0, 110, (N, SIDE, SIDE, 3)) + 120 * bright[:, None, None, None]
    return pixels.astype(np.uint8), np.array(["dark", "light"])[bright], np.arange(N) // 2


@pytest.fixture(scope="module")
def fitted(faces):
    X, y, person = faces
    return quick().fit(X, y, groups=person)


def test_it_learns_and_answers_with_calibrated_probabilities(fitted, faces):
    X, y, person = faces
    assert fitted.classes_.tolist() == ["dark", "light"]
    p = fitted.predict_proba(X)
    assert p.shape == (N, 2)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert fitted.predict(X).tolist() == fitted.classes_[p.argmax(1)].tolist()
    assert fitted.score(X, y) == np.mean(fitted.predict(X) == y) > 0.9
    with torch.inference_mode():
        np.testing.assert_allclose(fitted.model_(torch.from_numpy(X)).numpy(), p, atol=1e-6)
    by_person = MetricFrame(
        metrics=accuracy_score, y_true=y, y_pred=fitted.predict(X), sensitive_features=person % 2
    )
    assert by_person.by_group.to_dict() == {
        half: np.mean(fitted.predict(X[person % 2 == half]) == y[person % 2 == half])
        for half in (0, 1)
    }


def test_people_are_on_one_side_and_the_held_out_are_kept(fitted, faces):
    held = fitted.validation_predictions_
    assert {*held.split} == {"validation"}
    assert 6 <= len(held) <= 10  # a tenth, in whole people
    assert {*Counter(held.person.tolist()).values()} == {2}
    rows = [int(name.split()[1]) - 1 for name in held.ids]
    assert [held.classes[c] for c in held.label] == faces[1][rows].tolist()
    np.testing.assert_allclose(held.probability, fitted.predict_proba(faces[0][rows]), atol=1e-3)
    assert candid.evaluate(held).splits[0].split == "validation"


def test_paths_and_pixels_are_one_and_a_pickle_answers_the_same(fitted, faces, tmp_path):
    X, y, person = faces
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(paths), expected)
    np.testing.assert_array_equal(fitted.predict_proba(np.array([*map(str, paths)])), expected)
    again = quick().fit(paths, y, groups=[f"person {p}" for p in person])
    assert again.score(paths, y) > 0.9
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0\.png cannot be read"):
        fitted.predict(paths)


def test_the_same_seed_gives_the_same_network(fitted, faces):
    X, y, person = faces
    same, other = (quick(random_state=seed).fit(X, y, groups=person) for seed in (0, 1))
    np.testing.assert_array_equal(same.predict_proba(X), fitted.predict_proba(X))
    assert abs(other.predict_proba(X) - fitted.predict_proba(X)).max() > 1e-4


def test_numbers_are_labels_too_and_a_framed_model_is_kept(faces):
    X, y, _ = faces
    number = np.where(y == "light", 7, 3)
    found = quick(settings=QUICK | {"framing.steps": 3}).fit(X, number)
    assert found.classes_.tolist() == [3, 7]
    assert found.predict(X).dtype == number.dtype
    assert found.config_.framing.steps == 3
    assert found.score(X, number) > 0.8


def test_parameters_are_what_was_given():
    one = quick(learning_rate=0.01)
    assert one.get_params()["learning_rate"] == 0.01
    copy = clone(one).set_params(steps=3)
    assert (copy.steps, one.steps, copy.settings) == (3, 24, QUICK)
    with pytest.raises(NotFittedError):
        copy.predict(np.zeros((1, 8, 8, 3), np.uint8))


def test_cross_validation_search_and_pipelines(faces):
    X, y, person = faces
    scores = cross_val_score(quick(), X, y, groups=person, cv=GroupKFold(2))
    assert scores.shape == (2,)
    assert min(scores) > 0.8
    halves = FunctionTransformer(lambda images: images[:, ::2, ::2])
    smaller = make_pipeline(halves, quick(side=8))
    grid = {"candidclassifier__steps": [1, 60]}
    search = GridSearchCV(smaller, grid, cv=GroupKFold(2), error_score="raise", refit=False)
    search.fit(X, y, groups=person)
    few, enough = search.cv_results_["mean_test_score"]
    assert enough > max(few, 0.7)


def test_groups_are_routed_to_fit(faces):
    X, y, person = faces
    with sklearn.config_context(enable_metadata_routing=True):
        found = cross_validate(
            quick().set_fit_request(groups=True),
            X,
            y,
            params={"groups": person},
            cv=GroupKFold(2).set_split_request(groups=True),
            return_estimator=True,
            error_score="raise",
        )
    assert found["estimator"][0].validation_predictions_.person is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda X, y: (X.astype(float), y), "float64"),
        (lambda X, y: (X, np.full(N, "dark")), "at least two"),
        (lambda X, y: (X, np.linspace(0, 1, N)), "Unknown label type"),
        (lambda X, y: (X[:5], y), "inconsistent numbers of samples"),
        (lambda X, y: (X, None), "requires y"),
        (lambda X, y: (["nowhere.png"] * N, y), "cannot be read"),
    ],
)
def test_what_cannot_be_learned_is_a_value_error(faces, change, said):
    with pytest.raises(ValueError, match=said):
        quick().fit(*change(*faces[:2]))


def test_a_setting_that_is_not_there_is_said():
    with pytest.raises(ValueError, match=r"did you mean 'train\.steps'"):
        quick(settings={"train.stpes": 3}).fit(np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1])


def test_without_scikit_learn_it_says_what_to_install():
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import candid\n"
        "try: candid.CandidClassifier\n"
        "except candid.errors.DependencyError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", "import candid.errors\n" + code], capture_output=True, text=True
    )
    assert "pip install 'candid-faces[features]'" in done.stdout, done.stderr


# --- its neighbours' tools, on one classifier ---------------------------------------------------


def test_mapie_makes_sets_of_what_it_says(fitted, faces):
    mapie = pytest.importorskip("mapie.classification")
    X, y, _ = faces
    sets = mapie.SplitConformalClassifier(estimator=fitted, confidence_level=0.9, prefit=True)
    sets.conformalize(X[:40], y[:40])
    best, inside = sets.predict_set(X[40:])  # inside: (images, classes, 1)
    assert best.tolist() == fitted.predict(X[40:]).tolist()
    # What it says follows from the scores: 1 - p of the label, and their quantile of 40.
    score = 1 - fitted.predict_proba(X[:40])[np.arange(40), (y[:40] == "light").astype(int)]
    limit = np.sort(score)[math.ceil(41 * 0.9) - 1]
    np.testing.assert_array_equal(inside[:, :, 0], 1 - fitted.predict_proba(X[40:]) <= limit)


def test_fairlearn_moves_its_thresholds(fitted, faces):
    X, y, person = faces
    group = np.where(y == "light", person % 4 > 0, person % 4 == 0)  # goes with the label
    optimizer = ThresholdOptimizer(
        estimator=fitted, prefit=True, constraints="demographic_parity",
        predict_method="predict_proba",
    )  # fmt: skip
    light = (y == "light").astype(int)
    optimizer.fit(X, light, sensitive_features=group)
    answers = optimizer.predict(X, sensitive_features=group, random_state=0)
    gap_before, gap_after = (
        demographic_parity_difference(light, a, sensitive_features=group)
        for a in ((fitted.predict(X) == "light").astype(int), answers)
    )
    assert gap_before > 0.4 > 0.25 > gap_after


@pytest.mark.filterwarnings("ignore")  # of its own libraries
def test_skore_reports_on_it(fitted, faces):
    skore = pytest.importorskip("skore")
    X, y, _ = faces
    report = skore.EstimatorReport(fitted, X_test=X, y_test=y, pos_label="light")
    p = fitted.predict_proba(X)
    assert report.metrics.accuracy() == fitted.score(X, y)
    assert report.metrics.log_loss() == pytest.approx(log_loss(y, p))
    assert report.metrics.roc_auc() == pytest.approx(roc_auc_score(y, p[:, 1]))


TYPES = {
    kind: [f"candid.pipeline.estimator.{kind}"] for kind in ("CandidClassifier", "CandidRegressor")
}


def test_skops_keeps_a_network_and_asks_to_trust_one_type_of_ours(fitted, faces):
    skops = pytest.importorskip("skops.io")
    for one in (quick(steps=7), fitted):
        kept = skops.dumps(one)
        assert skops.get_untrusted_types(data=kept) == TYPES["CandidClassifier"]
        again = skops.loads(kept, trusted=TYPES["CandidClassifier"])
        assert again.get_params() == one.get_params()
    np.testing.assert_array_equal(again.predict_proba(faces[0]), fitted.predict_proba(faces[0]))
    assert again.classes_.tolist() == fitted.classes_.tolist()
    assert again.config_ == fitted.config_
    held, before = again.validation_predictions_, fitted.validation_predictions_
    assert held.ids.tolist() == before.ids.tolist()
    np.testing.assert_array_equal(held.probability, before.probability)
    assert skops.loads(skops.dumps(again), trusted=TYPES["CandidClassifier"]).score(*faces[:2])


@pytest.mark.parametrize(
    "name", ["../model.json", "/tmp/model.json", "targets/../model.json", "report.html", "a/b/c"]
)
def test_what_a_stranger_saved_writes_nowhere_and_runs_nothing(fitted, name):
    state = fitted.__getstate__()
    state["_files"] = state["_files"] | {name: b"{}"}
    with pytest.raises(RunError, match=r"no file of a run's"):
        candid.CandidClassifier().__setstate__(state)


def test_a_saved_network_that_is_somebodys_code_is_not_imported(fitted):
    state = fitted.__getstate__()
    card = json.loads(state["_files"]["model.json"])
    card |= {"network": "own", "options": {"module": "antigravity:fly"}}
    state["_files"] = state["_files"] | {"model.json": json.dumps(card).encode()}
    with pytest.raises(ConfigError, match="no part of Candid"):
        candid.CandidClassifier().__setstate__(state)
    assert "antigravity" not in sys.modules


# --- scikit-learn's own checks -------------------------------------------------------------------

TABLE = "X is a table of numbers, which are no images; images go through the tests above"
SAYS = "X is refused, but in the words of images and not in those of tables"
NOT_IMAGES = {
    **dict.fromkeys(
        (
            "check_fit_score_takes_y", "check_estimators_overwrite_params",
            "check_dont_overwrite_parameters", "check_estimators_fit_returns_self",
            "check_readonly_memmap_input", "check_n_features_in_after_fitting",
            "check_positive_only_tag_during_fit", "check_estimators_dtypes",
            "check_dtype_object", "check_pipeline_consistency", "check_estimators_pickle",
            "check_f_contiguous_array_estimator", "check_classifier_data_not_an_array",
            "check_classifiers_classes", "check_classifiers_train", "check_supervised_y_2d",
            "check_methods_sample_order_invariance", "check_methods_subset_invariance",
            "check_fit2d_1sample", "check_fit2d_1feature", "check_dict_unchanged",
            "check_fit_idempotent", "check_fit_check_is_fitted", "check_n_features_in",
            "check_fit2d_predict1d",
        ),
        TABLE,
    ),
    **dict.fromkeys(
        (
            "check_estimators_empty_data_messages",
            "check_estimators_nan_inf", "check_estimator_sparse_tag",
            "check_estimator_sparse_array", "check_estimator_sparse_matrix",
        ),
        SAYS,
    ),
}  # fmt: skip


class OnTables(candid.CandidClassifier):
    """Says that it takes tables, so that scikit-learn does not leave its checks out."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.no_validation = True, False
        return tags


def test_what_applies_of_scikit_learn_s_checks_passes():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = check_estimator(OnTables(), on_skip=None, expected_failed_checks=NOT_IMAGES)
    states = {d["check_name"]: d["status"] for d in done}
    assert {name for name, state in states.items() if state == "xfail"} == {*NOT_IMAGES}
    assert states.pop("check_array_api_input", "skipped") in ("skipped", "passed")
    passed = {name for name, state in states.items() if state == "passed"}
    assert {"check_classifiers_one_label", "check_classifiers_regression_target"} < passed
    assert len(passed) >= 20


# --- numbers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured():
    """Pictures (n, 16, 16, 3), how bright each is, and who is on it."""
    rng = np.random.default_rng(1)
    bright = rng.uniform(20, 60, 160)
    pixels = rng.integers(0, 40, (160, SIDE, SIDE, 3)) + 3 * bright[:, None, None, None]
    return pixels.astype(np.uint8), bright, np.arange(160) // 2


def test_a_regressor_learns_a_number_with_its_interval(measured):
    X, y, person = measured
    settings = QUICK | {"train.evaluations": 4, "train.learning_rate": 3e-3}
    one = candid.CandidRegressor(side=SIDE, steps=60, settings=settings, validation_fraction=0.3)
    assert clone(one).get_params() == one.get_params()
    one.fit(X, y, groups=person)
    predicted, interval = one.predict(X), one.predict_interval(X)
    assert predicted.shape == (160,) and interval.shape == (160, 2)
    assert one.score(X, y) > 0.2  # R²
    held = one.validation_predictions_
    rows = [int(name.split()[1]) - 1 for name in held.ids]
    np.testing.assert_allclose(held.value, y[rows])
    np.testing.assert_allclose(held.predicted, predicted[rows], atol=1e-2)
    np.testing.assert_allclose(np.column_stack([held.low, held.high]), interval[rows], atol=1e-2)
    inside = (held.low <= held.value) & (held.value <= held.high)
    assert inside.mean() >= one.number_.coverage == 0.9
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_allclose(again.predict(X[:3]), predicted[:3], atol=1e-4)
    assert again.number_ == one.number_
    skops = pytest.importorskip("skops.io")
    kept = skops.dumps(one)
    assert skops.get_untrusted_types(data=kept) == TYPES["CandidRegressor"]
    again = skops.loads(kept, trusted=TYPES["CandidRegressor"])
    np.testing.assert_array_equal(again.predict_interval(X), interval)


def test_what_a_regressor_cannot_learn_is_a_value_error(measured):
    X, y, _ = measured
    for wrong, says in [(np.full(160, 3.0), "one value"), (np.where(y > 50, np.nan, y), "NaN")]:
        with pytest.raises(ValueError, match=says):
            candid.CandidRegressor(side=SIDE, steps=2, settings=QUICK).fit(X, wrong)
    with pytest.raises(NotFittedError):
        candid.CandidRegressor().predict(X)
