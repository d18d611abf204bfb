"""Stand-in cells: a drawn tree in the layout, names and file format of C-NMC 2019.

Subjects are unequal in size, and each has a stain, an illumination, a focus and a size habit
of its own that differ more from subject to subject than the classes differ from each other. Two
subjects of each class are one patient under two names and share byte-identical images, as in the
real set. So a random split of the images leaks here exactly as it does there. The preliminary part
has subjects of its own; its files are numbered, and only the label file says whose they are.

A subject's traits are drawn in standard deviations and centred within each class, weighted by its
images: pooled over a class, stain and light say next to nothing about leukaemia, whatever the seed,
while each single subject stays easy to recognise. Sizes are dealt evenly, to the subjects and to
the cells of each: so the area alone tells much the same on every part.
"""

import hashlib
import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import norm

from helpers import runs, settings
from helpers.data import cnmc, image_files
from helpers.standin.nucleus import Style, draw_nucleus

VERSION = 5  # raise it whenever the same seed draws other pixels: old trees are then drawn anew
BYTES = 608_454  # of one image on disk
ALL_SHARE = 0.68  # 7,272 of the 10,661 training images of C-NMC 2019
FEWEST = 3  # images of the smallest subject
FEW = 12  # images a subject: where there are no more, all have some
FOLDS = 3
TRAITS = 10  # of a subject, see `_style`
HABIT = 0.3  # of a size is the subject's, as a correlation; the rest is the cell's own
FORM = 0.3  # spread of the form between subjects; the classes are 2 apart
PRELIMINARY = "validation_data/C-NMC_test_prelim_phase_data"
# What the headers of the published preliminary images have in addition, in hexadecimal digits.
LONGER = bytes.fromhex(Path(__file__).with_name("longer_header.txt").read_text())
# As in C-NMC, HEM nuclei are a little brighter than ALL ones (here in standard deviations). If both
# were exactly alike, colour would come out worse than chance on subjects that are left out.
LIGHT = {"ALL": -0.3, "HEM": 0.3}


@dataclass(frozen=True)
class Cell:
    """One image to be drawn: where it goes, and all that determines its pixels."""

    path: str
    label: str
    key: tuple[int, ...]
    style: Style
    name: str = ""  # its line in the label file, where its path does not tell whose it is


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
    return draw(root, profile, seed)


def draw(root: str | Path, profile: settings.Profile, seed: int = 2019) -> cnmc.Source:
    """Draws the stand-in cells of a profile, or finds those drawn there with the same settings.

    The tree is made beside its final place and renamed when whole. A draw that was interrupted is
    begun anew, and a second process waits for the first.

    Args:
        root: Folder to be made.
        profile: Gives the numbers of subjects and images of both parts.
        seed: Same seed, same bytes, whatever the number of processors.

    Returns:
        The source, marked as synthetic.

    Raises:
        ValueError: If there are too few subjects or images.
        FileExistsError: If the folder holds something else.
        OSError: If the disk is too small.
    """
    root = settings.expand(root).resolve()
    world = {"subjects": list(profile.subjects), "preliminary": list(profile.preliminary)}
    images = profile.images + profile.preliminary[-1]
    marker = {"version": VERSION, "seed": seed, **world, "images": images}
    try:
        if not _holds(root, marker):
            with runs.new_folder(root) as partial:
                runs.check_disk(partial, images * BYTES, f"Drawing {images:,} images")
                cells = plan_cells(profile, seed)
                cnmc.keep_drawn(_write_all(cells, partial))
                facts = marker | {"duplicates": len(cells) - len({cell.key for cell in cells})}
                (partial / cnmc.MARKER).write_text(json.dumps(facts, indent=1) + "\n")
    except FileExistsError:
        if not _holds(root, marker):  # another process may have drawn it meanwhile
            raise
    return cnmc.locate(root)


def _holds(root: Path, marker: dict) -> bool:
    there = root / cnmc.MARKER
    facts = json.loads(there.read_text()) if there.is_file() else None
    if not isinstance(facts, dict) or not marker.items() <= facts.items():
        return False
    found = sum(1 for _ in root.rglob("*.bmp"))
    if found != marker["images"]:
        advice = "A drawn tree is whole, or drawn anew: delete the folder. Received:"
        raise FileNotFoundError(f"{advice} {root} with {found:,} of {marker['images']:,} images")
    return True


