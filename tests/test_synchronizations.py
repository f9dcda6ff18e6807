"""How often a fit waits for the device: a number of times per epoch, whatever the batches.

On a CUDA device, the host waits where it reads a value: for a number or a list of numbers. It
reads the same values on the CPU, where they can be counted without a GPU.
"""

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback
from torch.profiler import ProfilerActivity, profile, record_function

from sklearn_ae import (
    Autoencoder,
    ContractiveAutoencoder,
    ConvolutionalAutoencoder,
    DenoisingAutoencoder,
    LSTMAutoencoder,
    RestrictedBoltzmannMachine,
    SemanticHashing,
    SparseAutoencoder,
    VariationalAutoencoder,
)
from sklearn_ae._training.batches import transferred

BATCH = 32
SMALL = {"hidden_layer_sizes": (6,)}
X = np.random.default_rng(0).random((5 * BATCH, 12), np.float32)

READS = {"aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "tolist"}
"""Operations for which the host waits."""


class MarksEpochs(Callback):
    """Marks the end of each epoch in the profile."""

    def on_epoch_end(self, net, **kwargs):
        with record_function("end of epoch"):
            pass


def _is_optimizer(event):
    """Whether this is within the kernel of Adam, which counts its steps on the device on CUDA."""
    while event is not None and not event.name.startswith("aten::_fused_adam"):
        event = event.cpu_parent
    return event is not None


def _profiled(function):
    """Return the events of a call, lists that are read from tensors included."""
    read_list = torch.Tensor.tolist

    def marked(tensor):
        with record_function("tolist"):  # no operation of torch on the CPU
            return read_list(tensor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", marked)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            function()
    return profiled.events()


def _count_reads(events):
    """Return how many times values of tensors are read."""
    return sum(event.name in READS and not _is_optimizer(event) for event in events)


def _reads_per_epoch(estimator, n_batches, **fit_options):
    """Return the number of reads of an epoch that is not the first one."""
    if getattr(estimator, "early_stopping", False):
        fit_options["X_val"] = X[:BATCH]  # of one size, whatever the number of batches
    estimator.set_params(
        batch_size=BATCH, max_iter=3, n_iter_no_change=100, random_state=0,
        callbacks=[("marks", MarksEpochs())],
    )  # fmt: skip
    events = _profiled(lambda: estimator.fit(X[: n_batches * BATCH], **fit_options))
    first, _, last = (e.time_range.start for e in events if e.name == "end of epoch")
    return _count_reads(e for e in events if first < e.time_range.start < last) / 2


# One read of all loss terms, one of the largest weight, and one of the validation.
EXPECTED = [
    (Autoencoder(2), 3),
    (Autoencoder(2, early_stopping=False), 2),
    (Autoencoder(2, solver="sgd"), 3),
    (SparseAutoencoder(4, **SMALL), 3),
    (SparseAutoencoder(4, sparsity="l1", hidden_sparsity_weight=0.1, **SMALL), 3),
    (ContractiveAutoencoder(2, **SMALL), 3),
    (DenoisingAutoencoder(2, **SMALL), 3),
    (VariationalAutoencoder(2, **SMALL), 3),
    (SemanticHashing(4, **SMALL), 2),
    (RestrictedBoltzmannMachine(4), 2),
    (ConvolutionalAutoencoder(2, channels=(2,)), 3),
    (LSTMAutoencoder(2, hidden_size=3), 3),
]


EXPECTED[6:] = [pytest.param(*each, marks=pytest.mark.slow) for each in EXPECTED[6:]]


@pytest.mark.parametrize(("estimator", "expected"), EXPECTED, ids=lambda value: str(value)[:60])
def test_reads_of_an_epoch_do_not_depend_on_the_number_of_batches(estimator, expected):
    assert [_reads_per_epoch(estimator, n_batches) for n_batches in (2, 5)] == [expected] * 2


def test_ordered_codes_read_one_truncation_for_each_batch():
    few, many = (_reads_per_epoch(Autoencoder(2, ordered=True), number) for number in (2, 5))
    assert many - few == 3


def test_weights_of_samples_are_not_summed_in_each_epoch():
    weight = np.arange(1.0, len(X) + 1)
    assert _reads_per_epoch(Autoencoder(2, early_stopping=False), 5, sample_weight=weight) == 2
    assert _reads_per_epoch(Autoencoder(2), 5, sample_weight=weight) == 3


def test_reads_are_counted():
    values = torch.arange(3.0)
    assert _count_reads(_profiled(lambda: values + 1)) == 0
    reads = _profiled(lambda: (float(values[0]), values.tolist(), bool(values.any())))
    assert _count_reads(reads) == 3
    assert _count_reads(_profiled(lambda: values[values > 0])) == 1


def test_transfers_to_a_cuda_device_do_not_wait(monkeypatch):
    values, calls = torch.zeros(3), []

    def pin_memory(tensor):
        calls.append("pinned")
        return tensor

    def to(tensor, *args, **kwargs):
        calls.append((*args, kwargs))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    cuda = torch.device("cuda")
    transferred(values, cuda)
    assert calls == ["pinned", (cuda, {"non_blocking": True})]


def test_transfers_within_a_device_copy_nothing():
    values = torch.zeros(3)
    assert transferred(values, torch.device("cpu")) is values
