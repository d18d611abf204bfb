"""A split on disk: `split.csv` and `split.json`, written once and asserted on every reading.

The step between the images and the networks: who trains, who tests, with nobody on both sides.

How images are told apart is in `helpers.data.duplicates`, who goes where in `helpers.data.splits`, what
counts as a leak in `helpers.data.splits`, the record on disk in `helpers.data.split_files`. All of it is
offered here, beside the two calls that do the whole step: `split_folders` and `prepare`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd

import helpers
from helpers.data import cnmc, image_files, official
from helpers.data.duplicates import drop_duplicates, link_subjects
from helpers.data.splits import (
    LeakWarning,
    check_ratio,
    check_split,
    describe_split,
    find_leaks,
    name_leaks,
    split_by_image,
    split_by_subject,
)
from helpers.settings import Profile, work_dir

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
        "data": official.listing_digest(table),
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
    table = link_subjects(image_files.add_digests(cnmc.index(source)))
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
            whole = drop_duplicates(link_subjects(image_files.add_digests(found)))
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
