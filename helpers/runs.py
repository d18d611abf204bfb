"""Slow work done once: found again by what determines it, whole or not there.

A run lives in `<root>/<key>/`, where the key is a digest of everything that determines the result.
It is made under another name and renamed when whole, so a folder with a key for a name is
complete. Only one process makes a run; the others wait for it, then load.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd

MANIFEST, HELD = "run.json", (".csv", ".json", ".keras")  # what is held to its digest
TOLD = ("label", "split", "subject", "linked_subject", "drawn")  # of an image, besides its bytes
CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


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
        ValueError: If a folder of that name is there, but is not as its `run.json` records.
        PermissionError: If there is no such folder yet, and none can be written.
    """
    key = key_of(description)
    folder, partial = root / key, root / f".{key}.partial"
    # What is finished is read without a lock, from read-only folders, too. Of a folder that is
    # closed to us `os.path` says that it is not there: then the lock says why.
    if not os.path.exists(folder):
        with lock(root / f".{key}.lock"):
            if not folder.exists():
                partial.mkdir(exist_ok=True)
                make(partial)
                _seal(partial, key, description)
                os.replace(partial, folder)
    with _said_where_to_go(root):
        _check_record(folder, key)
    return folder


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Keeps other processes waiting until the block, which writes beside the path, is left."""
    from filelock import FileLock, Timeout

    held = FileLock(path, mode=0o664)
    with _said_where_to_go(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=1)
        except Timeout:
            logging.getLogger(__name__).warning("Waiting for another process, which holds %s", path)
            held.acquire()
        except NotImplementedError as error:
            raise OSError(errno.ENOLCK, str(error)) from error
        try:
            yield
        finally:
            held.release()


@contextmanager
def _said_where_to_go(folder: Path) -> Iterator[None]:
    """Explains refusals of a folder; of what lies elsewhere, such as an image, they stay theirs."""
    try:
        yield
    except OSError as error:
        place = Path(str(error.filename or folder))
        if error.errno not in CANNOT_WRITE or not place.is_relative_to(folder):
            raise
        advice = "Expected a folder to write to, on a disk with file locks: set CNMC_WORK to one"
        raise PermissionError(f"{advice}. Received: {str(folder)!r}: {error}") from error


def _seal(folder: Path, key: str, description: Mapping[str, Any]) -> None:
    for leftover in folder.rglob(".partial-*"):  # of a process that was killed while writing
        leftover.unlink()
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != MANIFEST]
    digests = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    text = json.dumps({"key": key, "description": dict(description), "files": digests}, indent=1)
    write_atomic(folder / MANIFEST, lambda path: path.write_text(text))


def _check_record(folder: Path, key: str) -> None:
    """Refuses a folder whose record is not the run's, or whose files are not as recorded."""
    wrong = [MANIFEST]
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        record = json.loads((folder / MANIFEST).read_text())
        files = {folder / n: was for n, was in record["files"].items() if n.endswith(HELD)}
        changed = [f.name for f, was in files.items() if not f.is_file() or file_digest(f) != was]
        wrong = changed if record["key"] == key else wrong
    if wrong:
        advice = f"A run's folder holds what its {MANIFEST} records: move the folder away"
        raise ValueError(f"{advice}. Received: {folder} with no {wrong[0]}, or another")


def write_atomic(path: Path, write: Callable[[Path], Any]) -> None:
    """Has a file written under a temporary name of the same suffix, and renames it when whole."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    write(partial)
    os.replace(partial, path)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Gives a folder to fill beside the target, which gets its name only when the block ends well.

    An interrupted one is begun anew, and other processes wait for it.
    """
    with lock(target.with_name(f".{target.name}.lock")):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            why = "The folder must be new or empty; nothing was changed"
            raise FileExistsError(f"{why}. Received: {target}")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            yield partial
            if target.exists():
                target.rmdir()
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_disk(folder: Path, needed_bytes: float, what: str) -> None:
    """Raises OSError if `what` would not fit on the disk of a folder, which need not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < needed_bytes:
        needs = f"{what} needs {in_units(needed_bytes)} of free disk: make room, or use another"
        raise OSError(f"{needs}. Received: {str(folder)!r} with {in_units(free)} free")


def in_units(size: float) -> str:
    """Says how much so many bytes are."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def table_digest(table: pd.DataFrame) -> str:
    """Digests all that a run knows of its images, and their order, wherever they lie."""
    columns = image_digests(table), *(_column(table, name) for name in TOLD)
    return hashlib.sha256(json.dumps(list(zip(*columns, strict=True))).encode()).hexdigest()


def image_digests(table: pd.DataFrame) -> list[str]:
    """Returns the SHA-256 digest of each image of a table, read where `sha256` is not known."""
    known = zip(_column(table, "sha256"), table["path"], strict=True)
    return [digest or file_digest(path) for digest, path in known]


def check_unchanged(table: pd.DataFrame) -> None:
    """Refuses images whose files are no longer those that their digests were taken of."""
    changed = table.loc[table["sha256"] != image_digests(table[["path"]]), "path"]
    if len(changed):
        advice = "Images were changed while they were used: leave them, and begin again. Received:"
        raise ValueError(f"{advice} {len(changed):,}, such as {changed.iloc[0]}")


def _column(table: pd.DataFrame, name: str) -> list[str]:
    return table.reindex(columns=[name])[name].astype(object).fillna("").tolist()


def file_digest(path: Path | str) -> str:
    """Returns the SHA-256 digest of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
