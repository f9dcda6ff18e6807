"""Rows of which each process of a fit holds its own part."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from sklearn_ae._training.ranks import Ranks


class SharedRows:
    """The rows of all processes, numbered through in the order of the processes.

    Rows are selected as those of an array. All processes have to select the same ones at the same
    time: the process that holds a row sends it to the others.

    Parameters
    ----------
    X : ndarray, CSR matrix, Tensor or Stream of shape (n_own, n_features)
        Rows of this process.
    ranks : Ranks

    Attributes
    ----------
    own : object
        `X`.
    shape : tuple of int
        (n_samples, n_features), of all processes.
    dtype : numpy.dtype
    starts : ndarray of shape (n_processes + 1,)
        First row of each process, and the number of rows.
    """

    def __init__(self, X: Any, ranks: Ranks) -> None:
        self.own = X
        self._ranks = ranks
        sizes = ranks.of_all(X.shape[0])
        self.shape: tuple[int, int] = sum(sizes), X.shape[1]
        self.starts = np.concatenate([[0], np.cumsum(sizes)])
        self.dtype = np.dtype(str(X.dtype).removeprefix("torch."))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def own_range(self) -> tuple[int, int]:
        """First row of this process, and the row after its last one."""
        start, stop = self.starts[self._ranks.rank : self._ranks.rank + 2]
        return int(start), int(stop)

    def any(self, value: bool) -> bool:
        """Whether something holds in any process."""
        return any(self._ranks.of_all(value))

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return some rows, in all processes."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        owners = np.searchsorted(self.starts, rows, side="right") - 1
        result = np.empty((len(rows), self.shape[1]), self.dtype)
        for rank in np.unique(owners).tolist():
            here = owners == rank
            part = np.empty((int(here.sum()), self.shape[1]), self.dtype)
            if rank == self._ranks.rank:
                own = self.own[rows[here] - int(self.starts[rank])]
                if isinstance(own, torch.Tensor):
                    own = own.cpu()
                part[:] = own.toarray() if sp.issparse(own) else np.asarray(own)
            sent = torch.from_numpy(part.view(np.uint8))  # bytes of any dtype
            self._ranks.copy_of_(sent, rank)
            result[here] = part
        return result
