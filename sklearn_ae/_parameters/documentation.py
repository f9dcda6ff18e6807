"""Compose the docstring of a class from its own text and the entries of its parameters."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

FOLLOWING = re.compile(r"^(See Also|Notes|References|Examples)\n-+$", flags=re.MULTILINE)
"""Sections that follow the parameters and the attributes in numpydoc's order."""


def composed_docstring(
    cls: type, docs: Mapping[str, str | None], defaults: Mapping[str, Any]
) -> str:
    """Insert the sections "Parameters" and "Attributes" into the docstring of a class.

    Parameters
    ----------
    cls : type
        Class whose docstring has neither section. The attributes are taken from its
        ``_attribute_docs`` and those of its bases.
    docs : mapping from str to str or None
        Entry of each parameter in the order of the signature: the type in the first line, the
        description below. A parameter with None is left out.
    defaults : mapping from str to object
        Default of each parameter.

    Returns
    -------
    str
        The docstring with both sections.
    """
    parameters = {
        name: with_default(doc, defaults[name]) for name, doc in docs.items() if doc is not None
    }
    attributes: dict[str, str] = {}
    # From the farthest base to the class itself, so that a subclass overrides its bases.
    for base in reversed(cls.__mro__):
        for name, doc in vars(base).get("_attribute_docs", {}).items():
            if doc is None:
                attributes.pop(name, None)
            else:
                attributes[name] = inspect.cleandoc(doc)
    own = inspect.cleandoc(cls.__doc__ or "")
    found = FOLLOWING.search(own)
    end = found.start() if found else len(own)
    parts = [own[:end].rstrip(), section("Parameters", parameters)]
    parts += [section("Attributes", attributes), own[end:]]
    return "\n\n".join(part for part in parts if part) + "\n"


def with_default(doc: str, default: Any) -> str:
    """Add the default to the type in the first line of an entry, in numpydoc's format."""
    kind, _, text = inspect.cleandoc(doc).partition("\n")
    shown = f'"{default}"' if isinstance(default, str) else str(default)
    return f"{kind}, default={shown}\n{text}"


def section(title: str, entries: Mapping[str, str]) -> str:
    """Return a section of a docstring, or an empty string if there are no entries."""
    if not entries:
        return ""
    lines = [title, "-" * len(title)]
    for name, entry in entries.items():
        kind, _, text = entry.partition("\n")
        lines.append(f"{name} : {kind}")
        lines += [f"    {line}".rstrip() for line in text.splitlines()]
    return "\n".join(lines)
