"""Augments the folder `train` of a split on disk, as `python -m helpers augment` does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from helpers import cnmc, runs
from helpers.augmentation import augment, check_disk, count_missing
from helpers.splits import COPIERS

SETTINGS = "augment.json"


def augment_folders(
    source: Path | str,
    target: Path | str,
    total: int,
    seed: int = 1,
    *,
    per_class: bool = False,
    how: str = "copy",
    workers: int | None = None,
) -> pd.DataFrame:
    """Makes a folder with the training images of a split and images drawn from them.

    The work is done in a folder beside the target that ends in `.partial` and gets its name when
    it is whole: after an interruption, run it again, and it goes on where it stopped.

    Args:
        source: Folder of a split, as from `splits.split_folders`; only its `train` is looked at.
        target: Folder to make, outside the source; it may exist if it is empty. It gets
            `train/all` and `train/hem`, and the table `train.csv` with paths relative to it.
        total: Training images there shall be, originals included (paper: 20,000 of 8,480).
        seed: Any whole number; same seed, same bytes.
        per_class: Whether `total` is meant for each class, which balances them.
        how: How originals get there: `copy`, `hardlink` or `symlink`.
        workers: As in `sampler.draw_samples`.

    Returns:
        The table of the new folder; augmented rows have `source`.

    Raises:
        FileNotFoundError: If there is no split.
        FileExistsError: If the target is not empty.
        ValueError: If the total is too small, a class is missing, or the target is inside the
            source.
        OSError: If the disk has too little room.
    """
    source, target = Path(source).resolve(), Path(target).resolve()
    _check_folders(source, target, how)
    table = cnmc.index(source / "train").assign(split="train")
    cnmc.check_classes(table)
    drawn = count_missing(table, total, per_class)
    partial = target.with_name(target.name + ".partial")
    there = sum(1 for _ in partial.rglob("*.bmp"))
    check_disk(target, drawn + (len(table) if how == "copy" else 0) - there)
    _open(partial, {"total": total, "seed": seed, "per_class": per_class, "from": _digest(table)})
    originals = _place(table, partial, how)
    found = augment(originals, partial / "train", total, seed, per_class=per_class, workers=workers)
    whole = pd.concat([originals, found], ignore_index=True)
    _write_table(whole, partial)
    if target.exists():
        target.rmdir()
    partial.rename(target)
    return whole.assign(**{c: _moved(whole[c], partial, target) for c in ("path", "source")})


def _check_folders(source: Path, target: Path, how: str) -> None:
    """Raises before anything is read or written if the call cannot succeed."""
    if how not in COPIERS:
        raise ValueError(f"`how` is one of {', '.join(COPIERS)}. Received: how={how!r}")
    if not (source / "train").is_dir():
        raise FileNotFoundError(
            "Expected the folder of a split, with a folder `train` in it; make one with "
            f"`python -m helpers split`. Received: {source}"
        )
    if target.is_relative_to(source):
        raise ValueError(
            "The output folder must be outside the input folder, or augmented images would be "
            f"taken for data next time. Received: {target} inside {source}"
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(
            f"The output folder must be new or empty; nothing was changed. Received: {target}"
        )


def _digest(table: pd.DataFrame) -> str:
    return runs.key_of({"data": runs.table_digest(table), "paths": table["path"].tolist()})


def _open(partial: Path, settings: dict) -> None:
    """Opens the work folder: new, or as an interruption left it, if that had the same settings."""
    note = partial / SETTINGS
    if partial.exists() and any(partial.iterdir()):
        if not note.is_file():
            raise FileExistsError(
                "The work folder holds files of another origin; move them away first. "
                f"Received: {partial}"
            )
        if json.loads(note.read_text()) == settings:
            return
        shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    runs.write_atomic(note, lambda path: path.write_text(json.dumps(settings)))


def _place(table: pd.DataFrame, folder: Path, how: str) -> pd.DataFrame:
    """Puts the originals where they are not yet, whole; returns their rows with the new paths."""
    names = [
        folder / "train" / row.label.lower() / Path(row.path).name for row in table.itertuples()
    ]
    if len(set(names)) < len(names):
        raise ValueError(
            "Two images of one class have the same name; rename one of them. Received: "
            f"{pd.Series(names)[pd.Series(names).duplicated()].iloc[0].name}"
        )
    for path, name in zip(table["path"], names, strict=True):
        name.parent.mkdir(parents=True, exist_ok=True)
        if not name.exists():
            temporary = name.with_name(f".partial-{name.name}")
            temporary.unlink(missing_ok=True)
            COPIERS[how](path, temporary)
            temporary.replace(name)
    return table.assign(path=[str(name) for name in names])


def _write_table(table: pd.DataFrame, folder: Path) -> None:
    kept = table.assign(**{c: _moved(table[c], folder, Path()) for c in ("path", "source")})
    runs.write_atomic(folder / "train.csv", lambda path: kept.to_csv(path, index=False))


def _moved(paths: pd.Series, old: Path, new: Path) -> pd.Series:
    """Returns paths as they are when the folder that holds them has another name."""
    return paths.map(lambda p: (new / Path(p).relative_to(old)).as_posix(), na_action="ignore")
