"""The published C-NMC 2019: compares a copy with it, image by image, or fetches one from Kaggle."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from helpers.data.cnmc import find_files, index, listing_digest, place_of
from helpers.data.image_files import FINAL_SIDE, SIDE, ImageError, decode, map_paths
from helpers.runs import check_disk, lock
from helpers.settings import expand

# Of the 15,114 published files: the number and the listing digest of each folder, and of them all.
_listed = pd.read_csv(Path(__file__).with_name("published.csv"))
PUBLISHED = {folder: (images, digest) for folder, images, digest in _listed.to_numpy()}
LABELS_DIGEST = "3f3531859914de7bb11fecadc71b5281920c1db75aae6664e87c3771a8531edd"
OTHER_LABELS = "labels other than the published"
PUBLISHED_DIGEST = "efe16948d0d854ba83fa6f9657faf2cdf89896920697f19216b672cfec9216f7"


class Report(NamedTuple):
    """What `verify` found; printed, it says so in a few lines.

    Args:
        groups: One row per published folder: `group`, `images`, `expected`, and `state`:
            "published", "absent", "differs", or "not in the set".
        problems: One row per bad file: `path`, `problem`.
        digest: Listing digest of the whole copy.
    """

    groups: pd.DataFrame
    problems: pd.DataFrame
    digest: str

    @property
    def is_published(self) -> bool:
        """Whether this is the published set, whole and unchanged."""
        return self.digest == PUBLISHED_DIGEST and self.problems.empty

    def __str__(self) -> str:
        verdict = "the published set" if self.is_published else "not the whole published set"
        lines = [f"{self.groups['images'].sum():,} images, listing digest {self.digest}"]
        lines += [f"This is {verdict}.", self.groups.to_string(index=False)]
        return "\n".join([*lines, *(": ".join(row) for row in self.problems.to_numpy())])


def verify(root: str | Path) -> Report:
    """Reads every image under a folder and compares the copy with the published set.

    Args:
        root: Folder that holds a copy, in any layout and at any depth.

    Returns:
        The report; print it for a summary.

    Raises:
        FileNotFoundError: If there is no such folder or no image in it.
        ValueError: If two different files claim to be the same image.
    """
    images, labels = find_files(root)
    found = map_paths(_inspect, images)
    table = pd.DataFrame(found, columns=["path", "sha256", "problem"], dtype=object)
    groups = _compare_groups(table)
    published = groups.loc[groups["state"] == "published", "group"].tolist()
    problems = table.loc[table["problem"] != "", ["path", "problem"]].to_numpy().tolist()
    for part in sorted({place.part for place in images.values()}):
        try:
            cells = index(root, part)
            if part == "preliminary" and part in published and not _has_published_labels(cells):
                problems.append([labels[0], OTHER_LABELS])
        except (OSError, ValueError) as error:  # a name, or the label file
            problems.append([labels[0] if labels and part == "preliminary" else root, error])
    bad = pd.DataFrame(problems, columns=["path", "problem"]).map(str)
    return Report(groups, bad, listing_digest(table))


def name_published(cells: pd.DataFrame, scored: int) -> str:
    """Says of which part of the published set some images are, by their content; "" if of none.

    Args:
        cells: All images of a part of a copy, as from `cnmc.index`, with their digests.
        scored: How many of them count, each once.
    """
    groups = _compare_groups(cells)
    if groups.loc[groups["images"] > 0, "state"].ne("published").any():
        return ""
    if cells["fold"].ne("preliminary").any():
        return "C-NMC 2019"
    part = "" if scored == cells["pixels"].nunique() else "a part of "
    if _has_published_labels(cells):
        return f"C-NMC 2019, {part}the official preliminary test set"
    return f"C-NMC 2019, {part}the preliminary test set, with {OTHER_LABELS}"


def _has_published_labels(cells: pd.DataFrame) -> bool:
    """Whether the label and the subject of each preliminary image are as in the published file."""
    told = zip(cells["path"].map(os.path.basename), cells["subject"], cells["label"], strict=True)
    lines = sorted(f"{name.lower()} {subject} {label}\n" for name, subject, label in told)
    return hashlib.sha256("".join(lines).encode()).hexdigest() == LABELS_DIGEST


def _inspect(path: str) -> tuple[str, str, str]:
    """Returns a file's path, its SHA-256, and what is wrong with it or its image, or ""."""
    file, side = "", FINAL_SIDE if place_of(path).part == "final" else SIDE
    try:
        data = Path(path).read_bytes()
        file = hashlib.sha256(data).hexdigest()
        high, wide, _ = decode(data, path, any_size=True).shape
    except (ImageError, OSError) as error:
        return path, file, getattr(error, "problem", str(error))
    return path, file, "" if high == wide == side else f"wrong size, {wide} x {high} px"


def _compare_groups(table: pd.DataFrame) -> pd.DataFrame:
    rows, places = [], table["path"].map(lambda path: place_of(path).group)
    for group in [*PUBLISHED, *sorted(set(places) - set(PUBLISHED))]:
        here = table[places == group]
        expected, published = PUBLISHED.get(group, (0, ""))
        state = "differs" if expected else "not in the set"
        state = "absent" if here.empty else state
        state = "published" if listing_digest(here) == published else state
        rows.append((group, len(here), expected, state))
    return pd.DataFrame(rows, columns=["group", "images", "expected", "state"])


HANDLE = "andrewmvd/leukemia-classification"
FOLDER = "C-NMC_Leukemia"
DISK_NEEDED = 2 * 10.4e9  # bytes: the images, and their archive, which is at most as large

PROVENANCE = Path(__file__).with_name("provenance.txt").read_text(encoding="utf-8")


def fetch(folder: str | Path) -> Path:
    """Downloads the data set from Kaggle (public, no login), whole or not at all.

    An interrupted download goes on where it stopped when it is called again.

    Args:
        folder: Where the folder `C-NMC_Leukemia` shall be; needs 21 GB of free disk meanwhile.

    Returns:
        The folder of the images: set `CNMC_DATA` to it.

    Raises:
        OSError: If the disk is too small.
        ConnectionError: If the download fails, with the way to do it by hand.
    """
    folder = expand(folder).resolve()
    target, cache = folder / FOLDER, folder / ".download"
    with lock(folder / ".download.lock"):
        if target.is_dir():
            return target
        there = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
        check_disk(folder, DISK_NEEDED - there, "The data set, while it is unpacked,")
        fetched = _download(cache, target)
        if not fetched.is_relative_to(cache):  # a notebook on Kaggle or Colab has it mounted
            return fetched
        inner = fetched / FOLDER
        (inner if inner.is_dir() else fetched).rename(target)
        shutil.rmtree(cache, ignore_errors=True)
    return target


def _download(cache: Path, target: Path) -> Path:
    """Downloads and unpacks under `cache`; kagglehub shows progress and resumes."""
    import kagglehub

    os.environ["KAGGLEHUB_CACHE"] = str(cache)  # rather than the home folder
    try:
        return Path(kagglehub.dataset_download(HANDLE)).resolve()
    except Exception as error:  # from no network to a full disk: the way out is the same
        raise ConnectionError(
            "The download failed. Try again, and it goes on where it stopped; or get it by hand, "
            f"from https://www.kaggle.com/datasets/{HANDLE} or, at The Cancer Imaging Archive, "
            f"https://doi.org/10.7937/tcia.2019.dc64i46r into {target}, and set CNMC_DATA to it. "
            f"Received: {type(error).__name__}: {error}"
        ) from error
