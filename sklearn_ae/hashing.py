"""Semantic hashing: binary codes and the search for nearest neighbours among them."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import Interval, check_same_namespace
from sklearn_ae._estimator.inference import open_samples
from sklearn_ae._estimator.inputs import (
    ArrayType,
    array_type_of,
    check_codes,
    check_count,
    from_other_library,
)
from sklearn_ae._estimator.network_choice import LinearStart
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like
from sklearn_ae._search.hamming import nearest_codes, pack_bits
from sklearn_ae._training.batches import Samples, by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.iterative_quantization import start_at_itq
from sklearn_ae._training.linear import mean_and_variance
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._hashing import HashingModule
from sklearn_ae.networks.dense import DenseStack


@declares_parameters
class SemanticHashing(LinearStart, BaseAutoencoder):
    r"""Autoencoder with binary codes, for the retrieval of similar samples.

    Similar samples have codes that differ in few bits, and the nearest codes are found by fast
    comparisons of 64 bits at a time. Neither labels nor pairs of similar samples are needed:
    codes are learnt by reconstructing samples. With the encoder :math:`f` and the decoder
    :math:`g`, training minimises

    .. math:: \mathrm{loss}(g(2 h - 1), x), \qquad
              h = \frac{1}{1 + \exp(-f(\tilde x) - \sigma \varepsilon)}, \qquad
              \varepsilon \sim \mathcal N(0, I).

    The noise of standard deviation :math:`\sigma` makes the codes binary: only values of
    :math:`f` far from zero are transmitted reliably. It also limits the information of each bit,
    so that the most important properties are represented by several bits, in which neighbours
    agree. In :math:`\tilde x` a fraction of the values is masked, and the decoder has to
    reconstruct them from the others. Codes then represent features that occur together rather
    than single features.

    With ``init="pca"`` encoder and decoder are each the sum of a linear map and a network whose
    output starts at zero. At the start the bits are the signs of the principal components (of
    texts: of latent semantic analysis), rotated such that the components are close to their signs
    (ITQ, iterative quantisation).

    `transform` returns the bits :math:`[f(x) > 0]` as numbers 0 and 1 in the floating-point type
    of `X`, as scikit-learn requires of a transformer; `pack` packs 64 of them into a word. The
    packed codes of the training samples are stored, and `kneighbors` searches them exactly.

    For bags of words, sublinear tf-idf as a CSR matrix and the default loss work best.

    See Also
    --------
    sklearn.neighbors.NearestNeighbors : Nearest neighbours by any distance between samples.
    sklearn.decomposition.TruncatedSVD : Latent semantic analysis, with real-valued codes.

    References
    ----------
    Salakhutdinov, R. and Hinton, G. E. (2009). Semantic hashing. International Journal of
    Approximate Reasoning, 50(7), 969-978.

    Gong, Y. and Lazebnik, S. (2011). Iterative quantization: a procrustean approach to learning
    binary codes. CVPR.

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

    ordered: ClassVar[bool] = False  # type: ignore[misc]
    n_components: int | None = parameter(
        default=64,
        doc="""int or None
        Number of bits of the code. None: ``min(n_samples, n_features)``, or the maps of the
        network if it has maps.
        """,
        # No fraction: no bit is neutral, so that codes cannot be truncated.
        constraint=[Interval(Integral, 1, None, closed="left"), None],
        kw_only=False,
    )
    max_iter: int = 60
    early_stopping: bool = same_as(
        BaseAutoencoder,
        "early_stopping",
        default=False,
        doc="""bool
        Whether to hold out `validation_fraction` of the samples, evaluate the loss on them after
        each epoch and keep the weights of the best epoch. If False, and if no `X_val` is passed
        to `fit`, training uses all samples and keeps the weights of the last epoch. The epoch of
        the best reconstruction is too early for the best search.
        """,
    )
    init: str = same_as(
        LinearStart,
        "init",
        doc="""{"pca", "random"}
        Initial weights of a dense network. ``"pca"``: fixed linear maps, which start at ITQ, are
        added to the outputs of its encoder and its decoder. ``"random"``: there are no such maps;
        nor are there in other networks or with tied weights. With a loss that applies a
        non-linear function to the outputs, only the linear map of the encoder starts at ITQ.
        """,
    )
    code_noise: float = parameter(
        default=2.0,
        doc=r"""float
        Standard deviation :math:`\sigma` of the noise before the logistic function. With more
        noise the bits are more similar to each other, which improves rankings of all samples but
        impairs those of the nearest neighbours. For texts use 4.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    input_masking: float = parameter(
        default=0.2,
        doc="""float
        Fraction of the values of a sample that are masked, that is, replaced by the mean of their
        feature. They are drawn anew in every step. For texts use 0.5.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    n_neighbors: int = parameter(
        default=5,
        doc="""int
        Number of neighbours that `kneighbors` and `kneighbors_graph` return by default.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "explained_variance_ratio_": None,
        "packed_codes_": """ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes of the training samples, including those of weight zero; after `partial_fit`,
        of the last chunk.
        """,
    }

    def _build_module(self, n_features: int) -> HashingModule:
        return HashingModule(
            self._compressing_network(),
            self.input_shape_,
            self.n_components,
            code_noise=self.code_noise,
            input_masking=self.input_masking,
            **self._network_options(),
        )

    def _starts_at_solution(self) -> bool:
        return False  # reconstructions from the bits of ITQ are not those of PCA

    @torch.no_grad()
    def _start(  # type: ignore[override]
        self, module: HashingModule, X: Samples, seed: int
    ) -> None:
        center, variances = mean_and_variance(X)
        module.standardize_input(center, variances)
        loss = self._get_loss()
        if not loss.scaled and isinstance(module.decoder, DenseStack):
            # Mean word frequencies span orders of magnitude: a bias that starts at zero would
            # need many steps to get there.
            module.decoder.layers[-1].bias.copy_(loss.link(center))
        if self._network_options():
            start_at_itq(module, X, loss, seed)

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
        # The density is one of real numbers; the decoder was trained on bits.
        codes = super()._draw_codes(n_samples, random_state)
        return (codes > 0.5).astype(codes.dtype)

    @isolated
    @unchanged_on_error
    @documented_like(BaseAutoencoder.fit)
    def fit(self, X, y=None, sample_weight=None, X_val=None):
        """Fit the autoencoder and store the codes of the training samples.

        Parameters
        ----------
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples; None: all equal. A sample of weight two is equivalent to two
            copies of it: up to rounding if all samples are in one batch, in the expected
            gradient of each step otherwise. The search for neighbours does not depend on weights,
            and includes samples of weight zero.
        """
        super().fit(X, y, sample_weight, X_val)
        packed, array_type = self._packed(X, "fit")
        self.packed_codes_ = array_type.wrap(torch.from_numpy(packed))
        return self

    @isolated
    @unchanged_on_error
    @documented_like(BaseAutoencoder.partial_fit)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on one chunk of samples, and store the codes of this chunk.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_samples, n_features)
            One chunk of the training samples.
        y : None
            Ignored.
        """
        super().partial_fit(X, y, sample_weight)
        packed, array_type = self._packed(X, "partial_fit")
        self.packed_codes_ = array_type.wrap(torch.from_numpy(packed))
        return self

    def _packed(self, X: Any, method: str) -> tuple[np.ndarray, ArrayType]:
        """Encode and pack samples in chunks: all codes as floats may not fit in memory."""
        samples, array_type, module = open_samples(self, X, method)

        def packed(x: Tensor) -> Tensor:
            return torch.from_numpy(pack_bits(module.encode(x).cpu().numpy() > 0))

        return by_chunks(samples, packed, module.network.samples_at_once).numpy(), array_type

    # Retrieval

    @isolated
    def pack(self, Z):
        """Pack codes into bytes, one bit per component.

        Parameters
        ----------
        Z : {array-like, Tensor} of shape (n_samples, n_components)
            Codes, as returned by `transform`.

        Returns
        -------
        packed : ndarray of shape (n_samples, n_bytes), dtype uint8
            Packed codes. The first component is the lowest bit of the first byte. The number of
            bytes is a multiple of eight, and unused bits are zero: ``packed.view(numpy.uint64)``
            returns words of 64 bits.

        Raises
        ------
        ValueError
            If `Z` has values other than 0 and 1.
        """
        check_is_fitted(self)
        check_same_namespace(Z, self, attribute="_kind", method="pack")
        codes, array_type = check_codes(self, Z)
        bits = _to_numpy(codes)
        if ((bits != 0) & (bits != 1)).any():
            raise ValueError(
                "Z must be codes of zeros and ones, as transform returns them, but has other "
                "values. To pack the codes of samples, call pack(transform(X))."
            )
        return array_type.wrap(torch.from_numpy(pack_bits(bits > 0)))

    @isolated
    def kneighbors(self, X=None, n_neighbors=None, return_distance=True):
        """Find the training samples whose codes differ in the fewest bits.

        The search is exact. Samples at the same distance are ordered by index.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_queries, n_features), default=None
            Queries. If None, the queries are the training samples, and a sample is not its own
            neighbour.
        n_neighbors : int, default=None
            Number of neighbours per query. None means the value passed to the constructor.
        return_distance : bool, default=True
            Whether to return the distances.

        Returns
        -------
        distances : ndarray of shape (n_queries, n_neighbors)
            Numbers of bits that differ, in ascending order. Only if `return_distance` is True.
        indices : ndarray of shape (n_queries, n_neighbors)
            Indices of the neighbours among the training samples.

        Raises
        ------
        ValueError
            If `n_neighbors` exceeds the number of training samples.
        """
        distances, indices, array_type = self._search(X, n_neighbors, "kneighbors")
        wrapped = array_type.wrap(torch.from_numpy(indices))
        if not return_distance:
            return wrapped
        return array_type.wrap(torch.from_numpy(distances).to(array_type.dtype)), wrapped

    @isolated
    def kneighbors_graph(self, X=None, n_neighbors=None, mode="connectivity"):
        """Return the neighbours of each query as a sparse graph.

        With ``mode="distance"`` the graph can be passed to estimators with
        ``metric="precomputed"``.

        Parameters
        ----------
        X : {array-like, sparse matrix, Tensor} of shape (n_queries, n_features), default=None
            Queries. If None, the queries are the training samples, and a sample is not its own
            neighbour.
        n_neighbors : int, default=None
            Number of neighbours per query. None means the value passed to the constructor.
        mode : {"connectivity", "distance"}, default="connectivity"
            Values of the edges: ones, or the numbers of bits that differ. Distances of zero are
            stored explicitly.

        Returns
        -------
        graph : CSR matrix of shape (n_queries, n_samples), dtype float64
            Graph whose rows list the neighbours in the order of `kneighbors`.

        Raises
        ------
        ValueError
            If `mode` is invalid or `n_neighbors` exceeds the number of training samples.
        """
        if mode not in ("connectivity", "distance"):
            raise ValueError(f"mode must be 'connectivity' or 'distance', got {mode!r}.")
        distances, indices, _ = self._search(X, n_neighbors, "kneighbors_graph")
        values = distances if mode == "distance" else np.ones_like(distances)
        # Built from its parts: other constructors would sort the neighbours by index.
        starts = np.arange(0, indices.size + 1, indices.shape[1])
        shape = (len(indices), self.packed_codes_.shape[0])
        return sp.csr_matrix((values.ravel(), indices.ravel(), starts), shape=shape)

    def _search(
        self, X: Any, n_neighbors: int | None, method: str
    ) -> tuple[np.ndarray, np.ndarray, ArrayType]:
        """Return distances and indices of the neighbours, and the array type of the queries."""
        check_is_fitted(self)
        if n_neighbors is None:
            n_neighbors = self.n_neighbors
        check_count(n_neighbors, "n_neighbors")
        packed = _to_numpy(self.packed_codes_)
        n_available = len(packed) - (X is None)
        if n_neighbors > n_available:
            reason = ", and none is its own neighbour" if X is None else ""
            raise ValueError(
                f"n_neighbors={n_neighbors}, but there are {len(packed)} training samples"
                f"{reason}; n_neighbors must be at most {n_available}."
            )
        queries, array_type = packed, array_type_of(self._kind)
        if X is not None:
            queries, array_type = self._packed(X, method)
        distances, indices = nearest_codes(
            queries.view(np.uint64), packed.view(np.uint64), n_neighbors, leave_out=X is None
        )
        return distances, indices, array_type


def _to_numpy(array: Any) -> np.ndarray:
    """Return packed codes of any array library as a NumPy array."""
    array = array if isinstance(array, (np.ndarray, Tensor)) else from_other_library(array)
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else array
