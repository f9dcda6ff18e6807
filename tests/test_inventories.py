"""Objects of other projects that the documentation may link to."""

import inspect
import sys
from importlib import import_module
from pathlib import Path

import pytest
from sklearn.experimental import (  # noqa: F401
    enable_halving_search_cv,
    enable_iterative_imputer,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import intersphinx

INVENTORIES = sorted(intersphinx.FOLDER.glob("*.inv"))
KINDS = {"class": inspect.isclass, "function": callable}


def found(name):
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def test_each_project_has_an_inventory():
    assert [path.stem for path in INVENTORIES] == sorted(intersphinx.PROJECTS)


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.stem)
def test_objects_exist(path):
    head = path.read_text().splitlines()[:3]
    assert head[0] == "# Sphinx inventory version 1"
    assert head[1].startswith("# Project: ")
    assert head[2].startswith("# Version: ")
    objects = intersphinx.read(path)
    assert list(objects) == sorted(objects)
    for name, (kind, page) in objects.items():
        assert name.split(".")[0] == path.stem
        assert KINDS[kind](found(name)), name
        assert page.endswith(".html"), name
        assert not page.startswith(("/", "http")), name


def test_unknown_projects_are_named():
    with pytest.raises(SystemExit, match=r"No project of nobody\.Thing"):
        intersphinx.main(["nobody.Thing"])
