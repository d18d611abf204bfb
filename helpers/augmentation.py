"""Augments the training part: which image is drawn from which, to an asked total, kept on disk.

How one image is drawn is in `helpers.sampler`. Copies are shared out evenly: no image gets a second
one before each has its first. Copy 2 of an image is the same whatever the total, so that a larger
total adds to a smaller one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers import runs
from helpers.profiles import Profile, work_dir
from helpers.runs import write_atomic
from helpers.sampler import FILE_BYTES, Sample, draw_samples, rotations_and_flips

VERSION = (
    1  # raise it whenever the same seed draws other pixels: what is in the cache is drawn anew
)


def augment(
    table: pd.DataFrame,
    folder: str | Path,
    total: int,
    seed: int = 1,
    *,
    per_class: bool = False,
    operations: Sequence[Any] | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Draws augmented images until there are as many images as asked, originals included.

    Files that are there already are kept: after an interruption, call it again with all the same.

    Args:
        table: Training rows with `path` and `label`. Where there is a column `split`, it must say
            "train" in every row.
        folder: Where the files go, to `all/` and `hem/`. A name is the name of the image it was
            drawn from and the number of the copy, in a form that `cnmc.index` refuses, so that
            nobody takes augmented images for data.
        total: Images there shall be, at least as many as there are (paper: 20,000 of 8,480).
        seed: Any whole number; same seed, same bytes.
        per_class: Whether `total` is meant for each class, which balances them.
        operations: Augmentor operations; by default `sampler.rotations_and_flips()`.
        workers: As in `sampler.draw_samples`.

    Returns:
        The augmented rows alone: those they were drawn from, with `path` and digests of their own,
        and in `source` the path of the image drawn from.

    Raises:
        ValueError: If a row is not for training, the total is too small, or two images of a class
            have one name.
        OSError: If the disk has too little room.
        ImageError: If an image cannot be read.
    """
    check_training_only(table)
    folder = Path(folder).resolve()
    there = sum(1 for _ in folder.glob("*/*_augmented_*.bmp"))
    check_disk(folder, count_missing(table, total, per_class) - there)
    rows = plan(table, total, seed, per_class)
    names = [_target(folder, row.label, row.path, row.copy) for row in rows.itertuples()]
    _check_names(names)
    for label in rows["label"].str.lower().unique():
        (folder / label).mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*/.partial-*"):  # of a process that was killed while writing
        leftover.unlink()
    samples = [
        Sample(row.path, str(name), f"{seed}/{Path(row.path).stem}/{row.copy}")
        for row, name in zip(rows.itertuples(), names, strict=True)
    ]
    digests = draw_samples(samples, operations or rotations_and_flips(), workers)
    return _augmented_rows(rows, [str(name) for name in names], digests)


def check_training_only(table: pd.DataFrame) -> None:
    """Refuses rows that are not for training.

    Args:
        table: A table; one without `split` passes.

    Raises:
        ValueError: If a row is of another part than "train"; the message counts them.
    """
    others = table.loc[table["split"] != "train", "split"] if "split" in table else pd.Series()
    if len(others):
        raise ValueError(
            "Only training images may be augmented; pass table[table['split'] == 'train']. "
            f"Received: {others.value_counts().to_dict()} besides"
        )


def count_missing(table: pd.DataFrame, total: int, per_class: bool = False) -> int:
    """Counts the images that are still to be drawn.

    Args:
        table: Training rows with `label`.
        total: Images there shall be, originals included.
        per_class: Whether `total` is meant for each class.

    Returns:
        A number of images, at least 0.

    Raises:
        ValueError: If there are more images than the total already, or none at all.
    """
    counts = table["label"].value_counts() if per_class else pd.Series([len(table)])
    if not len(table) or total < counts.max():
        raise ValueError(
            "The total counts the originals, so it is at least their number, and there must be "
            f"one. Received: total={total} for {counts.max() if len(table) else 0:,} images"
            f"{' of a class' * per_class}"
        )
    return int((total - counts).sum())


