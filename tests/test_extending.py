"""The page on extending: its code word for word, and what the trusted modules of a file may do."""

import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from forging import put_together, take_apart

from sklearn_ae import Autoencoder, load, save

PAGE = Path(__file__).parent.parent / "docs" / "extending.rst"

BLOCK = re.compile(r"\.\. code-block:: python\n(?:    :caption: (\S+)\n)?\n((?:    .*\n|\n)+)")


def _blocks():
    """Return pairs of a caption, None if there is none, and the code."""
    return [(name, textwrap.dedent(code)) for name, code in BLOCK.findall(PAGE.read_text())]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Run the page; the captions are the names of the modules. Return the variables."""
    folder = tmp_path_factory.mktemp("page")
    variables = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        for name, code in _blocks():
            if name:
                (folder / name).write_text(code)
            else:
                exec(compile(code, str(PAGE), "exec"), variables)
        yield variables | {"folder": folder}
    for name, _ in _blocks():
        sys.modules.pop(name.removesuffix(".py"), None)


def _run(model, X):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"X": X.astype(np.float32)})


def test_each_example_is_short():
    modules = [code for name, code in _blocks() if name]
    assert len(modules) == 3
    assert all(code.count("\n") < 40 for code in modules)


def test_the_network_is_saved_and_exported(page):
    X, search, best = page["X"], page["search"], page["best"]
    assert best.network.n_blocks == search.best_params_["network__n_blocks"]
    np.testing.assert_array_equal(best.transform(X), search.transform(X))
    codes, reconstructed = _run(page["network_in_onnx"], X)
    np.testing.assert_allclose(codes, best.transform(X), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reconstructed, best.reconstruct(X), rtol=1e-3, atol=1e-3)


def test_the_objective_is_what_it_says_and_is_saved_and_exported(page):
    X, pipeline, again = page["X"], page["pipeline"], page["pipeline_again"]
    np.testing.assert_array_equal(again.transform(X), pipeline.transform(X))
    assert type(again[-1]) is page["DecorrelatedAutoencoder"]
    assert again[-1].strength == 0.1
    np.testing.assert_allclose(
        _run(page["objective_in_onnx"], X)[0], pipeline.transform(X), rtol=1e-3, atol=1e-4
    )
    assert len(page["covariances"]) == 3
    assert min(page["covariances"]) >= 0
    assert "Factor of the sum of the squared covariances" in type(again[-1]).__doc__


def test_the_penalty_is_that_of_the_covariance_matrix(page):
    import torch

    X, objective = page["X"], page["objective"]
    samples = page["pipeline"][0].transform(X)
    module = objective.module_.double()
    x = (torch.tensor(samples) - module.center) / module.scale
    weight = torch.arange(1.0, len(x) + 1, dtype=torch.float64)
    penalty = objective._loss(module, x, sample_weight=weight)["covariance"]
    codes = module.encode(x).detach().numpy()
    covariance = np.cov(codes, rowvar=False, aweights=weight, ddof=0)
    expected = (covariance**2).sum() - (np.diag(covariance) ** 2).sum()
    assert float(penalty.detach()) == pytest.approx(0.1 * expected, rel=1e-9)


def test_the_loss_is_what_it_says_and_is_saved_and_exported(page):
    import torch

    X, robust, again = page["X"], page["robust"], page["robust_again"]
    assert again.loss is page["log_cosh"]
    np.testing.assert_array_equal(again.transform(X), robust.transform(X))
    codes, reconstructed = _run(page["loss_in_onnx"], X)
    np.testing.assert_allclose(codes, robust.transform(X), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reconstructed, robust.reconstruct(X), rtol=1e-3, atol=1e-3)
    values = np.random.default_rng(0).normal(size=(5, 3))
    found = page["log_cosh"](torch.tensor(values), torch.zeros(5, 3))
    np.testing.assert_allclose(found.numpy(), np.log(np.cosh(values)).mean(1), rtol=1e-12)


# What is trusted, and what is not


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("network", r"refers to my_network.ResidualNetwork, .*pass trusted=\['my_network'\]"),
        ("objective", r"refers to my_objective.DecorrelatedAutoencoder, .*trusted=\['my_obj"),
        ("loss", r"refers to my_loss.log_cosh, .*pass trusted=\['my_loss'\]"),
    ],
)
@pytest.mark.parametrize("trusted", [(), ("my",), ("other", "my_network2"), ("sklearn_ae",)])
def test_without_trust_the_error_names_the_remedy(file, message, trusted, page, monkeypatch):
    """And no module is imported."""
    for name in ("my_network", "my_objective", "my_loss"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match=message):
        load(page["folder"] / f"{file}.safetensors", trusted=trusted)
    assert not {"my_network", "my_objective", "my_loss"} & set(sys.modules)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_network:Residual", "is no network, autoencoder or torch module derived from"),
        ("my_network:nn.Linear", "is no network, autoencoder or torch module derived from"),
        ("my_network:Network", "is no network, autoencoder or torch module derived from"),
        ("my_network:missing", "my_network.missing' cannot be imported"),
        ("my_network:math.sqrt", "is no network, autoencoder or torch module derived from"),
        ("my_network:ResidualNetwork.encoder", "is no network, autoencoder or torch module"),
        ("os:system", r"refers to os.system, .*pass trusted=\['os'\]"),
    ],
)
def test_a_trusted_module_gives_nothing_but_its_networks(name, message, page, tmp_path):
    content, arrays = take_apart(page["folder"] / "network.safetensors")
    for each in content["objects"]:
        each["class"] = each["class"].replace("my_network:ResidualNetwork", name)
    (tmp_path / "forged").write_bytes(put_together(content, arrays))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "forged", trusted=["my_network"])


@pytest.mark.parametrize(
    ("function", "place", "message"),
    [
        ("my_loss:math.exp", "loss", "is no function of that module"),
        ("my_loss:functional.softplus", "loss", "is no function of that module"),
        ("my_loss:log_cosh", "callbacks", "cannot be loaded"),
        ("my_loss:log_cosh", "activation", "cannot be loaded"),
    ],
)
def test_a_function_of_a_trusted_module_is_a_loss_and_nothing_else(
    function, place, message, page, tmp_path
):
    content, arrays = take_apart(page["folder"] / "loss.safetensors")
    content["objects"][-1]["params"][place] = {"$function": function}
    (tmp_path / "forged").write_bytes(put_together(content, arrays))
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "forged", trusted=["my_loss"])


def test_a_module_that_is_gone_is_named(page, monkeypatch):
    monkeypatch.delitem(sys.modules, "my_loss")
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(page["folder"])])
    with pytest.raises(ValueError, match=r"my_loss.log_cosh' cannot be imported: No module named"):
        load(page["folder"] / "loss.safetensors", trusted=["my_loss"])


def test_a_single_name_is_enough(page):
    again = load(page["folder"] / "loss.safetensors", trusted="my_loss")
    assert again.loss.__name__ == "log_cosh"


def test_trust_changes_nothing_for_other_files(tmp_path):
    save(Autoencoder(3), tmp_path / "model")
    assert load(tmp_path / "model", trusted=["a_module_that_is_not_there"]).n_components == 3
