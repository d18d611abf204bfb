"""A split on disk: `split.csv` and `split.json`, written once and asserted on every reading."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd

import helpers
from helpers import cnmc
from helpers.leaks import LeakWarning, check_split, find_leaks, name_leaks
from helpers.partition import describe_split

# Whether a method promises that nothing is on two sides. Those that do not say so when read.
LEAK_FREE = {"image": False, "subject": True, "official folds": False, "repaired folds": True}
COLUMNS = ["path", "label", "subject", "image", "cell", "fold", "sha256", "pixels"]
COLUMNS += ["linked_subject", "split"]
UNKNOWN = ["label", "subject", "linked_subject"]  # empty where the file name does not tell


def write_split(
    table: pd.DataFrame,
    folder: Path | str,
    *,
    root: Path | str,
    method: str,
    ratio: float,
    seed: int,
) -> None:
    """Writes a split as `split.csv` and, last, `split.json`, which seals it.

    Args:
        table: A table with `split`.
        folder: Where to write; made where needed.
        root: Root of the images; the paths are written relative to it.
        method: `image`, `subject`, `official folds` or `repaired folds`. The two that promise
            no leaks are held to it, here and on every reading.
        ratio: The share that was asked for.
        seed: The seed the split was drawn with.

    Raises:
        LeakError: If the method promises no leaks and the table has some.
        ValueError: If there is no such method, or an image is outside the root.
    """
    if method not in LEAK_FREE:
        raise ValueError(f"Choose the method from {', '.join(LEAK_FREE)}. Received: {method!r}")
    if LEAK_FREE[method]:
        check_split(table)
    folder, root = Path(folder), Path(root).resolve()
    relative = [Path(path).resolve().relative_to(root).as_posix() for path in table["path"]]
    kept = table[[c for c in COLUMNS if c in table]].assign(path=relative)
    text = kept.to_csv(index=False, lineterminator="\n")
    facts = {
        "method": method,
        "leak_free": LEAK_FREE[method],
        "ratio": ratio,
        "seed": seed,
        "data": cnmc.listing_digest(table),
        "split": _digest(text),
        "parts": describe_split(table).round(4).to_dict("index"),
        "versions": _versions(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "split.csv", text)
    _write(folder / "split.json", json.dumps(facts, indent=2) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    """Returns the versions that decide what a seed draws."""
    libraries = {name: version(name) for name in ("numpy", "pandas", "scikit-learn")}
    return {"helpers": helpers.__version__, "python": platform.python_version(), **libraries}


def _write(path: Path, text: str) -> None:
    """Writes a whole text file or none."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(path)


def read_split(folder: Path | str, root: Path | str) -> pd.DataFrame:
    """Reads a split and asserts again what its method promises.

    Args:
        folder: Folder with `split.csv` and `split.json`.
        root: Root of the images on this machine.

    Returns:
        The table as it was written, with absolute paths.

    Raises:
        FileNotFoundError: If the split or one of its images is not there.
        LeakError: If a subject or an image is on two sides of a split by subject.
        ValueError: If the table is not the one that was written.

    Warns:
        LeakWarning: If the split was made by a method that leaks, and does.
    """
    folder = Path(folder)
    if not (folder / "split.json").is_file():
        raise FileNotFoundError(
            "A split is a folder with split.csv and split.json; make one with split_by_subject and "
            f"write_split. Received: {folder}"
        )
    facts = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    text = (folder / "split.csv").read_text(encoding="utf-8")
    table = _parse(text, Path(root).resolve())
    _assert_promise(table, facts["method"], folder)
    if _digest(text) != facts["split"]:
        raise ValueError(
            "split.csv is not the table that split.json seals; write the split again. "
            f"Received: {folder}"
        )
    _check_present(table["path"])
    return table


def _parse(text: str, root: Path) -> pd.DataFrame:
    """Returns the table of a split.csv, typed as `cnmc.index` types it."""
    table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    numbers = {c: pd.to_numeric(table[c]) for c in ("image", "cell") if c in table}
    known = {c: table[c].where(table[c] != "", None) for c in UNKNOWN if c in table}
    paths = [str(root / path) for path in table["path"]]
    return table.assign(path=paths, **numbers, **known)


def _assert_promise(table: pd.DataFrame, method: str, folder: Path) -> None:
    """Refuses a leak where the method promises none; warns of it where it does not."""
    if LEAK_FREE.get(method, True):
        check_split(table)
        return
    leaks = find_leaks(table)
    if len(leaks):
        text = f"The split in {folder.name} was made by {method} and leaks: {name_leaks(leaks)}"
        warnings.warn(text, LeakWarning, stacklevel=3)


def _check_present(paths: pd.Series) -> None:
    """Raises FileNotFoundError if an image of the split is gone."""
    gone = [path for path in paths if not Path(path).is_file()]
    if gone:
        raise FileNotFoundError(
            f"{len(gone)} of the split's {len(paths)} images are not under this root; name the "
            f"root they were split under, or split again. Received: {gone[0]} is missing"
        )
