"""Changed copies of images, written once: what a normalisation makes of a whole table."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import cnmc, images, runs, stain
from helpers.profiles import work_dir


def write_copies(
    table: pd.DataFrame, transform: Callable[[np.ndarray], np.ndarray]
) -> pd.DataFrame:
    """Writes a changed copy of every image below the work folder, once.

    Args:
        table: One row per image, with `path`.
        transform: What to do with an image: a function of a module, or `functools.partial` of one.

    Returns:
        The table with the paths of the copies. Digests of the originals are left out.

    Raises:
        ValueError: If the transform is a lambda or a nested function, which have no name to be
            found again by.
    """
    description = {
        "images": runs.table_digest(table[table.columns.intersection(["path", "sha256"])]),
        "transform": _digest(transform),
        "code": [runs.file_digest(Path(file)) for file in (stain.__file__, images.__file__)],
    }
    names = [f"{n:05}_{Path(path).stem}.png" for n, path in enumerate(table["path"])]

    def make(folder: Path) -> None:
        jobs = [(path, folder / name) for path, name in zip(table["path"], names, strict=True)]
        missing = [job for job in jobs if not job[1].exists()]
        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(lambda job: _write(job[0], job[1], transform), missing))

    folder = runs.make_once(work_dir() / "stain", description, make)
    copies = table.drop(columns=["sha256", "pixels"], errors="ignore")
    return copies.assign(path=[str(folder / name) for name in names])


def _digest(transform: Callable) -> str:
    try:
        return hashlib.sha256(pickle.dumps(transform)).hexdigest()
    except (pickle.PicklingError, AttributeError) as error:
        raise ValueError(
            "A transform is a function of a module, or functools.partial of one, so that its "
            f"copies can be found again. Received: {transform!r}"
        ) from error


def _write(path: str, copy: Path, transform: Callable[[np.ndarray], np.ndarray]) -> None:
    from PIL import Image

    image = Image.fromarray(transform(cnmc.read_image(path)))
    runs.write_atomic(copy, lambda partial: image.save(partial, compress_level=1))
