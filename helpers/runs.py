"""Run folders: slow work done once, kept whole, found again by what determines it.

A run lives in `<root>/<key>/`, where the key is a digest of everything that determines the
result. It is made under another name and renamed when whole, so a folder with a key for a name is
complete or does not exist. Only one process makes a run; the others wait for it, then load.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

MANIFEST = "run.json"


def key_of(description: Mapping[str, Any]) -> str:
    """Digests whatever determines a result into a short name.

    Args:
        description: Plain values (text, numbers, lists, mappings) that JSON can hold.

    Returns:
        Sixteen hexadecimal digits; the order of the entries does not matter.

    Example:
        >>> key_of({"seed": 1, "model": "vgg16"}) == key_of({"model": "vgg16", "seed": 1})
        True
    """
    text = json.dumps(description, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def table_digest(table: pd.DataFrame) -> str:
    """Digests the images of a table: their bytes, labels, parts and order.

    Args:
        table: Rows with `path`, and `label`, `split` and `sha256` where they are known. Files
            without a digest in the table are read.

    Returns:
        64 hexadecimal digits, the same wherever the files lie.
    """
    columns = image_digests(table), _column(table, "label"), _column(table, "split")
    return hashlib.sha256(json.dumps(list(zip(*columns, strict=True))).encode()).hexdigest()


def image_digests(table: pd.DataFrame) -> list[str]:
    """Returns the SHA-256 digest of each image of a table, read where `sha256` is not known."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_content_digest, table["path"], _column(table, "sha256")))


def _column(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [""] * len(table)
    return [value if isinstance(value, str) else "" for value in table[name]]


def _content_digest(path: str, known: str) -> str:
    return known or file_digest(Path(path))


def file_digest(path: Path) -> str:
    """Returns the SHA-256 digest of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_once(root: Path, description: Mapping[str, Any], make: Callable[[Path], None]) -> Path:
    """Returns the folder of a run; makes it first where there is none.

    Args:
        root: The folder that holds all runs.
        description: Everything that determines the result; see `key_of`.
        make: Writes the run into the folder it is given. After an interruption it is called
            again with the same folder and what it left there, so it can resume.

    Returns:
        The whole, checked folder. One that is damaged or holds something else is reported by a
        warning and set aside under another name: neither loaded nor deleted.
    """
    from filelock import FileLock

    key = key_of(description)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{key}.lock"):
        if not _is_whole(root / key, key):
            partial = _open_partial(root / f".{key}.partial", key)
            make(partial)
            _seal(partial, key, description)
            os.replace(partial, root / key)
    return root / key


def _is_whole(folder: Path, key: str) -> bool:
    if not folder.exists():
        return False
    problem = _problem(folder, key)
    if problem:
        _set_aside(folder, problem)
    return problem is None


def _problem(folder: Path, key: str) -> str | None:
    """Says what is wrong with a folder that should hold a whole run, or None."""
    owner, files = _read_manifest(folder)
    if owner is None:
        return f"has no readable {MANIFEST}"
    if owner != key:
        return f"belongs to run {owner}"
    for name, digest in files.items():
        if not (folder / name).is_file():
            return f"lacks {name}"
        if file_digest(folder / name) != digest:
            return f"has a changed {name}"
    return None


def _read_manifest(folder: Path) -> tuple[str | None, dict[str, str]]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        return str(manifest["key"]), dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}


def _set_aside(folder: Path, problem: str) -> None:
    number = 1
    while (aside := folder.with_name(f"{folder.name.lstrip('.')}.set-aside-{number}")).exists():
        number += 1
    os.replace(folder, aside)
    warnings.warn(
        f"The run folder {folder.name} {problem}; it was set aside as {aside.name}, and the run "
        "is made anew. Delete the folder when you have looked at it.",
        stacklevel=2,
    )


def _open_partial(partial: Path, key: str) -> Path:
    """Opens the folder of an unfinished run: new, or as an interruption left it."""
    if partial.exists() and any(partial.iterdir()) and _read_manifest(partial)[0] != key:
        _set_aside(partial, "belongs to another run")
    partial.mkdir(exist_ok=True)
    _write_manifest(partial, {"key": key, "files": {}})
    return partial


def _seal(partial: Path, key: str, description: Mapping[str, Any]) -> None:
    files = {str(p.relative_to(partial)): p for p in sorted(partial.rglob("*")) if p.is_file()}
    digests = {name: file_digest(path) for name, path in files.items() if name != MANIFEST}
    _write_manifest(partial, {"key": key, "description": dict(description), "files": digests})


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_atomic(folder / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=1)))


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file under a temporary name and renames it when whole.

    Args:
        path: Where the file is to be.
        write: Writes the file at the path it is given, which keeps the suffix of `path`.
    """
    partial = path.with_name(f".partial-{path.name}")
    write(partial)
    os.replace(partial, path)


def save_arrays(path: Path, arrays: list[np.ndarray]) -> None:
    """Writes arrays to one `.npz` file in their order; see `load_arrays`.

    Args:
        path: The file to write, ending in `.npz`.
        arrays: Arrays of numbers, of any shapes.
    """
    named = {str(number): array for number, array in enumerate(arrays)}
    write_atomic(path, lambda partial: np.savez(partial, **named))


def load_arrays(path: Path) -> list[np.ndarray]:
    """Reads what `save_arrays` wrote, in the same order; pickled objects are refused."""
    with np.load(path, allow_pickle=False) as stored:
        return [stored[str(number)] for number in range(len(stored.files))]
