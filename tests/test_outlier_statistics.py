"""What the outlier detector promises of p-values, fine relations and explanations."""

import numpy as np
import pytest
from sklearn import datasets
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ae import Autoencoder, AutoencoderOutlierDetector
from sklearn_ae._detection.error_statistics import lower_threshold


class Linear(Autoencoder):
    """PCA: a member that is trained in no time."""

    def fit(self, X, y=None):
        self.pca_ = PCA(self.n_components, svd_solver="full").fit(X)
        return self

    def reconstruct(self, X):
        return self.pca_.inverse_transform(self.pca_.transform(X))


def heavy_tailed_rows(rng, n_samples):
    factors = rng.standard_normal((n_samples, 2)) @ [[1, 2, -1, 0, 0.5], [0, 1, 1, 2, -1]]
    return factors + 0.3 * rng.standard_t(4, size=(n_samples, 5))


@pytest.mark.parametrize(
    ("n_samples", "trim"),
    [
        (60, 0.0),
        (60, 0.3),
        pytest.param(300, 0.0, marks=pytest.mark.slow),
        pytest.param(1000, 0.3, marks=pytest.mark.slow),
    ],
)
def test_p_values_of_fresh_samples_are_uniform_and_as_many_are_flagged_as_asked_for(
    n_samples, trim
):
    """Over 200 data sets, up to five standard errors of what data sets differ by."""
    levels = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8)
    below, flagged = np.zeros((200, len(levels))), np.zeros((200, len(levels)))
    for seed in range(200):
        rng = np.random.default_rng([seed, n_samples])
        X, fresh = heavy_tailed_rows(rng, n_samples), heavy_tailed_rows(rng, 100)
        detector = AutoencoderOutlierDetector(
            Linear(2), n_estimators=4, max_samples=100, trim=trim, random_state=seed
        ).fit(X)
        p, scores = detector.p_values(fresh), detector.score_samples(fresh)
        for place, level in enumerate(levels):
            below[seed, place] = (p <= level).mean()
            offset = lower_threshold(detector.held_out_scores_, np.ones(n_samples), level)
            flagged[seed, place] = (scores < offset).mean()
    # A p-value is a multiple of 1 / (n_samples + 1).
    attained = np.floor(np.array(levels) * (n_samples + 1) + 1e-9) / (n_samples + 1)
    # The threshold is in the middle of a gap; see the test of `lower_threshold`.
    k = np.floor(np.array(levels) * n_samples + 1e-9)
    asked = np.where(k > 0, k + 0.5, 2 / 3) / (n_samples + 1)
    for shares, expected in ((below, attained), (flagged, asked)):
        error = shares.std(axis=0) / np.sqrt(200)
        assert (np.abs(shares.mean(axis=0) - expected) <= 5 * error).all()


def overfitting_detector(**params):
    """Members that restore what they have seen much better than what they have not."""
    network = Autoencoder(
        2, init="random", max_iter=150, early_stopping=False, alpha=0.0, input_noise=0.0
    )
    return AutoencoderOutlierDetector(
        make_pipeline(StandardScaler(), network), n_estimators=4, random_state=0, **params
    )


def test_false_alarms_on_new_samples_are_as_many_as_asked_for():
    rng = np.random.default_rng(0)
    X, fresh = rng.standard_normal((150, 12)), rng.standard_normal((4000, 12))
    detector = overfitting_detector(contamination=0.1, trim=0.0).fit(X)
    alarms = (detector.predict(fresh) == -1).mean()
    # Four standard errors of the threshold, a quantile of 150 scores.
    assert abs(alarms - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 150)
    # What the threshold would be if members judged the rows that they were trained on.
    keys = detector._keys(X)
    in_sample = np.mean([member.score(X, keys) for member in detector._members], axis=0)
    threshold = np.quantile(in_sample, 0.1)
    assert (detector.score_samples(fresh) < threshold).mean() > 0.2


