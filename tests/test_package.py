"""The package as a whole: what an import costs and changes, which way imports go, and the docs."""

import ast
import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import sklearn_ae
from sklearn_ae import Autoencoder, networks
from sklearn_ae.losses import LOSSES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sklearn_ae"


def _run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


@pytest.fixture(scope="module")
def imported():
    """Names of all modules that an import loads, in their order."""
    return _run("import sys, sklearn_ae; print(*sys.modules)").split()


def test_import_loads_what_a_fit_needs_only_when_it_is_needed(imported):
    assert "torch" in imported
    assert not {"skorch", "matplotlib"} & set(imported)


IMPORTED = """
import atexit, contextlib, importlib, json, os, signal, sys, threading, warnings
import sklearn.metrics
sys.path.append(TESTS)
from surroundings import surroundings

def state():
    return surroundings() | {
        "warnings": repr(warnings.filters),
        "signals": repr([signal.getsignal(n) for n in signal.valid_signals()]),
        "hooks": repr([sys.excepthook, sys.displayhook, sys.meta_path, sys.path_hooks, sys.path]),
        "threads running": threading.active_count(),
        "calls at exit": atexit._ncallbacks(),
        "scorers": sorted(sklearn.metrics.get_scorer_names()),
    }

for name in OTHERS:
    with contextlib.suppress(ImportError):  # parts of packages that are no modules of their own
        importlib.import_module(name)
registered = []
os.register_at_fork = lambda **hooks: registered.append(repr(hooks))
loaded = [name for name in sys.modules if name.split(".")[0] == "sklearn_ae"]
before = state()
import sklearn_ae
after = state()
changed = [name for name in before if before[name] != after[name]]
print(json.dumps([loaded, changed, registered]))
"""


def test_import_changes_nothing_global(imported):
    # What the packages that it needs do at their import is not this package's business.
    others = [name for name in imported if name.split(".")[0] not in ("sklearn_ae", "__main__")]
    script = IMPORTED.replace("OTHERS", repr(others)).replace("TESTS", repr(str(ROOT / "tests")))
    assert json.loads(_run(script)) == [[], [], []]


def test_the_example_of_an_estimator_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    assert not re.search(r"import _|\._\w+ import", example)
    scope = {"__name__": "example"}
    exec(compile(example, "CONTRIBUTING.md", "exec"), scope)
    X = np.random.default_rng(0).normal(size=(60, 5))
    fitted = scope["MyAutoencoder"](2, strength=0.5, max_iter=3, random_state=0).fit(X)
    assert fitted.transform(X).shape == (60, 2)
    assert {"reconstruction", "penalty"} <= set(fitted.history_[0])
    text = scope["MyAutoencoder"].__doc__
    assert "strength : float, default=0.1\n    Factor of the mean" in text
    assert "alpha : float, default=0.1" in text
    with pytest.raises(ValueError, match="'strength' parameter of MyAutoencoder"):
        clone(fitted).set_params(strength=-1).fit(X)


API = (ROOT / "docs" / "api.rst").read_text().split()


def test_the_docs_list_every_estimator_network_and_loss():
    """CONTRIBUTING.md lists the pages that a new name belongs in."""
    own = {name: getattr(sklearn_ae, name) for name in sklearn_ae.__all__}
    estimators = {name for name, value in own.items() if hasattr(value, "fit")}
    guide = (ROOT / "docs" / "guide" / "autoencoder.rst").read_text()
    assert {*estimators, *networks.__all__, *LOSSES} - set(API) == set()
    for text in (guide, Autoencoder.__doc__):
        assert {name for name in LOSSES if f'``"{name}"``' not in text} == set()


GUIDE = sorted([*(ROOT / "docs").glob("*.rst"), *(ROOT / "docs" / "guide").glob("*.rst")])


@pytest.mark.parametrize(
    "path", [path for path in GUIDE if ">>>" in path.read_text()], ids=lambda path: path.stem
)
def test_examples_of_the_guide_run(path):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, tried = doctest.testfile(str(path), module_relative=False, optionflags=flags)
    assert tried > 0
    assert failed == 0


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.name))
def test_imports_follow_the_layers(path):
    place = path.relative_to(PACKAGE).parts[0]
    imported = set(_imports(path))
    if place in {"networks", "losses.py"}:
        allowed = (
            "sklearn_ae.networks",
            "sklearn_ae.losses",
            "sklearn_ae._compat",
            "sklearn_ae._parameters.declaration",
            "sklearn_ae._tables.loss",
        )
        ours = {name for name in imported if name.startswith("sklearn_ae.")}
        assert all(name.startswith(allowed) for name in ours)
    if place == "_training":
        layers = "_training", "networks", "losses", "_version"
        allowed = tuple(f"sklearn_ae.{layer}" for layer in layers)
        ours = {name for name in imported if name.startswith("sklearn_ae.")}
        assert all(name.startswith(allowed) for name in ours)
    else:
        assert not any(name.split(".")[0] == "skorch" for name in imported)
    if place != "_compat":
        private = {"sklearn.utils._param_validation", "sklearn.utils._array_api"}
        assert not imported & private


# Circles of imports


def _is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _nodes_that_run(node):
    """Yield all nodes below one, apart from those that only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if _is_type_checking(child):
            for other in child.orelse:
                yield other
                yield from _nodes_that_run(other)
        else:
            yield child
            yield from _nodes_that_run(child)


def import_graph(package):
    """Map each module of a package to those of it that it imports, within functions as well."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    graph = {}
    for name, path in names.items():
        imported = set()
        for node in _nodes_that_run(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} has a relative import"
                # What is imported is a module, or something in the module named before it.
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= inner & set(names)
                if not inner <= set(names):
                    imported.add(node.module)
        graph[name] = imported & set(names) - {name}
    return graph


def circles(graph):
    """Return the groups of modules that import one another, directly or through others."""

    def reached_from(name):
        reached, waiting = set(), [name]
        while waiting:
            new = graph[waiting.pop()] - reached
            reached |= new
            waiting += new
        return reached

    reached = {name: reached_from(name) for name in graph}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in graph
        if name in reached[name]
    }
    return sorted(groups)


def test_no_modules_import_one_another():
    graph = import_graph(PACKAGE)
    assert len(graph) > 100
    assert circles(graph) == []


def test_circles_of_imports_are_found(tmp_path):
    package = tmp_path / "house"
    modules = {
        "__init__": "from house.one import a",
        "one": "import house.two",
        "two": "def f():\n    from house import three",
        "three": "from house.inner.four import b",
        "inner/__init__": "",
        "inner/four": "from house.one import a\nimport os",
        "typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.user",
        "user": "import house.typed, house.one",
        "left": "if TYPE_CHECKING:\n    pass\nelse:\n    from house import right",
        "right": "class C:\n    from house.left import d",
    }
    for name, code in modules.items():
        path = package / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    group = ("house.inner.four", "house.one", "house.three", "house.two")
    assert circles(import_graph(package)) == [group, ("house.left", "house.right")]
