"""The images of a copy of C-NMC 2019, in whatever layout: one row per image.

The Kaggle copy, the one of The Cancer Imaging Archive, mirrors that nest folders twice, and plain
`all/` and `hem/` folders differ only in what lies above an image. So the nearest folders that say
something (`fold_0`, `all`, `C-NMC_test_final_phase_data`) and the file's own name decide.
"""

import csv
import filecmp
import hashlib
import os
import re
import warnings
from collections import Counter, namedtuple
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

import pandas as pd

from helpers.settings import expand, work_dir

CLASSES = ("HEM", "ALL")  # the position is the integer label: ALL is 1, the positive class
PARTS = ("training", "preliminary", "final")
HIDDEN = (".", "__MACOSX")
SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")
UNREAD = (".tif", ".tiff", ".gif", ".webp", ".npy", ".npz", ".jp2", ".jfif", ".heic", ".avif")
COLUMNS = ["path", "label", "subject", "image", "cell", "fold"]
MARKER = "synthetic.json"  # lies in the root of a tree of drawn stand-in cells

NAME_FORM = "UID_<subject>_<image>_<cell>_<all|hem>"
_IN_TREE = re.compile(r"[\w-]+_data|train|validation|test|all|hem|fold_\d+", re.IGNORECASE)
_NAME = re.compile(r"uid_(h?)(\d+)_(\d+)_(\d+)_(all|hem)", re.IGNORECASE)
_FOLD = re.compile(r"fold_(\d+)", re.IGNORECASE)
_TEST = re.compile(r"c-nmc_test_(prelim|final)_phase_data", re.IGNORECASE)
_LABEL_COLUMNS = {"Patient_ID", "new_names", "labels"}


@dataclass(frozen=True)
class Source:
    """A folder of images, and whether they are drawn stand-ins."""

    root: Path
    is_synthetic: bool

    @property
    def note(self) -> str:
        """The origin of the data, as figures state it; `verify` proves more than names."""
        drawn, named = "synthetic stand-in cells, drawn", "images named as those of C-NMC 2019"
        return drawn if self.is_synthetic else named


def locate(root: str | Path) -> Source:
    """Returns the source in a folder; stand-ins are known by the marker that lies with them.

    Args:
        root: Folder that holds a copy of C-NMC 2019, at any depth, or drawn stand-ins.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    folder = existing_folder(root)
    return Source(folder, is_synthetic=is_drawn(next(_walk(folder, SUFFIXES), folder / MARKER)))


def is_drawn(path: str | Path) -> bool:
    """Whether a file, or what it is a link to, lies in a tree of drawn stand-in cells.

    Such a tree reaches from its marker as far down as its folders have names of the set's layouts.
    """
    for file in {Path(path).absolute(), Path(path).resolve()}:
        for folder in file.parents:
            if (folder / MARKER).is_file():
                return True
            if folder != file.parent and not _IN_TREE.fullmatch(folder.name):
                break
    return False


def keep_drawn(digests: list[str]) -> None:
    """Keeps which pixels were drawn, so that a copy is known in any form, and without its marker.

    Where the work folder cannot be written to, such as for a tree elsewhere, only the marker tells.
    """
    with suppress(OSError):
        kept = work_dir() / "standin" / f"{digests[0][:16]}.txt"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("\n".join(digests))


def drawn_here() -> set[str]:
    """Returns the digests of all pixels that were drawn with this work folder."""
    return {d for kept in (work_dir() / "standin").glob("*.txt") for d in kept.read_text().split()}


def mark_drawn(table: pd.DataFrame) -> pd.DataFrame:
    """Adds whether an image, or what it was made from, is a drawn stand-in."""
    origin = table["source"].fillna(table["path"]) if "source" in table else table["path"]
    shown = table["pixels"] if "pixels" in table else pd.Series(None, table.index)
    known = set(table.loc[shown.isin(drawn_here()), "path"])
    return table.assign(drawn=[path in known or is_drawn(path) for path in origin])


def mark(paths: Sequence[str], folder: Path) -> None:
    """Marks a folder for copies of stand-ins as such; refuses to copy some among other cells."""
    drawn = [path for path in paths if is_drawn(path)]
    if drawn and len(drawn) < len(paths):
        advice = "Drawn cells among others would no longer be known: take them apart. Received:"
        raise ValueError(f"{advice} {len(drawn):,} drawn of {len(paths):,} images, as {drawn[0]}")
    if drawn:
        (folder / MARKER).write_text("{}\n")


def existing_folder(root: str | Path) -> Path:
    """Returns the absolute path of a folder, or raises FileNotFoundError where there is none."""
    folder = expand(root).resolve()
    if not folder.is_dir():
        advice = "Expected a folder with C-NMC 2019; get one with `python -m helpers fetch FOLDER`."
        raise FileNotFoundError(f"{advice} Received: {str(root)!r}")
    return folder


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
    images, label_files = find_files(root)
    wanted = {path: place for path, place in images.items() if part in (place.part, "all")}
    if not wanted:
        found = Counter(place.part for place in images.values())
        there = ", ".join(f"{count:,} {name} images" for name, count in found.items())
        advice = f"Expected images of the {part} part (of {', '.join(PARTS)}, all)."
        raise FileNotFoundError(f"{advice} Received: {part=}; {str(root)!r} holds {there}")
    check_text(wanted)
    rows = sorted(_name_cells(wanted, label_files), key=_natural_order)
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"label": "str", "subject": "str"})
    return table.astype({c: "Int64" if table[c].isna().any() else "int64" for c in COLUMNS[3:5]})


def list_images(root: str | Path) -> pd.DataFrame:
    """Lists every image file under a folder, whatever its name, in natural order.

    Args:
        root: Any folder; hidden files and folders are passed over.

    Returns:
        A table of `path` and of `file`, the path relative to the folder, with "/".

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    folder = existing_folder(root)
    files = [PurePath(path).relative_to(folder).as_posix() for path in _find_images(folder)]
    files.sort(key=natural_key)
    return pd.DataFrame({"path": [str(folder / file) for file in files], "file": files})


