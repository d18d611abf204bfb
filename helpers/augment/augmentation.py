"""Augments the training part: which image is drawn from which, to an asked total, kept on disk.

Copies are shared out evenly: no image gets a second one before each has its first. Copy 2 of an
image is the same whatever the total, so that a larger total adds to a smaller one.

Augmentor draws well and samples badly. Its `Pipeline.sample()` rounds the draw for a probability to
one decimal (asked 0.5, it does 0.55), repeats itself only with a single thread, and names its files
by chance. So its operations do the work here, one by one, and everything around them is ours: exact
probabilities, a seed per image, processes, file names.
"""

import random
import shutil
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from helpers import runs
from helpers.data import cnmc
from helpers.data.image_files import SIDE, read_image
from helpers.data.splits import check_classes
from helpers.settings import Profile, processors, work_dir

with warnings.catch_warnings():  # new Pythons complain of the escapes in its texts
    warnings.simplefilter("ignore")
    from Augmentor import Operations

VERSION = 1  # raise it whenever the same seed draws other pixels: the cache is then drawn anew
COPY = "_augmented_"  # in the name of a copy, behind that of its original
FILE_BYTES = 54 + (3 * SIDE + 2) * SIDE
_DPI = (95.99, 95.99)  # Pillow makes of it the 3,779 px per metre in the headers of C-NMC


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


def apply(image: Image.Image, operations: Sequence[Any], key: str) -> Image.Image:
    """Puts an image through operations, each with exactly the probability it was made with.

    Args:
        image: A Pillow image.
        operations: Augmentor operations.
        key: Any text; the same key gives the same image.

    Returns:
        A Pillow image.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(key)  # Augmentor draws from both generators; they are left as they were
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
    try:
        for operation in operations:
            if random.random() < operation.probability:
                (image,) = operation.perform_operation([image])
        return image
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


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
    groups = [rows for _, rows in table.groupby("label")] if per_class else [table]
    largest = max(map(len, groups), default=0)
    if not 0 < largest <= total:
        advice = "The total counts the originals, so it is their number at least, and there is one."
        told = f"total={total} for {largest:,} images{' of a class' * per_class}"
        raise ValueError(f"{advice} Received: {told}")
    drawn = []
    for rows in groups:
        order = np.random.default_rng(seed).permutation(len(rows))
        numbers = np.arange(total - len(rows))
        drawn.append(rows.iloc[order[numbers % len(rows)]].assign(copy=numbers // len(rows) + 1))
    return pd.concat(drawn, ignore_index=True)


def augment(
    table: pd.DataFrame,
    folder: str | Path,
    total: int,
    seed: int = 1,
    *,
    operations: Sequence[Any] | None = None,
    workers: int | None = None,
) -> pd.DataFrame:
    """Draws augmented images until there are as many images as asked, originals included.

    Files are BMPs, byte for byte in the form of C-NMC's own.

    Args:
        table: Training rows with `path` and `label`. Where there is a column `split`, it must say
            "train" in every row.
        folder: Where the files go, to `all/` and `hem/`. A name is the name of the image it was
            drawn from and the number of the copy, in a form that `cnmc.index` refuses, so that
            nobody takes augmented images for data.
        total: Images there shall be, at least as many as there are (paper: 20,000 of 8,480).
        seed: Any whole number; same seed, same bytes.
        operations: Augmentor operations, in their order; by default `rotations_and_flips()`.
        workers: Processes; by default one per processor, fewer for a few images. It does not
            matter to the result.

    Returns:
        The augmented rows alone: those they were drawn from, with `path` and digests of their own,
        and in `source` the path of the image drawn from.

    Raises:
        ValueError: If a row is not for training, the total is too small, or two images of a class
            have one name.
        OSError: If the disk has too little room.
        ImageError: If an image cannot be read.
    """
    if "split" in table and (table["split"] != "train").any():
        advice = "Only training images may be augmented; pass table[table['split'] == 'train']."
        raise ValueError(f"{advice} Received: {table['split'].value_counts().to_dict()}")
    folder, operations = Path(folder).resolve(), operations or rotations_and_flips()
    runs.check_disk(folder, (total - len(table)) * FILE_BYTES, f"Augmenting to {total:,} images")
    rows = _name_copies(plan(table, total, seed), folder)
    for label in rows["label"].str.lower().unique():
        (folder / label).mkdir(parents=True, exist_ok=True)
    keys = [f"{seed}/{Path(row.source).stem}/{row.copy}" for row in rows.itertuples()]
    jobs = zip(rows["source"], rows["path"], keys, strict=True)
    return _add_digests(rows, _draw_all(list(jobs), operations, workers))


def _name_copies(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Moves the paths of the originals to `source`, and names the files to be drawn from them."""
    names = [
        folder / row.label.lower() / f"{Path(row.path).stem}{COPY}{row.copy}.bmp"
        for row in rows.itertuples()
    ]
    rows = rows.assign(source=rows["path"], path=[str(name) for name in names])
    twice = rows.loc[rows["path"].duplicated(), "source"].tolist()
    if twice:
        raise ValueError(f"Two images of a class have one name: rename one. Received: {twice[0]}")
    return rows


