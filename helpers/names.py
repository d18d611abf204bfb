"""What the names of C-NMC 2019 say: of folders, of images, and in the label file."""

from __future__ import annotations

import re
from pathlib import PurePath
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
