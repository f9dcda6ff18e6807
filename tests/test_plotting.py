"""What is drawn equals the data, nothing overlaps, and matplotlib is imported when it is used."""

import itertools
import subprocess
import sys
import warnings

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
import torch
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae.networks import ConvolutionalNetwork
from sklearn_ae.plotting import (
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreFieldDisplay,
    ScreeDisplay,
    __all__,
)

SMALL = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
DISPLAYS = [
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    ReconstructionDisplay,
    ScoreFieldDisplay,
    ScreeDisplay,
]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def digits():
    return load_digits().data[:200], load_digits().target[:200]


@pytest.fixture(scope="module")
def waves():
    """Sequences of different lengths."""
    rng = np.random.default_rng(0)
    return [np.sin(0.5 * np.arange(rng.integers(6, 12)) + rng.uniform(0, 6)) for _ in range(40)]


@pytest.fixture(scope="module")
def wide(digits):
    return Autoencoder(8, **SMALL).fit(digits[0])


@pytest.fixture(scope="module")
def narrow(digits):
    return VariationalAutoencoder(2, **SMALL).fit(digits[0])


@pytest.fixture(scope="module")
def denoiser():
    return DenoisingAutoencoder(2, noise_level=0.3, **SMALL).fit(_spiral())


@pytest.fixture(scope="module")
def denoised():
    """A fitted denoiser of 4 x 4 images, noisy images and clean ones."""
    rng = np.random.default_rng(0)
    clean = rng.uniform(size=(60, 2)) @ rng.uniform(size=(2, 16))
    noisy = clean + 0.3 * rng.normal(size=clean.shape)
    return DenoisingAutoencoder(2, noise_level=0.3, **SMALL).fit(clean), noisy, clean


@pytest.fixture(scope="module")
def reader(waves):
    return LSTMAutoencoder(2, hidden_size=4, max_iter=2, random_state=0).fit(waves)


def _spiral():
    rng = np.random.default_rng(0)
    t = rng.uniform(1, 4, size=200)
    X = np.column_stack([t * np.cos(2 * t), t * np.sin(2 * t)])
    return X + 0.05 * rng.standard_normal(X.shape)


def _texts(figure):
    """Boxes of all texts that are seen, in pixels."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = {
        text
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_visible() and text.get_text().strip()
    }
    hidden = set()
    for axes in figure.findobj(matplotlib.axes.Axes):
        if not axes.axison:
            hidden |= set(axes.xaxis.findobj(matplotlib.text.Text))
            hidden |= set(axes.yaxis.findobj(matplotlib.text.Text))
        for axis in (axes.xaxis, axes.yaxis):
            # Ticks beyond the limits are there, but not drawn.
            shown = set(axis._update_ticks())
            for tick in {*axis.get_major_ticks(), *axis.get_minor_ticks()} - shown:
                hidden |= {tick.label1, tick.label2}
    return {text: text.get_window_extent(renderer) for text in texts - hidden}


def _assert_legible(figure):
    """No two texts overlap, and none leaves the figure."""
    boxes = _texts(figure)
    assert boxes
    for text, box in boxes.items():
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for (one, box), (other, beside) in itertools.combinations(boxes.items(), 2):
        assert not box.padded(-1).overlaps(beside.padded(-1)), (one, other)


# The import


def test_matplotlib_is_imported_when_something_is_drawn():
    code = """
import sys
import sklearn_ae.plotting as plotting
assert "matplotlib" not in sys.modules
display = plotting.LossCurveDisplay(history=[{"epoch": 1, "train_loss": 1.0}])
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
try:
    display.plot()
except ImportError as error:
    print(error)
try:
    plotting.LatentSpaceDisplay.from_codes([[0.0, 1.0]])
except ImportError as error:
    print(error)
