"""The recurrent autoencoder: a sequence is read into one code, and written from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sklearn_ae._code_penalty import CodePenalty
from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks.lstm import LSTMNetwork, LSTMParameters


@dataclass(kw_only=True, eq=False, repr=False)
class LSTMAutoencoder(CodePenalty, LSTMParameters, BaseAutoencoder):
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
    cell : {"lstm", "gru"}, default="lstm"
        Recurrent unit: long short-term memory, or the gated recurrent unit, which has a
        quarter fewer weights.
    hidden_size : int, default=64
        Width of each recurrent layer.
    n_layers : int, default=1
        Number of recurrent layers, of the encoder and of the decoder.
    reverse : bool, default=True
        Whether the encoder reads a sequence from its end, so that what it has read last is
        what the decoder writes first. Training then takes far fewer epochs.
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseAutoencoder._parameter_constraints,
        **CodePenalty._parameter_constraints,
        **LSTMParameters._parameter_constraints,
    }

    def _network(self) -> Network:
        return LSTMNetwork.of(self)
