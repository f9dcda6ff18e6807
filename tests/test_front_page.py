"""What a stranger reads first: the README and the first pages of the site."""

import re
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

import sklearn_ae

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
INDEX = (DOCS / "index.rst").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ESTIMATORS = {name for name in sklearn_ae.__all__ if hasattr(getattr(sklearn_ae, name), "fit")}


def _block(language, text):
    """Return the only code block of a language in a page of Markdown or reStructuredText."""
    if text is README:
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.S)
        return block
    (block,) = re.findall(rf"\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", text)
    return dedent(block).strip() + "\n"


def _figures(text):
    return {name: float(value) for name, value in re.findall(r"(\w+): accuracy ([.\d]+)", text)}


def test_readme_and_front_page_show_one_example_and_one_result():
    assert _block("python", README) == _block("python", INDEX)
    assert _block("text", README) == _block("text", INDEX)


def test_the_example_prints_what_is_shown(capsys):
    exec(compile(_block("python", README), "README.md", "exec"), {})
    shown, printed = _figures(_block("text", README)), _figures(capsys.readouterr().out)
    assert set(shown) == {"PCA", "Autoencoder"}
    assert printed == pytest.approx(shown, abs=0.05)  # other processors train differently


def _rows(text):
    """Map each estimator of a table to its page and its line."""
    if text is README:
        rows = re.findall(r"^\| \[`(\w+)`\]\(docs/(.*)\.rst\) \| (.*) \|$", text, re.M)
    else:
        rows = re.findall(r"    \* - :doc:`(\w+) <(.*)>`\n      - (.*)\n", text)
    return {name: (page, line) for name, page, line in rows}


def test_readme_and_front_page_describe_every_estimator_alike():
    assert set(_rows(README)) == ESTIMATORS
    assert _rows(README) == _rows(INDEX)


def test_choosing_names_every_estimator_in_its_last_table():
    table = (DOCS / "choosing.rst").read_text().split("Parameters to change first")[1]
    assert set(re.findall(r":class:`(\w+)`", table)) == ESTIMATORS


def test_parameters_to_change_first_exist():
    text = (DOCS / "choosing.rst").read_text().split("Parameters to change first")[1]
    rows = re.findall(r"    \* - (:class:.*)\n      - ((?:.|\n)*?)(?=\n    \* |\n\n)", text)
    assert len(rows) > 10
    for names, parameters in rows:
        own = [
            getattr(sklearn_ae, name)().get_params()
            for name in re.findall(r":class:`(\w+)`", names)
        ]
        for parameter in re.findall(r"``(\w+)(?:=[^`]*)?``", parameters):
            assert any(parameter in params for params in own), (names, parameter)


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.rst"])
def test_floors_of_versions_are_those_of_the_project(page):
    text = (ROOT / page).read_text()
    floors = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(PROJECT["dependencies"])))
    assert PROJECT["requires-python"] == ">=3.11"
    names = {"scikit-learn": "scikit-learn", "torch": "PyTorch", "skorch": "skorch"}
    names |= {"numpy": "NumPy", "scipy": "SciPy"}
    if page == "README.md":
        (line,) = re.findall(r"^Needed: Python 3.11, (.*), or newer\.$", text, re.M)
        assert line == ", ".join(f"{shown} {floors[name]}" for name, shown in names.items())
    else:
        table = text.split("Oldest versions that work")[1]
        cells = re.findall(r"(?:\* |  )- (\S+)\n", table)[:12]
        assert cells[:6] == ["Python", *names.values()]
        assert cells[6:] == ["3.11", *(floors[name] for name in names)]


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.rst"])
def test_commands_of_the_installation_name_extras_that_exist(page):
    lines = re.findall(r'pip install "\.\[([\w,]+)\]"', (ROOT / page).read_text())
    assert lines
    used = {extra for line in lines for extra in line.split(",")}
    assert used - set(PROJECT["optional-dependencies"]) == set()


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 110
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_picture_is_small():
    assert (DOCS / "images" / "digits_2d.png").stat().st_size < 120_000
