"""The recursive autoencoder: encodes a sequence by merging its steps along a tree."""

from __future__ import annotations

from sklearn_ae._estimator.code_penalty import CodePenalty, is_unpenalized, penalized_loss
from sklearn_ae._parameters.declaration import declares_parameters, same_as
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.recursive import RecursiveNetwork, RecursiveParameters


@declares_parameters
class RecursiveAutoencoder(RecursiveParameters, BaseAutoencoder):
    r"""Recursive autoencoder: encodes and decodes a sequence along a binary tree.

    The encoder maps each step to a vector. It then merges two neighbours :math:`l, r` into their
    parent :math:`p`, which replaces them, and repeats this until one vector :math:`v` is left; a
    linear map of it is the code. The decoder splits vectors along the same tree:

    .. math::

        v_t &= \tanh(E x_t + e), & p &= \tanh(W [l; r] + b), & z &= C v + c, \\
        v' &= \tanh(D z + d), & [l'; r'] &= \tanh(U p' + u), & x'_t &= F v'_t + f.

    All nodes of the tree have the same weights. The loss compares the reconstructed steps with
    those of the sequence, not each pair of children with its reconstruction from the parent: this
    is the unfolding autoencoder of Socher et al. (2011).

    With ``tree="greedy"`` the pair of neighbours with the smallest reconstruction error
    :math:`\| [l; r] - \tanh(U p + u) \|^2` is merged first. The tree is part of the code:
    ``n_steps - 1`` columns after the components contain, for each merge, the position of the
    merged pair among the vectors that were left, counted from the left and from 0, or -1 if the
    sequence is short and only one vector was left. Decoding rounds these columns to the nearest
    possible tree. Such a network cannot be combined with objectives that constrain the code.

    `X` is an array of shape (n_samples, n_steps, n_channels), a list of arrays of shape (length,)
    or (length, n_channels), or an array of flat samples (see `n_steps` and `n_channels`). Lists
    may contain sequences of different lengths; in an array, shorter sequences are padded with NaN
    at the end. A greedy tree has no leaves for the padding; in other trees these leaves are one
    learnt vector, the same for all. The padding does not contribute to the loss. `reconstruct`
    and `inverse_transform` return all steps; those beyond the end of a short sequence are
    extrapolated.

    The network receives steps that are centred, each by its own mean over the training samples,
    and divided by one scalar: one factor common to all values does not matter. Channels in
    different units should be scaled before, or the one with the largest variance dominates.

    See Also
    --------
    LSTMAutoencoder : Encodes a sequence step by step.
    Autoencoder : For samples of a fixed number of features; often suffices for short sequences.

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

    The code of a greedy tree has two components and 11 merges:

    >>> greedy = RecursiveAutoencoder(2, tree="greedy", max_iter=1, random_state=0).fit(X)
    >>> greedy.get_feature_names_out().size
    13
    """

    max_iter: int = 100

    code_alpha: float = same_as(CodePenalty, "code_alpha")

    # Functions that several estimators share, assigned as methods.
    _loss = penalized_loss
    _has_plain_loss = is_unpenalized

    def _network(self) -> Network:
        return RecursiveNetwork.of(self)