"""
    lines = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) == 2
    for name, line in zip(["LossCurveDisplay", "LatentSpaceDisplay"], lines, strict=True):
        assert line.startswith(name)
        assert 'pip install "sklearn-ae[plot]"' in line


def test_all_displays_are_exported():
    assert sorted(display.__name__ for display in DISPLAYS) == __all__


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_display_keeps_what_it_is_given(display):
    import inspect

    given = {name: object() for name in inspect.signature(display).parameters}
    kept = display(**given)
    assert vars(kept) == given


# Losses


@pytest.mark.parametrize(
    "estimator",
    [
        Autoencoder(2, max_iter=5, random_state=0),
        VariationalAutoencoder(2, n_importance_samples=3, **SMALL),
        SparseAutoencoder(6, **SMALL),
        ContractiveAutoencoder(2, early_stopping=False, **SMALL),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_curves_are_the_history(estimator, digits):
    estimator.fit(digits[0])
    display = LossCurveDisplay.from_estimator(estimator)
    known = {"epoch", "valid_score"}
    if isinstance(estimator, Autoencoder):
        known.add("reconstruction")  # which is the training loss
    assert set(display.lines_) == set(estimator.history_[0]) - known
    for name, line in display.lines_.items():
        np.testing.assert_array_equal(
            line.get_ydata(), [entry[name] for entry in estimator.history_]
        )
        np.testing.assert_array_equal(line.get_xdata(), range(1, 6))
    assert display.best_line_.get_xdata()[0] == estimator.best_epoch_
    _assert_legible(display.figure_)


def test_best_epoch_is_that_of_the_last_call(digits):
    estimator = Autoencoder(2, warm_start=True, **SMALL).fit(digits[0]).fit(digits[0])
    display = LossCurveDisplay.from_estimator(make_pipeline(estimator))
    assert len(display.lines_["train_loss"].get_xdata()) == 10
    assert display.best_line_.get_xdata()[0] == 5 + estimator.best_epoch_
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert f"weights kept: epoch {display.best_epoch}" in names


def test_start_that_was_kept_is_called_that():
    history = [{"epoch": 1, "train_loss": 1.0}]
    display = LossCurveDisplay(history=history, best_epoch=0).plot()
    assert display.best_line_.get_label() == "weights kept: start"
    assert display.lines_["train_loss"].get_marker() == "o"
    assert LossCurveDisplay(history=history).plot().best_line_ is None


def _history(**terms):
    losses = terms.pop("train_loss", [3.0, 2.0, 1.5])
    return [
        {
            "epoch": epoch,
            "train_loss": loss,
            **{name: row[epoch - 1] for name, row in terms.items()},
        }
        for epoch, loss in enumerate(losses, start=1)
    ]


@pytest.mark.parametrize(
    ("history", "scale"),
    [
        (_history(), "linear"),
        (_history(train_loss=[3.0, 1.0, 0.1]), "log"),
        (_history(penalty=[0.01, 0.02, 0.01]), "log"),
        # From nothing: the others would be squeezed by a scale that shows its first epoch.
        (_history(kl=[1e-6, 0.5, 0.5]), "linear"),
        (_history(penalty=[0.01, 0.0, 0.02]), "symlog"),
        (_history(tightening=[-1.0, -0.5, -0.4]), "linear"),
        (_history(revival=[0.0, 0.0, 0.0]), "linear"),
        (_history(train_loss=[0.0, 0.0, 0.0]), "linear"),
    ],
)
def test_scale_is_logarithmic_where_that_helps(history, scale):
    display = LossCurveDisplay(history=history).plot()
    assert display.ax_.get_yscale() == scale
    assert ("linear between" in display.ax_.get_ylabel()) == (scale == "symlog")


def test_logarithm_of_what_has_none_is_refused():
    display = LossCurveDisplay(history=_history(kl=[0.0, 1.0, 1.0]))
    with pytest.raises(ValueError, match="'kl' falls to 0.*symlog"):
        display.plot(scale="log")
    with pytest.raises(ValueError, match="scale must be .* got 'cubic'"):
        display.plot(scale="cubic")


def test_what_callbacks_note_is_no_loss():
    display = LossCurveDisplay(history=_history(event_lr=[0.1, 0.1, 0.1])).plot()
    assert list(display.lines_) == ["train_loss"]


def test_score_has_an_axis_of_its_own(wide):
    display = LossCurveDisplay.from_estimator(wide, score=True)
    assert list(display.lines_["valid_score"].get_ydata()) == wide.validation_scores_
    assert display.lines_["valid_score"].axes is not display.ax_
    _assert_legible(display.figure_)
    with pytest.raises(ValueError, match="held out.*early_stopping=True"):
        LossCurveDisplay(history=_history()).plot(score=True)


# Reconstructions


def test_images_are_the_samples_and_their_reconstructions(wide, digits):
    X = digits[0]
    display = ReconstructionDisplay.from_estimator(wide, X, image_shape=(8, 8), n_samples=5)
    rows = [0, 50, 100, 149, 199]
    before, after = X[rows], wide.reconstruct(X[rows])
    drawn = np.array([[image.get_array() for image in line] for line in display.images_])
    np.testing.assert_array_equal(drawn[0].reshape(5, 64), before)
    np.testing.assert_array_equal(drawn[1].reshape(5, 64), after)
    np.testing.assert_array_equal(drawn[2].reshape(5, 64), after - before)
    limits = np.array([[image.get_clim() for image in line] for line in display.images_])
    assert (limits[:2] == (min(before.min(), after.min()), max(before.max(), after.max()))).all()
    bound = np.abs(after - before).max()
    assert (limits[2] == (-bound, bound)).all()
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [
        f"row {row}" for row in rows
    ]
    _assert_legible(display.figure_)


def test_errors_of_denoised_images_are_those_from_the_target(denoised):
    fitted, noisy, clean = denoised
    display = ReconstructionDisplay.from_estimator(
        fitted, noisy, target=clean, image_shape="square", indices=[3, 7]
    )
    restored = fitted.reconstruct(noisy[[3, 7]])
    drawn = np.array([[image.get_array() for image in line] for line in display.images_])
    expected = [noisy[[3, 7]], restored, clean[[3, 7]], restored - clean[[3, 7]]]
    np.testing.assert_allclose(drawn.reshape(4, 2, 16), expected)
    limits = np.array([[image.get_clim() for image in line] for line in display.images_])
    shown = np.stack(expected[:3])
    assert (limits[:3] == (shown.min(), shown.max())).all()
    rows = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert rows == ["input", "reconstruction", "target", "error"]
    assert "reconstruction\n- target" in {text.get_text() for text in _texts(display.figure_)}
    _assert_legible(display.figure_)


def test_the_target_of_series_is_a_third_curve(denoised):
    fitted, noisy, clean = denoised
    display = ReconstructionDisplay.from_estimator(fitted, noisy, target=clean, n_samples=2)
    above, below = display.axes_[:, 1]
    restored = fitted.reconstruct(noisy[-1:])[0]
    curves = [line.get_ydata() for line in above.lines]
    np.testing.assert_allclose(curves, [noisy[-1], restored, clean[-1]])
    np.testing.assert_allclose(below.lines[0].get_ydata(), restored - clean[-1])
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["input", "reconstruction", "target"]
    _assert_legible(display.figure_)


def test_targets_are_in_the_units_of_a_pipeline(denoised):
    _, noisy, clean = denoised
    denoiser = DenoisingAutoencoder(2, noise_level=0.3, **SMALL)
    pipeline = make_pipeline(StandardScaler(), denoiser).fit(clean)
    display = ReconstructionDisplay.from_estimator(pipeline, noisy, target=clean, indices=[5])
    np.testing.assert_array_equal(display.target, clean[[5]])
    with pytest.raises(ValueError, match="target has 20 samples and X has 60"):
        ReconstructionDisplay.from_estimator(pipeline, noisy, target=clean[:20])


def test_the_error_of_a_value_that_is_missing_in_the_input():
    original, target = np.array([[1.0, np.nan, 3.0]]), np.array([[1.0, 2.0, np.nan]])
    restored = np.array([[1.5, 2.5, 3.5]])
    display = ReconstructionDisplay(
        original=original, reconstruction=restored, target=target
    ).plot()
    np.testing.assert_allclose(display.axes_[1, 0].lines[0].get_ydata(), [0.5, 0.5, np.nan])


@pytest.mark.parametrize("n_samples", [1, 2, 12])
def test_any_number_of_images_is_legible(wide, digits, n_samples):
    display = ReconstructionDisplay.from_estimator(
        wide, digits[0], image_shape="square", n_samples=n_samples
    )
    assert display.images_.shape == (3, n_samples)
    _assert_legible(display.figure_)


@pytest.mark.parametrize("shape", [(3, 28, 10), (8, 10, 40), (2, 2, 60), (1, 60, 2), (20, 8, 8)])
def test_images_of_any_shape_are_legible(shape):
    X = np.random.default_rng(0).normal(size=shape)
    display = ReconstructionDisplay(original=X, reconstruction=1.1 * X).plot()
    assert display.figure_.get_size_inches().max() < 16
    _assert_legible(display.figure_)


def test_samples_of_any_type_are_drawn(digits):
    X = digits[0]
    expected = Autoencoder(4, **SMALL).fit(X)
    frame = pd.DataFrame(X, columns=[f"pixel {n}" for n in range(64)])
    for rows in (sp.csr_matrix(X), frame, torch.from_numpy(X), X.tolist()):
        fitted = Autoencoder(4, **SMALL).fit(rows)
        display = ReconstructionDisplay.from_estimator(fitted, rows, indices=[3, -1])
        np.testing.assert_array_equal(display.original, X[[3, -1]])
        np.testing.assert_allclose(display.reconstruction, expected.reconstruct(X[[3, -1]]))
        assert display.names == ["row 3", "row 199"]


@pytest.mark.parametrize(("low", "high", "top"), [(0, 1, 1), (0, 200, 255), (-1, 1, None)])
def test_colours_share_a_scale_and_errors_have_one_sign(low, high, top):
    X = np.random.default_rng(0).uniform(low, high, size=(30, 4, 6, 3))
    fitted = ConvolutionalAutoencoder(2, channels=(2,), max_iter=2, random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(fitted, X, n_samples=3)
    bottom, span = (0, top) if top else (display.original.min(), np.ptp(display.original))
    for line, rows in zip(
        display.images_, (display.original, display.reconstruction), strict=False
    ):
        for image, row in zip(line, rows, strict=True):
            np.testing.assert_allclose(image.get_array(), ((row - bottom) / span).clip(0, 1))
    errors = np.abs(display.reconstruction - display.original).mean(-1)
    np.testing.assert_allclose([image.get_array() for image in display.images_[2]], errors)
    assert display.images_[2, 0].get_clim() == (0, errors.max())
    _assert_legible(display.figure_)


def test_channels_first_are_turned():
    X = np.random.default_rng(0).uniform(size=(30, 3, 4, 6))
    network = ConvolutionalNetwork(channels=(2,), channels_last=False)
    fitted = Autoencoder(2, network=network, max_iter=1, init="random", random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(fitted, X, indices=[4])
    np.testing.assert_array_equal(display.original, np.moveaxis(X[[4]], 1, -1))


def test_series_are_curves_with_the_error_beneath(wide, digits):
    X = digits[0]
    display = ReconstructionDisplay.from_estimator(wide, X, n_samples=3)
    assert display.axes_.shape == (2, 3)
    restored = wide.reconstruct(X[[0, 100, 199]])
    for column, row in enumerate([0, 100, 199]):
        above, below = display.axes_[:, column]
        np.testing.assert_array_equal(above.lines[0].get_ydata(), X[row])
        np.testing.assert_allclose(above.lines[1].get_ydata(), restored[column])
        np.testing.assert_allclose(below.lines[0].get_ydata(), restored[column] - X[row])
        assert below.get_xlabel() == "feature"
    assert len({axes.get_ylim() for axes in display.axes_[0]}) == 1
    _assert_legible(display.figure_)


def test_short_sequences_end_where_they_end(reader, waves):
    display = ReconstructionDisplay.from_estimator(reader, waves, n_samples=4)
    restored = reader.reconstruct(waves)
    for column, row in enumerate([0, 13, 26, 39]):
        above, below = display.axes_[:, column]
        for line in above.lines + below.lines[:1]:
            assert np.isfinite(line.get_ydata()).sum() == len(waves[row])
        seen = above.lines[1].get_ydata()[: len(waves[row])]
        np.testing.assert_allclose(seen, restored[row, : len(waves[row])], rtol=1e-5)
    _assert_legible(display.figure_)


def test_channels_have_a_colour_each():
    X = np.random.default_rng(0).normal(size=(20, 6, 2))
    fitted = RecursiveAutoencoder(2, hidden_size=4, max_iter=1, random_state=0).fit(X)
    display = ReconstructionDisplay.from_estimator(fitted, X, n_samples=1)
    above = display.axes_[0, 0]
    np.testing.assert_array_equal(above.lines[2].get_ydata(), X[0, :, 1])
    assert above.lines[0].get_color() == above.lines[1].get_color() != above.lines[2].get_color()
    _assert_legible(display.figure_)


def test_a_pipeline_is_drawn_in_the_units_of_its_data(digits):
    X = digits[0]
    pipeline = make_pipeline(StandardScaler(), PCA(20), Autoencoder(4, **SMALL)).fit(X)
    display = ReconstructionDisplay.from_estimator(pipeline, X, image_shape=(8, 8), n_samples=2)
    restored = pipeline.inverse_transform(pipeline.transform(X[[0, 199]]))
    np.testing.assert_array_equal(display.original.reshape(2, 64), X[[0, 199]])
    np.testing.assert_allclose(display.reconstruction.reshape(2, 64), restored)
    search = GridSearchCV(pipeline, {"autoencoder__n_components": [2]}, cv=2).fit(X)
    assert ReconstructionDisplay.from_estimator(search, X).axes_.shape == (2, 4)


def test_a_pipeline_without_way_back_is_refused(digits):
    X = digits[0]
    pipeline = make_pipeline(Normalizer(), "passthrough", Autoencoder(4, **SMALL)).fit(X)
    with pytest.raises(ValueError, match=r"\['normalizer'\] have no inverse_transform.*\[-1\]"):
        ReconstructionDisplay.from_estimator(pipeline, X)
    classifier = make_pipeline(Autoencoder(4, **SMALL), LogisticRegression()).fit(X, X[:, 20] > 8)
    with pytest.raises(ValueError, match=r"LogisticRegression has no transform.*pipeline\[:-1\]"):
        LatentSpaceDisplay.from_estimator(classifier, X)
    display = LatentSpaceDisplay.from_estimator(classifier[:-1], X)
    np.testing.assert_allclose(
        display.positions, PCA(2).fit_transform(classifier[:-1].transform(X)), atol=1e-4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_shape": (8, 9)}, r"image_shape=\(8, 9\) does not fit samples of 64"),
        ({"image_shape": "round"}, "image_shape='round' does not fit"),
        ({"image_shape": (64,)}, "does not fit samples of 64"),
        ({"image_shape": (4, 4, 4)}, "one or three colours"),
        ({"kind": "image"}, "Set image_shape"),
        ({"kind": "film"}, "kind must be"),
        ({"kind": "series", "image_shape": (8, 8)}, "leave it out"),
        ({"n_samples": 0}, "n_samples must be an integer of at least 1, got 0"),
        ({"indices": [200]}, "from 0 to 199"),
        ({"indices": [0.5]}, "indices of samples"),
        ({"ax": np.empty(2, dtype=object)}, r"one matplotlib Axes.*axes\[0\]"),
    ],
)
def test_what_makes_no_picture_is_refused(wide, digits, options, message):
    with pytest.raises(ValueError, match=message):
        ReconstructionDisplay.from_estimator(wide, digits[0], **options)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"original": np.ones((2, 3)), "reconstruction": np.ones((2, 4))}, "same shape"),
        ({"original": np.ones((2, 3)), "target": np.ones((2, 4))}, "reconstruction and target"),
        ({"original": np.ones((2, 3)), "kind": "image"}, "height, width"),
        ({"original": np.ones((2, 3, 3, 3)), "kind": "series"}, "n_steps"),
        ({"original": np.ones((2, 3, 3, 2))}, "height, width, 3"),
        ({"original": np.ones((2, 3)), "names": ["one"]}, "1 entries for 2 samples"),
    ],
)
def test_plain_data_are_checked(given, message):
    display = ReconstructionDisplay(**{"reconstruction": given["original"], **given})
    with pytest.raises(ValueError, match=message):
        display.plot()


@pytest.mark.parametrize("display", DISPLAYS)
def test_unfitted_estimators_are_refused(display, digits):
    with pytest.raises(ValueError, match="not fitted"):
        display.from_estimator(DenoisingAutoencoder(), digits[0])
    with pytest.raises(ValueError, match="fitted autoencoder, got 'this'"):
        display.from_estimator("this", digits[0])


# Codes


def test_points_are_the_codes(narrow, digits):
    X, y = digits
    display = LatentSpaceDisplay.from_estimator(narrow, X)
    np.testing.assert_allclose(display.scatters_[0].get_offsets(), narrow.transform(X))
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("code 0", "code 1")
    display = LatentSpaceDisplay.from_estimator(narrow, X, y)
    assert len(display.scatters_) == 10
    for digit, scatter in enumerate(display.scatters_):
        np.testing.assert_allclose(scatter.get_offsets(), narrow.transform(X[y == digit]), 1e-5)
    looks = {
        (tuple(s.get_facecolor()[0]), s.get_paths()[0].vertices.tobytes())
        for s in display.scatters_
    }
    assert len(looks) == 10
    assert [text.get_text() for text in display.legend_.get_texts()] == list("0123456789")
    _assert_legible(display.figure_)


def test_wide_codes_are_reduced_and_say_so(wide, digits):
    X, y = digits
    display = LatentSpaceDisplay.from_estimator(wide, X)
    pca = PCA(2)
    np.testing.assert_allclose(
        display.scatters_[0].get_offsets(), pca.fit_transform(wide.transform(X)), atol=1e-8
    )
    share = round(100 * pca.explained_variance_ratio_[0])
    assert display.ax_.get_xlabel() == f"first principal component of the codes ({share} %)"
    display = LatentSpaceDisplay.from_estimator(wide, X[:40], y[:40], reduction="tsne")
    assert display.ax_.get_ylabel() == "t-SNE of the codes, axis 1 (no unit)"
    display = LatentSpaceDisplay.from_estimator(wide, X, components=(5, 2))
    np.testing.assert_array_equal(display.positions, wide.transform(X)[:, [5, 2]])
    assert display.ax_.get_xlabel() == "code 5"


def test_numbers_have_a_colour_bar():
    X = load_iris(as_frame=True).data
    fitted = Autoencoder(2, **SMALL).fit(X)
    y = X["petal length (cm)"]
    display = LatentSpaceDisplay.from_estimator(fitted, X, y)
    np.testing.assert_array_equal(display.scatters_[0].get_array(), y)
    assert display.colorbar_.ax.get_ylabel() == "petal length (cm)"
    assert display.legend_ is None
    many = LatentSpaceDisplay.from_estimator(fitted, X, np.arange(len(X)))
    assert many.colorbar_ is not None
    _assert_legible(display.figure_)


def test_samples_without_a_number_are_grey():
    y = np.array([1.0, np.nan, 3.0])
    display = LatentSpaceDisplay(positions=np.eye(3, 2), y=y).plot()
    display.figure_.draw_without_rendering()
    colors = display.scatters_[0].get_facecolors()
    assert len(set(colors[1][:3])) == 1
    assert display.colorbar_.vmax == 3


def test_codes_of_one_number_are_drawn():
    X, y = load_iris(return_X_y=True)
    fitted = Autoencoder(1, **SMALL).fit(X)
    codes = fitted.transform(X)[:, 0]
    counted = LatentSpaceDisplay.from_estimator(fitted, X)
    assert sum(bar.get_height() for bar in counted.ax_.patches) == len(X)
    numbers = LatentSpaceDisplay.from_estimator(fitted, X, X[:, 2])
    np.testing.assert_allclose(
        numbers.scatters_[0].get_offsets(), np.column_stack([codes, X[:, 2]])
    )
    classes = LatentSpaceDisplay.from_estimator(fitted, X, y == 1)
    for index, scatter in enumerate(classes.scatters_):
        np.testing.assert_allclose(scatter.get_offsets()[:, 0], codes[(y == 1) == index])
        assert (np.abs(scatter.get_offsets()[:, 1] - index) < 0.5).all()
    labels = [label.get_text() for label in classes.ax_.get_yticklabels()]
    assert labels == ["False", "True"]
    for display in (counted, numbers, classes):
        _assert_legible(display.figure_)


def test_more_classes_than_a_legend_holds_are_named_among_the_points():
    rng = np.random.default_rng(0)
    y = np.repeat([f"class {n}" for n in range(40)], 10)
    codes = rng.normal(size=(40, 2)).repeat(10, 0) + 0.05 * rng.normal(size=(400, 2))
    display = LatentSpaceDisplay.from_codes(codes, y)
    assert display.legend_ is None
    names = [text.get_text() for text in display.ax_.texts]
    assert len(names) == len(set(names)) > 15
    _assert_legible(display.figure_)


def test_thumbnails_are_the_samples_and_do_not_overlap(narrow, digits):
    X, y = digits
    display = LatentSpaceDisplay.from_estimator(
        narrow, X, y, thumbnails=30, image_shape=(8, 8), scatter_kwargs={"s": 2}
    )
    assert 15 <= len(display.thumbnails_) <= 30
    display.figure_.draw_without_rendering()
    codes = narrow.transform(X)
    for row, axes in display.thumbnails_.items():
        image = axes.images[0].get_array()
        np.testing.assert_allclose(image, X[row].reshape(8, 8) / X.max())
        box = axes.get_window_extent()
        middle = display.ax_.transData.transform(codes[row])
        np.testing.assert_allclose([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2], middle, atol=1)
        assert display.ax_.bbox.padded(1).contains(box.x0, box.y0)
        assert display.ax_.bbox.padded(1).contains(box.x1, box.y1)
    boxes = [axes.get_window_extent() for axes in display.thumbnails_.values()]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.padded(-0.5).overlaps(other.padded(-0.5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "umap"}, 'reduction must be "pca" or "tsne"'),
        ({"components": (0, 8)}, "from 0 to 7"),
        ({"components": (0, 0)}, "different"),
        ({"components": (0, 1, 2)}, "one or two"),
        ({"y": [1, 2]}, "one label for each of 200 samples"),
        ({"thumbnails": 5}, "Set image_shape"),
        ({"thumbnails": -1}, "at least 0"),
        ({"thumbnails": 5, "components": 0, "image_shape": (8, 8)}, "positions in the plane"),
    ],
)
def test_codes_that_cannot_be_drawn_are_refused(wide, digits, options, message):
    with pytest.raises(ValueError, match=message):
        LatentSpaceDisplay.from_estimator(wide, digits[0], **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LatentSpaceDisplay(positions=np.ones((3, 3))).plot(), "from_codes"),
        (lambda: LatentSpaceDisplay(positions=np.ones((3, 2))).plot(thumbnails=2), "images="),
        (lambda: LatentSpaceDisplay.from_codes(np.ones((5, 3))), "All codes are equal"),
        (lambda: LatentSpaceDisplay.from_codes(np.eye(2, 3)), "2 samples are too few"),
        (lambda: LatentSpaceDisplay.from_codes(np.ones((0, 3))), "at least one sample"),
    ],
)
def test_plain_codes_are_checked(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_equal_codes_of_two_numbers_are_drawn():
    codes = np.ones((9, 2))
    display = LatentSpaceDisplay.from_codes(
        codes, [f"{n}" for n in range(9)], thumbnails=9, images=np.ones((9, 2, 2))
    )
    assert len(display.thumbnails_) == 1


# Traversals


def test_tiles_are_decoded_codes(narrow, digits):
    display = LatentTraversalDisplay.from_estimator(narrow, grid_size=5, image_shape=(8, 8))
    assert display.across[2] == 0
    np.testing.assert_allclose(display.across, -display.across[::-1])
    for line, column in np.ndindex(5, 5):
        decoded = narrow.inverse_transform([[display.across[column], display.upwards[line]]])
        image = display.artists_[line, column]
        np.testing.assert_allclose(image.get_array(), decoded.reshape(8, 8), rtol=1e-5)
        left, right, bottom, top = image.get_extent()
        assert left < display.ax_.get_xticks()[column] < right
        assert bottom < display.ax_.get_yticks()[line] < top
    assert "standard normal" in display.ax_.get_xlabel()
    _assert_legible(display.figure_)


def test_other_components_stay_at_their_mean(wide, digits):
    X = digits[0]
    display = LatentTraversalDisplay.from_estimator(
        wide, X, components=(6, 1), grid_size=3, kind="series"
    )
    codes = wide.transform(X)
    np.testing.assert_allclose(display.across, np.quantile(codes[:, 6], [0.02, 0.5, 0.98]))
    code = codes.mean(0)
    code[6], code[1] = display.across[2], display.upwards[0]
    (line,) = display.artists_[0, 2]
    np.testing.assert_allclose(line.get_ydata(), wide.inverse_transform([code])[0])
    assert display.ax_.get_ylabel().startswith("code 1")
    _assert_legible(display.figure_)
    # Curves stay in their cells: to the right of all others of their line, and below.
    display.figure_.draw_without_rendering()
    box, left, above = (
        display.artists_[place][0].get_window_extent() for place in [(0, 2), (0, 1), (1, 2)]
    )
    assert left.x1 < box.x0
    assert box.y1 < above.y0
    assert display.ax_.bbox.padded(1).contains(box.x1, box.y0)


def test_one_component_gives_one_line(reader, waves, digits):
    display = LatentTraversalDisplay.from_estimator(reader, waves, components=1, grid_size=4)
    assert display.artists_.shape == (1, 4)
    assert display.upwards is None
    _assert_legible(display.figure_)
    single = Autoencoder(1, **SMALL).fit(digits[0])
    display = LatentTraversalDisplay.from_estimator(single, digits[0], image_shape=(8, 8))
    assert display.artists_.shape == (1, 9)
    _assert_legible(display.figure_)


def test_a_pipeline_decodes_to_the_units_of_its_data(digits):
    X = digits[0]
    pipeline = make_pipeline(StandardScaler(), Autoencoder(2, **SMALL)).fit(X)
    display = LatentTraversalDisplay.from_estimator(pipeline, X, grid_size=3, image_shape=(8, 8))
    code = [[display.across[0], display.upwards[2]]]
    np.testing.assert_allclose(display.decoded[2, 0].ravel(), pipeline.inverse_transform(code)[0])


def test_colour_images_are_decoded():
    X = np.random.default_rng(0).uniform(size=(30, 4, 6, 3))
    fitted = Autoencoder(2, **SMALL).fit(X)
    display = LatentTraversalDisplay.from_estimator(fitted, X, grid_size=3)
    assert display.artists_[0, 0].get_array().shape == (4, 6, 3)
    _assert_legible(display.figure_)


def test_traversals_that_cannot_be_are_refused(wide, digits):
    X = digits[0]
    with pytest.raises(ValueError, match="pass X"):
        LatentTraversalDisplay.from_estimator(wide)
    with pytest.raises(ValueError, match="grid must be"):
        LatentTraversalDisplay.from_estimator(wide, X, grid="fine")
    with pytest.raises(ValueError, match="grid_size must be .* at least 2, got 1"):
        LatentTraversalDisplay.from_estimator(wide, X, grid_size=1)
    with pytest.raises(ValueError, match="2 x 3 entries"):
        LatentTraversalDisplay(decoded=np.ones((3, 2, 5)), across=[1, 2, 3], upwards=[1, 2]).plot()
    switches = ConvolutionalAutoencoder(
        2, channels=(2,), unpooling="switches", max_iter=1, random_state=0
    ).fit(X)
    with pytest.raises(ValueError, match="values besides the components"):
        LatentTraversalDisplay.from_estimator(switches, X)


# Score fields


def test_arrows_point_where_the_field_does(denoiser):
    X = _spiral()
    display = ScoreFieldDisplay.from_estimator(denoiser, X, grid_size=12)
    field = denoiser.score_field(display.points)
    np.testing.assert_allclose(display.arrows, field)
    quiver = display.quiver_
    np.testing.assert_allclose(quiver.get_offsets(), display.points)
    np.testing.assert_array_equal(display.scatter_.get_offsets(), X)
    drawn, sizes = np.column_stack([quiver.U, quiver.V]), np.linalg.norm(field, axis=1)
    lengths = np.linalg.norm(drawn, axis=1)
    np.testing.assert_allclose((drawn * field).sum(1), lengths * sizes)
    np.testing.assert_allclose(quiver.get_array(), sizes)
    steps = np.diff(np.unique(display.points[:, 0].round(8)))
    assert 0.8 * steps.min() < lengths.max() < steps.min()
    order = np.argsort(sizes)
    assert (np.diff(lengths[order]) > -1e-9).all()
    assert display.points.min(0) == pytest.approx(X.min(0) - 0.15 * np.ptp(X, axis=0), abs=0.5)
    assert display.ax_.get_aspect() == 1
    _assert_legible(display.figure_)


def test_names_of_features_stand_on_the_axes():
    X = pd.DataFrame(_spiral(), columns=["east", "north"])
    fitted = DenoisingAutoencoder(2, noise_level=0.3, **SMALL).fit(X)
    display = ScoreFieldDisplay.from_estimator(fitted, X, grid_size=5)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("east", "north")


def test_arrows_need_no_estimator():
    display = ScoreFieldDisplay(points=[[0, 0], [1, 0]], arrows=[[0, 0], [0, 2]]).plot(longest=0.5)
    assert display.scatter_ is None
    np.testing.assert_allclose(display.quiver_.V, [0, 0.5])
    ScoreFieldDisplay(points=[[1.0, 1.0]], arrows=[[0.0, 0.0]]).plot()


def test_fields_that_are_none_are_refused(wide, denoiser, digits):
    with pytest.raises(ValueError, match="Autoencoder has no score_field"):
        ScoreFieldDisplay.from_estimator(wide, digits[0])
    with pytest.raises(ValueError, match="after the other steps"):
        ScoreFieldDisplay.from_estimator(
            make_pipeline(StandardScaler(), DenoisingAutoencoder(2, **SMALL)).fit(_spiral()),
            _spiral(),
        )
    many = DenoisingAutoencoder(2, **SMALL).fit(digits[0])
    with pytest.raises(ValueError, match="two features"):
        ScoreFieldDisplay.from_estimator(many, digits[0])
    with pytest.raises(ValueError, match="one for each of the points"):
        ScoreFieldDisplay(points=np.ones((3, 2)), arrows=np.ones((2, 2))).plot()


# Tensors


def test_tensors_are_drawn_under_array_api_dispatch(digits):
    X = torch.from_numpy(digits[0])
    flat = torch.from_numpy(_spiral())
    with sklearn.config_context(array_api_dispatch=True):
        fitted = Autoencoder(2, **SMALL).fit(X)
        display = LatentTraversalDisplay.from_estimator(fitted, X, grid_size=3)
        assert display.decoded.shape == (3, 3, 64)
        display = ReconstructionDisplay.from_estimator(fitted, X, image_shape=(8, 8))
        np.testing.assert_array_equal(display.original[0].ravel(), digits[0][0])
        LatentSpaceDisplay.from_estimator(fitted, X, torch.from_numpy(digits[1]))
        denoiser = DenoisingAutoencoder(2, **SMALL).fit(flat)
        ScoreFieldDisplay.from_estimator(denoiser, flat, grid_size=4)


# Axes


def _draw_all(axes, wide, narrow, denoiser, reader, digits, waves):
    X, y = digits
    return [
        LossCurveDisplay.from_estimator(narrow, ax=axes[0]),
        ReconstructionDisplay.from_estimator(wide, X, image_shape=(8, 8), n_samples=4, ax=axes[1]),
        ReconstructionDisplay.from_estimator(reader, waves, n_samples=2, ax=axes[2]),
        LatentSpaceDisplay.from_estimator(wide, X, y, ax=axes[3]),
        LatentTraversalDisplay.from_estimator(narrow, image_shape=(8, 8), grid_size=5, ax=axes[4]),
        ScoreFieldDisplay.from_estimator(denoiser, _spiral(), ax=axes[5]),
    ]


def test_all_displays_share_a_figure(wide, narrow, denoiser, reader, digits, waves):
    figure, axes = plt.subplots(2, 3, figsize=(18, 10), layout="constrained")
    displays = _draw_all(axes.ravel(), wide, narrow, denoiser, reader, digits, waves)
    for display, ax in zip(displays, axes.ravel(), strict=True):
        assert display.ax_ is ax
        assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    _assert_legible(figure)


def test_axes_that_were_put_somewhere_by_hand_are_used(reader, waves):
    figure = plt.figure(figsize=(8, 5))
    ax = figure.add_axes((0.15, 0.15, 0.7, 0.7))
    display = ReconstructionDisplay.from_estimator(reader, waves, n_samples=2, ax=ax)
    corners = [axes.get_position() for axes in display.axes_.ravel()]
    assert min(box.x0 for box in corners) == pytest.approx(0.15)
    assert max(box.x1 for box in corners) == pytest.approx(0.85)
    assert min(box.y0 for box in corners) == pytest.approx(0.15)
    assert max(box.y1 for box in corners) < 0.85


def test_a_display_is_drawn_again_on_other_axes(wide, digits):
    display = ReconstructionDisplay.from_estimator(wide, digits[0], n_samples=2)
    first = display.figure_
    assert display.plot() is display
    assert display.figure_ is not first


def test_nothing_warns(wide, narrow, denoiser, reader, digits, waves):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, axes = plt.subplots(2, 3, layout="constrained", figsize=(18, 10))
        _draw_all(axes.ravel(), wide, narrow, denoiser, reader, digits, waves)


# Explained variance


def test_scree_beside_pca(digits):
    X, _ = digits
    ordered = Autoencoder(4, ordered=True, **SMALL)
    pipeline = make_pipeline(StandardScaler(), ordered).fit(X)
    display = ScreeDisplay.from_estimator(pipeline, X)
    assert list(display.lines_) == ["Autoencoder", "PCA"]
    scaled = pipeline[0].transform(X)
    expected = PCA(4).fit(scaled).explained_variance_ratio_.cumsum()
    np.testing.assert_allclose(display.lines_["PCA"].get_ydata(), expected)
    codes = ordered.transform(scaled)
    for number, value in zip(range(1, 5), display.lines_["Autoencoder"].get_ydata(), strict=True):
        decoded = ordered.inverse_transform(codes * (np.arange(4) < number))
        error = np.square(scaled - decoded).sum() / np.square(scaled - scaled.mean(0)).sum()
        assert value == pytest.approx(1 - error)
    _assert_legible(display.figure_)


def test_scree_of_several_estimators(digits):
    X, _ = digits
    ordered = Autoencoder(4, ordered=True, **SMALL).fit(X)
    pca = PCA(6).fit(X)
    display = ScreeDisplay.from_estimators([ordered, pca, ordered])
    assert list(display.lines_) == ["Autoencoder 1", "PCA", "Autoencoder 2"]
    np.testing.assert_allclose(
        display.lines_["Autoencoder 1"].get_ydata(), ordered.explained_variance_ratio_.cumsum()
    )
    _assert_legible(display.figure_)
    single = ScreeDisplay.from_estimator(ordered, cumulative=False)
    np.testing.assert_array_equal(
        single.lines_["Autoencoder"].get_ydata(), ordered.explained_variance_ratio_
    )
    named = ScreeDisplay.from_estimators([ordered, pca], names=["ours", "linear"])
    assert list(named.lines_) == ["ours", "linear"]
    with pytest.raises(ValueError, match="names must be one different name for each of the 2"):
        ScreeDisplay.from_estimators([ordered, pca], names=["same", "same"])


def test_scree_needs_ordered_codes(wide):
    with pytest.raises(
        ValueError, match="no explained_variance_ratio_.*fitted autoencoder with ordered"
    ):
        ScreeDisplay.from_estimator(wide)
    with pytest.raises(ValueError, match="ratios must have one value for each component"):
        ScreeDisplay(ratios={"PCA": [[0.5, 0.2]]}).plot()
