"""`n_components` as PCA takes it: integers, None and fractions, with ordered codes."""

import copy
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sklearn_ae import (
    Autoencoder,
    AutoencoderOutlierDetector,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DeepBeliefNetwork,
    DenoisingAutoencoder,
    FitCheckpoint,
    LSTMAutoencoder,
    RecursiveAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    StackedAutoencoder,
    StackedAutoencoderClassifier,
    UNetAutoencoder,
    VariationalAutoencoder,
    load,
    save,
    to_onnx,
)
from sklearn_ae._estimator.modules import narrowed
from sklearn_ae._training.batches import Batch
from sklearn_ae._training.description import Objective
from sklearn_ae._training.net import Validation
from sklearn_ae._training.optimizer import FlatParameters
from sklearn_ae._training.truncation import Truncations, ordered, truncated_to
from sklearn_ae.losses import gaussian_divergence, get_loss
from sklearn_ae.networks import ConvolutionalNetwork, DenseNetwork, Network
from sklearn_ae.networks._module import AutoencoderModule

SMALL = {"hidden_layer_sizes": (8,), "max_iter": 3, "random_state": 0}
TINY = {"max_iter": 3, "random_state": 0}

ORDERABLE = [
    Autoencoder(0.7, **SMALL),
    Autoencoder(0.7, init="random", **SMALL),
    Autoencoder(0.7, network=DenseNetwork(hidden_layer_sizes=(8,), tied=True), **TINY),
    Autoencoder(0.7, network=ConvolutionalNetwork(channels=(3,)), **TINY),
    DenoisingAutoencoder(0.7, **SMALL),
    ContractiveAutoencoder(0.7, **SMALL),
    VariationalAutoencoder(0.7, n_importance_samples=2, **SMALL),
    ConvolutionalAutoencoder(0.7, channels=(2, 3), unpooling="switches", **TINY),
    LSTMAutoencoder(0.7, hidden_size=4, **TINY),
    RecursiveAutoencoder(0.7, hidden_size=4, **TINY),
    RecursiveAutoencoder(0.7, hidden_size=4, tree="greedy", **TINY),
    StackedAutoencoder(0.7, pretraining_max_iter=1, **SMALL),
    DeepBeliefNetwork(0.7, pretraining_max_iter=1, **SMALL),
]


def named(estimator):
    return " ".join(repr(estimator).split())


@pytest.fixture(scope="module")
def curve():
    """Samples near a curve in six dimensions: one component explains much more than PCA's."""
    return draw_curve(400)


def draw_curve(n_samples):
    t = np.random.default_rng(0).uniform(-3, 3, size=n_samples)
    X = np.column_stack([np.cos(t), np.sin(t), t, np.cos(2 * t), np.sin(2 * t), t**2 / 3])
    return X + 0.05 * np.random.default_rng(1).normal(size=X.shape)


@pytest.fixture(scope="module")
def bent(curve):
    return Autoencoder(4, ordered=True, max_iter=60, random_state=0).fit(curve)


def errors_of_truncations(model, X):
    """Squared error of samples decoded from the first 1, 2, ... components, the rest zero."""
    codes = model.transform(X)
    return np.array(
        [
            np.square(X - model.inverse_transform(codes * (np.arange(codes.shape[1]) < k))).sum()
            for k in range(1, codes.shape[1] + 1)
        ]
    )


# The number of components


@pytest.mark.parametrize("shape", [(40, 5), (5, 40)])
@pytest.mark.parametrize(
    "estimator",
    [
        *(each for each in ORDERABLE if not each._network().has_maps()),
        SparseAutoencoder(**SMALL),
        SemanticHashing(**SMALL),
        RestrictedBoltzmannMachine(**TINY),
    ],
    ids=named,
)
def test_none_is_the_number_of_pca(estimator, shape):
    X = np.random.default_rng(0).normal(size=shape)
    model = clone(estimator).set_params(n_components=None).fit(X)
    assert model.module_.n_components == PCA().fit(X).n_components_ == 5
    assert model.transform(X).shape == (shape[0], model.n_components_)
    if isinstance(estimator, ContractiveAutoencoder):
        assert model.jacobian_norm(X).shape == (shape[0],)


