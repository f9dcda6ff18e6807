"""Semantic hashing: codes of bits, and the nearest of them."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sklearn_ae._compat import Interval, check_same_namespace
from sklearn_ae._estimator.inference import open_rows
from sklearn_ae._estimator.inputs import Kind, _as_known, check_codes, check_count, kind_of
from sklearn_ae._estimator.network_choice import NetworkChoice
from sklearn_ae._estimator.state import unchanged_on_error
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae._search.hamming import nearest_codes, pack_bits
from sklearn_ae._training.batches import Rows, by_chunks
from sklearn_ae._training.isolation import isolated
from sklearn_ae._training.linear import spread
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._hashing import HashingModule
from sklearn_ae.networks.dense import DenseStack


@declares_parameters
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

    n_components: int | None = parameter(
        default=64,
        kw_only=False,
    )
    code_noise: float = parameter(
        default=2.0,
        doc=r"""float
        Standard deviation :math:`\sigma` of the noise before the logistic function. More makes
        bits more alike: better for whole rankings, worse for the very nearest. Texts take 4.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    input_masking: float = parameter(
        default=0.2,
        doc="""float
        Share of the entries of a row that are hidden from the encoder, drawn anew in every step:
        they have the mean of their feature. Texts take a half.
        """,
        constraint=[Interval(Real, 0, 1, closed="left")],
    )
    n_neighbors: int = parameter(
        default=5,
        doc="""int
        Number of neighbours that `kneighbors` and `kneighbors_graph` give by default.
        """,
        constraint=[Interval(Integral, 1, None, closed="left")],
    )

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "packed_codes_": """ndarray of shape (n_samples, n_bytes), dtype uint8
        Packed codes of the training rows, those of weight zero included; of the last chunk after
        `partial_fit`.
        """,
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
