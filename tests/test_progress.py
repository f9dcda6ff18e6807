"""A bar in terminals and notebooks, one line for each training in files."""

import io
import re
import sys
from types import ModuleType

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import cross_val_score
from skorch.callbacks import Callback

from sklearn_ae import Autoencoder, StackedAutoencoder, StackedAutoencoderClassifier
from sklearn_ae._training.progress import KEPT_START, shows_bars

NARROW = {"hidden_layer_sizes": (8,), "random_state": 0, "verbose": 1}
LINE = r"Autoencoder: (\d+) epochs in \d+\.\d s; best epoch (\d+): (.*)\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def stderr(monkeypatch):
    """Return a function that replaces standard error by another stream and returns the stream."""

    def replace(stream):
        # Called within a test: pytest sets standard error after the fixtures.
        monkeypatch.setattr(sys, "stderr", stream)
        return stream

    return replace


def test_a_terminal_shows_a_bar_with_losses(curve, stderr):
    terminal = stderr(Terminal())
    Autoencoder(1, max_iter=3, **NARROW).fit(curve)
    shown = terminal.getvalue()
    assert "Autoencoder: 100%" in shown
    assert "3/3" in shown
    assert re.search(r"train_loss=\d", shown)
    assert re.search(r"valid_loss=\d", shown)
    assert "epochs in" not in shown


def test_a_file_gets_one_line_with_the_best_epoch(curve, stderr):
    file = stderr(io.StringIO())
    model = Autoencoder(1, max_iter=5, init="random", **NARROW).fit(curve)
    n_epochs, best, losses = re.fullmatch(LINE, file.getvalue()).groups()
    assert (int(n_epochs), int(best)) == (model.n_iter_, model.best_epoch_)
    assert model.best_epoch_ > 0
    entry = model.history_[model.best_epoch_ - 1]
    train, valid = (entry[name] for name in ("train_loss", "valid_loss"))
    assert losses == f"train_loss={train:.4g}, valid_loss={valid:.4g}"


def test_the_line_of_a_fit_that_stays_at_the_start(stderr):
    file = stderr(io.StringIO())
    X = np.random.default_rng(0).normal(size=(60, 4))
    model = Autoencoder(2, max_iter=3, **NARROW).fit(X)
    _, best, losses = re.fullmatch(LINE, file.getvalue()).groups()
    assert int(best) == model.best_epoch_ == 0
    assert losses == f"valid_loss={model.best_loss_:.4g}{KEPT_START}"


def test_the_line_without_held_out_samples(curve, stderr):
    file = stderr(io.StringIO())
    model = Autoencoder(1, max_iter=3, early_stopping=False, **NARROW).fit(curve)
    loss = model.history_[-1]["train_loss"]
    assert file.getvalue().endswith(f"; last epoch: train_loss={loss:.4g}\n")


def test_nothing_is_written_without_verbose(curve, capfd):
    Autoencoder(1, max_iter=3, random_state=0).fit(curve)
    assert capfd.readouterr() == ("", "")


def test_each_training_of_a_stack_has_a_line(curve, stderr):
    file = stderr(io.StringIO())
    stack = {"hidden_layer_sizes": (4,), "max_iter": 2, "pretraining_max_iter": 2}
    StackedAutoencoder(1, **{**NARROW, **stack}).fit(curve)
    assert [line.split(":")[0] for line in file.getvalue().splitlines()] == [
        "layer 1 of 2",
        "layer 2 of 2",
        "StackedAutoencoder",
    ]
    file.truncate(0)
    classifier = StackedAutoencoderClassifier(pretraining=None, **{**NARROW, "max_iter": 2})
    classifier.fit(curve, curve[:, 0] > 0)
    assert file.getvalue().count("StackedAutoencoderClassifier: ") == 1


@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_group_has_one_bar_or_line(curve, kind, stderr):
    stream = stderr(kind())
    model = Autoencoder(1, max_iter=4, **NARROW)
    with parallel_config(backend="sklearn_ae"):
        cross_val_score(model, curve, cv=3)
    text = stream.getvalue()
    assert "Autoencoder:" not in text
    if kind is Terminal:
        assert "Autoencoder x 3: 100%" in text
    else:
        assert re.fullmatch(r"Autoencoder x 3: 4 epochs in \d+\.\d s\n", text)


def test_a_failed_fit_leaves_no_line_and_ends_its_bar(curve, stderr):
    file = stderr(io.StringIO())

    class Interrupt(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise KeyboardInterrupt

    model = Autoencoder(1, max_iter=3, callbacks=[Interrupt()], **NARROW)
    with pytest.raises(KeyboardInterrupt):
        model.fit(curve)
    assert file.getvalue() == ""
    terminal = stderr(Terminal())
    with pytest.raises(KeyboardInterrupt):
        model.fit(curve)
    assert terminal.getvalue().endswith("\n")  # else a traceback would continue the bar


def test_notebooks_show_bars_although_they_are_no_terminals():
    stream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    assert not stream.isatty()
    assert shows_bars(stream)
    assert shows_bars(Terminal())
    other = type("OutStream", (io.StringIO,), {"__module__": "ipykernels"})()
    for stream in (io.StringIO(), other, None, ModuleType("stream without methods")):
        assert not shows_bars(stream)
