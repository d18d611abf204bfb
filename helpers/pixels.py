"""Images decoded once for everything that trains on them, in one file per size.

The file only grows. A list beside it says whose image is where in it, by the digest of the image
file: so draws of subjects that share images, and trainings that share draws, share them here, too.
A place that is in the list is never written again, so nobody who reads has to wait.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from helpers import batches, pipelines, runs
from helpers.profiles import work_dir

IMAGES, DIGESTS = "images.f32", "digests.txt"


class Pixels:
    """Decoded images, read from the file as they are asked for.

    Args:
        path: The file: float32 values, image after image.
        places: Which of its images these are, in their order.
        side: Of each image, in px.
    """

    def __init__(self, path: Path, places: np.ndarray, side: int):
        shape = (int(places.max()) + 1, side, side, 3)
        self.images = np.memmap(path, "<f4", "r", shape=shape)
        self.places = places

    def __len__(self) -> int:
        """Counts the images."""
        return len(self.places)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Reads images, 0 to 255, of shape (n, side, side, 3)."""
        return np.asarray(self.images[self.places[chosen]])


def keep_images(
    rows: pd.DataFrame, size: int, report: Callable[[str], Any] | None = None
) -> Pixels:
    """Decodes the images of a table, unless that was done before.

    The files lie in the folder `pixels` of the work folder (13 GB for the whole of the paper's
    setting); it can be deleted whenever nothing trains.

    Args:
        rows: Rows with `path`, and `sha256` where it is known.
        size: Side of the images in px.
        report: Takes a line now and then while it lasts.

    Returns:
        The images, one per row.
    """
    by = {
        "size": size,
        "code": runs.file_digest(Path(pipelines.__file__)),
        "tensorflow": version("tensorflow"),
    }
    folder = work_dir() / "pixels" / runs.key_of(by)
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows.assign(sha256=runs.image_digests(rows))
    with FileLock(folder / ".lock"):
        known = _read_digests(folder, size)
        new = rows[~rows["sha256"].isin(known)].drop_duplicates("sha256")
        if len(new):
            known = _append(folder, known, new, size, report)
    places = {digest: place for place, digest in enumerate(known)}
    return Pixels(folder / IMAGES, rows["sha256"].map(places).to_numpy(), size)


def _read_digests(folder: Path, size: int) -> list[str]:
    """Lists whose images are there; none where the file is shorter than the list says."""
    if not (folder / DIGESTS).exists():
        return []
    known = (folder / DIGESTS).read_text().split()
    images = folder / IMAGES
    is_whole = images.exists() and images.stat().st_size >= len(known) * _bytes_of(size)
    return known if is_whole else []


def _bytes_of(size: int) -> int:
    return 4 * 3 * size * size


def _append(
    folder: Path,
    known: list[str],
    rows: pd.DataFrame,
    size: int,
    report: Callable[[str], Any] | None,
) -> list[str]:
    """Writes images behind those that are known; after each batch the list is brought up to it."""
    decoded = pipelines.stream_images(rows, size)
    told = batches.tell(decoded, len(rows), report) if report else decoded
    digests = iter(rows["sha256"])
    (folder / IMAGES).touch()
    with open(folder / IMAGES, "r+b") as stream:
        stream.seek(len(known) * _bytes_of(size))  # over what an interruption left behind it
        for batch in told:
            stream.write(np.asarray(batch, "<f4").tobytes())
            stream.flush()
            os.fsync(stream.fileno())  # the list must never be ahead of the images
            known = [*known, *islice(digests, len(batch))]
            _write_digests(folder, known)
    return known


def _write_digests(folder: Path, known: list[str]) -> None:
    runs.write_atomic(folder / DIGESTS, lambda path: path.write_text("\n".join(known)))