def natural_key(name: str) -> list[str | int]:
    """Returns a sort key that puts 9 before 10, and capitals before small letters."""
    return [int(p) if p.isdecimal() else p for p in re.split(r"(\d+)", name)]


# Where an image belongs in the published set, from its path alone. `group` is the published folder
# (`fold_0/all`, `preliminary`, `final`; `all` without a fold) and `name` the file's name in small
# letters, so that copies in any layout compare.
Place = namedtuple("Place", "part fold label group name")
# What a published name says: label, subject, smear field and cell in that field, None if not known.
Cell = namedtuple("Cell", "label subject image cell")


def find_files(root: str | Path) -> tuple[dict[str, Place], list[str]]:
    """Returns the place of each image by its path, each once, and the paths of label files.

    Folders of other images are named and left out, if others hold images of the set's form.
    """
    folder = existing_folder(root)
    files = sorted(_find_images(folder), key=lambda path: (path.count(os.sep), path))
    places = {path: place_of(path) for path in files}
    ours = {os.path.dirname(path) for path in places if is_published_name(path)}
    others = {os.path.dirname(path) for path in places} - ours
    if ours and others:
        places = {path: at for path, at in places.items() if os.path.dirname(path) in ours}
        told = f"{len(files) - len(places):,} images in {', '.join(sorted(others)[:6])}"
        warnings.warn(f"Left out, as no part of the data set: {told}", stacklevel=1)
    first: dict[Place | str, str] = {}
    for path, place in places.items():  # a name of another form says nothing of an image
        twin = first.setdefault(place if is_published_name(path) else path, path)
        if twin != path and not filecmp.cmp(twin, path, shallow=False):
            advice = "Two files have the name and place of one image, and differ:"
            raise ValueError(f"{advice} keep the right one. Received: {twin} and {path}")
    return {path: places[path] for path in first.values()}, list(_walk(folder, ("labels.csv",)))


def _find_images(folder: Path) -> list[str]:
    """Finds the images that the series reads, of which there must be some; warns of others."""
    files = list(_walk(folder, (*SUFFIXES, *UNREAD)))
    unread = [path for path in files if path.lower().endswith(UNREAD)]
    if unread:
        kinds = ", ".join(sorted({PurePath(path).suffix.lower() for path in unread}))
        told = f"{len(unread):,} files ({kinds}) under {folder}: convert images to PNG"
        warnings.warn(f"Passed over, as no format that is read here: {told}", stacklevel=1)
    images = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not images:
        advice = f"Expected images ({', '.join(SUFFIXES)})."
        raise FileNotFoundError(f"{advice} Received: {folder}, which holds no images")
    return images


def _walk(folder: Path, endings: tuple[str, ...]) -> Iterator[str]:
    """Yields files, following links, but entering each folder once however it is reached."""
    visited = set()
    for here, folders, files in os.walk(folder, onerror=_pass_over, followlinks=True):
        status = os.stat(here)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        shown = (name for name in sorted(files) if not name.startswith(HIDDEN))
        yield from (os.path.join(here, name) for name in shown if name.lower().endswith(endings))


def _pass_over(error: OSError) -> None:
    warnings.warn(f"Passed over, as it cannot be read: {error}", stacklevel=1)