def test_none_explains_everything_as_pca_does():
    X = load_iris().data
    model = Autoencoder(None, max_iter=3, random_state=0).fit(X)
    assert model.best_epoch_ == 0
    np.testing.assert_allclose(model.reconstruct(X), X, atol=1e-6 * np.abs(X).max())


@pytest.mark.parametrize("fraction", [0.05, 0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("shape", [None, (30, 8), (8, 30), (150, 100), (30, 1100)], ids=str)
def test_a_fit_that_stays_at_pca_has_as_many_components_as_pca(fraction, shape):
    X = StandardScaler().fit_transform(load_breast_cancer().data)
    if shape is not None:
        X = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1])
    pca = PCA(fraction).fit(X)
    model = Autoencoder(fraction, max_iter=1, learning_rate_init=1e-12, random_state=0).fit(X)
    assert model.best_epoch_ == 0
    assert model.n_components_ == pca.n_components_
    if X.shape[1] <= 1024:  # axes of wider data are not exact
        expected = pca.inverse_transform(pca.transform(X))
        np.testing.assert_allclose(model.reconstruct(X), expected, atol=1e-4 * np.abs(X).max())


def test_samples_of_weight_zero_do_not_count():
    X = np.random.default_rng(0).normal(size=(30, 9))
    weight = (np.arange(30) < 6).astype(float)
    assert Autoencoder(None, **SMALL).fit(X, sample_weight=weight).n_components_ == 6


@pytest.mark.parametrize("X", [np.ones((20, 4)), np.full((20, 4), 1e300)], ids=["1", "1e300"])
def test_samples_without_variance_need_one_component(X):
    assert Autoencoder(0.9, **SMALL).fit(X / X.max()).n_components_ == 1


def test_a_fraction_keeps_as_few_components_as_explain_it(curve):
    """A fit with a fraction is an ordered fit of PCA's number of components, truncated."""
    X, X_val = curve[:300], curve[300:]
    model = Autoencoder(0.9, max_iter=60, random_state=0).fit(X, X_val=X_val)
    n_pca = PCA(0.9).fit(X).n_components_
    whole = Autoencoder(n_pca, ordered=True, max_iter=60, random_state=0).fit(X, X_val=X_val)
    assert model.n_components_ < n_pca
    explained = whole.explained_variance_ratio_.cumsum()
    assert model.n_components_ == np.argmax(explained >= 0.9) + 1
    codes = whole.transform(X)
    kept = codes[:, : model.n_components_]
    np.testing.assert_allclose(model.transform(X), kept, atol=1e-5 * np.abs(codes).max())
    padded = np.pad(kept, [(0, 0), (0, n_pca - model.n_components_)])
    np.testing.assert_allclose(model.reconstruct(X), whole.inverse_transform(padded), atol=1e-4)
    np.testing.assert_allclose(
        model.explained_variance_ratio_,
        whole.explained_variance_ratio_[: model.n_components_],
        rtol=1e-6,
    )
    assert model.score(X_val) == pytest.approx(model.explained_variance_ratio_.sum(), abs=0.01)


@pytest.mark.parametrize("estimator", ORDERABLE, ids=named)
def test_every_network_can_be_narrowed(estimator):
    X = load_digits().data[:100, 16:32]
    model = clone(estimator).set_params(n_components=6, ordered=True).fit(X)
    small = narrowed(model.module_, 4)
    assert small.n_components == 4
    x = torch.from_numpy(X[:10]).to(small.center)
    codes, short = model.module_.encode(x), small.encode(x)
    past = codes[:, 6:]
    torch.testing.assert_close(short, torch.cat([codes[:, :4], past], 1))
    with truncated_to(model.module_, 4):
        torch.testing.assert_close(small.decode(short), model.module_.decode(codes))


