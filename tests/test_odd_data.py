"""Data that are odd but legal, and data that are not, for every estimator."""

import numpy as np
import pandas as pd
import pytest
from faults import each_class, fitted, holdings, outcome, ready, seeded, table, targets
from instances import INSTANCES, OUTLIER_DETECTORS, SUPERVISED, name_of
from sklearn.base import is_classifier

X = table()
ODD = {
    "one row": X[:1],
    "two rows": X[:2],
    "one column": X[:, :1],
    "one number": X[:1, :1],
    "more columns than rows": table(6, 30),
    "constant columns": np.column_stack([X, np.ones(40), np.zeros(40)]),
    "few distinct rows": np.repeat(X[:4], 10, axis=0),
    "equal rows": np.tile(X[:1], (40, 1)),
    "zeros": np.zeros((40, 4)),
    "float16": X.astype(np.float16),
    "float32": X.astype(np.float32),
    "int8": (10 * X).astype(np.int8),
    "bool": X > 0,
    "objects": X.astype(object),
    "big-endian": X.astype(">f8"),
    "tiny": (1e-18 * X).astype(np.float32),
    "large": 1e30 * X,
    "one outlier": np.concatenate([X[:-1], 1e9 * X[:1]]),
}
NEEDS_TWO = {"one row", "one number", "equal rows", "zeros"}
"""What a detector, which holds rows out, cannot learn from."""
NEEDS_TWO_CLASSES = {"one row", "one number"}


def _answers(estimator, X, y):
    """Return by name what an estimator makes of rows, all that are numbers."""
    verbs = ("transform", "reconstruct", "score_samples", "predict", "explain", "p_values")
    found = {verb: getattr(estimator, verb)(X) for verb in verbs if hasattr(estimator, verb)}
    if "transform" in found and "reconstruct" in found:
        found["inverse_transform"] = estimator.inverse_transform(found["transform"])
        found["sample"] = estimator.sample(2, random_state=0)
    if hasattr(estimator, "score") and (y is None or len(X) > 1):
        found["score"] = estimator.score(X, y)
    return found


@pytest.mark.parametrize("kind", ODD)
@each_class
def test_odd_data_give_finite_answers_or_a_clear_error(instance, kind):
    rows, y = ODD[kind], targets(instance, len(ODD[kind]))
    refused = None
    if instance in OUTLIER_DETECTORS and kind in NEEDS_TWO:
        refused = "two distinct samples"
    elif is_classifier(instance) and kind in NEEDS_TWO_CLASSES:
        refused = "1 class"
    if refused is not None:
        with pytest.raises(ValueError, match=refused):
            seeded(instance).fit(rows, y)
        return
    estimator = fitted(instance, rows)
    for verb, found in _answers(estimator, rows, y).items():
        assert np.isfinite(found).all(), verb


@pytest.mark.parametrize(
    "arrange",
    [np.asfortranarray, lambda X: X[::-1, ::-1].copy()[::-1, ::-1], pd.DataFrame, "frozen", "map"],
    ids=["Fortran", "negative strides", "frame", "read-only", "memory map"],
)
@each_class
def test_memory_layout_does_not_matter(instance, arrange, tmp_path):
    arranged = X.copy()
    if arrange == "map":
        np.save(tmp_path / "X.npy", X)
        arranged = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif arrange == "frozen":
        arranged.flags.writeable = False
    else:
        arranged = arrange(arranged)
    expected = outcome(ready(instance), X)
    np.testing.assert_allclose(outcome(fitted(instance, arranged), arranged), expected, atol=1e-9)


SIZES = [
    {"n_components": 9},
    {"batch_size": 1000},
    {"batch_size": 1, "max_iter": 2, "learning_rate_init": 1e-3},
    {"max_iter": 1},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("instance", INSTANCES + SUPERVISED, ids=name_of)
def test_sizes_at_the_edge(instance, sizes):
    if instance in SUPERVISED:  # the last layer is the code, and is trained before
        sizes = {"hidden_layer_sizes": (sizes.get("n_components", 4),), **sizes}
        sizes["pretraining_max_iter"] = 2
        sizes.pop("n_components", None)
    estimator = fitted(instance, X, **sizes)
    for verb, found in _answers(estimator, X, targets(instance)).items():
        assert np.isfinite(found).all(), verb


WRONG = {
    "no rows": (X[:0], "0 sample"),
    "no columns": (X[:, :0], "0 feature"),
    "another width": (X[:, :3], "3 features"),
    "one row, flat": (X[0], "[Ee]xpected 2D|1D"),
    "complex numbers": (X + 1j, "[Cc]omplex"),
    "text": (np.full((40, 4), "a", object), "X holds strings, such as 'a'"),
    "nothing": (None, "scalar array|NoneType"),
}


@pytest.mark.parametrize("kind", WRONG)
@each_class
def test_wrong_data_are_refused_by_every_method(instance, kind):
    rows, message = WRONG[kind]
    estimator = ready(instance)
    before = holdings(estimator)
    if kind != "another width":
        with pytest.raises(ValueError, match=message):
            estimator.fit(rows, targets(instance))
    for verb in ("transform", "reconstruct", "score_samples", "predict", "explain", "kneighbors"):
        if not hasattr(estimator, verb) or (kind, verb) == ("nothing", "kneighbors"):
            continue  # neighbours of nothing are those of the training rows
        with pytest.raises(ValueError, match=message):
            getattr(estimator, verb)(rows)
    assert holdings(estimator) == before


@each_class
def test_columns_go_by_their_names(instance):
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = fitted(instance, frame)
    assert list(estimator.feature_names_in_) == list("abcd")
    for wrong, message in [(frame[list("bacd")], "same order"), (frame.add_prefix("z"), "unseen")]:
        with pytest.raises(ValueError, match=message):
            outcome(estimator, wrong)


@pytest.mark.parametrize("size", [1e30, 1e300])
@pytest.mark.parametrize("instance", INSTANCES + OUTLIER_DETECTORS, ids=name_of)
def test_far_outliers_do_not_change_other_samples(instance, size):
    estimator, rows = ready(instance), X[:3].copy()
    rows[1, 2] = size
    for verb in ("transform", "reconstruct", "score_samples", "predict", "explain"):
        if hasattr(estimator, verb):
            found, calm = getattr(estimator, verb)(rows), getattr(estimator, verb)(X[:3])
            assert not np.isnan(found).any(), verb
            np.testing.assert_allclose(found[[0, 2]], calm[[0, 2]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("instance", INSTANCES, ids=name_of)
def test_values_beyond_the_bound_count_alike_in_the_score(instance):
    estimator = ready(instance)
    score = estimator.score(np.where(X > 1, 1e300, X))
    assert -np.inf < score <= 1
    assert score == estimator.score(np.where(X > 1, 1e30, X))


@pytest.mark.parametrize("instance", OUTLIER_DETECTORS, ids=name_of)
def test_a_value_gone_mad_is_an_outlier_by_that_value(instance):
    detector, rows = ready(instance), X[:1].copy()
    rows[0, 2] = 1e300
    assert detector.predict(rows) == [-1]
    assert detector.p_values(rows) == pytest.approx([1 / 41])
    assert detector.score_samples(rows) == [-np.inf]
    assert detector.explain(rows).sum() == pytest.approx(1)
