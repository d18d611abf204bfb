"""The step between the images and the networks: who trains, who tests, with nobody on both sides.

How images are told apart is in `helpers.duplicates`, who goes where in `helpers.partition`, what
counts as a leak in `helpers.leaks`, the record on disk in `helpers.split_files`. All of it is
offered here, beside the two calls that do the whole step: `split_folders` and `prepare`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd

import helpers
from helpers import cnmc
from helpers.duplicates import (
    drop_duplicates,
    find_duplicates,
    link_subjects,
    near_duplicates,
)
from helpers.leaks import PARTS, LeakError, LeakWarning, check_split, find_leaks
from helpers.partition import (
    check_ratio,
    describe_split,
    official_folds,
    repaired_folds,
    split_by_image,
    split_by_subject,
)
from helpers.profiles import Profile, work_dir
from helpers.split_files import read_split, write_split

__all__ = [
    "PARTS",
    "LeakError",
    "LeakWarning",
    "check_split",
    "describe_split",
    "drop_duplicates",
    "find_duplicates",
    "find_leaks",
    "link_subjects",
    "near_duplicates",
    "official_folds",
    "prepare",
    "read_split",
    "repaired_folds",
    "split_by_image",
    "split_by_subject",
    "split_folders",
    "write_split",
]

COPIERS: dict[str, Callable] = {"copy": shutil.copy2, "hardlink": os.link, "symlink": os.symlink}
RATIO, VALIDATION = 0.8, 0.1


def split_folders(
    source: Path | str,
    target: Path | str,
    ratio: float = 0.8,
    seed: int = 0,
    *,
    by: str = "image",
    how: str = "copy",
) -> pd.DataFrame:
    """Splits the images of every class into the folders `train` and `test` (paper, III 2).

    The work is done in a folder beside the target that ends in `.partial` and gets its name when
    it is whole: after an interruption, run it again.

    Args:
        source: Folder of the images: any layout that `cnmc.index` reads.
        target: Folder to make, outside the source; it may exist if it is empty.
        ratio: Share of images for training, between 0 and 1.
        seed: Any whole number; the same seed gives the same split.
        by: `image` as in the paper, which leaks, or `subject`.
        how: `copy`, `hardlink` (no space needed, same disk) or `symlink`.

    Returns:
        The table of the split. The target also gets `split.csv` and `split.json`.

    Raises:
        FileNotFoundError: If the source is missing or holds no images.
        FileExistsError: If the target is not empty.
        ValueError: If an argument is out of range or the target is inside the source.
    """
    source, target = Path(source).resolve(), Path(target).resolve()
    _check_arguments(source, target, ratio, by, how)
    table = link_subjects(cnmc.add_digests(cnmc.index(source)))
    draw = {"image": split_by_image, "subject": _two_parts}[by]
    table = draw(table, ratio=ratio, seed=seed)
    partial = _fresh_partial(target)
    _place_files(table, partial, COPIERS[how])
    write_split(table, partial, root=source, method=by, ratio=ratio, seed=seed)
    if target.exists():
        target.rmdir()
    partial.rename(target)
    return table


def _check_arguments(source: Path, target: Path, ratio: float, by: str, how: str) -> None:
    """Raises before anything is read or written if the call cannot succeed."""
    check_ratio(ratio)
    if by not in ("image", "subject") or how not in COPIERS:
        raise ValueError(
            f"`by` is image or subject, `how` is one of {', '.join(COPIERS)}. "
            f"Received: by={by!r}, how={how!r}"
        )
    if not source.is_dir():
        raise FileNotFoundError(f"The folder of the images does not exist. Received: {source}")
    if target.is_relative_to(source):
        raise ValueError(
            "The output folder must be outside the input folder, or its images would be split "
            f"again next time. Received: {target} inside {source}"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(
            f"The output folder must be new or empty; nothing was changed. Received: {target}"
        )


def _two_parts(table: pd.DataFrame, ratio: float, seed: int) -> pd.DataFrame:
    return split_by_subject(table, ratio=ratio, validation=0, seed=seed)


def _fresh_partial(target: Path) -> Path:
    """Returns an empty folder to work in, cleared of what an interrupted run left there."""
    partial = target.with_name(target.name + ".partial")
    ours = {"train", "test", "split.csv", "split.csv.partial", "split.json", "split.json.partial"}
    if partial.exists() and not {entry.name for entry in partial.iterdir()} <= ours:
        raise FileExistsError(
            "The work folder holds files of another origin; move them away first. "
            f"Received: {partial}"
        )
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def _place_files(table: pd.DataFrame, folder: Path, copier: Callable) -> None:
    """Copies or links every image to its part and class."""
    from tqdm import tqdm

    for row in tqdm(table.itertuples(), total=len(table), desc="split", disable=None):
        place = folder / row.split / row.label.lower() / Path(row.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            raise ValueError(
                f"Two images of one class have the same name; rename one. Received: {row.path}"
            )
        copier(row.path, place)


def prepare(source: cnmc.Source, profile: Profile, seed: int = 1) -> pd.DataFrame:
    """Returns the leak-free split that all later notebooks work on, from cache where it can.

    Indexes the training images, links subjects over shared images, drops second copies, keeps at
    most `profile.images` and splits 70 : 10 : 20 by subject into train, validation and test.

    Args:
        source: Where the images are, as from `synthetic.find_or_draw`.
        profile: The profile in force.
        seed: Any whole number; the same seed gives the same split.

    Returns:
        The table with `linked_subject` and `split`.

    Raises:
        ValueError: If a class has fewer than three linked subjects.
    """
    from filelock import FileLock

    found = cnmc.index(source.root)
    folder = work_dir() / "splits" / _key(found, source.root, profile, seed)
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / "split.json").exists():
            whole = drop_duplicates(link_subjects(cnmc.add_digests(found)))
            table = _at_most(whole, profile.images, seed)
            split = split_by_subject(table, RATIO, VALIDATION, seed)
            facts: dict = {"root": source.root, "ratio": RATIO, "seed": seed}
            write_split(split, folder, method="subject", **facts)
    return read_split(folder, source.root)


def _key(table: pd.DataFrame, root: Path, profile: Profile, seed: int) -> str:
    """Returns a digest of all that decides the split: name, size and time stand for content."""
    facts = [helpers.__version__, profile.images, seed, RATIO, VALIDATION, str(root)]
    for path in table["path"]:
        stat = os.stat(path)
        facts.append((path, stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _at_most(table: pd.DataFrame, images: int, seed: int) -> pd.DataFrame:
    """Thins out the table to a number of images, every subject in proportion and none to zero."""
    shuffled = table.sample(frac=1, random_state=seed)
    subject = shuffled.groupby("linked_subject")["path"]
    order = (subject.cumcount() / subject.transform("size")).sort_values(kind="stable")
    return table.loc[sorted(order.index[:images])].reset_index(drop=True)
