"""Semantic hashing: codes of bits, and the nearest of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._backend.batches import Rows, by_chunks
from sklearn_ae._backend.isolation import isolated
from sklearn_ae._backend.linear import spread
from sklearn_ae._compat import Interval, check_same_namespace
from sklearn_ae._hamming import nearest_codes, pack_bits
from sklearn_ae._inference import open_rows
from sklearn_ae._inputs import Kind, _as_known, check_codes, check_count, kind_of
from sklearn_ae._network_choice import NetworkChoice
from sklearn_ae._state import unchanged_on_error
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._hashing import HashingModule
from sklearn_ae.networks.dense import DenseStack


@dataclass(kw_only=True, eq=False, repr=False)
class SemanticHashing(NetworkChoice, BaseAutoencoder):
    r"""Autoencoder whose codes are bits, for retrieval.

    Rows that mean the same get codes that differ in few bits, and a search compares bits, a
    word of 64 at a time. Nothing is told of labels or of what is alike: codes are learnt by
    reconstructing rows,

    .. math:: \mathrm{loss}(g(2 h - 1), x), \qquad
              h = \frac{1}{1 + \exp(-f(\tilde x) - \sigma \varepsilon)}, \qquad
              \varepsilon \sim \mathcal N(0, I).

    The noise :math:`\sigma` before the logistic function makes bits of them: what is to get
    through must be far from zero, on the one side or the other. It also limits what a bit says,
    so that several share what matters most, and neighbours agree in it. In :math:`\tilde x` a
    share of the entries is hidden from the encoder, which must tell them from the others: codes
    then stand for what goes together in a row rather than for single entries.

    `transform` gives the bits :math:`[f(x) > 0]` as numbers 0 and 1 in the floating-point type
    of `X`, as scikit-learn asks of a transformer; `pack` gives them 64 to a word. The packed
    codes of the training rows are kept, and `kneighbors` searches them, exactly.

    Bags of words are best given as sublinear tf-idf, as a CSR matrix, with the default loss.

    Parameters
    ----------
    n_components : int, default=64
        Size of the code. It may exceed the number of features.
    loss : str or callable, default="squared_error"
        Loss that training minimises, averaged over the values of a sample:
        ``"squared_error"``, ``"absolute_error"``, ``"huber"``, ``"binary_crossentropy"``,
        ``"continuous_bernoulli"`` or ``"poisson"``. The last three use the data without centring
        and scaling; the first two of them need data in [0, 1], the last one data that are not
        negative. A callable
        ``loss(output, target)`` takes tensors of shape (batch_size, n_features) in
        the network's units and returns one value a row, shape (batch_size,).
    output_activation : {"identity", "logistic", "tanh", "relu", "softplus"}, default="identity"
        Non-linearity of the output under a loss that has none of its own. Other than
        ``"identity"``, it uses the data without centring and scaling and needs data in its range:
        [0, 1] for ``"logistic"``, [-1, 1] for ``"tanh"``, not negative for ``"relu"`` and
        ``"softplus"``.
    density : "gaussian" or density estimator, default="gaussian"
        Distribution of the codes, for `sample`: the Gaussian that has the mean and the covariance
        of the training rows' codes, or what a clone of the given estimator makes of them, such
        as ``GaussianMixture(10)`` or ``KernelDensity(bandwidth="scott")`` of scikit-learn. It is
        fitted on 10,000 rows at most, each component of the code standardised.
    alpha : float, default=0.1
        Weight decay: each step shrinks the weights, not the biases, by the factor
        ``1 - learning_rate * alpha``.
    batch_size : int or "auto", default="auto"
        Samples in a training step. ``"auto"`` is 64 below 1,024 training samples, 128 below
        16,384 and 256 from there.
    learning_rate : {"one_cycle", "constant"}, default="one_cycle"
        Schedule of the step size. ``"one_cycle"`` rises to `learning_rate_init` over the
        first tenth of `max_iter` and then falls to zero along half a cosine. With
        ``"constant"`` a ``ConvergenceWarning`` is raised if `max_iter`, larger than
        `n_iter_no_change`, ends a fit that is still improving by more than `tol`.
    learning_rate_init : float, default=0.003
        Step size of the optimiser, the largest one of the schedule.
    solver : {"adam", "sgd"}, default="adam"
        Optimiser: Adam, or stochastic gradient descent with `momentum`, online with
        ``batch_size=1``. For ``"sgd"`` set ``alpha=1e-4`` and `learning_rate_init` to about 0.05,
        more with many features, over which losses are means, much less under a likelihood.
    momentum : float, default=0.9
        Fraction of each step of gradient descent that is added to the next. Not used by Adam.
    max_iter : int, default=200
        Number of epochs, at most.
    tol : float, default=0.0001
        Smallest relative fall of the loss that counts as an improvement.
    early_stopping : bool, default=True
        Whether to hold out `validation_fraction` of the rows, judge each epoch on them and
        keep the best weights. If False, and without `X_val`, all rows are trained on and the
        last weights kept.
    validation_fraction : float, default=0.1
        Share of the rows to hold out. Copies of a row are held out together. Where that is
        less than one distinct row, all rows are trained and validated on alike, which proves
        nothing.
    n_iter_no_change : int or inf, default=100
        Epochs without an improvement, of the held-out loss or else of the training loss,
        after which training stops. ``numpy.inf``: never.
    warm_start : bool, default=False
        Whether `fit` continues from the present weights, optimiser state included.
    callbacks : list of skorch callbacks, default=None
        For example ``[skorch.callbacks.Checkpoint(...)]``. An ``LRScheduler`` replaces
        `learning_rate`.
    device : str or torch.device, default="auto"
        Where to train. ``"auto"`` is the device of `X` if it is a tensor on an accelerator,
        else the first CUDA device if there is one, else the CPU.
    precision : {"auto", "float32", "float64", "bfloat16"}, default="auto"
        Data types of training. ``"auto"`` trains in float32, except that float64 data are
        trained on in float64 where it costs little: in dense networks up to 512 rows, or
        weight matrices whose smaller side is up to 32; in other networks up to 64 rows. Where
        a smaller side is 256 or more, products are in bfloat16 if the hardware has
        instructions for it, and weights in float32. Results are always computed in the
        floating-point type of the data.
    random_state : int, RandomState instance or None, default=None
        Fixes initial weights, held-out rows, order and noise.
    verbose : int or bool, default=False
        Whether to show a progress bar with the loss and the time left.
    hidden_layer_sizes : tuple of int, default=(128, 128, 128)
        Widths of the encoder's hidden layers; the decoder mirrors them. An empty tuple leaves
        no hidden layer.
    activation : {"relu", "silu", "gelu", "tanh", "logistic", "identity"}, default="tanh"
        Non-linearity of the hidden layers.
    network : Network, default=None
        Specification of another network, from `sklearn_ae.networks`; `hidden_layer_sizes` and
        `activation` are then not used. None: a dense network. Convolutional ones also take
        ``n_components=None``: their maps are then the code.
    code_noise : float, default=2.0
        Standard deviation :math:`\sigma` of the noise before the logistic function. More makes
        bits more alike: better for whole rankings, worse for the very nearest. Texts take 4.
    input_masking : float, default=0.2
        Share of the entries of a row that are hidden from the encoder, drawn anew in every step:
        they have the mean of their feature. Texts take a half.
    n_neighbors : int, default=5
        Number of neighbours that `kneighbors` and `kneighbors_graph` give by default.

    Attributes
    ----------
    n_components_ : int
        Size of the code.
    n_features_in_ : int
        Number of features of a row, all axes of an image counted.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if `X` had names.
    input_shape_ : tuple of int
        Shape of one row of `X`.
    n_iter_ : int
        Number of epochs of the last call.
    loss_ : float
        Training loss of the last epoch, the sum of its terms. A squared error is in units of
        the variance of the training rows.
    loss_curve_ : list of float
        Training loss of each epoch.
    best_loss_ : float
        Lowest loss of an epoch. On held-out rows, where there are any, it is that of the
        weights kept.
    best_epoch_ : int
        Epoch of the last call whose weights were kept. Zero: those of its start, which under
        ``init="pca"`` are PCA's.
    validation_scores_ : list of float or None
        Fraction of variance explained on the held-out rows after each epoch, in units of the
        variance of the training rows.
    history_ : list of dict
        One entry an epoch with all losses by name.
    module_ : torch.nn.Module
        The network. Its ``encode`` and ``decode`` take centred and scaled rows.
    device_ : str
        Where it was trained.
    density_ : Pipeline or str
        What `sample` draws codes from: a scaler and the fitted `density`, or its name if it is no
        estimator.
    packed_codes_ : ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes of the training rows, those of weight zero included; of the last chunk after
        `partial_fit`.

    See Also
    --------
    sklearn.neighbors.NearestNeighbors : Neighbours by any distance between rows.
    sklearn.decomposition.TruncatedSVD : Latent semantic analysis, for real-valued codes.

    References
    ----------
    Salakhutdinov, R. and Hinton, G. E. (2009). Semantic hashing. International Journal of
    Approximate Reasoning, 50(7), 969-978.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_ae import SemanticHashing
    >>> X, y = load_digits(return_X_y=True)
    >>> hashing = SemanticHashing(64, max_iter=30, random_state=0).fit(X[:1500])
    >>> hashing.transform(X[1500:]).shape
    (297, 64)
    >>> hashing.packed_codes_.shape
    (1500, 8)
    >>> distances, indices = hashing.kneighbors(X[1500:], n_neighbors=10)
    >>> bool((y[indices] == y[1500:, None]).mean() > 0.8)
    True
    """

    n_components: int | None = field(default=64, kw_only=False)
    code_noise: float = 2.0
    input_masking: float = 0.2
    n_neighbors: int = 5

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **NetworkChoice._parameter_constraints,
        "code_noise": [Interval(Real, 0, None, closed="left")],
        "input_masking": [Interval(Real, 0, 1, closed="left")],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
    }

    def _build_module(self, n_features: int) -> HashingModule:
        return HashingModule(
            self._compressing_network(),
            self.input_shape_,
            self.n_components,
            code_noise=self.code_noise,
            input_masking=self.input_masking,
        )

    @torch.no_grad()
    def _pretrain(self, module: HashingModule, X: Rows, seed: int) -> None:
        center, variances = spread(X)
        module.standardize_input(center, variances)
        loss = self._get_loss()
        if not loss.scaled and isinstance(module.decoder, DenseStack):
            # Means of words span decades: far for a bias that starts at zero.
            module.decoder.layers[-1].bias.copy_(loss.link(center))

    def _loss(
        self,
        module: HashingModule,  # type: ignore[override]
        X: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        code = module.noisy_code(X) if module.training else module.encode(X)
        return {
            "reconstruction": self._compare(module, module.decode(code), X if y is None else y)
        }

    def _draw_codes(self, n_samples: int, random_state: np.random.RandomState) -> np.ndarray:
        codes = super()._draw_codes(n_samples, random_state)
        return (codes > 0.5).astype(codes.dtype)

    @isolated
    @unchanged_on_error
    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Train the autoencoder and keep the codes of the training rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            Training rows. Images and sequences of shape (n_samples, ...) are flattened.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.
            Neighbours are looked for among the samples as they are, those of weight zero included.
        X_val : array-like of shape (n_validation, n_features), default=None
            Rows to validate on. None: `validation_fraction` of `X`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        super().fit(X, y, sample_weight, X_val)
        packed, kind = self._packed(X, "fit")
        self.packed_codes_ = kind.wrap(torch.from_numpy(packed))
        return self

    @isolated
    @unchanged_on_error
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one pass over one chunk of rows, and keep the codes of this chunk.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples. One of weight two counts as two equal ones: up to rounding if
            all samples are in one batch, in the expected gradient of each step otherwise.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        super().partial_fit(X, y, sample_weight)
        packed, kind = self._packed(X, "partial_fit")
        self.packed_codes_ = kind.wrap(torch.from_numpy(packed))
        return self

    def _packed(self, X: Any, method: str) -> tuple[np.ndarray, Kind]:
        """Encode and pack rows a piece at a time: as floats the codes may not fit."""
        rows, kind, module = open_rows(self, X, method)

        def packed(x: Tensor) -> Tensor:
            return torch.from_numpy(pack_bits(module.encode(x).cpu().numpy() > 0))

        return by_chunks(rows, packed, module.network.rows_at_once).numpy(), kind

    # Retrieval

    @isolated
    def pack(self, Z):
        """Pack codes, a bit to a bit.

        Parameters
        ----------
        Z : {array-like, Tensor} of shape (n_samples, n_components)
            Codes, as `transform` gives them.

        Returns
        -------
        packed : ndarray of shape (n_samples, n_bytes), dtype uint8
            Whole words of 64 bits, the first bit the lowest of the first byte and what is left
            of the last word zero. ``packed.view(numpy.uint64)`` are the words.
        """
        check_is_fitted(self)
        check_same_namespace(Z, self, attribute="_kind", method="pack")
        codes, kind = check_codes(self, Z)
        bits = _to_numpy(codes)
        if ((bits != 0) & (bits != 1)).any():
            raise ValueError(
                "Z must be codes of zeros and ones, as transform gives them, but has other "
                "values. Rows are packed by pack(transform(X))."
            )
        return kind.wrap(torch.from_numpy(pack_bits(bits > 0)))

    @isolated
    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):
        """Find the training rows whose codes differ in the fewest bits.

        The search is exact. Of rows at the same distance those of lower index come first.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_queries, n_features), default=None
            Queries. None: the training rows, each of them no neighbour of itself.
        n_neighbors : int, default=None
            Number of neighbours of each. None: as many as given to the constructor.
        return_distance : bool, default=True
            Whether to return distances, too.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors)
            Numbers of bits that differ, ascending. Only with `return_distance`.
        indices : ndarray of shape (n_queries, n_neighbors)
            Places of the neighbours among the training rows.
        """
        distances, indices, kind = self._search(X, n_neighbors, "kneighbors")
        wrapped = kind.wrap(torch.from_numpy(indices))
        if not return_distance:
            return wrapped
        return kind.wrap(torch.from_numpy(distances).to(kind.dtype)), wrapped

    @isolated
    def kneighbors_graph(self, X=None, n_neighbors=None, mode="connectivity"):
        """Return the neighbours of each query as a sparse graph.

        With ``mode="distance"`` it is what estimators with ``metric="precomputed"`` take.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_queries, n_features), default=None
            Queries. None: the training rows, each of them no neighbour of itself.
        n_neighbors : int, default=None
            Number of neighbours of each. None: as many as given to the constructor.
        mode : {"connectivity", "distance"}, default="connectivity"
            Whether edges are ones, or numbers of bits that differ: explicit zeros among them.

        Returns
        -------
        graph : CSR matrix of shape (n_queries, n_samples), dtype float64
            Each row's entries in the order of `kneighbors`.
        """
        if mode not in ("connectivity", "distance"):
            raise ValueError(f"mode must be 'connectivity' or 'distance', got {mode!r}.")
        distances, indices, _ = self._search(X, n_neighbors, "kneighbors_graph")
        values = distances if mode == "distance" else np.ones_like(distances)
        starts = np.arange(0, indices.size + 1, indices.shape[1])
        shape = (len(indices), self.packed_codes_.shape[0])
        return sp.csr_matrix((values.ravel(), indices.ravel(), starts), shape=shape)

    def _search(
        self, X: Any, n_neighbors: int | None, method: str
    ) -> tuple[np.ndarray, np.ndarray, Kind]:
        """Find neighbours: distances, indices and the kind of the queries."""
        check_is_fitted(self)
        if n_neighbors is None:
            n_neighbors = self.n_neighbors
        check_count(n_neighbors, "n_neighbors")
        packed = _to_numpy(self.packed_codes_)
        most = len(packed) - (X is None)
        if n_neighbors > most:
            raise ValueError(
                f"n_neighbors={n_neighbors}, but there are {len(packed)} training rows"
                f"{', each no neighbour of itself' if X is None else ''}; ask for {most} at most."
            )
        queries, kind = packed, kind_of(self._kind)
        if X is not None:
            queries, kind = self._packed(X, method)
        distances, indices = nearest_codes(
            queries.view(np.uint64), packed.view(np.uint64), n_neighbors, leave_out=X is None
        )
        return distances, indices, kind


def _to_numpy(array: Any) -> np.ndarray:
    """Return packed codes of any array library as NumPy's."""
    array = array if isinstance(array, (np.ndarray, Tensor)) else _as_known(array)
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array
