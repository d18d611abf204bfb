"""Finds every image of a copy of C-NMC 2019, in whatever layout: one row per image.

The Kaggle copy, the one of The Cancer Imaging Archive, mirrors that nest folders twice, and plain
`all/` and `hem/` folders differ only in what lies above an image. So the nearest folders that say
something (`fold_0`, `all`, `C-NMC_test_final_phase_data`) and the file's own name decide.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

import pandas as pd

from helpers.names import Place, parse_name, place_of, read_labels

PARTS = ("training", "preliminary", "final")
SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")
COLUMNS = ["path", "label", "subject", "image", "cell", "fold"]


def index(root: str | Path, part: str = "training") -> pd.DataFrame:
    """Lists the images under a folder, one row each, in natural order.

    Args:
        root: Folder that holds a copy, at any depth; hidden files and folders are passed over.
        part: `training` (default), `preliminary` (labels and subjects from its label file),
            `final` (unlabelled) or `all`.

    Returns:
        A table of `path`, `label` ("ALL", "HEM" or missing), `subject`, `image` (smear field),
        `cell`, and `fold` ("0" to "2", "preliminary", "final", or "" for plain folders).

    Raises:
        FileNotFoundError: If the folder, images of that part, or their label file are missing.
        ValueError: If a name or label cannot be understood, or two different files claim to be
            the same image.
    """
    if part not in (*PARTS, "all"):
        raise ValueError(f"`part` is one of {', '.join(PARTS)} or all. Received: part={part!r}")
    images, label_files = find_files(root)
    wanted = {path: place for path, place in images.items() if part in (place.part, "all")}
    if not wanted:
        _refuse_empty(root, part, images)
    rows = list(_name_cells(wanted, label_files))
    table = pd.DataFrame(sorted(rows, key=_natural_order), columns=COLUMNS)
    return table.astype(dict.fromkeys(["label", "subject"], "str")).astype(_whole_numbers(table))


def find_files(root: str | Path) -> tuple[dict[str, Place], list[str]]:
    """Finds the image files under a folder, each once, and the preliminary set's label files.

    Args:
        root: Folder that holds a copy, at any depth.

    Returns:
        The place of each image by its absolute path, and the absolute paths of the label files.
    """
    root = existing_folder(root)
    files = list(_walk(root, visited=set()))
    labels = [path for path in files if path.lower().endswith("labels.csv")]
    images = [path for path in files if path.lower().endswith(SUFFIXES)]
    first: dict[tuple[str, str], str] = {}
    for path in sorted(images, key=lambda path: (path.count(os.sep), path)):
        place = place_of(path)
        twin = first.setdefault((place.group, place.name), path)
        if twin != path and not filecmp.cmp(twin, path, shallow=False):
            raise ValueError(
                "Two files have the name and place of one image, and differ: keep the right one. "
                f"Received: {twin} and {path}"
            )
    return {path: place_of(path) for path in first.values()}, labels


def existing_folder(root: str | Path) -> Path:
    """Returns the absolute path of a folder that must exist.

    Raises:
        FileNotFoundError: If it does not.
    """
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(
            "Expected a folder that holds a copy of C-NMC 2019; get one with "
            f"`python -m helpers fetch FOLDER`. Received: {str(root)!r}"
        )
    return folder.resolve()


def _walk(folder: Path | str, visited: set[tuple[int, int]]) -> Iterator[str]:
    """Yields every file, following links, but entering each folder once however it is reached."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            yield from _walk(entry.path, visited)
        else:
            yield entry.path


def _refuse_empty(root: str | Path, part: str, images: dict[str, Place]) -> None:
    found = Counter(place.part for place in images.values())
    others = ", ".join(f"{count:,} {name}" for name, count in found.items()) or "no"
    raise FileNotFoundError(
        f"Expected images ({', '.join(SUFFIXES)}) of the {part} part under this folder, which "
        f"holds {others} images. Received: {str(root)!r}"
    )


def _name_cells(images: dict[str, Place], label_files: list[str]) -> Iterator[tuple]:
    """Yields the rows of the table, and raises where a name does not say which cell it is."""
    official = {}
    if any(place.part == "preliminary" for place in images.values()):
        official = read_labels(label_files)
    unclear = []
    for path, place in images.items():
        stem = PurePath(path).stem
        if place.part == "final":
            number = int(stem) if stem.isdigit() else None
            yield path, None, None, number, None, place.fold
            continue
        named = official.get(place.name) if place.part == "preliminary" else parse_name(stem)
        if named is None or place.label not in ("", named.label):
            unclear.append(path)
        else:
            yield path, *named, place.fold
    _refuse_names(unclear)


def _refuse_names(paths: Iterable[str]) -> None:
    """Raises with a sample of the names that were not understood: to skip them would lose data."""
    paths = sorted(paths)
    if paths:
        raise ValueError(
            "Images are named UID_<subject>_<image>_<cell>_<all|hem>, like the folder they are in, "
            "and preliminary ones as in their label file. Rename these or move them away. "
            f"Received: {len(paths)} others, such as {', '.join(paths[:3])}"
        )


def _natural_order(row: tuple) -> tuple:
    path, label, subject, image, cell, fold = row
    place, number = place_of(path), int(re.sub(r"\D", "", subject or "") or 0)
    last = (image or 0, cell or 0, place.name)
    return (PARTS.index(place.part), fold, label or "", number, subject or "", *last)


def _whole_numbers(table: pd.DataFrame) -> dict[str, str]:
    return {name: "Int64" if table[name].isna().any() else "int64" for name in ("image", "cell")}