def _write_all(cells: list[Cell], tree: Path) -> list[str]:
    """Draws all cells and the label file; returns the digests of what the images show."""
    workers = min(settings.processors(), len(cells) // 100) or 1
    jobs = [delayed(_write)(cell, tree / cell.path) for cell in cells]
    # The seconds after which idle workers end: else they outlive a notebook by minutes.
    digests = Parallel(n_jobs=workers, batch_size=25, idle_worker_timeout=10)(jobs)
    rows = [(c.name, Path(c.path).name, cnmc.CLASSES.index(c.label)) for c in cells if c.name]
    if rows:
        labels = pd.DataFrame(rows, columns=["Patient_ID", "new_names", "labels"])
        labels.to_csv(tree / f"{PRELIMINARY}_labels.csv", index=False, lineterminator="\r\n")
    return digests


def _write(cell: Cell, path: Path) -> str:
    data = image_files.to_bmp(draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style))
    shown = hashlib.sha256(data).hexdigest()
    if cell.name:
        size, start, header = (n + len(LONGER) for n in (len(data), 54, 40))
        packed = struct.pack("<2sIHHII", b"BM", size, 0, 0, start, header)
        data = packed + data[18:54] + LONGER + data[54:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return shown


def plan_cells(profile: settings.Profile, seed: int) -> list[Cell]:
    """Lists every image of a world, planted duplicates included, in the order of its subjects.

    Byte-identical images have the same `key` and `style`. About two thirds are of ALL, as in
    C-NMC, or as many as leave each subject the images it needs.
    """
    *people, images = profile.preliminary
    cells = _plan_part(profile.subjects, profile.images, seed)
    tests = _plan_part(tuple(people), images, seed, after=profile.subjects) if images else []
    numbers = np.random.default_rng((seed, 2_000)).permutation(len(tests)) + 1
    for cell, number in zip(tests, numbers, strict=True):
        cells.append(replace(cell, path=f"{PRELIMINARY}/{number}.bmp", name=Path(cell.path).name))
    return cells


def _plan_part(subjects: tuple, images: int, seed: int, after: tuple = (0, 0)) -> list[Cell]:
    if min(subjects) < FOLDS or images < 4 * sum(subjects):
        told = f"Each of {FOLDS} folds needs a subject of each class, and a subject 4 images."
        raise ValueError(f"{told} Received: {subjects=}, {images=}")
    needed = [FEWEST * count for count in subjects]
    diseased = min(max(round(ALL_SHARE * images), needed[0]), images - needed[1])
    cells = _plan_class("ALL", after[0], subjects[0], diseased, seed)
    return cells + _plan_class("HEM", after[1], subjects[1], images - diseased, seed)


def _plan_class(label: str, first: int, count: int, total: int, seed: int) -> list[Cell]:
    """Lists the cells of one class: its last two subjects are one patient, in different folds.

    Subjects are numbered on from `first`, those of another part.
    """
    start, prefix = (first, "") if label == "ALL" else (1000 + first, "H")
    rng = np.random.default_rng((seed, start))
    sizes = _sizes(rng, count, total)
    styles, groups = _styles(rng, label, sizes), []
    for i, fold in enumerate(_folds(sizes)):
        stem = f"training_data/fold_{fold}/{label.lower()}/UID_{prefix}{first + i + 1}"
        groups.append(_plan_subject(stem, label, sizes[i], (seed, start + i), styles[i]))
    if not first:  # the published preliminary part has none
        _plant_duplicates(groups[-2], groups[-1], copies=max(2, round(total / 75)))
    return [cell for group in groups for cell in group]


def _sizes(rng: np.random.Generator, count: int, total: int) -> np.ndarray:
    """Shares out the images, two of the smaller subjects last: they will be the twins.

    Log-normally, as in C-NMC; but where subjects have few images, none has many more than most.
    """
    spread = min(1.0, 0.35 + 0.03 * count)  # 1.0 as in C-NMC, less for a handful of subjects
    share = np.exp(spread * _deal(count))
    if total <= FEW * count:
        share = np.linspace(0, 1, count) ** 0.3
    sizes = np.maximum(np.round(total * share / share.sum()), FEWEST).astype(int)
    sizes[-1] += total - sizes.sum()
    while sizes[-1] < FEWEST:  # the small ones got more than their share: the larger ones give
        sizes[sizes.argmax()] -= 1
        sizes[-1] += 1
    twins = [count // 4, count // 4 + 1]
    others = rng.permutation([i for i in range(count) if i not in twins])
    return sizes[np.concatenate([others, twins])]


def _deal(count: int) -> np.ndarray:
    """Returns standard normal numbers, evenly dealt, in rising order."""
    return norm.ppf((np.arange(count) + 0.5) / count)


def _styles(rng: np.random.Generator, label: str, sizes: np.ndarray) -> list[Style]:
    z = rng.standard_normal((len(sizes), TRAITS))
    z[:, :2] = np.column_stack([rng.permutation(_deal(len(sizes))) for _ in range(2)])
    z[-1] = z[-2]
    z -= np.average(z, axis=0, weights=sizes)
    z /= np.sqrt(np.average(z**2, axis=0, weights=sizes))
    z = np.clip(z, -1.8, 1.8)
    z[:, 2] += LIGHT[label]
    return [_style(*row) for row in z]


def _style(size, form, light, hue, green, right, down, blur, wide, contrast) -> Style:
    """Turns the traits of a subject, in standard deviations, into what its nuclei share."""
    red = 69.5 + 8.5 * light + 5.5 * hue
    green = 27.5 + 5.5 * light + 4.0 * green
    blue = 77.5 + 6.5 * light - 5.5 * hue
    tilt, stretch = (0.08 * right, 0.08 * down), (0.04 * wide, -0.04 * wide)
    focus, strength = float(np.exp(0.22 * blur)), float(np.exp(0.15 * contrast))
    return Style((red, green, blue), tilt, focus, size, stretch, FORM * form, strength)


def _folds(sizes: np.ndarray) -> list[int]:
    """Deals the subjects to the folds, largest first, to the smallest fold without their twin."""
    load, folds = np.zeros(FOLDS), np.full(len(sizes), -1)
    twin = {len(sizes) - 1: -2, len(sizes) - 2: -1}
    for i in np.argsort(-sizes, kind="stable"):
        barred = folds[twin[i]] if i in twin else -1
        folds[i] = min((k for k in range(FOLDS) if k != barred), key=lambda k: load[k])
        load[folds[i]] += sizes[i]
    return folds.tolist()


def _plan_subject(stem: str, label: str, images: int, key: tuple, style: Style) -> list[Cell]:
    """Lists the cells of one subject, one to five to a smear field."""
    rng = np.random.default_rng((*key, 1))
    cells: list[Cell] = []
    sizes = HABIT * style.size + np.sqrt(1 - HABIT**2) * rng.permutation(_deal(images))
    field = 0
    while len(cells) < images:
        field += int(rng.integers(1, 3))
        own = _of_field(rng, style)
        for number in range(1, 1 + min(int(rng.integers(1, 6)), images - len(cells))):
            path = f"{stem}_{field}_{number}_{label.lower()}.bmp"
            sized = replace(own, size=float(sizes[len(cells)]))
            cells.append(Cell(path, label, (*key, field, number), sized))
    return cells


def _of_field(rng: np.random.Generator, style: Style) -> Style:
    """Returns the subject's style with the small differences from smear field to smear field."""
    light, (right, down) = rng.normal(0.0, 0.01), rng.normal(0.0, 0.008, 2)
    colour = tuple(level * (1 + light) + rng.normal(0.0, 0.4) for level in style.colour)
    return replace(style, colour=colour, tilt=(style.tilt[0] + right, style.tilt[1] + down))


def _plant_duplicates(first: list[Cell], second: list[Cell], copies: int) -> None:
    """Lets the last images of the second subject be those of the first, under their own names."""
    for i in range(1, 1 + min(copies, len(first) - 1, len(second) - 1)):
        second[-i] = replace(second[-i], key=first[-i].key, style=first[-i].style)
