"""The recursive autoencoder: a sequence is folded as a tree, and unfolded again."""

from __future__ import annotations

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.recursive import RecursiveNetwork, RecursiveParameters


@declares_parameters
class RecursiveAutoencoder(RecursiveParameters, BaseAutoencoder):
    r"""Recursive autoencoder: a sequence is folded as a tree, and unfolded along the same tree.

    Each step becomes a vector. Two neighbours become their parent, which takes their place,
    until one vector is left; a linear map of it is the code. The decoder goes the same way
    back:

    .. math::

        v_t &= \tanh(E x_t + e), & p &= \tanh(W [l; r] + b), & z &= C v + c, \\
        v' &= \tanh(D z + d), & [l'; r'] &= \tanh(U p' + u), & x'_t &= F v'_t + f.

    The weights are the same everywhere in the tree. Training restores the steps, not each
    pair of children from its parent: this is the unfolding autoencoder of Socher et al. (2011).

    With ``tree="greedy"`` the pair of neighbours goes first for which
    :math:`\| [l; r] - \tanh(U p + u) \|^2` is least, with the weights that unfold. What was
    merged is part of the code: ``n_steps - 1`` columns after the components, each the place of
    a merged pair among those there at that time, counted from the left and from 0, or -1
    where a short sequence was down to one vector. Decoding rounds these columns to the nearest
    possible tree. The objectives that constrain the code refuse such a network.

    `X` is an array of shape (n_samples, n_steps, n_channels), a list of arrays of shape
    (length,) or (length, n_channels), or rows of numbers. Sequences shorter than the longest
    one are padded with NaN, or come so; what is not there is no leaf of a greedy tree and one
    learnt vector, the same for all, in the other trees. Errors are counted on what is there.
    `reconstruct` and `inverse_transform` return all steps, for a short sequence also those
    that would follow.

    Steps are centred, each by its own mean over the training rows, and divided by one scalar
    before they reach the network. Their units do not matter.

    See Also
    --------
    LSTMAutoencoder : Reads a sequence step by step.
    Autoencoder : Rows of a fixed number of features; often enough for short sequences.

    References
    ----------
    Pollack, J. B. (1990). Recursive distributed representations. Artificial Intelligence,
    46(1-2), 77-105.

    Socher, R., Huang, E. H., Pennington, J., Ng, A. Y. and Manning, C. D. (2011). Dynamic
    pooling and unfolding recursive autoencoders for paraphrase detection. NIPS.

    Socher, R., Pennington, J., Huang, E. H., Ng, A. Y. and Manning, C. D. (2011).
    Semi-supervised recursive autoencoders for predicting sentiment distributions. EMNLP.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ae import RecursiveAutoencoder
    >>> phase = np.random.default_rng(0).uniform(0, 6, size=(200, 1))
    >>> X = np.sin(0.5 * np.arange(12) + phase)
    >>> autoencoder = RecursiveAutoencoder(2, hidden_size=16, random_state=0).fit(X)
    >>> autoencoder.score(X) > 0.99
    True

    The trees of a greedy one are in its codes:

    >>> greedy = RecursiveAutoencoder(2, tree="greedy", max_iter=1, random_state=0).fit(X)
    >>> greedy.get_feature_names_out().size
    13
    """

    max_iter: int = 100

    code_alpha: float = same_as(CodePenalty, "code_alpha")

    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return RecursiveNetwork.of(self)
