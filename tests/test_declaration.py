"""Parameters declared once: what validation, signatures and docstrings make of them."""

import inspect
import re
import subprocess
import sys
from numbers import Integral, Real
from typing import ClassVar

import pytest
from sklearn.base import BaseEstimator

import sklearn_ae
from sklearn_ae import networks
from sklearn_ae._compat import Interval
from sklearn_ae._parameters.declaration import declares_parameters, parameter, same_as
from sklearn_ae._parameters.documentation import documented_like


@declares_parameters
class Shared:
    rate: float = parameter(
        default=0.5,
        doc="""float
        Size of a step.

        Two paragraphs.
        """,
        constraint=[Interval(Real, 0, None, closed="neither")],
    )
    mode: str = parameter(default="slow", doc="str\nHow fast.", constraint=[str])

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "n_steps_": "int\nNumber of steps.",
        "speed_": "float\nSpeed.",
    }


@declares_parameters
class Model(Shared, BaseEstimator):
    r"""Model with :math:`\alpha`.

    More of it.

    See Also
    --------
    Shared : The parameters.
    """

    size: int = parameter(
        default=3,
        doc="int\nSize.",
        constraint=[Interval(Integral, 1, None, closed="left")],
        kw_only=False,
    )
    rate: float = 0.1

    _attribute_docs: ClassVar[dict[str, str | None]] = {
        "speed_": None,
        "size_": "int\nSize of the fit.",
    }


@declares_parameters
class Fast(Model):
    """Model that is fast."""

    mode: str = parameter(default="fast", doc="str\nAlways fast.")
    also: float = same_as(Shared, "rate")


def test_docstrings_have_the_parameters_of_the_signature_with_their_defaults():
    assert inspect.getdoc(Model) == inspect.cleandoc(
        r"""Model with :math:`\alpha`.

        More of it.

        Parameters
        ----------
        size : int, default=3
            Size.
        rate : float, default=0.1
            Size of a step.

            Two paragraphs.
        mode : str, default="slow"
            How fast.

        Attributes
        ----------
        n_steps_ : int
            Number of steps.
        size_ : int
            Size of the fit.

        See Also
        --------
        Shared : The parameters.
        """
    )
    assert list(inspect.signature(Model).parameters) == ["size", "rate", "mode"]


def test_what_a_class_does_not_say_is_inherited():
    assert Fast().mode == "fast"
    assert Fast().rate == 0.1
    assert Fast().also == 0.5
    assert 'mode : str, default="fast"\n    Always fast.' in inspect.getdoc(Fast)
    assert Fast._parameter_constraints["mode"] == [str]
    assert Fast._parameter_constraints["also"] is Shared._parameter_constraints["rate"]
    with pytest.raises(ValueError, match="'rate' parameter of Fast must be a float"):
        Fast(rate=-1.0)._validate_params()


def test_parameters_need_a_constraint():
    with pytest.raises(TypeError, match=r"Bad has parameters without a constraint: \['free'\]"):

        @declares_parameters
        class Bad:
            free: int = 1


class Reference:
    def fit(self, X, y=None, weight=None):
        """Fit the model.

        Slowly.

        Parameters
        ----------
        X : array
            Samples.

            In two paragraphs.
        y : None
            Ignored.
        weight : array, default=None
            Weights of the samples.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X is empty.
        """


def test_a_method_takes_what_it_does_not_document_from_another():
    def fit(self, X, y, classes, weight=None):
        r"""Fit :math:`\alpha`.

        Parameters
        ----------
        classes : list
            All classes.
        y : array
            Labels.

        Raises
        ------
        TypeError
            Always.

        Notes
        -----
        None.
        """

    assert inspect.getdoc(documented_like(Reference.fit)(fit)) == inspect.cleandoc(
        r"""Fit :math:`\alpha`.

        Parameters
        ----------
        X : array
            Samples.

            In two paragraphs.
        y : array
            Labels.
        classes : list
            All classes.
        weight : array, default=None
            Weights of the samples.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            Always.

        Notes
        -----
        None.
        """
    )


def test_a_method_without_sections_has_those_of_the_reference():
    def fit(self, weight):
        """Fit fast."""

    found = inspect.getdoc(documented_like(Reference.fit)(fit))
    text = inspect.getdoc(Reference.fit)
    assert found.startswith("Fit fast.\n\nParameters\n----------\nweight : array")
    assert found.endswith(text[text.index("\nReturns") :])
    assert "Samples" not in found
    with_text = inspect.getdoc(documented_like(Reference.fit, description=True)(fit))
    assert with_text == found.replace("fast.\n", "fast.\n\nSlowly.\n", 1)


def test_a_parameter_that_neither_method_documents_is_refused():
    def fit(self, X, speed):
        """Fit fast."""

    with pytest.raises(KeyError, match="speed"):
        documented_like(Reference.fit)(fit)


@pytest.mark.parametrize("name", sklearn_ae.__all__)
def test_methods_document_the_parameters_of_their_signature(name):
    cls = getattr(sklearn_ae, name)
    if not (inspect.isclass(cls) and issubclass(cls, BaseEstimator)):
        return
    for method in ("fit", "partial_fit", "transform", "predict", "score_samples", "score"):
        if (function := getattr(cls, method, None)) is not None:
            documented = re.findall(r"(?m)^(\w+) : ", inspect.getdoc(function))
            names = list(inspect.signature(function).parameters)[1:]
            assert documented[: len(names)] == names, method


@pytest.mark.slow
def test_classes_are_made_where_docstrings_are_stripped():
    code = "import sklearn_ae; assert sklearn_ae.Autoencoder(3).get_params()['n_components'] == 3"
    subprocess.run([sys.executable, "-OO", "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("name", [*sklearn_ae.__all__, *networks.__all__])
def test_every_parameter_is_documented_in_the_order_of_the_signature(name):
    cls = getattr(sklearn_ae, name, None) or getattr(networks, name)
    constraints = getattr(cls, "_parameter_constraints", {})
    parts = re.split(
        r"(?m)^(Parameters|Other Parameters|Attributes|See Also|References|Examples)\n-+\n",
        cls.__doc__,
    )
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    both = sections.get("Parameters", "") + "\n" + sections.get("Other Parameters", "")
    documented = re.findall(r"(?m)^(\w+) : ", both)
    if constraints:
        assert documented == list(constraints) == list(inspect.signature(cls).parameters)


@pytest.mark.parametrize("name", sklearn_ae.__all__)
def test_an_estimator_inherits_from_few_classes(name):
    found = getattr(sklearn_ae, name)
    if inspect.isclass(found):
        # Not what stands in for classes that older versions of scikit-learn lack.
        ours = [
            cls
            for cls in found.__mro__
            if cls.__module__.startswith("sklearn_ae") and cls.__module__ != "sklearn_ae._compat"
        ]
        assert len(ours) <= 5
        assert not any(issubclass(cls, networks.Network) for cls in ours)
