"""Reconstruction loss with an optional L2 penalty on the code."""

from __future__ import annotations

from numbers import Real
from typing import Any

from torch import Tensor

from sklearn_ae._compat import Interval
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._module import AutoencoderModule


@declares_parameters
class CodePenalty:
    """Parameter of the L2 penalty on the code.

    With this penalty, weight decay and a density fitted on the codes, an autoencoder is a
    generative model without a prior (Ghosh et al., 2020, From variational to deterministic
    autoencoders, ICLR).
    """

    code_alpha: float = parameter(
        default=0.0,
        doc="""float
        Strength of the L2 penalty on the code: the mean square of its components times
        `code_alpha` is added to the loss, which keeps the codes near the origin.
        """,
        constraint=[Interval(Real, 0, None, closed="left")],
    )


def penalized_loss(
    estimator: Any,
    module: AutoencoderModule,
    X: Tensor,
    y: Tensor | None = None,
    sample_weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the reconstruction loss and the penalty, if any: an implementation of ``_loss``."""
    code = module.encode(X)
    output, target = module.decode(code), X if y is None else y
    terms = {"reconstruction": estimator._compare(module, output, target)}
    if estimator.code_alpha:
        if not module.n_components:
            raise ValueError(
                f"code_alpha={estimator.code_alpha} shrinks components, but "
                f"{type(module.network).__name__} with n_components=None has none; set "
                f"n_components or code_alpha=0."
            )
        # Only the components: columns after them are positions of maxima, skip connections etc.
        components = code[:, : module.n_components]
        terms["code"] = estimator.code_alpha * components.square().mean(1)
    return terms


def is_unpenalized(estimator: Any) -> bool:
    """Return whether there is no penalty: an implementation of ``_has_plain_loss``."""
    return type(estimator)._loss is penalized_loss and not estimator.code_alpha
