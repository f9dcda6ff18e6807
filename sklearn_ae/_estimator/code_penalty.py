"""The plain objective: reconstruction, and if asked an L2 penalty on the code."""

from __future__ import annotations

from numbers import Real
from typing import Any

from torch import Tensor

from sklearn_ae._compat import Interval
from sklearn_ae._parameters.declaration import declares_parameters, parameter
from sklearn_ae.networks._module import AutoencoderModule


@declares_parameters
class CodePenalty:
    """A penalty that makes codes gather at the origin.

    With it, weight decay and a density fitted on the codes, an autoencoder generates without a
    prior (Ghosh et al., 2020, From variational to deterministic autoencoders, ICLR).
    """

    code_alpha: float = parameter(
        default=0.0,
        doc="""float
        Strength of the L2 penalty on the code: the factor of the mean square of its components,
        in the loss. Codes then gather at the origin.
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
    """Return the loss of the reconstruction and, if asked for, the penalty: a hook ``_loss``."""
    code = module.encode(X)
    output, target = module.decode(code), X if y is None else y
    terms = {"reconstruction": estimator._compare(module, output, target)}
    if estimator.code_alpha:
        if not module.n_components:
            raise ValueError(
                f"code_alpha={estimator.code_alpha} shrinks components, of which "
                f"{type(module.network).__name__} has none with n_components=None."
            )
        # Past the components stand places and maps, which are not the code's to shrink.
        own = code[:, : module.n_components]
        terms["code"] = estimator.code_alpha * own.square().mean(1)
    return terms


def is_unpenalized(estimator: Any) -> bool:
    """Whether that loss is the reconstruction's alone: a hook ``_has_plain_loss``."""
    return type(estimator)._loss is penalized_loss and not estimator.code_alpha
