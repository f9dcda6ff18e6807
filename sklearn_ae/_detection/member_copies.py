"""Templates of members, autoencoders or pipelines that end in one, and how copies are fitted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import has_fit_parameter

from sklearn_ae.autoencoder import Autoencoder
from sklearn_ae.base import BaseAutoencoder

NOISE_LEVELS = (1.0, 0.3, 0.1)
"""Input noise of successive pairs of default members, in standard deviations."""

EPOCHS = 25
"""Number of epochs of default members."""

MAX_EPOCHS = 50
"""Largest number of epochs of joint members, for the fewest samples that profit from it."""

FEW_SAMPLES = 300
"""Number of samples below which more epochs find no more broken relations, but overfit."""

ENOUGH_SAMPLES = 1200
"""Number of samples from which on `EPOCHS` suffice for members to learn fine relations."""

HIDDEN = 32
"""Width of the hidden layers of default members."""


class Template(NamedTuple):
    """Specification of a member.

    Attributes
    ----------
    estimator : BaseAutoencoder or Pipeline
    joint : bool
        Whether the member scores all decorrelated errors together, not each error separately.
    """

    estimator: Any
    joint: bool


def templates_of(
    estimator: Any, n_members: int, n_samples: int, n_features: int
) -> list[Template]:
    """Return the specification of each member.

    Parameters
    ----------
    estimator : BaseAutoencoder, Pipeline or None
        Parameter of the detector. None: small denoising autoencoders.
    n_members : int
        Rounded up to whole pairs.
    n_samples : int
        Number of samples that the detector is fitted to.
    n_features : int
    """
    n_members += n_members % 2
    if estimator is not None:
        _check_template(estimator)
        return [Template(estimator, joint=False)] * n_members
    pairs = [number // 2 % len(NOISE_LEVELS) for number in range(n_members)]
    # Strong noise finds samples far from all others, which single errors show. Weak noise finds
    # broken relations between features, which decorrelated errors show.
    epochs = EPOCHS
    if FEW_SAMPLES <= n_samples < ENOUGH_SAMPLES:
        epochs = min(MAX_EPOCHS, EPOCHS * ENOUGH_SAMPLES // n_samples)
    return [
        Template(
            _small_autoencoder(n_features, NOISE_LEVELS[pair], epochs if pair else EPOCHS),
            joint=pair > 0,
        )
        for pair in pairs
    ]


def _small_autoencoder(n_features: int, noise_level: float, epochs: int) -> Pipeline:
    """Return a default template.

    A network that is trained to remove noise moves a sample to where samples are dense. Its error
    is therefore large for samples off the data in any direction, also along the code.
    """
    autoencoder = Autoencoder(
        min(HIDDEN, -(-n_features // 2)),  # half of the features, rounded up
        init="random",
        hidden_layer_sizes=(HIDDEN, HIDDEN, HIDDEN),
        input_noise=noise_level,
        learning_rate_init=0.01,
        max_iter=epochs,
        early_stopping=False,
    )
    # The autoencoder centres the data; a scaler that does not keeps sparse data sparse.
    return make_pipeline(StandardScaler(with_mean=False), autoencoder)


def _check_template(estimator: Any) -> None:
    """Refuse anything but an autoencoder or a pipeline that ends in one."""
    last = last_step(estimator)
    if not isinstance(last, BaseAutoencoder):
        raise ValueError(
            f"estimator must be an autoencoder of sklearn_ae, or a Pipeline whose last step is "
            f"one, but it {'ends in' if last is not estimator else 'is'} {last!r}."
        )


def last_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def seeded_copy(template: Any, seed: int) -> Any:
    """Return a clone with every ``random_state`` in it set to a draw from ``seed``."""
    estimator = clone(template)
    names = sorted(name for name in estimator.get_params() if name.endswith("random_state"))
    seeds = np.random.RandomState(seed).randint(2**31 - 1, size=len(names))
    return estimator.set_params(**{name: int(s) for name, s in zip(names, seeds, strict=True)})


def fit_steps(estimator: Any, X: Any, weight: np.ndarray | None) -> None:
    """Fit one step after another, with the weights if the step takes them."""
    for _, step in _steps(estimator):
        weighted = weight is not None and has_fit_parameter(step, "sample_weight")
        step.fit(X, **({"sample_weight": weight} if weighted else {}))
        if step is not last_step(estimator):
            X = step.transform(X)


def prepare(estimator: Any, X: Any) -> Any:
    """Transform samples by all steps before the autoencoder."""
    for _, step in _steps(estimator)[:-1]:
        X = step.transform(X)
    return X


def _steps(estimator: Any) -> list[tuple[str, Any]]:
    """Return the named steps of a pipeline, without those that do nothing."""
    if not isinstance(estimator, Pipeline):
        return [("autoencoder", estimator)]
    return [(name, step) for name, step in estimator.steps if step not in (None, "passthrough")]
