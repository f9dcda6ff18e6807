"""The package as a whole: what an import costs, what the README promises, which way imports go."""

import ast
import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "sklearn_ae"


def _run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def test_import_loads_what_a_fit_needs_only_when_it_is_needed():
    names = _run("import sys, sklearn_ae; print(*sys.modules)").split()
    assert "torch" in names
    assert not {"skorch", "matplotlib"} & set(names)


def test_readme_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    scope = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert scope["codes"].shape == (1797, 8)
    assert scope["restored"].shape == (1797, 64)
    assert 0.5 < scope["share"] < 1


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


GUIDE = sorted((ROOT / "docs" / "guide").glob("*.rst"))


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
        )
        ours = {name for name in imported if name.startswith("sklearn_ae.")}
        assert all(name.startswith(allowed) for name in ours)
    if place == "_training":
        allowed = ("sklearn_ae._training", "sklearn_ae.networks", "sklearn_ae.losses")
        ours = {name for name in imported if name.startswith("sklearn_ae.")}
        assert all(name.startswith(allowed) for name in ours)
    else:
        assert not any(name.split(".")[0] == "skorch" for name in imported)
    if place != "_compat":
        private = {"sklearn.utils._param_validation", "sklearn.utils._array_api"}
        assert not imported & private
