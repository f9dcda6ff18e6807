"""Compose docstrings: own text of a class or a method, with the entries that it shares."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

FOLLOWING = re.compile(r"^(See Also|Notes|References|Examples)\n-+$", flags=re.MULTILINE)
"""Sections that follow the parameters and the attributes in numpydoc's order."""

TITLE = re.compile(r"^([A-Z][\w ]*)\n-+\n", flags=re.MULTILINE)
"""Title of any section of numpydoc, with the line below it."""


def composed_docstring(
    cls: type,
    docs: Mapping[str, str | None],
    defaults: Mapping[str, Any],
    shared: Collection[str] = (),
) -> str:
    """Insert the sections about parameters and "Attributes" into the docstring of a class.

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
    shared : collection of str, default=()
        Parameters that all estimators have: they are listed after the others, in numpydoc's
        section "Other Parameters".

    Returns
    -------
    str
        The docstring with these sections.
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
    others = {name: parameters.pop(name) for name in list(parameters) if name in shared}
    parts = [own[:end].rstrip(), section("Parameters", parameters)]
    parts += [section("Other Parameters", others), section("Attributes", attributes), own[end:]]
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


def documented_like(reference: Any, *, description: bool = False) -> Callable[[Method], Method]:
    """Return a decorator that completes the docstring of a method from that of another one.

    The method documents what differs. Parameters that it leaves out, and the sections "Returns"
    and "Raises" if it has none, are those of the reference. Apply it before all other decorators:
    it replaces the docstring of the function itself, which the others copy.

    Parameters
    ----------
    reference : function
        Its docstring has an entry for each parameter that the method does not document.
    description : bool, default=False
        Whether the text between the summary and the parameters is that of the reference, too.
    """

    def completed(method: Method) -> Method:
        if method.__doc__ is None or reference.__doc__ is None:  # under python -OO
            return method
        own, shared = _sections(method.__doc__), _sections(reference.__doc__)
        entries = _entries(shared.get("Parameters", "")) | _entries(own.get("Parameters", ""))
        names = list(inspect.signature(method).parameters)[1:]  # without self
        parts = [own.pop(""), shared[""].partition("\n\n")[2] if description else ""]
        parts.append(section("Parameters", {name: entries[name] for name in names}))
        own.pop("Parameters", None)
        inherited = {title: shared[title] for title in ("Returns", "Raises") if title in shared}
        # numpydoc's order: the sections of the method behind "Raises" stay behind it.
        for title, body in (inherited | own).items():
            parts.append(f"{title}\n{'-' * len(title)}\n{body}")
        method.__doc__ = "\n\n".join(part for part in parts if part) + "\n"
        return method

    return completed


def with_parameter(doc: str, name: str, entry: str) -> str:
    """Return a docstring with one more entry at the end of its parameters."""
    sections = _sections(doc)
    entries = _entries(sections["Parameters"]) | {name: entry}
    sections["Parameters"] = ""
    parts = [sections.pop("")]
    for title, body in sections.items():
        own = section(title, entries) if title == "Parameters" else ""
        parts.append(own or f"{title}\n{'-' * len(title)}\n{body}")
    return "\n\n".join(parts) + "\n"


def _sections(doc: str) -> dict[str, str]:
    """Split a docstring into its sections, by title; the text before the first has none."""
    text, *rest = TITLE.split(inspect.cleandoc(doc))
    bodies = zip(rest[::2], rest[1::2], strict=True)
    return {"": text.strip()} | {title: body.strip() for title, body in bodies}


def _entries(body: str) -> dict[str, str]:
    """Split the section "Parameters" into its entries, each as :func:`section` takes it."""
    parts = re.split(r"^(\w+) : ", body, flags=re.MULTILINE)[1:]
    entries = {}
    for name, entry in zip(parts[::2], parts[1::2], strict=True):
        kind, _, text = entry.strip().partition("\n")
        entries[name] = f"{kind}\n{textwrap.dedent(text)}"
    return entries