def test_p_values_of_members_that_overfit_are_not_too_small():
    rng = np.random.default_rng(1)
    X, fresh = rng.standard_normal((150, 12)), rng.standard_normal((4000, 12))
    p = overfitting_detector(trim=0.0).fit(X).p_values(fresh)
    for level in (0.05, 0.1, 0.2, 0.5):
        assert (p <= level).mean() <= level + 3 * np.sqrt(level * (1 - level) / 150)


@pytest.mark.parametrize("n_features", [4, 20])
@pytest.mark.parametrize("seed", range(5))
def test_what_breaks_a_fine_relation_is_found(n_features, seed):
    """Twenty deviations off a relation, each feature within its range."""
    rng = np.random.default_rng(seed)
    X, fresh, broken = (rng.standard_normal((n, n_features)) for n in (600, 400, 200))
    broken[:, 0] = rng.uniform(-1, 1, size=200)
    for rows in (X, fresh, broken):
        rows[:, 3] = 2 * rows[:, 0] + 0.1 * rng.standard_normal(len(rows))
    broken[:, 3] += 2.0 * rng.choice([-1, 1], size=200)
    detector = AutoencoderOutlierDetector(contamination=0.05, random_state=seed).fit(X)
    assert (detector.predict(broken) == -1).mean() > 0.95
    assert (detector.predict(fresh) == -1).mean() < 0.05 + 4 * np.sqrt(0.05 * (1 / 600 + 1 / 400))
    assert np.isin(detector.explain(broken).argmax(axis=1), [0, 3]).mean() > 0.95


def tables_to_break():
    """Five tables of scikit-learn, three drawn ones."""
    rng = np.random.default_rng(0)
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        yield name, getattr(datasets, f"load_{name}")(return_X_y=True)[0]
    images = datasets.load_digits().images[:600]
    yield "digits", images.reshape(-1, 4, 2, 4, 2).sum(axis=(2, 4)).reshape(-1, 16)
    factors = rng.standard_normal((400, 3)) @ rng.standard_normal((3, 10))
    yield "factors", factors + 0.3 * rng.standard_normal((400, 10))
    yield "random walks", rng.standard_normal((400, 12)).cumsum(axis=1)
    truth, others = rng.standard_normal((400, 1)), rng.standard_normal((400, 5))
    yield "three sensors", np.hstack([truth + 0.05 * rng.standard_normal((400, 3)), others])


def with_one_value_changed(X, rng, n_samples=150, deviations=10):
    """Training samples, others with one value changed, and which feature that is.

    The value is put ten residual deviations off the linear regression on all other features.
    Left alone are features with a partial correlation of .8 or more: where two features
    determine each other, it is not known which of the two was changed.
    """
    X = rng.permutation(X)
    train, rest = np.split(X, [len(X) * 2 // 3])
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    precision = np.linalg.inv(np.corrcoef(train.T))
    residual = 1 / np.sqrt(np.diag(precision))
    partial = np.abs(precision * np.outer(residual, residual)) - np.eye(len(precision))
    changed = rng.choice(np.flatnonzero(partial.max(axis=1) < 0.8), n_samples)
    rows = (rng.choice(rest, n_samples) - mean) / deviation
    each = np.arange(n_samples)
    expected = rows[each, changed] - (rows @ precision)[each, changed] * residual[changed] ** 2
    rows[each, changed] = expected + deviations * residual[changed] * rng.choice(
        [-1, 1], n_samples
    )
    return train, rows * deviation + mean, changed


@pytest.mark.slow
def test_explain_names_the_value_that_was_changed():
    """In nine of ten cases; on no table much less often."""
    named = {}
    for name, X in tables_to_break():
        shares = []
        for seed in range(3):
            train, rows, changed = with_one_value_changed(X, np.random.default_rng(seed))
            detector = AutoencoderOutlierDetector(random_state=seed).fit(train)
            shares.append((detector.explain(rows).argmax(axis=1) == changed).mean())
        named[name] = np.mean(shares)
    assert len(named) == 8
    assert np.mean(list(named.values())) > 0.95
    assert min(named.values()) > 0.85
