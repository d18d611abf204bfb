"""Slow work done once: found again by what determines it, whole or not there.

A run lives in `<root>/<key>/`, where the key is a digest of everything that determines the result.
It is made under another name and renamed when whole, so a folder with a key for a name is
complete. Only one process makes a run; the others wait for it, then load.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MANIFEST = "run.json"


def key_of(description: Mapping[str, Any]) -> str:
    """Digests plain values, in any order, into sixteen hexadecimal digits.

    Example:
        >>> key_of({"seed": 1, "model": "vgg16"}) == key_of({"model": "vgg16", "seed": 1})
        True
    """
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def make_once(root: Path, description: Mapping[str, Any], make: Callable[[Path], Any]) -> Path:
    """Returns the folder of a run; makes it first where there is none.

    Args:
        root: The folder that holds all runs.
        description: Everything that determines the result, such as the seed, the digest of the
            images, and a `VERSION` of the step, raised whenever its code gives another result.
        make: Writes the run into the folder it is given. After an interruption it is called
            again with the same folder and what it left there, so it can resume.

    Returns:
        The whole folder, with a `run.json` that holds the description and each file's digest.

    Raises:
        ValueError: If a folder of that name is there, but its `run.json` is not the run's.
    """
    key = key_of(description)
    folder, partial = root / key, root / f".{key}.partial"
    root.mkdir(parents=True, exist_ok=True)
    with lock(root / f".{key}.lock"):
        if not folder.exists():
            partial.mkdir(exist_ok=True)
            make(partial)
            _seal(partial, key, description)
            os.replace(partial, folder)
    _check_owner(folder, key)
    return folder


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keeps other processes waiting until the block is left, and says so where it waits itself."""
    from filelock import FileLock, Timeout

    held = FileLock(path)
    try:
        held.acquire(timeout=1)
    except Timeout:
        logging.getLogger(__name__).warning("Waiting for another process, which holds %s", path)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def _seal(folder: Path, key: str, description: Mapping[str, Any]) -> None:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    text = json.dumps({"key": key, "description": dict(description), "files": digests}, indent=1)
    write_atomic(folder / MANIFEST, lambda path: path.write_text(text))


def _check_owner(folder: Path, key: str) -> None:
    try:
        is_own = json.loads((folder / MANIFEST).read_text())["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        is_own = False
    if not is_own:
        raise ValueError(
            f"A run's folder holds a {MANIFEST} with its key: move the folder away, and the run is "
            f"made anew. Received: {folder} without one"
        )


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Has a file written under a temporary name of the same suffix, and renames it when whole."""
    partial = path.with_name(f".partial-{path.name}")
    write(partial)
    os.replace(partial, path)


def check_disk(folder: Path, needed_bytes: float, what: str) -> None:
    """Raises OSError if `what` would not fit on the disk of a folder, which need not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        raise OSError(
            f"{what} needs {needed_bytes / 1e9:.1f} GB of free disk: make room, or name a folder "
            f"on another disk. Received: {str(folder)!r} with {free / 1e9:.1f} GB free"
        )


def table_digest(table: pd.DataFrame) -> str:
    """Digests the images of a table: their bytes, labels, parts and order, wherever they lie."""
    columns = image_digests(table), _column(table, "label"), _column(table, "split")
    return hashlib.sha256(json.dumps(list(zip(*columns, strict=True))).encode()).hexdigest()


def image_digests(table: pd.DataFrame) -> list[str]:
    """Returns the SHA-256 digest of each image of a table, read where `sha256` is not known."""
    with ThreadPoolExecutor() as pool:
        known = zip(_column(table, "sha256"), table["path"], strict=True)
        return list(pool.map(lambda row: row[0] or file_digest(row[1]), known))


def _column(table: pd.DataFrame, name: str) -> list[str]:
    values = table[name] if name in table else [""] * len(table)
    return [value if isinstance(value, str) else "" for value in values]


def file_digest(path: Path | str) -> str:
    """Returns the SHA-256 digest of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def save_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    """Writes arrays of any shapes to one `.npz` file, atomically; see `load_arrays`."""
    write_atomic(path, lambda partial: np.savez(partial, *arrays))


def load_arrays(path: Path) -> list[np.ndarray]:
    """Reads what `save_arrays` wrote, in the same order; pickled objects are refused."""
    with np.load(path, allow_pickle=False) as stored:
        return list(stored.values())
