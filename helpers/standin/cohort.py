"""Stand-in cells: a drawn tree in the layout, names and file format of C-NMC 2019.

Subjects are very unequal in size, and each has a stain, an illumination, a focus and a size habit
of its own that differ more from subject to subject than the classes differ from each other. Two
subjects of each class are one patient under two names and share byte-identical images, as in the
real set. So a random split of the images leaks here exactly as it does there.

A subject's traits are drawn in standard deviations and centred within each class, weighted by its
images: pooled over a class, stain and light say next to nothing about leukaemia, whatever the seed,
while each single subject stays easy to recognise.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import norm

from helpers import runs, settings
from helpers.data import cnmc, image_files
from helpers.data.image_files import SIDE
from helpers.standin.nucleus import Style, draw_nucleus

VERSION = 4  # raise it whenever the same seed draws other pixels: old trees are then drawn anew
BYTES = 608_454  # of one image on disk
CHUNK = 25  # images per task of a worker
ALL_SHARE = 0.68  # 7,272 of the 10,661 training images of C-NMC 2019
FEWEST = 3  # images of the smallest subject
FOLDS = 3
TRAITS = ("light", "hue", "green", "right", "down", "blur", "size", "wide", "contrast")
# As in C-NMC, HEM nuclei are a little brighter than ALL ones (here in standard deviations). If both
# were exactly alike, colour would come out worse than chance on subjects that are left out.
LIGHT = {"ALL": -0.3, "HEM": 0.3}


@dataclass(frozen=True)
class Subject:
    """One drawn subject; a twin is the same patient under a second name."""

    name: str
    label: str
    fold: int
    images: int
    number: int
    style: Style


@dataclass(frozen=True)
class Cell:
    """One image to be drawn: where it goes, and all that determines its pixels."""

    path: str
    label: str
    key: tuple[int, ...]
    style: Style


def find_or_draw(profile: settings.Profile, seed: int = 2019) -> cnmc.Source:
    """Returns the real data where `CNMC_DATA` names it, else stand-in cells of the profile's size.

    Args:
        profile: Gives the number of subjects and images.
        seed: Seed of the drawing.

    Returns:
        The source.
    """
    if real := settings.data_dir():
        return cnmc.locate(real)
    root = settings.work_dir() / "standin" / f"{profile.name}-{seed}-v{VERSION}"
    return draw(root, profile.subjects, profile.images, seed)


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
    _check_sizes(subjects, images)
    root = Path(root).expanduser().resolve()
    marker = {"version": VERSION, "seed": seed, "subjects": list(subjects), "images": images}
    root.parent.mkdir(parents=True, exist_ok=True)
    with runs.lock(root.with_name(f".{root.name}.lock")):
        if not _is_drawn(root, marker):
            partial = root.with_name(f".{root.name}.{runs.key_of(marker)}.partial")
            missing = images - len(list(partial.rglob("*.bmp")))
            runs.check_disk(partial, missing * BYTES, f"Drawing {images:,} images")
            cells = plan_cells(subjects, images, seed)
            _write_missing(cells, partial, workers)
            for label in cnmc.CLASSES:
                marker[label] = sum(cell.label == label for cell in cells)
            marker["duplicates"] = len(cells) - len({cell.key for cell in cells})
            (partial / cnmc.MARKER).write_text(json.dumps(marker | {"side": SIDE}, indent=1) + "\n")
            if root.exists():
                root.rmdir()
            partial.rename(root)
    return cnmc.locate(root)


def _check_sizes(subjects: tuple[int, int], images: int) -> None:
    if min(subjects) < FOLDS or images < 4 * sum(subjects):
        raise ValueError(
            f"Stand-in cells need at least {FOLDS} subjects of each class, to have both in each of "
            f"{FOLDS} folds, and 4 images a subject. Received: subjects={subjects}, images={images}"
        )


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


def _write_missing(cells: list[Cell], tree: Path, workers: int | None) -> None:
    missing = [cell for cell in cells if not (tree / cell.path).exists()]
    for folder in {(tree / cell.path).parent for cell in cells}:
        folder.mkdir(parents=True, exist_ok=True)
    workers = workers or min(os.cpu_count() or 1, len(missing) // 100) or 1
    jobs = [delayed(_write)(cell, tree / cell.path) for cell in missing]
    Parallel(n_jobs=workers, batch_size=CHUNK)(jobs)


def _write(cell: Cell, path: Path) -> None:
    image = draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)
    data = image_files.to_bmp(image)
    runs.write_atomic(path, lambda partial: partial.write_bytes(data))


def plan_cells(subjects: tuple[int, int], images: int, seed: int) -> list[Cell]:
    """Lists every image of the cohort, planted duplicates included, in the order of its subjects.

    Byte-identical images have the same `key` and `style`. About two thirds are of ALL, as in
    C-NMC, or as many as leave each subject the images it needs.
    """
    _check_sizes(subjects, images)
    needed = [FEWEST * count for count in subjects]
    diseased = min(max(round(ALL_SHARE * images), needed[0]), images - needed[1])
    totals = {"ALL": diseased, "HEM": images - diseased}
    cells = []
    for count, (label, total) in zip(subjects, totals.items(), strict=True):
        cohort = _recruit(label, count, total, seed)
        own = {subject.name: _cells_of(subject, seed) for subject in cohort}
        _plant_duplicates(own, cohort, copies=max(2, round(total / 75)))
        cells += [cell for some in own.values() for cell in some]
    return cells


def _recruit(label: str, count: int, total: int, seed: int) -> list[Subject]:
    """Returns the subjects of one class; the last two are twins and lie in different folds."""
    first, prefix = (0, "") if label == "ALL" else (1000, "H")
    rng = np.random.default_rng((seed, first))
    sizes = _sizes(rng, count, total)
    styles, folds = _styles(rng, label, sizes), _folds(sizes)
    return [
        Subject(f"{prefix}{i + 1}", label, folds[i], int(sizes[i]), first + i, styles[i])
        for i in range(count)
    ]


def _sizes(rng: np.random.Generator, count: int, total: int) -> np.ndarray:
    """Shares out the images log-normally, the median subjects last: they will be the twins."""
    spread = min(1.0, 0.35 + 0.03 * count)  # 1.0 as in C-NMC, less for a handful of subjects
    share = np.exp(spread * norm.ppf((np.arange(count) + 0.5) / count))
    sizes = np.maximum(np.round(total * share / share.sum()), FEWEST).astype(int)
    sizes[-1] += total - sizes.sum()
    while sizes[-1] < FEWEST:  # the small ones got more than their share: the larger ones give
        sizes[sizes.argmax()] -= 1
        sizes[-1] += 1
    middle = [count // 2, count // 2 + 1]
    others = rng.permutation([i for i in range(count) if i not in middle])
    return sizes[np.concatenate([others, middle])]


def _styles(rng: np.random.Generator, label: str, sizes: np.ndarray) -> list[Style]:
    z = rng.standard_normal((len(sizes), len(TRAITS)))
    z[-1] = z[-2]
    z -= np.average(z, axis=0, weights=sizes)
    z /= np.sqrt(np.average(z**2, axis=0, weights=sizes))
    z = np.clip(z, -1.8, 1.8)
    z[:, 0] += LIGHT[label]
    return [_style(dict(zip(TRAITS, row, strict=True))) for row in z]


def _style(z: dict[str, float]) -> Style:
    """Turns the traits of a subject, in standard deviations, into what its nuclei share."""
    red = 69.5 + 6.0 * z["light"] + 4.0 * z["hue"]
    green = 26.5 + 4.5 * z["light"] + 2.5 * z["green"]
    blue = 76.5 + 5.0 * z["light"] - 3.5 * z["hue"]
    return Style(
        colour=(red, green, blue),
        tilt=(0.08 * z["right"], 0.08 * z["down"]),
        focus=float(np.exp(0.22 * z["blur"])),
        size=z["size"],
        stretch=(0.04 * z["wide"], -0.04 * z["wide"]),
        contrast=float(np.exp(0.15 * z["contrast"])),
    )


def _folds(sizes: np.ndarray) -> list[int]:
    """Deals the subjects to the folds, largest first, to the smallest fold without their twin."""
    load, folds = np.zeros(FOLDS), np.full(len(sizes), -1)
    twin = {len(sizes) - 1: -2, len(sizes) - 2: -1}
    for i in np.argsort(-sizes, kind="stable"):
        barred = folds[twin[i]] if i in twin else -1
        folds[i] = min((k for k in range(FOLDS) if k != barred), key=lambda k: load[k])
        load[folds[i]] += sizes[i]
    return folds.tolist()


def _cells_of(subject: Subject, seed: int) -> list[Cell]:
    """Returns the cells of one subject, one to five to a smear field."""
    rng = np.random.default_rng((seed, subject.number, 1))
    cells: list[Cell] = []
    field, folder = 0, subject.label.lower()
    while len(cells) < subject.images:
        field += int(rng.integers(1, 3))
        style = _of_field(rng, subject.style)
        for number in range(1, 1 + min(int(rng.integers(1, 6)), subject.images - len(cells))):
            name = f"UID_{subject.name}_{field}_{number}_{folder}.bmp"
            path = f"training_data/fold_{subject.fold}/{folder}/{name}"
            cells.append(Cell(path, subject.label, (seed, subject.number, field, number), style))
    return cells


def _of_field(rng: np.random.Generator, style: Style) -> Style:
    """Returns the subject's style with the small differences from smear field to smear field."""
    light, (right, down) = rng.normal(0.0, 0.01), rng.normal(0.0, 0.008, 2)
    colour = tuple(level * (1 + light) + rng.normal(0.0, 0.4) for level in style.colour)
    return replace(style, colour=colour, tilt=(style.tilt[0] + right, style.tilt[1] + down))


def _plant_duplicates(own: dict[str, list[Cell]], cohort: list[Subject], copies: int) -> None:
    """Lets the last images of the last subject be those of its twin, under names of its own."""
    first, second = cohort[-2:]
    copies = min(copies, first.images - 1, second.images - 1)
    for i in range(1, copies + 1):
        twin = own[first.name][-i]
        own[second.name][-i] = replace(own[second.name][-i], key=twin.key, style=twin.style)
