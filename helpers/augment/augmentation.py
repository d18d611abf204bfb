"""Drives Augmentor's operations: exact probabilities, a seed per image, processes, own file names.

Augmentor draws well and samples badly. Its `Pipeline.sample()` rounds the draw for a probability to
one decimal (asked 0.5, it does 0.55), repeats itself only with a single thread, and names its files
by chance. So its operations do the work here, one by one, and everything around them is ours.

Augments the training part: which image is drawn from which, to an asked total, kept on disk.

How one image is drawn is in `helpers.augment.augmentation`. Copies are shared out evenly: no image gets a second
one before each has its first. Copy 2 of an image is the same whatever the total, so that a larger
total adds to a smaller one.

Augments the folder `train` of a split on disk, as `python -m helpers augment` does.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import random
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from helpers import runs
from helpers.data import cnmc
from helpers.data.image_files import SIDE, read_image
from helpers.data.split_files import COPIERS
from helpers.runs import write_atomic
from helpers.settings import Profile, work_dir

with warnings.catch_warnings():  # new Pythons complain of the escapes in its texts
    warnings.simplefilter("ignore")
    from Augmentor import Operations

# They turn and mirror about the centre, so that black around a cell stays black.
_CENTRED = (Operations.Flip, Operations.Rotate, Operations.RotateStandard)
_DPI = (95.99, 95.99)  # Pillow makes of it the 3,779 px per metre in the headers of C-NMC
_CHUNK = 16  # images per task of a worker
FILE_BYTES = 54 + (3 * SIDE + 2) * SIDE


class Sample(NamedTuple):
    """One image to be drawn: from which file, to which file, and the seed of all its chances."""

    source: str
    target: str
    key: str


def rotations_and_flips() -> list[Any]:
    """Returns the paper's operations (III 3.1.1), in the variant that keeps the size of a cell.

    Returns:
        Augmentor operations: any angle without zoom, then both mirrorings at even chances.
    """
    return [
        Operations.RotateStandard(1.0, 180, 180),
        Operations.Flip(0.5, "LEFT_RIGHT"),
        Operations.Flip(0.5, "TOP_BOTTOM"),
    ]


def draw_samples(
    samples: Sequence[Sample], operations: Sequence[Any], workers: int | None = None
) -> list[str]:
    """Draws every sample whose file is not there yet.

    Files are BMPs, byte for byte in the form of C-NMC's own. Measured on rotated cells, that takes
    1.6 ms of processor time to write and read; a PNG at its fastest takes 6.5 ms for a sixteenth
    of the space, and every network that is trained reads all files once.

    Args:
        samples: What to draw.
        operations: Augmentor operations, in their order, each done with exactly its probability.
        workers: Processes; by default one per processor, fewer for a few images. It does not
            matter to the result.

    Returns:
        The SHA-256 digest of each file, in order.

    Raises:
        ImageError: If a source cannot be read.
    """
    from tqdm import tqdm

    workers = workers or _default_workers(len(samples))
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    drawn: list[str] = []
    with tqdm(total=len(samples), desc="augment", unit="image", disable=None) as bar:
        parallel = Parallel(n_jobs=workers, return_as="generator")
        for digests in parallel(delayed(_draw_chunk)(chunk, operations) for chunk in chunks):
            drawn += digests
            bar.update(len(digests))
    if workers > 1:  # idle workers would outlive a notebook by minutes
        get_reusable_executor().shutdown(wait=True)
    return drawn


def _default_workers(count: int) -> int:
    """Counts the processes that are worth their start, which takes about a second."""
    return max(1, min(os.cpu_count() or 1, count // 200))


def _draw_chunk(samples: Sequence[Sample], operations: Sequence[Any]) -> list[str]:
    return [_draw(sample, operations) for sample in samples]


def _draw(sample: Sample, operations: Sequence[Any]) -> str:
    """Draws a sample unless it is there, and returns the digest of its file."""
    from PIL import Image

    target = Path(sample.target)
    if target.exists():
        return hashlib.sha256(target.read_bytes()).hexdigest()
    image = Image.fromarray(read_image(sample.source))
    stream = io.BytesIO()
    apply(image, operations, sample.key).save(stream, "BMP", dpi=_DPI)
    temporary = target.with_name(f".partial-{os.getpid()}-{target.name}")
    temporary.write_bytes(stream.getbuffer())
    temporary.replace(target)
    return hashlib.sha256(stream.getbuffer()).hexdigest()


def apply(image: Any, operations: Sequence[Any], key: str) -> Any:
    """Puts an image through operations, each with exactly the probability it was made with.

    Operations about the centre see only the square that holds what is not black; the result is the
    same to the last bit, and rotating a nucleus takes half as long as rotating its surroundings.

    Args:
        image: A Pillow image.
        operations: Augmentor operations.
        key: Any text; the same key gives the same image.

    Returns:
        A Pillow image.
    """
    from PIL import Image

    width, height = image.size
    centred = width == height == SIDE and all(map(_is_centred, operations))
    half = min(_reach(image), SIDE // 2) if centred else SIDE // 2
    corner = SIDE // 2 - half
    seen = image.crop((corner, corner, SIDE - corner, SIDE - corner)) if corner else image
    with _seeded(key):
        for operation in operations:
            if random.random() < operation.probability:
                (seen,) = operation.perform_operation([seen])
    if not corner:
        return seen
    whole = Image.new(image.mode, image.size)
    whole.paste(seen, (corner, corner))
    return whole


def _is_centred(operation: Any) -> bool:
    black = not getattr(operation, "fillcolor", None) and not getattr(operation, "expand", False)
    return isinstance(operation, _CENTRED) and black


def _reach(image: Any) -> int:
    """Returns half the side of the central square that holds the cell however it is turned."""
    box = image.getbbox()
    if box is None:
        return 1
    left, upper, right, lower = box
    lit = np.asarray(image.crop(box)).any(axis=2)
    farthest = _squared_distances()[upper:lower, left:right][lit].max()
    return int(np.sqrt(farthest)) + 4  # bicubic interpolation reaches 2 px, and corners 1 more


@functools.cache
def _squared_distances() -> np.ndarray:
    """Returns how far each pixel is from the centre of the image, squared, in px."""
    steps = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) ** 2
    return steps[:, None] + steps


@contextmanager
def _seeded(key: str) -> Iterator[None]:
    """Seeds the generators that Augmentor draws from, and leaves them as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(key)
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


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