def _draw_all(jobs: list[tuple], operations: Sequence[Any], workers: int | None) -> list[str]:
    """Draws all files, and returns their digests."""
    workers = workers or min(processors(), len(jobs) // 200) or 1  # a start takes a second
    calls = [delayed(_draw)(*job, operations) for job in jobs]
    # Images per task, and seconds after which idle workers end: else they outlive a notebook.
    how = {"return_as": "generator", "batch_size": 16, "idle_worker_timeout": 10}
    drawn = Parallel(workers, **how)(calls)
    return list(tqdm(drawn, "augment", len(calls), unit="image", disable=None))


def _draw(source: str, path: str, key: str, operations: Sequence[Any]) -> str:
    apply(Image.fromarray(read_image(source)), operations, key).save(path, dpi=_DPI)
    return runs.file_digest(path)


def _add_digests(rows: pd.DataFrame, digests: list[str]) -> pd.DataFrame:
    """Files in the form of the training images have one digest for their bytes and pixels."""
    return rows.assign(sha256=digests, pixels=digests).drop(columns="copy")


def prepare(split: pd.DataFrame, profile: Profile, seed: int = 1) -> pd.DataFrame:
    """Returns the table that networks are trained on: a split and its augmented training images.

    They are drawn once and kept under `augmented/` in the folder for everything generated.

    Args:
        split: A table with `split`, as from `split_files.prepare`.
        profile: Its `train_total` is the size of the training part to reach.
        seed: Any whole number; same seed, same images.

    Returns:
        The rows of the split, then the augmented ones, with `split` "train" and in `source` the
        path of the image drawn from (missing for originals). No more rows if the training part is
        as large already, or has copies.
    """
    if "source" in split and split["source"].notna().any():
        return split
    train = split[split["split"] == "train"].reset_index(drop=True)
    originals = split.assign(source=pd.Series(None, split.index, dtype="str"))
    if len(train) >= profile.train_total:
        return originals
    libraries = {name: version(name) for name in ("Augmentor", "numpy", "pillow")}
    description = {"data": runs.table_digest(train), "libraries": libraries, "version": VERSION}
    description |= {"names": [Path(path).name for path in train["path"]]}
    description |= {"total": profile.train_total, "seed": seed}

    def make(folder: Path) -> None:
        drawn = augment(train, folder, profile.train_total, seed)
        runs.write_atomic(folder / "digests.csv", drawn[["sha256"]].to_csv)

    folder = runs.make_once(work_dir() / "augmented", description, make)
    digests = pd.read_csv(folder / "digests.csv")["sha256"].tolist()
    rows = _name_copies(plan(train, profile.train_total, seed), folder)
    return pd.concat([originals, _add_digests(rows, digests)], ignore_index=True)


def augment_folders(
    source: Path | str, target: Path | str, total: int, seed: int = 1
) -> pd.DataFrame:
    """Makes a folder with the images of a split and copies drawn from the training ones.

    The work is done in a folder beside the target, which gets its name when it is whole: after an
    interruption, run it again.

    Args:
        source: Folder of a split, as from `split_files.split_folders`: `train`, and others if any.
        target: Folder to make, outside the source; it may exist if it is empty. It gets
            `train/all` and `train/hem` with originals and copies, the images of other folders, and
            `train.csv`, which says of each training image, in `source`, what it was drawn from.
        total: Training images there shall be, originals included (paper: 20,000 of 8,480).
        seed: Any whole number; same seed, same bytes.

    Returns:
        A table of the training images of the new folder, as from `cnmc.index`, with `split`
        "train", and `source`: for a copy the path of the image it was drawn from, missing for an
        original.

    Raises:
        FileNotFoundError: If there is no split.
        FileExistsError: If the target is not empty.
        ValueError: If the total is too small, a class is missing, or the target is inside the
            source.
        OSError: If the disk has too little room.
    """
    source, target = Path(source).resolve(), Path(target).resolve()
    if not (source / "train").is_dir():
        advice = "Expected a split, with a folder `train`: make one with `python -m helpers split`"
        raise FileNotFoundError(f"{advice}. Received: {source}")
    if target.is_relative_to(source):
        raise ValueError(f"The output must be outside the input folder. Received: {target}")
    found = cnmc.index(source / "train").assign(split="train")
    check_classes(found)
    runs.check_disk(target, total * FILE_BYTES, f"Augmenting to {total:,} images")
    plan(found, total, seed)  # raises before anything is copied
    with runs.new_folder(target) as whole:
        files = cnmc.list_images(source)
        cnmc.mark(files["path"].tolist(), whole)  # copies of stand-ins stay stand-ins
        for path, file in files.to_numpy():
            (whole / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, whole / file)
        inside = found["path"].str.removeprefix(f"{(source / 'train').resolve()}")
        train = found.assign(path=f"{whole / 'train'}" + inside)
        drawn = augment(train, whole / "train", total, seed)
        table = pd.concat([train, drawn], ignore_index=True)[[*train.columns, "source"]]
        relative = table[["path", "source"]].map(
            lambda path: Path(path).relative_to(whole).as_posix(), na_action="ignore"
        )
        table.assign(**relative).to_csv(whole / "train.csv", index=False)
    return table.assign(**relative.map(lambda path: f"{target}/{path}", na_action="ignore"))
