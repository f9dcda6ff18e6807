"""The recurrent autoencoder: a sequence is read into one code, and written from it."""

from __future__ import annotations

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.lstm import LSTMNetwork, LSTMParameters


@declares_parameters
class LSTMAutoencoder(LSTMParameters, BaseAutoencoder):
    r"""Recurrent autoencoder of sequences, of equal or of different lengths.

    An encoder reads the steps :math:`x_1, \dots, x_T` of a sequence, from the end by default,
    and its last state gives the code. A decoder starts from the code and writes the steps in
    order:

    .. math::

        h_t &= \mathrm{LSTM}(x_t, h_{t + 1}), & z &= A h_1 + a, \\
        g_t &= \mathrm{LSTM}(z, g_{t - 1}), & x'_t &= B g_t + b, \qquad g_0 = \tanh(C z + c).

    The decoder sees the code at every step and never the steps that it should write: there is
    no teacher forcing, so whatever is restored was in the code.

    `X` is an array of shape (n_samples, n_steps, n_channels), a list of arrays of shape
    (length,) or (length, n_channels), or rows of numbers. Sequences shorter than the longest
    one are padded with NaN, or come so. What is not there does not reach the code, and errors
    are counted on what is there. `reconstruct` and `inverse_transform` return all steps, for
    a short sequence also those that would follow.

    Steps are centred, each by its own mean over the training rows, and divided by one scalar
    before they reach the network. Their units do not matter.

    See Also
    --------
    RecursiveAutoencoder : Folds a sequence as a tree.
    Autoencoder : Rows of a fixed number of features; often enough for short sequences.

    References
    ----------
    Hochreiter, S. and Schmidhuber, J. (1997). Long short-term memory. Neural Computation,
    9(8), 1735-1780.

    Srivastava, N., Mansimov, E. and Salakhutdinov, R. (2015). Unsupervised learning of video
    representations using LSTMs. ICML. There the decoder writes the sequence from its end;
    here the encoder reads it from there, which needs no length to decode.

    Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for
    statistical machine translation. EMNLP.

    Examples
    --------
    Waves of different lengths, a list of arrays:

    >>> import numpy as np
    >>> from sklearn_ae import LSTMAutoencoder
    >>> rng = np.random.default_rng(0)
    >>> waves = [
    ...     np.sin(0.5 * np.arange(rng.integers(6, 12)) + rng.uniform(0, 6)) for _ in range(100)
    ... ]
    >>> autoencoder = LSTMAutoencoder(2, hidden_size=16, learning_rate_init=0.01, random_state=0)
    >>> autoencoder.fit_transform(waves).shape
    (100, 2)
    >>> autoencoder.score(waves) > 0.9
    True
    """

    max_iter: int = 100

    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return LSTMNetwork.of(self)