class Mirrored(Network):
    """A network whose code is reversed: a shorter one consists of other units."""

    def encoder(self, sample_shape, n_outputs):
        layers = torch.nn.Linear(sample_shape[0], 32), torch.nn.Tanh()
        return torch.nn.Sequential(*layers, torch.nn.Linear(32, 4), _Reversed(n_outputs))

    def decoder(self, sample_shape, n_inputs):
        layers = torch.nn.Linear(n_inputs, 32), torch.nn.Tanh()
        return torch.nn.Sequential(*layers, torch.nn.Linear(32, sample_shape[0]))


class _Reversed(torch.nn.Module):
    def __init__(self, n_outputs):
        super().__init__()
        self.n_outputs = n_outputs

    def forward(self, x):
        return x[:, : self.n_outputs].flip(1)


def test_a_code_that_cannot_be_truncated_is_refused(curve):
    options = {"network": Mirrored(), "max_iter": 100, "random_state": 0}
    whole = Autoencoder(3, ordered=True, **options).fit(curve)
    linear = PCA().fit(curve).explained_variance_ratio_.cumsum()[1]
    fraction = linear + 0.01  # PCA needs three components, the network two
    assert whole.explained_variance_ratio_.cumsum()[1] > fraction
    with pytest.raises(ValueError, match="n_components must be an integer with Mirrored"):
        Autoencoder(fraction, **options).fit(curve)


@pytest.mark.parametrize(
    "estimator",
    [SemanticHashing(), RestrictedBoltzmannMachine(), SparseAutoencoder(), UNetAutoencoder()],
    ids=named,
)
def test_fractions_that_make_no_sense_are_refused(estimator):
    X = np.random.default_rng(0).uniform(size=(20, 4))
    with pytest.raises(ValueError, match="The 'n_components' parameter"):
        estimator.set_params(n_components=0.5).fit(X)


@pytest.mark.parametrize("n_components", [0.0, 1.0, 1.5, -0.1, float("nan"), True, 0])
def test_numbers_that_pca_refuses_are_refused(n_components):
    with pytest.raises(ValueError, match="The 'n_components' parameter"):
        Autoencoder(n_components).fit(np.eye(4))


@pytest.mark.parametrize("params", [{"n_components": 0.5}, {"ordered": True}], ids=str)
@pytest.mark.parametrize("cls", [StackedAutoencoder, DeepBeliefNetwork])
def test_order_needs_joint_training(cls, params):
    with pytest.raises(ValueError, match="n_components=.*set fine_tune=True"):
        cls(fine_tune=False, **params).fit(np.eye(4))


def test_maps_have_no_order():
    X = load_digits().images[:40]
    with pytest.raises(ValueError, match="n_components=None the maps of ConvolutionalNetwork"):
        ConvolutionalAutoencoder(None, ordered=True, channels=(2,)).fit(X)


