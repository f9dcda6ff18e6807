"""What scikit-learn's tools for features and for several targets make of supervised stacks."""

import numpy as np
import pytest
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.multioutput import ClassifierChain, RegressorChain
from sklearn.preprocessing import StandardScaler

from sklearn_ae import StackedAutoencoderClassifier, StackedAutoencoderRegressor

FEW = {"hidden_layer_sizes": (8, 4), "pretraining_max_iter": 5, "max_iter": 60, "random_state": 0}
CLASSIFIER = StackedAutoencoderClassifier(**FEW)
REGRESSOR = StackedAutoencoderRegressor(**FEW)

iris, species = load_iris(return_X_y=True)
iris = StandardScaler().fit_transform(iris)


def first_layer(estimator):
    """Sizes of the weights of each feature in the encoder's first layer."""
    return estimator.autoencoder_.module_.encoder.layers[0].weight.detach().abs().sum(0).numpy()


@pytest.mark.parametrize("estimator", [*INSTANCES, *SUPERVISED, *OUTLIER_DETECTORS], ids=name_of)
def test_no_attribute_looks_like_importances_of_features(estimator):
    """``shap.Explainer`` takes whatever has ``coef_`` and ``intercept_`` for a linear model."""
    fitted = clone(estimator).fit(iris, species)
    for name in ("coef_", "intercept_", "feature_importances_"):
        assert not hasattr(fitted, name)


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=name_of)
def test_weights_of_codes_select_no_features(estimator):
    for selector in (SelectFromModel(estimator), RFE(estimator)):
        with pytest.raises(ValueError, match="should have `coef_` or `feature_importances_`"):
            selector.fit(iris, species).get_support()


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=name_of)
def test_features_are_selected_by_an_importance_that_is_given(estimator):
    fitted = clone(estimator).fit(iris, species)
    expected = first_layer(fitted) >= first_layer(fitted).mean()
    selector = SelectFromModel(estimator, importance_getter=first_layer).fit(iris, species)
    np.testing.assert_array_equal(selector.get_support(), expected)
    eliminated = RFE(estimator, n_features_to_select=2, importance_getter=first_layer)
    eliminated.fit(iris, species)
    assert eliminated.get_support().sum() == 2
    assert eliminated.transform(iris).shape == (len(iris), 2)
    assert not eliminated.get_support()[first_layer(fitted).argmin()]


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=name_of)
def test_permutation_importance_finds_the_feature_that_matters(estimator):
    X = np.random.default_rng(0).normal(size=(200, 4))
    y = (X[:, 2] > 0).astype(int)
    fitted = clone(estimator).set_params(max_iter=100).fit(X, y)
    importances = permutation_importance(fitted, X, y, n_repeats=10, random_state=0)
    assert importances.importances_mean.argmax() == 2
    assert importances.importances_mean[2] > 0.3

    def given(_):
        return importances.importances_mean

    selector = SelectFromModel(fitted, prefit=True, importance_getter=given, max_features=1)
    assert selector.fit(X, y).get_support(indices=True).tolist() == [2]


@pytest.mark.parametrize("cv", [None, 2])
def test_chain_of_classifiers(cv):
    targets = np.column_stack([species == 0, species == 1, species == 2]).astype(int)
    chain = ClassifierChain(CLASSIFIER, cv=cv, random_state=0).fit(iris, targets)
    assert (chain.predict(iris) == targets).mean(axis=0).min() > 0.75
    for place, each in enumerate(chain.estimators_):
        assert each.n_features_in_ == 4 + place
        assert each.head_coef_.shape == (1, 4)
    assert chain.predict_proba(iris).shape == targets.shape
    assert np.isfinite(chain.decision_function(iris)).all()
    # The first of a chain is a classifier of its own.
    alone = clone(CLASSIFIER).set_params(random_state=0).fit(iris, targets[:, 0])
    np.testing.assert_array_equal(
        clone(chain).set_params(random_state=None).fit(iris, targets).predict(iris)[:, 0],
        alone.predict(iris),
    )


@pytest.mark.parametrize("cv", [None, 2])
def test_chain_of_regressors(cv):
    targets = np.column_stack([iris[:, 2], iris[:, 2] + iris[:, 3]])
    chain = RegressorChain(REGRESSOR, cv=cv).fit(iris, targets)
    predicted = chain.predict(iris)
    assert predicted.shape == targets.shape
    assert chain.score(iris, targets) > 0.8
    alone = clone(REGRESSOR).fit(iris, targets[:, 0])
    np.testing.assert_allclose(predicted[:, 0], alone.predict(iris))