def place_of(path: str) -> Place:
    """Reads from a path, absolute or relative, where its image belongs: "" where it does not tell.

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
    label = above if above in ("all", "hem") else named[5].lower() if named else ""
    group = "/".join(filter(None, [fold and f"fold_{fold}", label]))
    return Place("training", fold, label.upper(), group, name)


def parse_name(stem: str) -> Cell | None:
    """Reads a name in the published form, in capitals or small letters; None for any other.

    Example:
        >>> parse_name("UID_H10_14_1_hem").subject
        'H10'
    """
    match = _NAME.fullmatch(stem)
    if not match:
        return None
    letter, number, image, cell, label = match.groups()
    subject = f"{letter.upper()}{int(number)}"  # whatever zeros lead
    subject = "h3" if subject == "H3" else subject  # as it is published
    return Cell(label.upper(), subject, int(image), int(cell))


def is_published_name(path: str) -> bool:
    """Whether a path is of a form of the published set's: by its name, or by a folder."""
    return bool(place_of(path).fold or parse_name(PurePath(path).stem))


def read_labels(label_files: list[str]) -> dict[str, Cell]:
    """Reads what the label file of the preliminary set (or its copies) says of each image.

    Returns:
        Cells by the image's name in small letters.

    Raises:
        FileNotFoundError: If there is no label file.
        ValueError: If a line cannot be understood or contradicts itself or another.
    """
    found = {path: _read_label_file(path) for path in label_files}
    tables = [table for table in found.values() if set(table) >= _LABEL_COLUMNS]
    if not tables:
        held = "; ".join(f"{path} with {', '.join(table)}" for path, table in found.items())
        raise FileNotFoundError(
            "The preliminary images need their label file C-NMC_test_prelim_phase_data_labels.csv "
            f"(columns {', '.join(sorted(_LABEL_COLUMNS))}). Received: {held or 'none'}"
        )
    cells: dict[str, Cell] = {}
    for row in pd.concat(tables).drop_duplicates().itertuples():
        cell, name = parse_name(PurePath(str(row.Patient_ID)).stem), str(row.new_names).lower()
        if cell is None or str(CLASSES.index(cell.label)) != row.labels or name in cells:
            advice = f"A line of the label file holds {NAME_FORM}.bmp, name, label, 1 for all."
            raise ValueError(f"{advice} Received: {row.Patient_ID}, {name}, {row.labels}")
        cells[name] = cell
    return cells


def _read_label_file(path: str) -> pd.DataFrame:
    """Reads a table as any spreadsheet writes it; what is none has no columns that we know."""
    data = Path(path).read_bytes()
    coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    text = data.decode(coding, errors="replace")
    lines = [line[:999] for line in map(str.strip, text.splitlines()) if line] or [""]
    separator = max(",;\t", key=lines[0].count)
    # Each line by itself: a quote that is left open takes no other line with it.
    rows = [next(csv.reader([x], delimiter=separator, skipinitialspace=True)) for x in lines]
    header, *body = [[value.strip() for value in row] for row in rows]
    return pd.DataFrame([dict(zip(header, row, strict=False)) for row in body], columns=header)


def _name_cells(images: dict[str, Place], label_files: list[str]) -> list[tuple]:
    """Returns the rows of the table, and raises where a name does not say which cell it is."""
    parts = {place.part for place in images.values()}
    official = read_labels(label_files) if "preliminary" in parts else {}
    cells = {path: _find_cell(path, place, official) for path, place in images.items()}
    unclear = sorted(path for path, cell in cells.items() if cell is None)
    if unclear:  # to skip them would lose data
        advice = f"Images are named {NAME_FORM}, as their folder, or as in the label file: rename"
        others = f"{len(unclear)} others, as {', '.join(unclear[:3])}"
        raise ValueError(f"{advice} or move these. Received: {others}")
    return [(path, *cell, images[path].fold) for path, cell in cells.items() if cell]


def _find_cell(path: str, place: Place, official: dict[str, Cell]) -> Cell | None:
    stem = PurePath(path).stem
    if place.part == "final":
        return Cell(None, None, int(stem) if stem.isdecimal() else None, None)
    named = official.get(place.name) if place.part == "preliminary" else parse_name(stem)
    return named if named and place.label in ("", named.label) else None


def _natural_order(row: tuple) -> tuple:
    path, label, subject, image, cell, fold = row
    place, number = place_of(path), int(re.sub(r"\D", "", subject or "") or 0)
    last = (image or 0, cell or 0, place.name)
    return (PARTS.index(place.part), fold, label or "", number, subject or "", *last)


def check_text(paths: Iterable[str]) -> None:
    """Refuses a path that is not in UTF-8: TensorFlow opens none, and no table holds it."""
    foreign = [path for path in paths if path.encode(errors="ignore").decode() != path]
    if foreign:
        raise ValueError(f"Names are in UTF-8: rename file or folder. Received: {foreign[0]!r}")


def listing_digest(table: pd.DataFrame) -> str:
    """Returns one SHA-256 for a listing: which image is where, with which content.

    Only the published folder (`fold_0/all`), the name and the content (`sha256`) count, not the
    layout around them, nor the order of the rows.
    """
    places = map(place_of, table["path"])
    lines = [f"{p.group}/{p.name} {d}\n" for p, d in zip(places, table["sha256"], strict=True)]
    return hashlib.sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()