def test_one_search_over_pca_and_autoencoders():
    X, y = load_iris(return_X_y=True)
    pipeline = Pipeline(
        [("scaler", StandardScaler()), ("reducer", PCA()), ("classifier", LogisticRegression())]
    )
    reducers = [PCA(), Autoencoder(hidden_layer_sizes=(8,), max_iter=5, random_state=0)]
    grid = {"reducer": reducers, "reducer__n_components": [2, 3, 0.9, None]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert search.best_score_ > 0.9


# The objective


def test_the_objective_is_the_mean_over_batches():
    """Held-out losses are weighted by how often training uses their truncations."""
    for n_components in (2, 3, 4, 7, 16):
        unexplained = torch.linspace(1, 0.1, n_components + 1, dtype=torch.float64)[1:]
        truncations = Truncations(unexplained)
        losses = np.random.default_rng(n_components).uniform(size=n_components)
        uniform = (np.arange(20_000) + 0.5) / 20_000
        drawn = np.array([truncations.draw(u) for u in uniform]) - 1
        assert (drawn[:, -1] == n_components - 1).all()
        assert truncations.evaluated == list(range(1, n_components + 1))
        expected = (truncations.importance * losses).mean()
        assert losses[drawn].mean() == pytest.approx(expected, abs=1e-3)


def test_many_truncations_are_evaluated_at_some():
    truncations = Truncations(torch.linspace(1, 0, 201)[1:])
    assert truncations.evaluated[0] == 1
    assert truncations.evaluated[-1] == 200
    assert len(truncations.evaluated) <= 16
    assert truncations.importance.mean() == pytest.approx(1)
    assert (truncations.importance > 0).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shortcut", [False, True])
def test_the_hand_written_step_is_automatic_differentiation(weighted, shortcut):
    torch.manual_seed(0)
    network = DenseNetwork(hidden_layer_sizes=(5, 4))
    module = AutoencoderModule(network, (6,), 3, shortcut=shortcut).double()
    if shortcut:
        module.encoder.shortcut.normal_()
        module.decoder.shortcut.normal_()
    flat, loss = FlatParameters(module), get_loss("squared_error")
    X = torch.randn(7, 6, dtype=torch.float64)
    weight = torch.rand(7, dtype=torch.float64) if weighted else None
    batch = Batch(X + 0.1, X, weight, None)

    def terms(module, X, y, sample_weight):
        return {"reconstruction": loss.value(module(X), y)}

    truncations = Truncations(torch.tensor([0.7, 0.4, 0.2]))
    found = []
    for plain in (loss, None):
        objective = ordered(
            Objective(terms=terms, reconstruction=plain), module, truncations, torch.float64
        )
        step = objective.make_step(flat, torch.Generator().manual_seed(1))
        found.append((step(batch)["reconstruction"], flat.gradient.clone()))
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].abs().max() > 0


def test_a_linear_network_learns_the_principal_axes_in_order():
    """The optimum of nested dropout in a linear network is PCA (Rippel et al., theorem 1)."""
    rng = np.random.default_rng(0)
    X = (
        rng.normal(size=(500, 6))
        * [3, 2.4, 1.9, 1.5, 0.5, 0.3]
        @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    )
    model = Autoencoder(
        4,
        ordered=True,
        init="random",
        hidden_layer_sizes=(),
        input_noise=0,
        alpha=0,
        learning_rate_init=0.03,
        max_iter=1000,
        n_iter_no_change=np.inf,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    optimal = errors_of_truncations(PCA(4).fit(X), X)
    np.testing.assert_allclose(errors_of_truncations(model, X), optimal, rtol=0.01)
    np.testing.assert_allclose(
        model.explained_variance_ratio_, PCA(4).fit(X).explained_variance_ratio_, atol=0.005
    )
    plain = clone(model).set_params(ordered=False).fit(X)
    assert errors_of_truncations(plain, X)[0] > 1.05 * optimal[0]


def test_one_component_has_no_order(curve):
    one, plain = (
        Autoencoder(1, ordered=each, max_iter=5, random_state=0).fit(curve)
        for each in (True, False)
    )
    np.testing.assert_array_equal(one.transform(curve), plain.transform(curve))
    assert one.explained_variance_ratio_.shape == (1,)


def test_a_truncated_posterior_is_the_prior():
    X = load_iris().data
    vae = VariationalAutoencoder(3, max_iter=3, random_state=0).fit(X)
    x = torch.from_numpy(X).to(vae.module_.center)
    mean, log_variance = vae.module_.posterior(x)
    with truncated_to(vae.module_, 2):
        found = vae._loss(vae.module_, x)["kl"]
    torch.testing.assert_close(found, gaussian_divergence(mean[:, :2], log_variance[:, :2]))


@pytest.mark.parametrize("estimator", ORDERABLE, ids=named)
def test_weights_are_copies(estimator):
    """The truncations of a batch are drawn for the batch, not for the samples."""
    if "Convolutional" in named(estimator) or "Recursive" in named(estimator):
        return  # their copies agree up to rounding that training amplifies
    X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float64)
    weight = np.where(np.arange(20) < 10, 2.0, 1.0)
    params = {"n_components": 3, "ordered": True, "early_stopping": False, "batch_size": 64}
    weighted = clone(estimator).set_params(**params).fit(X, sample_weight=weight)
    copied = clone(estimator).set_params(**params).fit(np.vstack([X, X[:10]]))
    np.testing.assert_allclose(weighted.transform(X), copied.transform(X), atol=1e-5)


