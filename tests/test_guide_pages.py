"""Every estimator has a page in the guide, and these pages have one skeleton."""

import re
from pathlib import Path

import pytest

import sklearn_ae

GUIDE = Path(__file__).parent.parent / "docs" / "guide"

PAGES = {
    "autoencoder": ["Autoencoder"],
    "sparse": ["SparseAutoencoder"],
    "denoising": ["DenoisingAutoencoder"],
    "contractive": ["ContractiveAutoencoder"],
    "variational": ["VariationalAutoencoder"],
    "hashing": ["SemanticHashing"],
    "boltzmann": ["RestrictedBoltzmannMachine"],
    "belief_network": ["DeepBeliefNetwork"],
    "stacked": ["StackedAutoencoder"],
    "stacked_supervised": ["StackedAutoencoderClassifier", "StackedAutoencoderRegressor"],
    "convolutional": ["ConvolutionalAutoencoder"],
    "unet": ["UNetAutoencoder"],
    "lstm": ["LSTMAutoencoder"],
    "recursive": ["RecursiveAutoencoder"],
    "missing": ["AutoencoderImputer"],
    "outlier": ["AutoencoderOutlierDetector"],
}

HEADINGS = [
    "When to use it",
    "The objective",
    "Parameters that matter",
    "A measured result",
    "References",
    "Examples",
]


def sections(page):
    """Map each heading of a page, the title first, to the text below it."""
    parts = re.split(r"^([^\n]+)\n(?:=+|-+)\n\n", (GUIDE / f"{page}.rst").read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_estimator_has_a_page():
    estimators = {name for name in sklearn_ae.__all__ if hasattr(getattr(sklearn_ae, name), "fit")}
    assert estimators == {name for names in PAGES.values() for name in names}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_the_headings_in_order(page):
    found = sections(page)
    title, *headings = found
    assert title.startswith(" and ".join(PAGES[page]))
    assert [heading for heading in headings if heading in HEADINGS] == HEADINGS
    # What only this estimator has stands before the references.
    assert headings[:4] == HEADINGS[:4]
    assert headings[-2:] == HEADINGS[-2:]
    assert all(text.strip() for text in found.values())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_what_its_headings_promise(page):
    found = sections(page)
    assert ".. math::" in found["The objective"]
    assert "what to try first" in found["Parameters that matter"]
    (picture,) = re.findall(r"\.\. figure:: (\S+)\n    :alt: \S", found["A measured result"])
    assert (GUIDE / picture).stat().st_size < 80_000
    for name in PAGES[page]:
        assert re.search(rf"\.\. minigallery::.* sklearn_ae\.{name}\b", found["Examples"])


@pytest.mark.parametrize("page", PAGES)
def test_the_parameters_that_matter_exist(page):
    rows = re.findall(r"^``(\w+)``  ", sections(page)["Parameters that matter"], flags=re.M)
    assert len(rows) >= 3
    for name in PAGES[page][:1]:
        assert set(rows) <= set(getattr(sklearn_ae, name)().get_params())


def test_the_script_draws_the_pictures_of_the_pages():
    script = (GUIDE.parent / "pictures.py").read_text()
    for page in PAGES:
        assert f"../images/{page}.png" in sections(page)["A measured result"]
        assert f"\ndef {page}() -> Figure:" in script
