"""Files of every version so far are read, and give what they gave."""

import numpy as np
import pytest
import safetensors.numpy
from golden import FOLDER, MODELS, results

import sklearn_ae

# A file of another version of scikit-learn makes that one warn, as its pickles do.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")

ESTIMATORS = [name for name in sklearn_ae.__all__ if hasattr(getattr(sklearn_ae, name), "fit")]
FILES = sorted(path for path in FOLDER.glob("*/*.safetensors") if ".expected" not in path.name)


def test_every_estimator_has_a_file():
    classes = {type(sklearn_ae.load(path)).__name__ for path in FILES}
    missing = set(ESTIMATORS) - classes
    assert not missing, f"Add {missing} to MODELS in tests/golden.py, and run that file."
    assert {path.stem for path in FILES} == set(MODELS)
    for folder in FOLDER.iterdir():
        assert sum(path.stat().st_size for path in folder.iterdir()) < 250_000


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_files_give_what_they_gave(path):
    model = sklearn_ae.load(path)
    expected = safetensors.numpy.load_file(path.with_suffix(".expected.safetensors"))
    X = expected.pop("X")
    if path.stem.endswith("unfitted"):
        assert not hasattr(model, "module_")
        assert (model.n_components, model.loss, model.alpha) == (3, "huber", 0.25)
        return
    found = results(model, X)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