# The evidence


def validation(losses):
    losses = torch.as_tensor(losses)
    n_samples = len(losses)
    groups = torch.arange(n_samples)
    return Validation(losses, torch.ones(n_samples), groups, 0.0, {}, torch.zeros(1))


def test_all_truncations_must_be_better():
    rng = np.random.default_rng(0)
    before = rng.uniform(1, 2, size=(50, 3))
    better = before - rng.uniform(0.1, 0.2, size=before.shape)
    assert validation(better).is_better_than(validation(before))
    assert validation(better).loss == pytest.approx(better.mean())
    for column in range(3):
        mixed = better.copy()
        noise = rng.normal(size=50)
        mixed[:, column] = before[:, column] + noise - noise.mean()
        assert not validation(mixed).is_better_than(validation(before))
    single = validation(better[:, 0]).is_better_than(validation(before[:, 0]))
    assert single == validation(better[:, :1]).is_better_than(validation(before[:, :1]))


def test_no_truncation_is_worse_than_pca():
    for seed, load_table in enumerate([load_digits, load_breast_cancer, load_iris]):
        train, test = train_test_split(load_table().data, random_state=seed)
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
        n_components = min(8, train.shape[1])
        model = Autoencoder(n_components, ordered=True, max_iter=40, random_state=seed).fit(train)
        linear = errors_of_truncations(PCA(n_components).fit(train), test)
        assert (errors_of_truncations(model, test) <= linear * (1 + 1e-5) + 1e-6).all()


def test_every_truncation_is_better_than_pca_and_the_full_code_loses_little():
    samples = draw_curve(1200)  # enough to be significantly better than PCA
    train, test = samples[::2], samples[1::2]
    options = {"max_iter": 60, "random_state": 0}
    model = Autoencoder(4, ordered=True, **options).fit(train)
    found = errors_of_truncations(model, test)
    assert (found < errors_of_truncations(PCA(4).fit(train), test)).all()
    assert found[0] < 0.7 * errors_of_truncations(PCA(4).fit(train), test)[0]
    separate = Autoencoder(4, **options).fit(train)
    full = errors_of_truncations(separate, test)
    assert found[3] < 1.3 * full[3]
    assert found[0] < full[0]  # the order is learnt: other codes have none


# What the components explain


def test_explained_variance_is_that_of_truncated_codes(curve):
    train, held_out = curve[:300], curve[300:]
    weight = np.linspace(0.5, 2, 300)
    model = Autoencoder(3, ordered=True, max_iter=20, random_state=0)
    model.fit(train, sample_weight=weight, X_val=held_out)
    deviation = np.square(held_out - np.average(train, axis=0, weights=weight)).sum()
    expected = 1 - errors_of_truncations(model, held_out) / deviation
    np.testing.assert_allclose(model.explained_variance_ratio_.cumsum(), expected, atol=1e-6)
    assert model.explained_variance_ratio_.shape == (3,)
    model.set_params(early_stopping=False).fit(train)  # of the training samples
    assert model.explained_variance_ratio_.sum() == pytest.approx(model.score(train), abs=1e-6)


def test_a_bernoulli_likelihood_is_compared_with_the_mean():
    X = load_digits().data[:300] / 16
    options = {"likelihood": "bernoulli", "early_stopping": False, "max_iter": 5}
    model = VariationalAutoencoder(3, ordered=True, random_state=0, **options).fit(X)
    assert model.explained_variance_ratio_.sum() == pytest.approx(model.score(X), abs=1e-6)


def test_an_attribute_of_an_earlier_fit_is_deleted(curve):
    model = Autoencoder(2, ordered=True, **SMALL).fit(curve)
    assert hasattr(model, "explained_variance_ratio_")
    model.set_params(ordered=False).fit(curve)
    with pytest.raises(AttributeError, match="ratio_'; fit with ordered=True to define it"):
        model.explained_variance_ratio_  # noqa: B018
    with pytest.raises(AttributeError, match="'SemanticHashing' .* 'explained_variance_ratio_'$"):
        SemanticHashing().explained_variance_ratio_  # noqa: B018


