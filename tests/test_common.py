"""scikit-learn's whole contract over every public estimator, no failure expected."""

import inspect
import re
from functools import partial

import numpy as np
import pytest
import sklearn
import sklearn.utils.estimator_checks as checks
import torch
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of, one_of_each
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_ae
from sklearn_ae._compat import StrOptions
from sklearn_ae._parameters.training import TrainingParameters

pytestmark = pytest.mark.usefixtures("few_temperatures")

ESTIMATORS = [name for name in sklearn_ae.__all__ if hasattr(getattr(sklearn_ae, name), "fit")]

# scikit-learn runs these on its own estimators, but not through check_estimator.
FURTHER_CHECKS = [
    checks.check_dataframe_column_names_consistency,
    checks.check_transformer_get_feature_names_out,
    checks.check_transformer_get_feature_names_out_pandas,
    checks.check_get_feature_names_out_error,
    checks.check_set_output_transform,
    checks.check_set_output_transform_pandas,
    checks.check_set_output_transform_polars,
    checks.check_global_output_transform_pandas,
    checks.check_global_set_output_transform_polars,
    checks.check_inplace_ensure_writeable,
    checks.check_param_validation,
    partial(checks.check_array_api_input_and_values, array_namespace="torch"),
]


@parametrize_with_checks(INSTANCES, xfail_strict=True)
def test_scikit_learn_checks(estimator, check):
    # scikit-learn looks whether torch was built for CUDA, not whether there is a device.
    if "cuda" in str(getattr(check, "keywords", "")) and not torch.cuda.is_available():
        pytest.skip("There is no CUDA device.")
    check(estimator)


# Some of the checks fit on a frame and transform an array, to see that it works.
@pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names")
@pytest.mark.parametrize(
    "check", FURTHER_CHECKS, ids=lambda check: getattr(check, "func", check).__name__
)
@pytest.mark.parametrize("estimator", one_of_each(INSTANCES), ids=name_of)
def test_further_scikit_learn_checks(estimator, check):
    check(type(estimator).__name__, clone(estimator).set_params(random_state=0))


# Those of the imputer, which is no autoencoder, are in its own file.
@pytest.mark.parametrize("name", [name for name in ESTIMATORS if name != "AutoencoderImputer"])
def test_every_estimator_has_an_instance_here(name):
    instances = INSTANCES + SUPERVISED + OUTLIER_DETECTORS
    assert any(type(instance).__name__ == name for instance in instances)


def _documented(estimator, section):
    """Entries of one section of a docstring: name to type and text."""
    text = inspect.getdoc(estimator).split(f"\n\n{section}\n{'-' * len(section)}\n")[1]
    entries = re.split(r"^(\w+) : ", text.split("\n\n")[0], flags=re.MULTILINE)[1:]
    return dict(zip(entries[::2], entries[1::2], strict=True))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_documented_parameters_are_those_of_the_signature(name):
    estimator = getattr(sklearn_ae, name)
    entries = _documented(estimator, "Parameters")
    if "max_iter" in inspect.signature(estimator).parameters:
        others = _documented(estimator, "Other Parameters")
        assert set(others) <= set(TrainingParameters.__dataclass_fields__)
        entries |= others
    documented = {parameter: entry.split("\n")[0] for parameter, entry in entries.items()}
    signature = inspect.signature(estimator).parameters
    assert list(documented) == list(signature)
    for parameter, description in documented.items():
        default = signature[parameter].default
        shown = f'"{default}"' if isinstance(default, str) else str(default)
        assert description.endswith(f"default={shown}"), parameter


@pytest.mark.parametrize("estimator", INSTANCES + OUTLIER_DETECTORS, ids=name_of)
def test_documented_attributes_are_those_of_a_fit(estimator):
    documented = set(_documented(type(estimator), "Attributes"))
    X = np.random.default_rng(0).normal(size=(30, 4))
    fitted = clone(estimator).fit(X)
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    absent = {"feature_names_in_"}
    if not getattr(estimator, "ordered", False):
        absent.add("explained_variance_ratio_")
    absent |= {"is_categorical_", "column_scores_"}  # of tables
    assert public == documented - absent


@pytest.mark.parametrize("estimator", SUPERVISED, ids=name_of)
def test_documented_attributes_of_supervised_estimators_are_those_of_a_fit(estimator):
    absent = {"feature_names_in_", "is_categorical_"}  # of frames, and of tables
    documented = set(_documented(type(estimator), "Attributes")) - absent
    X = np.random.default_rng(0).normal(size=(30, 4))
    fitted = clone(estimator).fit(X, np.arange(30) % 2)
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    linear = {"head_coef_", "head_intercept_"}
    assert public == documented - (set() if fitted.head is None else linear)


def _another(value, constraints):
    """Another valid value of a parameter, or None where there is none to be found."""
    for constraint in constraints:
        if isinstance(constraint, StrOptions):
            others = sorted(constraint.options - {value, "bfloat16"})
            return others[0] if others else None
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return value / 2 + 0.01 if isinstance(value, float) else None


@pytest.mark.parametrize("estimator", INSTANCES + OUTLIER_DETECTORS, ids=name_of)
def test_parameters_that_are_set_after_fit_change_nothing(estimator):
    X = np.random.default_rng(0).uniform(0.1, 0.9, size=(40, 4))
    fitted = clone(estimator).set_params(random_state=0).fit(X)

    def results():
        methods = ("transform", "reconstruct", "score_samples", "predict")
        found = [getattr(fitted, name)(X) for name in methods if hasattr(fitted, name)]
        if hasattr(fitted, "sample"):
            found += [fitted.sample(3, random_state=0), fitted.score(X)]
        return found

    before = results()
    for name, constraints in fitted._parameter_constraints.items():
        value = getattr(fitted, name, None)
        other = _another(value, constraints)
        if other is None or name not in fitted.get_params(deep=False):
            continue
        fitted.set_params(**{name: other})
        for was, now in zip(before, results(), strict=True):
            np.testing.assert_array_equal(now, was, err_msg=name)
        fitted.set_params(**{name: value})


@pytest.mark.parametrize("estimator", INSTANCES, ids=name_of)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "transform", "score", "sample"])
def test_public_methods_are_documented(estimator, method):
    assert len(inspect.getdoc(getattr(estimator, method))) > 40


@pytest.mark.parametrize("name", ESTIMATORS)
def test_only_what_is_metadata_can_be_requested(name):
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = getattr(sklearn_ae, name)()
        requests = {method for method in dir(estimator) if re.fullmatch("set_.*_request", method)}
        asked = {
            f"{method}: {parameter}"
            for method, parameters in vars(estimator.get_metadata_routing()).items()
            for parameter in getattr(parameters, "requests", {})
        }
    assert "set_inverse_transform_request" not in requests
    assert requests <= {"set_fit_request", "set_partial_fit_request", "set_score_request"}
    assert {entry.split(": ")[1] for entry in asked} <= {"sample_weight", "X_val", "classes"}


def test_codes_are_passed_on_to_inverse_transform_under_routing():
    X = np.random.default_rng(0).normal(size=(30, 4))
    pipeline = make_pipeline(StandardScaler(), sklearn_ae.Autoencoder(2, max_iter=2))
    with sklearn.config_context(enable_metadata_routing=True):
        codes = pipeline.fit(X).transform(X)
        assert pipeline.inverse_transform(X=codes).shape == X.shape
    assert pipeline[-1].inverse_transform(X=codes).shape == X.shape
