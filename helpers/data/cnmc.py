"""What the names of C-NMC 2019 say: of folders, of images, and in the label file.

Finds every image of a copy of C-NMC 2019, in whatever layout: one row per image.

The Kaggle copy, the one of The Cancer Imaging Archive, mirrors that nest folders twice, and plain
`all/` and `hem/` folders differ only in what lies above an image. So the nearest folders that say
something (`fold_0`, `all`, `C-NMC_test_final_phase_data`) and the file's own name decide.

The C-NMC 2019 data set: find it, index it, verify it, fetch it; one row per image.

The steps are in modules of their own, in the order the data flows: `names` tells what a path says,
`listing` finds the images, `images` reads them, `verify` compares a copy with the published set,
`fetch` gets one.
"""

from __future__ import annotations

import filecmp
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

import pandas as pd

CLASSES = ("HEM", "ALL")  # the position is the integer label: ALL is 1, the positive class

_NAME = re.compile(r"uid_(h?\d+)_(\d+)_(\d+)_(all|hem)", re.IGNORECASE)
_FOLD = re.compile(r"fold_(\d+)", re.IGNORECASE)
_TEST = re.compile(r"c-nmc_test_(prelim|final)_phase_data", re.IGNORECASE)
_LABEL_COLUMNS = {"Patient_ID", "new_names", "labels"}


class Place(NamedTuple):
    """Where an image belongs in the published set, from its path alone.

    `group` is the published folder (`fold_0/all`, `preliminary`, `final`; `all` without a fold) and
    `name` the file's name in small letters, so that copies in any layout compare.
    """

    part: str
    fold: str
    label: str
    group: str
    name: str


class Cell(NamedTuple):
    """What a published name says: label, subject, smear field, and cell in that field."""

    label: str
    subject: str
    image: int
    cell: int


def place_of(path: str) -> Place:
    """Reads from a path where its image belongs; the file itself is not touched.

    Args:
        path: Path of an image, absolute or relative, in any layout.

    Returns:
        The place; label and fold are "" where the path does not tell.

    Example:
        >>> place_of("C-NMC_training_data/fold_0/all/UID_1_2_3_all.bmp").group
        'fold_0/all'
    """
    *folders, name = PurePath(path).parts
    name = name.lower()
    test = next(filter(None, map(_TEST.fullmatch, reversed(folders))), None)
    if test:
        part = "preliminary" if test[1].lower() == "prelim" else "final"
        return Place(part, part, "", part, name)
    fold = next((m[1] for m in map(_FOLD.fullmatch, reversed(folders)) if m), "")
    above = folders[-1].lower() if folders else ""
    named = _NAME.fullmatch(PurePath(name).stem)
    label = above if above in ("all", "hem") else named[4].lower() if named else ""
    group = "/".join(filter(None, [fold and f"fold_{fold}", label]))
    return Place("training", fold, label.upper(), group, name)


def parse_name(stem: str) -> Cell | None:
    """Reads label, subject, smear field and cell from a name in the published form.

    Args:
        stem: Name without its suffix, in capitals or small letters.

    Returns:
        What it says, with the subject spelled as published (one of them is `h3`), else None.

    Example:
        >>> parse_name("UID_H10_14_1_hem").subject
        'H10'
    """
    match = _NAME.fullmatch(stem)
    if not match:
        return None
    subject, image, cell, label = match.groups()
    subject = "h3" if subject.lower() == "h3" else subject.upper()
    return Cell(label.upper(), subject, int(image), int(cell))


def read_labels(label_files: list[str]) -> dict[str, Cell]:
    """Reads what the preliminary set's label file says of each image.

    Args:
        label_files: Paths of its copies, usually one; other tables among them are passed over.

    Returns:
        Cells by the image's name in small letters.

    Raises:
        FileNotFoundError: If there is no label file.
        ValueError: If a line cannot be understood or contradicts itself or another.
    """
    tables = [pd.read_csv(path, dtype=str) for path in label_files]
    tables = [table for table in tables if set(table.columns) >= _LABEL_COLUMNS]
    if not tables:
        raise FileNotFoundError(
            "The preliminary images need their label file C-NMC_test_prelim_phase_data_labels.csv "
            f"(columns {', '.join(sorted(_LABEL_COLUMNS))}). Received: {label_files}"
        )
    cells: dict[str, Cell] = {}
    wrong = []
    for row in pd.concat(tables).drop_duplicates().itertuples():
        cell = parse_name(PurePath(str(row.Patient_ID)).stem)
        name = str(row.new_names).lower()
        if cell is None or str(CLASSES.index(cell.label)) != row.labels or name in cells:
            wrong.append((row.Patient_ID, row.new_names, row.labels))
        else:
            cells[name] = cell
    if wrong:
        raise ValueError(
            "Every line of the label file names one image, its original name UID_<subject>_<image>_"
            "<cell>_<all|hem>.bmp and the matching label, 1 for all and 0 for hem. "
            f"Received: {len(wrong)} other lines, such as {wrong[0]}"
        )
    return cells


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


MARKER = "synthetic.json"  # lies in the root of a tree of drawn stand-in cells


@dataclass(frozen=True)
class Source:
    """A folder of images and what kind of images they are.

    Args:
        root: Folder of the images.
        is_synthetic: Whether they are drawn stand-ins.
    """

    root: Path
    is_synthetic: bool

    @property
    def note(self) -> str:
        """The origin of the data, as every figure and table states it."""
        return "synthetic stand-in cells, drawn" if self.is_synthetic else "C-NMC 2019"


def locate(root: str | Path) -> Source:
    """Returns the source in a folder; stand-ins are known by the marker that lies with them.

    Args:
        root: Folder that holds a copy of C-NMC 2019, at any depth, or drawn stand-ins.

    Returns:
        The source, with its absolute path.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    folder = existing_folder(root)
    return Source(folder, is_synthetic=is_drawn(folder / MARKER))


def is_drawn(path: str | Path) -> bool:
    """Tells whether a file lies in a tree of drawn stand-in cells, however deep."""
    return any((folder / MARKER).is_file() for folder in Path(path).absolute().parents)


def check_classes(table: pd.DataFrame) -> None:
    """Raises unless there are images of both classes.

    Args:
        table: One row per image, with `label`.

    Raises:
        ValueError: If a class has no image; the message counts what there is.
    """
    counts = table["label"].value_counts()
    if not set(CLASSES) <= set(counts.index):
        raise ValueError(
            f"Expected images of both classes, {' and '.join(CLASSES)}: is a folder `all` or `hem` "
            f"missing? Received: {counts.to_dict()}"
        )