# Copies, files and continued training


@pytest.mark.parametrize("estimator", ORDERABLE, ids=named)
def test_copies_files_and_exports(estimator, tmp_path):
    X = load_digits().data[:100, 16:32]
    model = clone(estimator).fit(X)
    assert model.transform(X).shape == (100, model.n_components_)
    assert len(model.explained_variance_ratio_) == model.module_.n_components
    save(model, tmp_path / "model")
    copies = [load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for again in copies:
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
        np.testing.assert_array_equal(
            again.explained_variance_ratio_, model.explained_variance_ratio_
        )
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    (codes,) = session.run(None, {"X": X[:20].astype(np.float32)})
    expected = model.transform(X[:20])
    size, n_ordered = model.n_components_, model.module_.n_components
    # Merges of a greedy tree may be equal up to rounding; columns after the code name them.
    alike = np.isclose(codes, expected, atol=1e-3)[:, n_ordered:].all(axis=1)
    assert alike.mean() >= 0.9
    np.testing.assert_allclose(codes[alike], expected[alike], atol=1e-3 * np.abs(expected).max())
    for again in [model, *copies]:
        assert again.partial_fit(X).n_components_ == size
    for again in copies:
        np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert model.set_params(warm_start=True).fit(X).fit(X).n_components_ == size


@pytest.mark.parametrize("n_components", [0.9, None])
def test_the_number_is_kept_by_later_calls(curve, n_components):
    model = Autoencoder(n_components, warm_start=True, **SMALL).fit(curve)
    size = model.n_components_
    model.fit(curve[:, ::-1])
    assert model.n_components_ == size
    with pytest.raises(ValueError, match="n_components was changed"):
        model.set_params(n_components=size + 1).fit(curve)


def test_partial_fit_takes_the_number_from_its_first_chunk(curve):
    model = Autoencoder(0.9, **SMALL).partial_fit(curve[:100])
    assert model.n_components_ == PCA(0.9).fit(curve[:100]).n_components_
    assert len(model.explained_variance_ratio_) == model.n_components_
    model.partial_fit(curve[100:])
    assert model.n_components_ == PCA(0.9).fit(curve[:100]).n_components_


def test_an_interrupted_fit_resumes(curve, tmp_path):
    class Interrupting(Callback):
        n_left = 4

        def on_epoch_end(self, net, **kwargs):
            self.n_left -= 1
            if not self.n_left:
                raise KeyboardInterrupt

    params = {"max_iter": 8, "hidden_layer_sizes": (8,), "random_state": 0}
    checkpoint = FitCheckpoint(tmp_path, every=1, version=1)
    expected = Autoencoder(0.9, **params).fit(curve)
    interrupted = Autoencoder(0.9, callbacks=[checkpoint, Interrupting()], **params)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(curve)
    assert list(tmp_path.iterdir())
    resumed = interrupted.fit(curve)
    np.testing.assert_array_equal(resumed.transform(curve), expected.transform(curve))
    np.testing.assert_array_equal(
        resumed.explained_variance_ratio_, expected.explained_variance_ratio_
    )


# Inside other estimators


def test_inside_a_classifier_and_a_detector(curve):
    y = (curve[:, 2] > 0).astype(int)
    inner = Autoencoder(0.9, **SMALL)
    classifier = StackedAutoencoderClassifier(autoencoder=inner, max_iter=3, random_state=0)
    classifier.fit(curve, y)
    assert classifier.transform(curve).shape == (400, classifier.autoencoder_.n_components_)
    classifier.set_params(warm_start=True).fit(curve, y).partial_fit(curve, y)
    detector = AutoencoderOutlierDetector(inner, n_estimators=2, random_state=0).fit(curve)
    assert detector.predict(curve).shape == (400,)
