"""Batches read from one file, in an order that only the seed and the epoch decide.

Every image is decoded once, whatever the number of epochs. Memory holds a few batches, whatever
the number of images; what memory is free, the system uses to keep the file at hand. A dataset
that is shuffled as it is read could not take up the order of epoch 57 without epochs 1 to 56.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from helpers import cnmc, runs


class Batches(keras.utils.PyDataset):
    """Arrays from a file with their labels, batch by batch.

    Args:
        path: A `.npy` file with one entry per row; see `keep`.
        rows: Rows with `label`.
        batch_size: Entries per batch.
        seed: Shuffles anew for each epoch; None: the order of the rows.
    """

    def __init__(self, path: Path, rows: pd.DataFrame, batch_size: int, seed: int | None = None):
        super().__init__()
        self.entries = np.load(path, mmap_mode="r")
        self.labels = rows["label"].map(cnmc.CLASSES.index).to_numpy(np.int32)
        self.batch_size = batch_size
        self.seed = seed
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Takes up the order of an epoch, counted from 0."""
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)

    def __len__(self) -> int:
        """Counts the batches."""
        return math.ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one batch."""
        chosen = self.order[number * self.batch_size :][: self.batch_size]
        return self.entries[chosen], self.labels[chosen]


def keep(path: Path, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    """Writes batches to a file as they come, unless the file is there.

    Args:
        path: The `.npy` file to write.
        batches: Arrays of float32, together of the shape given.
        shape: Number of entries, then the shape of one.
    """
    if not path.exists():
        runs.write_atomic(path, lambda partial: _write(partial, batches, shape))


def _write(path: Path, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    with open(path, "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for batch in batches:
            stream.write(np.asarray(batch, "<f4").tobytes())
