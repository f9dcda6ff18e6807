"""The LSTM autoencoder: one code for each sequence."""

from __future__ import annotations

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.lstm import LSTMNetwork, LSTMParameters


@declares_parameters
class LSTMAutoencoder(LSTMParameters, BaseAutoencoder):
    r"""Recurrent autoencoder of sequences, of equal or of different lengths.

    The encoder reads the steps :math:`x_1, \dots, x_T` of a sequence, by default from the last to
    the first, and a linear map of its final state is the code :math:`z`. The decoder reconstructs
    the steps from the code, from the first to the last:

    .. math::

        h_t &= \mathrm{LSTM}(x_t, h_{t + 1}), & z &= A h_1 + a, \\
        g_t &= \mathrm{LSTM}(z, g_{t - 1}), & x'_t &= B g_t + b, \qquad g_0 = \tanh(C z + c).

    The input of the decoder at every step is the code, and never the steps of the sequence
    (there is no teacher forcing). Everything that is reconstructed is therefore in the code.

    `X` is an array of shape (n_samples, n_steps, n_channels), a list of arrays of shape (length,)
    or (length, n_channels), or an array of flat samples (see `n_steps` and `n_channels`). Lists
    may contain sequences of different lengths; in an array, shorter sequences are padded with NaN
    at the end. The padding influences neither the code nor the loss. `reconstruct` and
    `inverse_transform` return all steps; those beyond the end of a short sequence are
    extrapolated.

    The network receives steps that are centred, each by its own mean over the training samples,
    and divided by one scalar: one factor common to all values does not matter. Channels in
    different units should be scaled before, or the one with the largest variance dominates.

    See Also
    --------
    RecursiveAutoencoder : Encodes a sequence by merging neighbouring steps along a tree.
    Autoencoder : For samples of a fixed number of features; often suffices for short sequences.

    References
    ----------
    Hochreiter, S. and Schmidhuber, J. (1997). Long short-term memory. Neural Computation,
    9(8), 1735-1780.

    Srivastava, N., Mansimov, E. and Salakhutdinov, R. (2015). Unsupervised learning of video
    representations using LSTMs. ICML. Their decoder reconstructs the sequence from its end; here
    the encoder reads it from its end, so that decoding does not require the length.

    Cho, K. et al. (2014). Learning phrase representations using RNN encoder-decoder for
    statistical machine translation. EMNLP.

    Examples
    --------
    Sine waves of different lengths, as a list of arrays:

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

    # Functions that several estimators share, assigned as methods.
    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return LSTMNetwork.of(self)
