"""Stand-in cells: a drawn tree in the layout, names and file format of C-NMC 2019.

Subjects are very unequal in size, and each has a stain, an illumination, a focus and a size habit
of its own that differ more from subject to subject than the classes differ from each other. Two
subjects of each class are one patient under two names and share byte-identical images, as in the
real set. So a random split of the images leaks here exactly as it does there.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from filelock import FileLock
from joblib import Parallel, delayed

from helpers import cnmc, profiles
from helpers.cohort import FOLDS, Cell, plan_cells
from helpers.nucleus import SIDE, draw_nucleus

BYTES = 608_454  # of one image on disk
VERSION = 4  # raise it whenever the same seed draws other pixels: old trees are then drawn anew


def draw(
    root: str | Path,
    subjects: tuple[int, int] = (28, 18),
    images: int = 1000,
    seed: int = 2019,
    workers: int | None = None,
) -> cnmc.Source:
    """Draws a tree of stand-in cells, or finds the one that was drawn there with the same settings.

    The tree is made beside its final place and renamed when whole. A draw that was interrupted is
    taken up where it stopped, and a second process waits for the first.

    Args:
        root: Folder to be made.
        subjects: Number of subjects as (ALL, HEM), at least 3 each.
        images: Number of images in total, planted duplicates included, at least 4 a subject.
        seed: Same seed, same bytes, whatever the number of workers.
        workers: Processes; by default one per processor, fewer for small sets.

    Returns:
        The source, marked as synthetic.

    Raises:
        ValueError: If there are too few subjects or images.
        FileExistsError: If the folder holds something else.
        OSError: If the disk is too small.
    """
    root = Path(root).expanduser().resolve()
    _check_sizes(subjects, images)
    marker = {"version": VERSION, "seed": seed, "subjects": list(subjects), "images": images}
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_name(f".{root.name}.lock")):
        if not _is_drawn(root, marker):
            _draw_tree(root, marker, workers or _default_workers(images))
    return cnmc.locate(root)


def find_or_draw(profile: profiles.Profile, seed: int = 2019) -> cnmc.Source:
    """Returns the real data where `CNMC_DATA` names it, else stand-in cells of the profile's size.

    Args:
        profile: Gives the number of subjects and images.
        seed: Seed of the drawing.

    Returns:
        The source.
    """
    if real := profiles.data_dir():
        return cnmc.locate(real)
    root = profiles.work_dir() / "standin" / f"{profile.name}-{seed}-v{VERSION}"
    return draw(root, profile.subjects, profile.images, seed)


def _check_sizes(subjects: tuple[int, int], images: int) -> None:
    if min(subjects) < FOLDS or images < 4 * sum(subjects):
        raise ValueError(
            f"Stand-in cells need at least {FOLDS} subjects of each class, to have both in each of "
            f"{FOLDS} folds, and 4 images a subject. Received: subjects={subjects}, images={images}"
        )


def _default_workers(images: int) -> int:
    return max(1, min(os.cpu_count() or 1, images // 100))


def _is_drawn(root: Path, marker: dict) -> bool:
    """Tells whether the very tree is there, and refuses a folder that holds anything else."""
    if not root.exists() or not any(root.iterdir()):
        return False
    there = root / cnmc.MARKER
    if there.is_file() and marker.items() <= json.loads(there.read_text()).items():
        return True
    raise FileExistsError(
        "Stand-in cells are drawn into a new folder, and this one holds other files. Name another "
        f"folder or delete this one. Received: {str(root)!r}"
    )


def _draw_tree(root: Path, marker: dict, workers: int) -> None:
    digest = "-".join(str(n) for n in (marker["seed"], *marker["subjects"], marker["images"]))
    partial = root.with_name(f".{root.name}.{digest}-v{VERSION}.partial")
    tree, scratch = partial / "tree", partial / "scratch"
    _check_disk(root, marker["images"] - sum(1 for _ in tree.rglob("*.bmp")))
    cells = plan_cells(tuple(marker["subjects"]), marker["images"], marker["seed"])
    for folder in {(tree / cell.path).parent for cell in cells} | {scratch}:
        folder.mkdir(parents=True, exist_ok=True)
    missing = [cell for cell in cells if not (tree / cell.path).exists()]
    _write_all(missing, tree, scratch, workers)
    (tree / cnmc.MARKER).write_text(json.dumps(marker | _counts(cells), indent=1) + "\n")
    if root.exists():
        root.rmdir()
    tree.rename(root)
    shutil.rmtree(partial, ignore_errors=True)


def _check_disk(root: Path, images: int) -> None:
    needed, free = images * BYTES, shutil.disk_usage(root.parent).free
    if needed > free:
        raise OSError(
            f"{images:,} images to be drawn need {needed / 1e9:.1f} GB: ask for fewer, or name a "
            f"folder on another disk. Received: {str(root)!r} with {free / 1e9:.1f} GB free"
        )


def _write_all(cells: list[Cell], tree: Path, scratch: Path, workers: int) -> None:
    if workers == 1:
        return _write(cells, tree, scratch)
    chunks = [cells[i : i + 25] for i in range(0, len(cells), 25)]
    Parallel(n_jobs=workers)(delayed(_write)(chunk, tree, scratch) for chunk in chunks)


def _write(cells: list[Cell], tree: Path, scratch: Path) -> None:
    for cell in cells:
        image = draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)
        temporary = scratch / f"{os.getpid()}.bmp"
        temporary.write_bytes(cnmc.to_bmp(image))
        temporary.replace(tree / cell.path)


def _counts(cells: list[Cell]) -> dict:
    labels = [cell.label for cell in cells]
    return {label: labels.count(label) for label in cnmc.CLASSES} | {
        "duplicates": len(cells) - len({cell.key for cell in cells}),
        "side": SIDE,
    }
