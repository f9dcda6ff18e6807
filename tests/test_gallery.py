"""Examples of the gallery: short, titled, without bars, from public imports, linked by name.

They are run when the documentation is built, not here.
"""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
PUBLIC = {"sklearn_ae", *(f"sklearn_ae.{name}" for name in ("losses", "networks", "plotting"))}


def problems(name, text):
    """Return what is wrong with an example."""
    found = []
    tree = ast.parse(text)
    title, line, empty, *story = (ast.get_docstring(tree) or "").split("\n") + [""] * 3
    if not title or line != "=" * len(title) or empty:
        found.append("no title")
    if len(re.findall(r"[.?!](?:\s|$)", " ".join(story))) < 2:
        found.append("no two sentences")
    if text.count("\n") > 100:
        found.append("over 100 lines")
    cells = text.split("\n# %%\n")[1:]
    if not cells or not all(re.match(r"# \w|# [`:]", cell) for cell in cells):
        found.append("no text between the code")
    names = [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)]
    if "verbose" in names:
        found.append("verbose")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any("sklearn_ae" in each.name for each in node.names):
            found.append("import of a module")
        if isinstance(node, ast.ImportFrom) and node.module.startswith("sklearn_ae"):
            public = importlib.import_module(node.module).__all__ if node.module in PUBLIC else []
            found += [each.name for each in node.names if each.name not in public]
    if name.startswith("plot_") and not text.endswith("\nplt.show()\n"):
        found.append("no picture at the end")
    return found


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_quiet_and_public(path):
    assert problems(path.stem, path.read_text()) == []


def test_there_are_enough_examples():
    assert 20 <= len([path for path in EXAMPLES if path.stem.startswith("plot_")]) <= 30


GOOD = '''"""
Title
=====

One sentence. Another one.
"""

# %%
# Text.

import matplotlib.pyplot as plt

from sklearn_ae import Autoencoder

Autoencoder(2)
plt.show()
'''


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Title", "Title", []),
        ("=====", "====", ["no title"]),
        (" Another one.", "", ["no two sentences"]),
        ("Autoencoder(2)\n", "Autoencoder(2)\n" * 100, ["over 100 lines"]),
        ("# %%\n# Text.\n", "", ["no text between the code"]),
        ("# Text.\n", "", ["no text between the code"]),
        ("(2)", "(2, verbose=1)", ["verbose"]),
        ("from sklearn_ae import", "from sklearn_ae.autoencoder import", ["Autoencoder"]),
        ("from sklearn_ae import Auto", "from sklearn_ae.networks import Auto", ["Autoencoder"]),
        ("from sklearn_ae import Autoencoder", "import sklearn_ae.base", ["import of a module"]),
        ("plt.show()\n", "", ["no picture at the end"]),
    ],
)
def test_problems_are_found(old, new, expected):
    assert problems("plot_title", GOOD.replace(old, new)) == expected


def test_links_to_examples_are_links_to_files():
    names = {path.stem for path in EXAMPLES} | {"index"}
    pages = [*(ROOT / "docs").glob("*.rst"), *(ROOT / "docs" / "guide").rglob("*.rst")]
    pages += [*ROOT.glob("*.md"), ROOT / "Makefile", *EXAMPLES]
    linked = {
        (page.name, name)
        for page in pages
        for name in re.findall(r"(?:auto_examples|docs/examples)/(\w+)", page.read_text())
    }
    assert len(linked) > 3
    assert {pair for pair in linked if pair[1] not in names} == set()
