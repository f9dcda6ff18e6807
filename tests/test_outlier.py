"""The outlier detector: its contract, and that it does what it says."""

import io
import pickle
import pickletools
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from instances import OUTLIER_DETECTORS, name_of
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ConvolutionalAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._detection import limits
from sklearn_ae._detection.halves import folds

LINEAR = Autoencoder(1, hidden_layer_sizes=(), max_iter=1)


@parametrize_with_checks(OUTLIER_DETECTORS, xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# The check of names fits on a frame and scores an array, to see that it warns.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
@pytest.mark.parametrize("estimator", OUTLIER_DETECTORS, ids=name_of)
def test_further_scikit_learn_checks(estimator, check):
    check(type(estimator).__name__, clone(estimator).set_params(random_state=0))


def rows_on_a_curve(n_samples, seed, noise=0.05):
    """Inliers whose four features tell each other, on scales of their own."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, size=n_samples)
    X = np.column_stack([t, t**2, np.sin(3 * t), -t])
    return (X + noise * rng.standard_normal(X.shape)) * [1.0, 10.0, 0.1, 5.0]


def rows_off_the_curve(n_samples, seed):
    """Each feature within its range, at odds with the others."""
    X = rows_on_a_curve(n_samples, seed)
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.permutation(column) for column in X.T])


@pytest.fixture(scope="module")
def detector():
    return AutoencoderOutlierDetector(random_state=0).fit(rows_on_a_curve(600, 0))


def test_higher_scores_are_more_normal(detector):
    normal, odd = rows_on_a_curve(200, 1), 3 * rows_on_a_curve(200, 2) + [4, 40, 0.4, 20]
    assert detector.score_samples(normal).min() > detector.score_samples(odd).max()
    assert (detector.predict(odd) == -1).all()
    assert (detector.decision_function(odd) < 0).all()
    np.testing.assert_array_equal(
        detector.predict(normal), np.where(detector.decision_function(normal) < 0, -1, 1)
    )


def test_samples_that_break_the_relation_are_found(detector):
    X = np.concatenate([rows_on_a_curve(300, 1), rows_off_the_curve(300, 1)])
    scores = detector.score_samples(X)
    assert roc_auc_score(np.repeat([1, 0], 300), scores) > 0.85


def test_threshold_is_the_quantile_of_held_out_scores():
    X = rows_on_a_curve(300, 0)
    detector = AutoencoderOutlierDetector(contamination=0.2, random_state=0).fit(X)
    assert (detector.held_out_scores_ < detector.offset_).sum() == 60
    np.testing.assert_allclose(detector.score_samples(X), detector.held_out_scores_)
    assert (detector.predict(X) == -1).sum() == 60


def test_p_values_of_fresh_inliers_are_not_too_small():
    for seed in range(3):
        X, fresh = rows_on_a_curve(200, seed), rows_on_a_curve(5000, 100 + seed)
        p = AutoencoderOutlierDetector(random_state=seed).fit(X).p_values(fresh)
        assert p.min() >= 1 / 201
        assert p.max() <= 1
        for level in (0.01, 0.05, 0.1, 0.2, 0.5):
            # The calibration rows are random too: the share is of a beta distribution.
            tolerance = 3 * np.sqrt(level * (1 - level) * (1 / 200 + 1 / 5000))
            assert (p <= level).mean() <= level + tolerance


def test_members_come_in_pairs():
    X = rows_on_a_curve(60, 0)
    odd, even = (
        AutoencoderOutlierDetector(LINEAR, n_estimators=n, random_state=0).fit(X) for n in (3, 4)
    )
    assert len(odd.estimators_) == 4
    np.testing.assert_array_equal(odd.held_out_scores_, even.held_out_scores_)


def test_p_values_follow_the_scores_and_reach_the_ends(detector):
    X = np.concatenate([rows_on_a_curve(100, 5), [[100.0, -100.0, 100.0, 100.0]]])
    p, scores = detector.p_values(X), detector.score_samples(X)
    assert p[-1] == 1 / 601
    assert (np.diff(p[np.argsort(scores)]) >= 0).all()


@pytest.mark.parametrize(("share", "least"), [(0.05, 0.75), (0.1, 0.5)])
def test_outliers_among_the_training_samples_are_found(share, least):
    """In 21 draws .90 to 1 and .63 to 1 of them, the areas at least .999 and .948."""
    n_odd = int(600 * share)
    clump = rows_on_a_curve(n_odd, 3, noise=0.02) * [1, -1, 1, 1] + [0, -10, 0.2, 0]
    X = np.concatenate([rows_on_a_curve(600 - n_odd, 0), clump])
    odd = np.arange(600) >= 600 - n_odd
    detector = AutoencoderOutlierDetector(contamination=share, random_state=0)
    labels = detector.fit_predict(X)
    assert (labels[odd] == -1).mean() > least
    assert roc_auc_score(odd, -detector.held_out_scores_) > 0.9


@pytest.fixture
def trained_on(monkeypatch):
    """Collect which samples each member is trained on."""
    collected = []

    def recording(function, template, training, inside, *arguments, **options):
        collected.append(inside)  # in order: the functions are called in threads
        return partial(function, template, training, inside, *arguments, **options)

    monkeypatch.setattr("sklearn_ae._detection.ensemble.partial", recording)
    return collected


def test_trimming_keeps_outliers_from_later_members(trained_on):
    odd = np.random.default_rng(0).permutation(600) < 60
    X = rows_on_a_curve(600, 0)
    X[odd] = rows_on_a_curve(60, 3) * [1, -1, 1, 1] + [0, -10, 0.2, 0]
    AutoencoderOutlierDetector(random_state=0).fit(X)
    share = [inside[odd].mean() for inside in trained_on]
    assert np.mean(share[:2]) > 0.4
    assert np.mean(share[2:]) < 0.2


def test_explain_points_at_the_feature_that_is_off():
    """In four of five cases, by the mean over detectors.

    Far out of their range features are not equally easy to tell apart for all networks: over 21
    detectors the fraction has a mean of .93 or more, and a standard deviation of .09 or less. The
    mean over eight detectors has a standard error of .03, four of which are above the bound.
    """
    named = np.zeros((8, 4))
    for seed in range(8):
        X = rows_on_a_curve(50, 100 + seed)
        detector = AutoencoderOutlierDetector(random_state=seed).fit(rows_on_a_curve(600, seed))
        for feature, shift in enumerate([2.0, 20.0, -0.3, 10.0]):
            moved = X.copy()
            moved[:, feature] += shift
            shares = detector.explain(moved)
            np.testing.assert_allclose(shares.sum(axis=1), 1)
            assert (shares >= 0).all()
            named[seed, feature] = (shares.argmax(axis=1) == feature).mean()
    assert (named.mean(axis=0) > 0.8).all()


def errors_of(member, X, conditional):
    """Errors of reconstruction, without the functions that are tested."""
    error = member.estimator.inverse_transform(member.estimator.transform(X)) - X
    error = error / member.estimator[0].scale_
    if conditional:
        error = error / member.spread
        error = error - error @ member.common.T.astype(float) @ member.common
    return np.abs(error)


def test_scores_are_those_of_errors_and_of_decorrelated_errors(detector):
    X = rows_on_a_curve(20, 7)
    keys = detector._keys(X)
    new = np.array([member.is_new(keys) for member in detector._members])
    scores, shares = [], []
    for number, member in enumerate(detector._members):
        assert member.joint == (number >= 2)
        error = errors_of(member, X, member.joint)
        square = (error / member.scale[folds(keys)]) ** 2
        joint, single = np.log1p(square.mean(axis=1)), np.log1p(square).mean(axis=1)
        scores.append(-joint if member.joint else -single)
        conditional = errors_of(member, X, conditional=True)
        conditional = np.log1p((conditional / member.conditional_scale) ** 2)
        own = np.log1p((error / member.scale.mean(axis=0)) ** 2)
        shares.append(conditional if member.joint else (conditional + own) / 2)
    expected = (np.array(scores) * new).sum(axis=0) / 3
    np.testing.assert_allclose(detector.score_samples(X), expected, rtol=1e-4)
    expected = np.sum(shares, axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(detector.explain(X), expected, atol=1e-4)


def test_a_sample_reconstructed_without_error_has_equal_shares():
    X = np.column_stack([np.arange(40.0), np.zeros(40)])
    detector = AutoencoderOutlierDetector(LINEAR, random_state=0).fit(X)
    shares = detector.explain(X)
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_a_frame_is_explained_by_a_frame():
    X = pd.DataFrame(rows_on_a_curve(80, 0), columns=list("abcd")).set_index(
        pd.RangeIndex(100, 180)
    )
    shares = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(X).explain(X)
    assert list(shares.columns) == list("abcd")
    assert shares.index.equals(X.index)
    polars = pl.DataFrame(X)
    shares = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(polars).explain(polars)
    assert isinstance(shares, pl.DataFrame)
    assert shares.columns == list("abcd")


def test_features_of_a_pipeline_go_by_the_names_that_it_gives():
    X = pd.DataFrame(rows_on_a_curve(80, 0), columns=list("abcd"))
    chosen = make_column_transformer((StandardScaler(), ["c", "a"]), (PCA(1), ["b", "d"]))
    detector = AutoencoderOutlierDetector(make_pipeline(chosen, LINEAR), random_state=0).fit(X)
    names = ["standardscaler__c", "standardscaler__a", "pca__pca0"]
    assert list(detector.explain(X).columns) == names


def test_a_variational_autoencoder_is_scored_by_its_likelihood():
    X = rows_on_a_curve(200, 0)
    vae = VariationalAutoencoder(1, hidden_layer_sizes=(16,), max_iter=30)
    detector = AutoencoderOutlierDetector(vae, n_estimators=2, random_state=0).fit(X)
    fresh = rows_on_a_curve(50, 1)
    keys, scores = detector._keys(fresh), detector.score_samples(fresh)
    for member in detector._members:
        new = member.is_new(keys)
        bounds = member.estimator.score_samples(fresh) - member.level[folds(keys)]
        np.testing.assert_allclose(scores[new], bounds[new])
    seen = np.concatenate([m.score_samples(X) for m in detector.estimators_])
    assert abs(np.median(detector.held_out_scores_)) < np.ptp(seen) / 10
    np.testing.assert_allclose(detector.explain(fresh).sum(axis=1), 1)


def test_images_reach_a_network_for_images():
    X = np.random.default_rng(0).normal(size=(40, 6, 6)).cumsum(axis=2)
    convolutional = ConvolutionalAutoencoder(2, channels=(2,), max_iter=2)
    detector = AutoencoderOutlierDetector(convolutional, n_estimators=2, random_state=0).fit(X)
    assert detector.estimators_[0].input_shape_ == (6, 6)
    assert detector.explain(X).shape == X.shape
    with pytest.raises(ValueError, match=r"samples of shape \(6, 5\)"):
        detector.predict(X[:, :, :5])
    flat = AutoencoderOutlierDetector(n_estimators=2, random_state=0).fit(X)
    assert flat.n_features_in_ == 36
    assert flat.score_samples(X.tolist()).shape == (40,)


def test_samples_in_chunks_have_the_same_scores(monkeypatch):
    X = rows_on_a_curve(90, 0).reshape(90, 2, 2)
    kinds = {
        "array": (X.reshape(90, 4), LINEAR),
        "images": (X, LINEAR),
        "sparse": (sp.csr_array(X.reshape(90, 4)), LINEAR),
        "frame": (pd.DataFrame(X.reshape(90, 4), columns=list("abcd")), None),
        "polars": (pl.DataFrame(X.reshape(90, 4), schema=list("abcd")), LINEAR),
    }
    for rows, estimator in kinds.values():
        detector = AutoencoderOutlierDetector(estimator, n_estimators=2, random_state=0).fit(rows)
        whole = detector.score_samples(rows), np.asarray(detector.explain(rows))
        with monkeypatch.context() as patch:
            patch.setattr("sklearn_ae._detection.members.CHUNK_VALUES", 70)
            np.testing.assert_allclose(detector.score_samples(rows), whole[0])
            np.testing.assert_allclose(detector.explain(rows), whole[1])


def test_the_size_of_values_is_checked_once_in_a_call(monkeypatch):
    X, largest, calls = rows_on_a_curve(60, 0), limits._largest, []
    monkeypatch.setattr(limits, "_largest", lambda X: calls.append(len(X)) or largest(X))
    detector = AutoencoderOutlierDetector(LINEAR, n_estimators=2, random_state=0).fit(X)
    assert calls == [60]
    for method in (detector.predict, detector.p_values, detector.explain):
        calls.clear()
        method(X[:20])
        assert calls == [20]


def test_a_member_is_trained_on_at_most_max_samples(trained_on):
    detector = AutoencoderOutlierDetector(LINEAR, max_samples=20, random_state=0)
    detector.fit(rows_on_a_curve(200, 0))
    assert [inside.sum() for inside in trained_on] == [20] * 6


def test_a_sample_is_scored_by_the_member_of_each_pair_that_has_not_seen_it(trained_on):
    X, fresh = rows_on_a_curve(200, 0), rows_on_a_curve(200, 1)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    for rows in (X, fresh):
        keys = detector._keys(rows)
        new = np.array([member.is_new(keys) for member in detector._members])
        assert (new[::2] != new[1::2]).all()
        if rows is X:
            assert not (new & trained_on).any()
        scores = np.array([member.score(rows, keys) for member in detector._members])
        expected = [scores[new[:, i], i].mean() for i in range(200)]
        np.testing.assert_allclose(detector.score_samples(rows), expected)


def test_sparse_matrices_tensors_and_arrays_give_the_same_scores():
    X = np.random.default_rng(0).poisson(0.5, size=(80, 6)).astype(float)
    scores = AutoencoderOutlierDetector(random_state=0).fit(X).score_samples(X)
    for same in (sp.csr_array(X), torch.from_numpy(X), X.tolist(), X.astype(int)):
        other = AutoencoderOutlierDetector(random_state=0).fit(same).score_samples(same)
        np.testing.assert_allclose(other, scores, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_are_float64_and_samples_recognised_in_either_precision(dtype):
    X = rows_on_a_curve(100, 0)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    scores = detector.score_samples(X.astype(dtype))
    assert scores.dtype == np.float64
    # Rounding takes one sample in a thousand to another cell, at most, and to other members.
    keys, rounded = detector._keys(X), detector._keys(X.astype(dtype))
    alike = folds(keys) == folds(rounded)
    for member in detector._members:
        alike &= member.is_new(keys) == member.is_new(rounded)
    most = len(X) / 1000 if dtype == np.float32 else 0
    assert (~alike).sum() <= most + 4 * np.sqrt(most)
    np.testing.assert_allclose(scores[alike], detector.held_out_scores_[alike], rtol=1e-3)


def test_same_seed_same_scores_and_another_seed_others():
    X = rows_on_a_curve(100, 0)
    first, again, other = (
        AutoencoderOutlierDetector(n_estimators=2, random_state=seed).fit(X).score_samples(X)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-6


def test_random_state_reaches_every_step_and_members_differ():
    X = rows_on_a_curve(100, 0)
    pipeline = make_pipeline(PCA(3, svd_solver="randomized"), LINEAR)
    detector = AutoencoderOutlierDetector(pipeline, n_estimators=4, random_state=0).fit(X)
    seeds = [step.random_state for member in detector.estimators_ for _, step in member.steps]
    assert len(set(seeds)) == 8
    assert pipeline[-1].random_state is None


def test_the_pickle_holds_no_torch_objects(detector):
    content = pickle.dumps(detector)
    modules = {
        str(argument).split(" ")[0]
        for opcode, argument, _ in pickletools.genops(io.BytesIO(content))
        if opcode.name in {"GLOBAL", "SHORT_BINUNICODE"} and argument
    }
    assert not any(name.split(".")[0] == "torch" for name in modules)
    X = rows_on_a_curve(30, 1)
    restored = pickle.loads(content)
    np.testing.assert_array_equal(restored.score_samples(X), detector.score_samples(X))
    np.testing.assert_array_equal(restored.p_values(X), detector.p_values(X))


def test_a_sample_of_weight_two_is_two_samples():
    X = rows_on_a_curve(40, 0)
    weight = np.random.default_rng(0).integers(0, 3, size=40)
    weighted = AutoencoderOutlierDetector(random_state=0).fit(X, sample_weight=weight)
    repeated = AutoencoderOutlierDetector(random_state=0).fit(np.repeat(X, weight, axis=0))
    fresh = rows_on_a_curve(30, 1)
    np.testing.assert_allclose(weighted.score_samples(fresh), repeated.score_samples(fresh))
    np.testing.assert_allclose(weighted.p_values(fresh), repeated.p_values(fresh))
    assert weighted.offset_ == pytest.approx(repeated.offset_)
    assert np.isnan(weighted.held_out_scores_[weight == 0]).all()


def test_copies_of_a_sample_are_held_out_together():
    X = np.repeat(rows_on_a_curve(60, 0), 3, axis=0)
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    assert np.ptp(detector.held_out_scores_.reshape(60, 3), axis=1).max() < 1e-9


def test_grid_search_over_a_parameter_of_the_autoencoder():
    X, y = rows_on_a_curve(100, 0), np.where(np.arange(100) % 10 == 0, -1, 1)
    X[y == -1] += [4, 40, 0.4, 20]
    detector = AutoencoderOutlierDetector(
        make_pipeline(StandardScaler(), LINEAR), n_estimators=2, random_state=0
    )
    search = GridSearchCV(
        detector, {"estimator__autoencoder__n_components": [1, 2]}, scoring="roc_auc", cv=2
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    n_components = search.best_params_["estimator__autoencoder__n_components"]
    assert best.estimators_[0]["autoencoder"].n_components_ == n_components


def test_an_error_leaves_the_detector_as_it_was(detector):
    fitted = clone(detector).fit(rows_on_a_curve(60, 0))
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="infinity"):
        fitted.fit(np.full((20, 3), np.inf))
    with pytest.raises(ValueError, match="all equal"):
        fitted.fit(np.ones((20, 3)))
    assert vars(fitted) == before


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (PCA(), r"must be an autoencoder of sklearn_ae, .* but it is PCA"),
        (Pipeline([("a", LINEAR), ("b", PCA())]), "whose last step is one, but it ends in PCA"),
        ("autoencoder", "'estimator' parameter"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(estimator, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderOutlierDetector(estimator).fit(rows_on_a_curve(30, 0))


def test_a_constant_feature_tells_nothing_until_it_changes():
    X = np.column_stack([rows_on_a_curve(200, 0), np.full(200, 7.0)])
    detector = AutoencoderOutlierDetector(random_state=0).fit(X)
    fresh = np.column_stack([rows_on_a_curve(50, 1), np.full(50, 7.0)])
    assert detector.explain(fresh)[:, 4].max() == 0
    fresh[:, 4] = 8.0
    assert (detector.predict(fresh) == -1).all()
