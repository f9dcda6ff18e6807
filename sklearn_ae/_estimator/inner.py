"""An autoencoder as a parameter of another estimator."""

from __future__ import annotations

from typing import Any

from sklearn.pipeline import Pipeline

from sklearn_ae._compat import Options


class InstanceOf(Options):
    """Constraint: an instance of a class, which error messages describe in words."""

    def __init__(self, cls: type, description: str) -> None:
        super().__init__(cls, set())
        self.description = description

    def is_satisfied_by(self, val: Any) -> bool:
        """Return whether a value is an instance of the class."""
        return isinstance(val, self.type)

    def __str__(self) -> str:
        return self.description


def refuse_pipeline(owner: Any, name: str) -> None:
    """Refuse a pipeline as autoencoder, in an error that shows where its steps belong.

    The autoencoder is trained or evaluated on the samples that its owner receives; steps before it
    belong before the owner, where they are fitted, saved and exported with it.

    Parameters
    ----------
    owner : BaseEstimator
    name : str
        Name of its parameter.
    """
    given = getattr(owner, name)
    if not isinstance(given, Pipeline):
        return
    *before, last = (type(step).__name__ for _, step in given.steps)
    outer = type(owner).__name__
    steps = ", ".join([*(f"{step}(...)" for step in before), f"{outer}({name}={last}(...))"])
    raise ValueError(
        f"{name} is a Pipeline, but it must be an autoencoder of this package. Put the steps "
        f"before it into a Pipeline with {outer} as its last step: make_pipeline({steps})."
    )
