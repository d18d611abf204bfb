"""A split on disk: `split.csv` and `split.json`, held to what its method promises on every reading.

And the two calls that do the whole step: `split_folders` makes folders as the paper did, `prepare`
the leak-free table that all notebooks work on.
"""

import json
import os
import platform
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import __version__
from helpers.data import cnmc, splits
from helpers.data.duplicates import drop_duplicates, link_subjects
from helpers.data.image_files import add_digests, nucleus_area
from helpers.runs import check_disk, key_of, make_once, new_folder, write_atomic
from helpers.settings import Profile, expand, work_dir

VERSION = 3  # of `prepare`: raised whenever its code gives another split
RATIO, VALIDATION = 0.8, 0.1
COLUMNS = [*cnmc.COLUMNS, "sha256", "pixels", "area", "linked_subject", "split"]
SIDES = {*splits.PARTS, "val", "training"}  # names of folders that are no classes
# Columns in which an empty field is a missing value: nothing tells.
EMPTY = {name: [""] for name in ("label", "subject", "linked_subject", "sha256", "pixels")}


def write_split(
    table: pd.DataFrame, folder: Path, *, root: Path, method: str, ratio: float, seed: int
) -> None:
    """Writes a split as `split.csv` and, last, `split.json`, which says how it was made.

    Args:
        table: A table with `split`.
        folder: Where to write; made where needed.
        root: Root of the images; the paths are written relative to it.
        method: `image`, or `subject`, which is held to its promise here and on every reading.
        ratio: The share that was asked for.
        seed: The seed the split was drawn with.

    Raises:
        LeakError: If the method promises no leaks and the table has some.
        ValueError: If an image is outside the root.
    """
    facts = {"method": method, "leak_free": method == "subject", "ratio": ratio, "seed": seed}
    if facts["leak_free"]:
        splits.check_split(table)
    facts |= {"parts": splits.describe_split(table).round(4).to_dict("index")}
    facts |= {"versions": {"helpers": __version__, **_versions()}}
    facts |= {"data": cnmc.listing_digest(table)}
    kept = table[[c for c in COLUMNS if c in table]]
    kept = kept.assign(path=[_relative(path, root) for path in table["path"]])
    lines = kept.to_csv(index=False, lineterminator="\n")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "split.csv", lambda path: path.write_text(lines, newline="\n"))
    text = json.dumps(facts, indent=2) + "\n"
    write_atomic(folder / "split.json", lambda path: path.write_text(text, newline="\n"))


def _relative(path: str, root: Path) -> str:
    """Returns a path relative to a root, without following links that lie under it."""
    here = root.resolve() if Path(path).is_relative_to(root.resolve()) else root.absolute()
    return Path(path).absolute().relative_to(here).as_posix()


def _versions() -> dict[str, str]:
    """Returns the versions that decide what a seed draws, and which images are equal."""
    libraries = {name: version(name) for name in ("numpy", "pandas", "scikit-learn", "pillow")}
    return {"python": platform.python_version()} | libraries


def read_split(folder: Path | str, root: Path | str) -> pd.DataFrame:
    """Reads a split and asserts again what its method promises.

    Args:
        folder: Folder with `split.csv` and `split.json`.
        root: Root of the images on this machine.

    Returns:
        The table as it was written, with absolute paths.

    Raises:
        FileNotFoundError: If the split is not there.
        LeakError: If a subject or an image is on two sides of a split by subject.
    """
    facts = json.loads((Path(folder) / "split.json").read_text())
    file = Path(folder) / "split.csv"
    table = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=EMPTY)
    table = table.astype({c: "int64" for c in ("image", "cell", "area") if c in table})
    table["path"] = [str(Path(root).resolve() / path) for path in table["path"]]
    if facts["leak_free"]:
        splits.check_split(table)
    return table


