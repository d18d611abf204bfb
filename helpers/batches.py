"""Batches read from a file, in an order that only the seed and the epoch decide.

Memory holds a few batches, whatever the number of images; what memory is free, the system uses to
keep the file at hand. A dataset that is shuffled as it is read could not take up the order of
epoch 57 without epochs 1 to 56.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd

from helpers import cnmc, positions, runs

if TYPE_CHECKING:
    from helpers.pixels import Pixels

QUIET = 30.0  # s without a line while images are read


class Batches(keras.utils.PyDataset):
    """Arrays with their labels, batch by batch.

    Args:
        entries: One per row: images as from `pixels.keep_images`, or features as from `keep`.
        rows: Rows with `label`.
        batch_size: Entries per batch.
        seed: Shuffles anew for each epoch; None: the order of the rows.
        jitter: Changes the colours anew for each epoch, as by `draw_gains`; needs a seed.
        turn: Puts each image into one of the eight `positions` anew for each epoch; needs a seed.
    """

    def __init__(
        self,
        entries: Pixels | np.ndarray,
        rows: pd.DataFrame,
        batch_size: int,
        seed: int | None = None,
        jitter: float = 0.0,
        turn: bool = False,
    ):
        super().__init__()
        self.entries = entries
        self.labels = rows["label"].map(cnmc.CLASSES.index).to_numpy(np.int32)
        self.batch_size = batch_size
        self.seed = seed
        self.jitter = jitter
        self.turn = turn
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Takes up the order of an epoch, counted from 0."""
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)
            self.gains = draw_gains(len(self.order), self.jitter, self.seed, epoch)
            rng = np.random.default_rng((self.seed, epoch, 2))
            self.positions = rng.integers(positions.POSITIONS, size=len(self.order))

    def __len__(self) -> int:
        """Counts the batches."""
        return math.ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one batch."""
        chosen = self.order[number * self.batch_size :][: self.batch_size]
        entries = self.entries[chosen]
        if self.jitter:
            entries = entries * self.gains[chosen]
        if self.turn:
            entries = positions.turn_each(entries, self.positions[chosen])
        return entries, self.labels[chosen]


def draw_gains(count: int, jitter: float, seed: int, epoch: int = 0) -> np.ndarray:
    """Draws a factor for each colour of each image: another stain, another lamp.

    Args:
        count: Number of images.
        jitter: Standard deviation of the factors about 1; none is more than twice as far off.
        seed: Same seed and epoch, same factors.
        epoch: Number of the epoch.

    Returns:
        Factors of shape (count, 1, 1, 3).

    Example:
        >>> draw_gains(1, 0.1, seed=1).shape
        (1, 1, 1, 3)
    """
    draws = np.random.default_rng((seed, epoch, 1)).standard_normal((count, 1, 1, 3))
    return (1 + jitter * draws.clip(-2, 2)).astype(np.float32)


def keep(
    path: Path,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    report: Callable[[str], Any] | None = None,
) -> np.ndarray:
    """Writes batches to a file as they come, unless the file is there.

    Args:
        path: The `.npy` file to write.
        batches: Arrays of float32, together of the shape given.
        shape: Number of entries, then the shape of one.
        report: Takes a line now and then while it lasts.

    Returns:
        The entries, in the file.
    """
    if not path.exists():
        told = tell(batches, shape[0], report) if report else batches
        runs.write_atomic(path, lambda partial: _write(partial, told, shape))
    return np.load(path, mmap_mode="r")


def tell(
    batches: Iterable[np.ndarray], total: int, report: Callable[[str], Any]
) -> Iterator[np.ndarray]:
    """Passes batches on and reports how far it is; not of what takes less than half a minute.

    Args:
        batches: Arrays of images.
        total: Number of images.
        report: Takes a line, such as `print`.
    """
    done, last = 0, time.monotonic()
    for batch in batches:
        yield batch
        done += len(batch)
        if time.monotonic() - last > QUIET:
            last = time.monotonic()
            report(f"{done:,} of {total:,} images read")


def _write(path: Path, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    with open(path, "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for batch in batches:
            stream.write(np.asarray(batch, "<f4").tobytes())
