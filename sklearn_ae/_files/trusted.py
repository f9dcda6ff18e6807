"""Classes and functions of a user's own modules, as far as the caller of ``load`` trusts them."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from sklearn_ae.base import BaseAutoencoder
from sklearn_ae.networks import Network
from sklearn_ae.networks._module import AutoencoderModule

SEPARATOR = ":"
"""Between the name of a module and that of a class in it, in a file."""

BASES = (Network, BaseAutoencoder, AutoencoderModule)
"""Only classes that derive from one of these are used, whatever a trusted module contains."""

FUNCTION_PLACES = frozenset(("loss", "_fitted_loss", "noise"))
"""Parameters whose value may be a function of a trusted module."""


def is_extension(value: Any) -> bool:
    """Return whether a value is a class of somebody's own that a file may name."""
    return isinstance(value, type) and issubclass(value, BASES) and _is_foreign(value)


def is_own_function(place: str, value: Any) -> bool:
    """Return whether a value is a function of somebody's own that a file may name.

    Parameters
    ----------
    place : str
        Name of the parameter, also of a nested one.
    value : object
    """
    return takes_functions(place) and isinstance(value, types.FunctionType) and _is_foreign(value)


def takes_functions(place: str) -> bool:
    """Return whether the value of a parameter, also of a nested one, may be one's own function."""
    return place.rpartition("__")[2] in FUNCTION_PLACES or place in FUNCTION_PLACES


def _is_foreign(value: Any) -> bool:
    """Return whether a class or function can be found by its name, outside of this package."""
    if value.__module__.partition(".")[0] in ("sklearn_ae", "sklearn", "torch", "numpy"):
        return False
    try:
        return attrgetter(value.__qualname__)(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def full_name(value: Any) -> str:
    """Return the name of a class or function in a file."""
    return f"{value.__module__}{SEPARATOR}{value.__qualname__}"


class Trusted:
    """Finds classes and functions by their names in a file.

    Parameters
    ----------
    names : iterable of str or None
        Names of modules, and full names of single classes and functions. None: every module that
        is imported already, when a file is checked by the process that writes it.
    """

    def __init__(self, names: Iterable[str] | None = ()) -> None:
        self._names = sys.modules.keys() if names is None else set(names)

    def check(self, found: Iterable[str]) -> None:
        """Refuse names of which one is not trusted, before a module is imported.

        Raises
        ------
        ValueError
            It contains the argument `trusted` that would allow all of them.
        """
        refused = sorted({name for name in found if not self._trusts(name)})
        if refused:
            modules = sorted({name.partition(SEPARATOR)[0] for name in refused})
            shown = ", ".join(name.replace(SEPARATOR, ".")[:100] for name in refused[:5])
            raise ValueError(
                f"it refers to {shown}, of neither sklearn_ae nor scikit-learn. Loading it would "
                f"run the code of these modules; if you trust them, pass trusted={modules[:5]}"
            )

    def _trusts(self, name: str) -> bool:
        module, _, inner = name.partition(SEPARATOR)
        return module in self._names or f"{module}.{inner}" in self._names

    def class_(self, name: str) -> type:
        """Return a class that derives from one of `BASES`."""
        found = self._find(name)
        if not is_extension(found) or full_name(found) != name:
            raise ValueError(
                f"{name[:100]!r} is no network, autoencoder or torch module derived from those of "
                f"sklearn_ae"
            )
        return found  # type: ignore[no-any-return]

    def function(self, name: str) -> Any:
        """Return a function that is defined in its module."""
        found = self._find(name)
        if not isinstance(found, types.FunctionType) or full_name(found) != name:
            raise ValueError(f"{name[:100]!r} is no function of that module")
        return found

    def _find(self, name: str) -> Any:
        self.check([name])
        module, _, inner = name.partition(SEPARATOR)
        try:
            return attrgetter(inner)(importlib.import_module(module))
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"{name.replace(SEPARATOR, '.')[:100]!r} cannot be imported: {error}"
            ) from error


def check_trusted(trusted: Any) -> list[str]:
    """Return the names that an argument `trusted` contains.

    Raises
    ------
    TypeError
        If it contains anything but strings, for example the classes themselves.
    """
    is_one = isinstance(trusted, (str, bytes)) or not isinstance(trusted, Iterable)
    names = [trusted] if is_one else list(trusted)
    for name in names:
        if not isinstance(name, str):
            example = getattr(name, "__name__", "my_network")  # the name of a module
            if hasattr(name, "__qualname__"):
                example = f"{name.__module__}.{name.__qualname__}"
            raise TypeError(
                f"trusted contains names of modules or classes as strings, got {name!r}; write "
                f"{example!r}."
            )
    return names


def names_in(objects: Any) -> set[str]:
    """Return all names of classes and functions of somebody's own in a description."""
    found, rest = set(), [objects]
    while rest:
        value = rest.pop()
        if isinstance(value, dict):
            for key in ("class", "$module", "$function"):
                if isinstance(name := value.get(key), str) and SEPARATOR in name:
                    found.add(name)
            rest.extend(value.values())
        elif isinstance(value, list):
            rest.extend(value)
    return found