def split_folders(
    source: Path | str, target: Path | str, ratio: float = 0.8, seed: int = 0, *, by: str = "image"
) -> pd.DataFrame:
    """Splits the images of every class into the folders `train` and `test` (paper, III 2).

    The work is done in a folder beside the target `.<target>.partial` and gets its name when it is
    whole: after an interruption, run it again.

    Args:
        source: Folder of the images: any layout that `cnmc.index` reads, or any two class folders
            of images of any size, which is said by a warning.
        target: Folder to make, outside the source; it may exist if it is empty.
        ratio: Share of images for training, between 0 and 1.
        seed: Any whole number; the same seed gives the same split.
        by: `image` as in the paper, which leaks, or `subject`.

    Returns:
        The table of the split. The target also gets `split.csv` and `split.json`.

    Raises:
        FileNotFoundError: If the source is missing or holds no images.
        FileExistsError: If the target is not empty.
        OSError: If the disk is too small.
        ValueError: If an argument is out of range, the target is inside the source, or the images
            are not in two classes.
    """
    splits.check_ratio(ratio)
    source, target = cnmc.existing_folder(source), expand(target).resolve()
    if target.is_relative_to(source):
        raise ValueError(f"The output must be outside the input folder. Received: {target}")
    table = _list_classes(source)
    table = link_subjects(add_digests(table, any_size=table["subject"].isna().all()))
    if by == "image":
        table = splits.split_by_image(table, ratio, seed)
    else:
        table = splits.split_by_subject(table, ratio, validation=0, seed=seed)
    with new_folder(target) as partial:
        cnmc.mark(table["path"].tolist(), partial)  # copies of stand-ins stay stand-ins
        _place_files(table, partial)
        write_split(table, partial, root=source, method=by, ratio=ratio, seed=seed)
    return table


def _list_classes(source: Path) -> pd.DataFrame:
    """Lists images with their `label`, and with `file`, their place under `train` or `test`."""
    table = cnmc.list_images(source)
    cnmc.check_text(table["path"])
    if table["file"].map(cnmc.is_published_name).any():
        files, table = len(table), cnmc.index(source)
        if len(table) < files:
            left = f"{files - len(table):,} of {files:,} images"
            warnings.warn(f"Left out, as of test parts or second copies: {left}", stacklevel=3)
        names = table["path"].map(os.path.basename)
        return table.assign(file=table["label"].str.lower() + "/" + names)
    folders = table["file"].str.partition("/")[0]
    classes = sorted(set(folders))
    if len(classes) != 2 or (folders == table["file"]).any() or set(classes) & SIDES:
        advice = f"Expected images named {cnmc.NAME_FORM}, or two folders, named as the classes."
        raise ValueError(f"{advice} Received: {', '.join(classes[:6])} in {source}")
    told = f"{' and '.join(classes)} are taken for the classes, and whose cells they are is not"
    warnings.warn(f"These are not C-NMC's names: {told} known.", stacklevel=3)
    capitals = folders.str.upper()
    return table.assign(label=capitals.where(capitals.isin(cnmc.CLASSES), folders), subject=None)


def _place_files(table: pd.DataFrame, folder: Path) -> None:
    """Copies every image to its part and class."""
    from tqdm import tqdm

    twice = table.loc[table["file"].duplicated(), "path"].tolist()
    if twice:
        raise ValueError(f"Two images of a class have one name: rename one. Received: {twice[0]}")
    check_disk(folder, sum(map(os.path.getsize, table["path"])), "The copy of the images")
    for row in tqdm(table.itertuples(), total=len(table), desc="split", disable=None):
        place = folder / row.split / row.file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(row.path, place)


