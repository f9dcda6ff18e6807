"""The plain autoencoder: dense, shallow or deep, undercomplete or over-complete."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from sklearn_ae._compat import Interval
from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._estimator.energy import energy
from sklearn_ae._estimator.network_choice import LinearStart
from sklearn_ae._estimator.tables import TABLE_ATTRIBUTES, TableColumns
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._module import AutoencoderModule


@declares_parameters
class Autoencoder(LinearStart, BaseAutoencoder):
    r"""Dense autoencoder whose training starts at PCA.

    An encoder maps each sample :math:`x` to a code :math:`z` of ``n_components`` values, and a
    decoder maps the code to a reconstruction :math:`x'`. Both are trained together to minimise
    the reconstruction loss. With ``init="pca"`` encoder and decoder are each the sum of a linear
    map and a dense network,

    .. math:: z = V (x - m) + f(x - m), \qquad x' = m + V^T z + g(z),

    where :math:`m` is the mean and the rows of :math:`V` are the first principal axes of the
    training samples. The networks :math:`f` and :math:`g` start at zero, so training starts at
    PCA. The linear maps are not trained. The trained networks are kept only if they reconstruct
    the held-out samples significantly better than PCA, by a paired t-test; otherwise the result
    is PCA. With a bounded activation, the default, samples far from the training data are
    reconstructed almost as by PCA.

    The network receives samples that are centred and divided by one scalar: one factor common to
    all features does not matter. The scales of the features relative to each other do, as for PCA:
    put a ``StandardScaler`` before it if they have different units.

    See Also
    --------
    sklearn.decomposition.PCA : Linear dimensionality reduction, the start of training.

    References
    ----------
    Hinton, G. E. and Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with
    neural networks. Science, 313(5786), 504-507.

    Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization.
    Neural Computation, 7(1), 108-116.

    Examples
    --------
    The points of a curve in space depend on one number, but not linearly:

    >>> import numpy as np
    >>> from sklearn.decomposition import PCA
    >>> from sklearn_ae import Autoencoder
    >>> t = np.linspace(0, 2, 300)
    >>> X = np.column_stack([np.cos(3 * t), np.sin(3 * t), t])
    >>> round(float(PCA(1).fit(X).explained_variance_ratio_.sum()), 2)
    0.59
    >>> autoencoder = Autoencoder(1, random_state=0).fit(X)
    >>> autoencoder.score(X) > 0.99
    True
    >>> autoencoder.transform(X).shape
    (300, 1)
    """

    input_noise: float = parameter(
        default=0.2,
        doc="""float
        Standard deviation of the Gaussian noise that is added to the input of the encoder during
        training, in units of the overall standard deviation of the data. The noise makes the
        encoder smooth, which helps most with few samples; with very many samples 0 may be better.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    code_alpha: float = same_as(CodePenalty, "code_alpha")
    categorical_features: Any = same_as(TableColumns, "categorical_features")
    max_categories: int = same_as(TableColumns, "max_categories")

    _attribute_docs: ClassVar[dict[str, str | None]] = TABLE_ATTRIBUTES

    # Functions that several estimators share, assigned as methods.
    _loss = penalized_loss
    _has_plain_loss = is_unpenalized
    energy = energy

    def _build_module(self, n_features: int) -> AutoencoderModule:
        return AutoencoderModule(
            self._network(), self.input_shape_, self.n_components, **self._network_options()
        )

    def _noise_level(self) -> float:
        return self.input_noise
