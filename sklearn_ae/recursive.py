"""The recursive autoencoder: a sequence is folded as a tree, and unfolded again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_ae._code_penalty import CodePenalty
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.recursive import RecursiveNetwork, RecursiveParameters


@dataclass(kw_only=True, eq=False, repr=False)
class RecursiveAutoencoder(CodePenalty, RecursiveParameters, BaseAutoencoder):
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

    Parameters
    ----------
    n_components : int, default=2
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
    max_iter : int, default=100
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
    n_steps : int, default=None
        Number of steps of a flat row: its features are those of the first step, then those of
        the second and so on. None: as many as `n_channels` leaves. Arrays of shape
        (n_samples, n_steps, n_channels) say it themselves. Of a list of sequences: the length
        of the longest that may come. None: of the longest in training.
    n_channels : int, default=None
        Number of values of a step of a flat row. None: as many as `n_steps` leaves, or one.
    hidden_size : int, default=64
        Width of the vectors that are folded.
    tree : {"balanced", "left", "greedy"}, default="balanced"
        What is folded first. ``"balanced"``: all pairs of neighbours, then all pairs of
        their parents and so on; a last one without a neighbour is carried up. ``"left"``: the
        first two steps, then their parent and the third and so on. ``"greedy"``: the two
        neighbours, in each sequence, that their parent restores best. Only ``"greedy"`` lets
        the tree depend on the row, and only its codes have columns beyond the components.
    code_alpha : float, default=0.0
        Strength of the L2 penalty on the code: the factor of the mean square of its components,
        in the loss. Codes then gather at the origin.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **CodePenalty._parameter_constraints,
        **RecursiveParameters._parameter_constraints,
    }

    def _network(self) -> Network:
        return RecursiveNetwork.of(self)