def prepare(
    source: cnmc.Source, profile: Profile, seed: int = 1, report: Callable[[str], Any] | None = None
) -> pd.DataFrame:
    """Returns the leak-free split that all later notebooks work on, from cache where it can.

    Indexes the training images, links subjects over shared images, drops second copies, keeps at
    most `profile.images` and splits 70 : 10 : 20 by subject into train, validation and test.

    Args:
        source: Where the images are, as from `cohort.find_or_draw`.
        profile: The profile in force.
        seed: Any whole number; the same seed gives the same split.
        report: Takes a line, such as `print`, where not all images take part.

    Returns:
        The table with `linked_subject` and `split`.

    Raises:
        ValueError: If a class has fewer than three linked subjects.
    """
    found = cnmc.index(source.root)
    description = {"step": "split", "images": profile.images, **_describe(found, source, seed)}

    def make(folder: Path) -> None:
        table = drop_duplicates(link_subjects(add_digests(found)))
        table = _at_most(table, profile.images, seed)
        table["area"] = nucleus_area(table)
        table = splits.split_by_subject(table, RATIO, VALIDATION, seed)
        write_split(table, folder, root=source.root, method="subject", ratio=RATIO, seed=seed)

    table = read_split(make_once(work_dir() / "splits", description, make), source.root)
    if report and len(table) < len(found):
        report(
            f"{len(table):,} of {len(found):,} images take part: of identical ones the first, at "
            f"most {profile.images:,}, as the profile {profile.name} says; of a split's folder, all"
        )
    return table


def official_test(source: cnmc.Source, profile: Profile, seed: int = 1) -> tuple[pd.DataFrame, str]:
    """Returns the preliminary part of the set, whose subjects no network here has met.

    Images are compared with all training images by what they show, since headers differ. What is
    of a subject that shares an image or its name with these is left out, and so are second copies.

    Args:
        source: Where the images are, as from `cohort.find_or_draw`.
        profile: At most as many images take part as it draws, of every subject in proportion.
        seed: Decides which, where there are more.

    Returns:
        A table as from `prepare`, all of it in the part "test", and a line that says what it is.
        It has no rows where there is no such part, or one of fewer than three subjects of a class.
    """
    found = cnmc.index(source.root, "all")
    found, given = found[found["label"].notna()], (found["fold"] == "preliminary").sum()
    if not given:
        return pd.DataFrame(columns=COLUMNS), "No preliminary part is here, so no official test."
    images = profile.preliminary[-1]
    description = {"step": "official test", "images": images, **_describe(found, source, seed)}

    def make(folder: Path) -> None:
        table = link_subjects(add_digests(found))
        is_test = table["fold"] == "preliminary"
        met = is_test & table["linked_subject"].isin(table.loc[~is_test, "linked_subject"])
        rows = drop_duplicates(table[is_test & ~met])
        told = f"{met.sum():,} of subjects that share a name or an image with the training part"
        told += f", {(is_test & ~met).sum() - len(rows):,} second copies"
        if len(rows) > images:
            told += f", {len(rows) - images:,} more than this profile takes"
        rows = _at_most(rows, images, seed).assign(split="test")
        write_split(rows, folder, root=source.root, method="subject", ratio=0, seed=seed)
        (folder / "left_out.txt").write_text(told)

    folder = make_once(work_dir() / "splits", description, make)
    table, told = read_split(folder, source.root), (folder / "left_out.txt").read_text()
    people = table.groupby("label")["linked_subject"].nunique().reindex(cnmc.CLASSES, fill_value=0)
    size = f"{len(table):,} of {given:,} images of the preliminary part, of "
    size += f"{people['ALL']} ALL and {people['HEM']} HEM subjects; left out: {told}"
    if people.min() < 3:  # too few to say how far a score may be off
        return table[:0], f"Too few subjects for an official test: {size}."
    return table, f"The official test: {size}."


def _describe(found: pd.DataFrame, source: cnmc.Source, seed: int) -> dict[str, Any]:
    """Names what determines a split, besides its sizes."""
    states = [(path, os.stat(path)) for path in found["path"]]  # size and time stand for content
    files = {path: [state.st_size, state.st_mtime_ns, state.st_ctime_ns] for path, state in states}
    facts = {"version": VERSION, "versions": _versions(), "files": key_of(files)}
    return facts | {"root": str(source.root), "seed": seed}


def _at_most(table: pd.DataFrame, images: int, seed: int) -> pd.DataFrame:
    """Thins out the table to a number of images, every subject in proportion and none to zero."""
    shuffled = table.sample(frac=1, random_state=seed)
    subject = shuffled.groupby("linked_subject")["path"]
    order = (subject.cumcount() / subject.transform("size")).sort_values(kind="stable")
    return table.loc[sorted(order.index[:images])].reset_index(drop=True)
