"""What a caller has set in torch changes no result, and is set again after every call."""

import contextlib
import functools
import inspect
import pickle
import sys

import numpy as np
import pytest
import torch
from faults import EVERY, outcome, seeded, table, targets
from instances import INSTANCES, name_of, one_of_each
from sklearn import config_context
from sklearn.base import clone
from surroundings import surroundings
from torch.overrides import _get_current_function_mode_stack

from sklearn_ae import Autoencoder, VariationalAutoencoder, load, save, to_onnx
from sklearn_ae._training import isolation
from sklearn_ae.networks import Network

pytestmark = pytest.mark.usefixtures("few_temperatures")


@contextlib.contextmanager
def _double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def _default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def _deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def _several():
    with torch.inference_mode(), torch.device("meta"), _double():
        yield


SETTINGS = {
    "no_grad": torch.no_grad,
    "inference mode, device, type": _several,
    "default device": lambda: _default_device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic": _deterministic,
}

each_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)


def _bits(value):
    """Return the bits of arrays and of what holds arrays."""
    if isinstance(value, tuple):
        return [_bits(each) for each in value]
    return np.asarray(value.toarray() if hasattr(value, "toarray") else value).tobytes()


ARGUMENTS = {
    "X": table(dtype=np.float32),
    "V": table(dtype=np.float32),
    "layer": 0,
    "n_samples": 3,
}


def _called(fitted):
    """Return what every public method of a fitted estimator gives, or the error that it raises."""
    given = {**ARGUMENTS, "Z": outcome(fitted, ARGUMENTS["X"]), "y": targets(fitted)}
    given["X_end"] = given["X"][::-1]
    results = {}
    for name, method in inspect.getmembers(fitted, inspect.ismethod):
        if name.startswith(("_", "fit", "partial_fit", "set_", "get_")) or hasattr(Network, name):
            continue
        names = list(inspect.signature(method).parameters)
        chosen = {each: given[each] for each in names if each in given}
        if name == "inverse_transform":
            chosen["X"] = given["Z"]
        if "random_state" in names:
            chosen["random_state"] = 0
        try:
            results[name] = _bits(method(**chosen))
        except ValueError as error:
            results[name] = str(error)
    return results


def _everything(place):
    """Fit an estimator, use and export it; return the bits of all that."""
    instance, X = EVERY[place], ARGUMENTS["X"]
    fitted = seeded(instance).fit(X, targets(instance))
    pickled = pickle.dumps(fitted)
    model = to_onnx(fitted).SerializeToString()
    return pickled, model, _called(pickle.loads(pickled))


_usual = functools.cache(_everything)
# One of each class, and each kind of layer.
PLACES = [
    place
    for place, each in enumerate(EVERY)
    if each in one_of_each(EVERY) or getattr(each, "network", None) is not None
]


@each_setting
@pytest.mark.parametrize("place", PLACES, ids=lambda place: name_of(EVERY[place]))
def test_settings_of_torch_change_no_bit_and_stay(place, setting):
    pickled, model, results = _usual(place)
    with setting():
        before = surroundings()
        found = _everything(place)
        assert surroundings() == before
    assert found[2] == results
    assert found[0] == pickled
    assert found[1] == model


@each_setting
@pytest.mark.parametrize("instance", INSTANCES[:8], ids=name_of)
def test_fits_go_on_and_files_are_read_under_any_settings(instance, setting, tmp_path):
    def continued():
        X = ARGUMENTS["X"]
        fitted = seeded(instance, warm_start=True).fit(X).partial_fit(X)
        save(fitted, tmp_path / "file")
        return pickle.dumps(load(tmp_path / "file").fit(X))

    expected = continued()
    with setting():
        assert continued() == expected


@pytest.mark.parametrize("instance", INSTANCES, ids=name_of)
def test_tensors_of_the_inference_mode_can_be_trained_on(instance):
    X = ARGUMENTS["X"]
    with config_context(array_api_dispatch=True):
        expected = seeded(instance).fit(torch.tensor(X)).transform(torch.tensor(X))
        with torch.inference_mode():
            inner = torch.tensor(X)
            codes = seeded(instance).fit(inner).transform(inner)
    assert torch.equal(codes, expected)


# Interrupts


def _of_torch():
    """Name the files of torch whose blocks a fit enters and leaves."""
    import torch.amp.autocast_mode
    import torch.autograd.grad_mode
    import torch.overrides
    import torch.utils._device

    modules = (torch.amp.autocast_mode, torch.autograd.grad_mode, torch.overrides,
               torch.utils._device, torch.utils._contextlib)  # fmt: skip
    return {module.__file__ for module in modules}


RESTORING = {"set_defaults", "restore", "set", "_get_modes", "_set_modes"}
"""Our own functions that are interrupted.

In ``isolated_function`` itself there is no place for it: Python looks for signals after calls and
at the start of functions, and a line that has just been reached calls before it looks.
"""


class Interrupting:
    """Raise KeyboardInterrupt at one of the lines that change what is set in torch."""

    def __init__(self, at=None):
        self.at = at
        self.count = 0
        self.files = _of_torch()

    def __call__(self, frame, event, argument):
        code = frame.f_code
        ours = code.co_filename == isolation.__file__ and code.co_name in RESTORING
        if ours or code.co_filename in self.files:
            return self.line
        return None

    def line(self, frame, event, argument):
        if event == "line":
            self.count += 1
            if self.count == self.at:
                raise KeyboardInterrupt
        return self.line

    def __enter__(self):
        self.earlier = sys.gettrace()
        sys.settrace(self)
        return self

    def __exit__(self, *_):
        sys.settrace(self.earlier)


def _everything_set():
    return surroundings(), isolation.Autocast.current(), _get_current_function_mode_stack()


@each_setting
@pytest.mark.parametrize(
    "instance",
    [
        Autoencoder(max_iter=1, random_state=0),
        VariationalAutoencoder(hidden_layer_sizes=(4,), max_iter=1, random_state=0,
                               precision="bfloat16"),
    ],
    ids=["written by hand", "automatic"],
)  # fmt: skip
def test_interrupts_leave_everything_set_as_it_was(instance, setting):
    X = ARGUMENTS["X"][:4]
    with setting():
        before = _everything_set()
        with Interrupting() as counter:
            clone(instance).fit(X)
        assert counter.count > 50
        for at in range(1, counter.count + 1, 1 + counter.count // 40):
            with Interrupting(at), pytest.raises(KeyboardInterrupt):
                clone(instance).fit(X)
            assert _everything_set() == before, at
