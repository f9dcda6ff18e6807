"""The plain autoencoder: dense, shallow or deep, undercomplete or over-complete."""

from __future__ import annotations

from numbers import Real

from sklearn_ae._compat import Interval
from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._estimator.energy import energy
from sklearn_ae._estimator.network_choice import LinearStart
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks._module import AutoencoderModule


@declares_parameters
class Autoencoder(LinearStart, BaseAutoencoder):
    r"""Dense autoencoder: PCA plus what PCA cannot see.

    An encoder maps each row to a code of ``n_components`` numbers, a decoder maps the code
    back; both are trained together so that what comes back is close to what went in. With
    ``init="pca"`` encoder and decoder are each the sum of a linear map and a dense network,

    .. math:: z = V (x - m) + f(x - m), \qquad x' = m + V^T z + g(z),

    with :math:`m` the mean and :math:`V` the first principal axes of the training rows. The
    networks :math:`f` and :math:`g` start at zero, so training starts at PCA. The linear maps
    stay as they are. Weights are kept only if a paired t-test says that
    they reconstruct held-out rows better; without that evidence the result is PCA. With
    a bounded activation, the default, rows far from the training data are treated nearly as
    PCA treats them.

    Rows are centred, and divided by one scalar, before they reach the network. Their units
    do not matter.

    See Also
    --------
    sklearn.decomposition.PCA : The linear optimum, where this estimator starts.

    References
    ----------
    Hinton, G. E. and Salakhutdinov, R. R. (2006). Reducing the dimensionality of data with
    neural networks. Science, 313(5786), 504-507.

    Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization.
    Neural Computation, 7(1), 108-116.

    Examples
    --------
    A curve in space is one number a point, which PCA cannot tell:

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
        Standard deviation of Gaussian noise on what the encoder sees while it is trained, in
        units of the data's overall standard deviation. It keeps the encoder smooth, which
        matters where rows are few; with very many rows 0 may serve better.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )
    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _loss = penalized_loss
    _has_plain_loss = is_unpenalized
    energy = energy

    def _build_module(self, n_features: int) -> AutoencoderModule:
        return AutoencoderModule(
            self._network(), self.input_shape_, self.n_components, **self._network_options()
        )

    def _noise_level(self) -> float:
        return self.input_noise
