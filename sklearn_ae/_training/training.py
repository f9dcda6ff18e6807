"""A net that is ready to be trained, alone or with others."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property

from sklearn_ae._training.antithetic import pairs_for
from sklearn_ae._training.batches import Batches
from sklearn_ae._training.net import AutoencoderNet
from sklearn_ae._training.steps import AutogradStep, PlainDenseStep
from sklearn_ae.networks.dense import DenseStack


class Cancelled(BaseException):
    """Ends a fit whose result nobody waits for. Not an Exception, which searches catch."""


@dataclass(frozen=True)
class Training:
    """A net that is ready to be trained.

    Attributes
    ----------
    net : AutoencoderNet
    batches : Batches
    held_out : Batches or None
    """

    net: AutoencoderNet
    batches: Batches
    held_out: Batches | None

    def alone(self, is_cancelled: Callable[[], bool] | None = None) -> None:
        """Train the net.

        Parameters
        ----------
        is_cancelled : callable or None, default=None
            Asked before each epoch whether the result is still of use.
        """
        with closing(self.net.epochs(self.batches, self.held_out)) as epochs:
            for epoch in epochs:
                if is_cancelled is not None and is_cancelled():
                    raise Cancelled
                self.net.train_epoch(self.batches, epoch)

    @cached_property
    def key(self) -> Hashable | None:
        """What models of one group have in common; None: the model cannot be grouped."""
        net, run = self.net, self.net.run
        objective, values = run.objective, net.flat.values
        if run.saved is not None or run.versions or objective.columns or net.ranks is not None:
            return None
        if run.products != values.dtype:  # wide layers, which gain nothing
            return None
        if not run.samples.is_cached or net.notifies_batches or not net.has_own_schedule:
            return None
        own = self._key_of_plain() if type(net.step) is PlainDenseStep else self._key_of_mapped()
        if own is None:
            return None
        sizes = self.batches.batch_size, run.samples.n_features
        return (
            *own,
            values.dtype,
            values.device,
            run.parameters.solver,
            *sizes,
            (run.held_out is None, run.samples.targets is None),
        )

    def _key_of_plain(self) -> tuple[Hashable, ...] | None:
        """Return what models have in common whose steps are hand-written."""
        module, objective = self.net.run.module, self.net.run.objective
        if module.takes_missing or objective.signature is None:
            return None
        shapes = (
            (
                tuple(layer.weight.shape for layer in stack.layers),
                stack.activation,
                stack.output_activation,
                stack.shortcut is None,
            )
            for stack in (module.encoder, module.decoder)
            if isinstance(stack, DenseStack)
        )
        return *shapes, objective.reconstruction, objective.signature

    def _key_of_mapped(self) -> tuple[Hashable, ...] | None:
        """Return what models have in common whose steps are differentiated automatically."""
        net, run = self.net, self.net.run
        if type(net.step) is not AutogradStep or net.step.norms or run.objective.make_step:
            return None
        if run.objective.signature is None or len(net.history) or run.state is not None:
            return None
        tensors = [*run.module.named_parameters(), *run.module.named_buffers()]
        shapes = tuple((name, values.shape, values.requires_grad) for name, values in tensors)
        schedule = len(self.batches), run.parameters.max_iter, run.objective.anneals
        kind = type(run.module).__qualname__
        # Held-out losses are averaged over as many draws as the number of samples permits.
        n_pairs = 0 if run.held_out is None else pairs_for(len(run.held_out))
        return run.objective.signature, kind, shapes, schedule, n_pairs

    @property
    def n_bytes(self) -> int:
        """Size of the samples."""
        samples = self.net.run.samples
        return len(samples) * samples.n_features * samples.dtype.itemsize

    @property
    def n_bytes_of_step(self) -> int:
        """Size of parameters, optimiser state and activations in a step."""
        values = self.net.flat.values
        units = sum(len(each) for each in self.net.flat.parameters if each.ndim > 1)
        n_rows = self.batches.batch_size * (units + self.net.run.samples.n_features)
        return (4 * values.numel() + 2 * n_rows) * values.element_size()

    @property
    def stream(self) -> Hashable:
        """Trainings of equal streams draw the same numbers from generators of their own."""
        run, batches = self.net.run, self.batches
        if run.state is not None or batches.duplicates is not None:
            return id(self)
        seeds, samples = run.seeds, run.samples
        sizes = len(samples), samples.n_features, batches.batch_size
        return seeds.shuffle, seeds.noise, *sizes, not batches.noise_level