def plan(table: pd.DataFrame, total: int, seed: int = 1, per_class: bool = False) -> pd.DataFrame:
    """Decides which image is drawn from how often.

    Args:
        table: Training rows with `path` and `label`.
        total: Images there shall be, originals included, at least as many as there are.
        seed: Any whole number.
        per_class: Whether `total` is meant for each class.

    Returns:
        One row per image to draw: the row of the table it is drawn from, and `copy`, from 1.

    Raises:
        ValueError: If there are more images than the total already, or none at all.
    """
    count_missing(table, total, per_class)
    groups = [rows for _, rows in table.groupby("label")] if per_class else [table]
    drawn = []
    for rows in groups:
        order = np.random.default_rng(seed).permutation(len(rows))
        numbers = np.arange(total - len(rows))
        chosen = rows.iloc[order[numbers % len(rows)]]
        drawn.append(chosen.assign(copy=numbers // len(rows) + 1))
    return pd.concat(drawn, ignore_index=True)


def _target(folder: Path, label: str, path: str, copy: int) -> Path:
    return folder / label.lower() / f"{Path(path).stem}_augmented_{copy}.bmp"


def _check_names(names: list[Path]) -> None:
    repeated = pd.Series(names, dtype=object)[lambda series: series.duplicated()]
    if len(repeated):
        raise ValueError(
            "Two images of one class have the same name; rename one of them. Received: "
            f"{repeated.iloc[0].name.split('_augmented_')[0]}"
        )


def check_disk(folder: Path, images: int) -> None:
    """Raises if the disk cannot hold so many more images.

    Args:
        folder: Where they shall go; it need not exist yet.
        images: Number of images, 0.6 MB each.

    Raises:
        OSError: With what is needed and what is free.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    needed, free = images * FILE_BYTES, shutil.disk_usage(there).free
    if needed > free:
        raise OSError(
            f"{images:,} augmented images need {needed / 1e9:.1f} GB of disk: ask for fewer, or "
            "name a folder on another disk (for notebooks: the variable CNMC_WORK). "
            f"Received: {str(there)!r} with {free / 1e9:.1f} GB free"
        )


def _augmented_rows(rows: pd.DataFrame, paths: list[str], digests: list[str]) -> pd.DataFrame:
    """Turns rows of originals into rows of what was drawn from them."""
    # The files are in the form of the training images, so both digests are one.
    found = rows.assign(source=rows["path"], path=paths, sha256=digests, pixels=digests)
    return found.drop(columns="copy")


def prepare(split: pd.DataFrame, profile: Profile, seed: int = 1) -> pd.DataFrame:
    """Returns the table that networks are trained on: a split and its augmented training images.

    They are drawn once and kept under `augmented/` in the folder for everything generated.

    Args:
        split: A table with `split`, as from `splits.prepare`.
        profile: Its `train_total` is the size of the training part to reach.
        seed: Any whole number; same seed, same images.

    Returns:
        The rows of the split, then the augmented ones, with `split` "train" and in `source` the
        path of the image drawn from (missing for originals). No more rows if the training part is
        as large already.
    """
    train = split[split["split"] == "train"].reset_index(drop=True)
    originals = split.assign(source=pd.Series(None, split.index, dtype="str"))
    if len(train) >= profile.train_total:
        return originals
    rows = plan(train, profile.train_total, seed)

    def make(folder: Path) -> None:
        drawn = augment(train, folder, profile.train_total, seed)
        write_atomic(folder / "digests.csv", drawn[["sha256"]].to_csv)

    folder = runs.make_once(work_dir() / "augmented", _describe(train, profile, seed), make)
    digests = pd.read_csv(folder / "digests.csv")["sha256"].tolist()
    paths = [str(_target(folder, row.label, row.path, row.copy)) for row in rows.itertuples()]
    return pd.concat([originals, _augmented_rows(rows, paths, digests)], ignore_index=True)


def _describe(train: pd.DataFrame, profile: Profile, seed: int) -> dict[str, Any]:
    """Names everything that determines the augmented images."""
    return {
        "data": runs.table_digest(train),
        "names": [Path(path).name for path in train["path"]],
        "total": profile.train_total,
        "seed": seed,
        "version": VERSION,
        "libraries": {name: version(name) for name in ("Augmentor", "numpy", "pillow")},
    }
