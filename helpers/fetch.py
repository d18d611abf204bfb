"""Fetches C-NMC 2019 from Kaggle, or says how to get it by hand; and where it comes from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

HANDLE = "andrewmvd/leukemia-classification"
FOLDER = "C-NMC_Leukemia"
DISK_NEEDED = 2 * 10.4e9  # bytes: the images, and their archive, which is at most as large

PROVENANCE = """\
C-NMC 2019: 15,114 images of single white-blood-cell nuclei from 118 subjects, 10,661 of them for
training, made for the challenge 'Classification of normal vs malignant cells in B-ALL white blood
cancer microscopic images' at ISBI 2019.

Cite:     Gupta, A., & Gupta, R. (2019). ALL Challenge dataset of ISBI 2019 (C-NMC 2019). The
          Cancer Imaging Archive. https://doi.org/10.7937/tcia.2019.dc64i46r
          The owners also ask for https://doi.org/10.1016/j.media.2020.101788,
          https://doi.org/10.1007/978-3-319-66179-7_50 and, for the archive,
          https://doi.org/10.1007/s10278-013-9622-7.
Licence:  CC BY 3.0, https://creativecommons.org/licenses/by/3.0/
Labels:   ALL, a leukaemic B-lymphoblast, or HEM, a normal cell of the same lineage, as marked by an
          expert oncologist. Every cell of one subject has the same label: ALL cells come from
          patients with the disease, HEM cells from subjects without it.
Images:   segmented from stained smears, stain-normalised by the owners, black around the nucleus.
Limits:   one laboratory, one lineage, one label an image. Nothing built on it is fit for diagnosis.
"""


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
    folder = Path(folder).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    target, cache = folder / FOLDER, folder / ".download"
    with FileLock(folder / ".download.lock"):
        if target.is_dir():
            return target
        _check_disk(folder, cache)
        fetched = _download(cache, target)
        if not fetched.is_relative_to(cache):  # a notebook on Kaggle or Colab has it mounted
            return fetched
        inner = fetched / FOLDER
        (inner if inner.is_dir() else fetched).rename(target)
        shutil.rmtree(cache, ignore_errors=True)
    return target


def _check_disk(folder: Path, cache: Path) -> None:
    """Raises if the images and their archive do not fit, less what an earlier call has left."""
    there = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    free = shutil.disk_usage(folder).free
    if free + there < DISK_NEEDED:
        raise OSError(
            f"The data set needs {DISK_NEEDED / 1e9:.0f} GB of free disk while it is unpacked, "
            f"half of it afterwards: name a folder on another disk. Received: {str(folder)!r} with "
            f"{free / 1e9:.1f} GB free"
        )


def _download(cache: Path, target: Path) -> Path:
    """Downloads and unpacks under `cache`; kagglehub shows progress and resumes."""
    import kagglehub

    try:
        with _kaggle_cache(cache):
            return Path(kagglehub.dataset_download(HANDLE)).resolve()
    except Exception as error:  # from no network to a full disk: the way out is the same
        raise ConnectionError(
            "The data set could not be downloaded. Try again, and it goes on where it stopped; or "
            f"download it by hand from https://www.kaggle.com/datasets/{HANDLE} or, at The Cancer "
            "Imaging Archive, https://doi.org/10.7937/tcia.2019.dc64i46r, unpack it into "
            f"{target}, and set CNMC_DATA to that folder. "
            f"Received: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def _kaggle_cache(cache: Path) -> Iterator[None]:
    """Lets kagglehub keep its files here rather than in the home folder, for as long as it runs."""
    before = os.environ.get("KAGGLEHUB_CACHE")
    os.environ["KAGGLEHUB_CACHE"] = str(cache)
    try:
        yield
    finally:
        os.environ.pop("KAGGLEHUB_CACHE")
        if before is not None:
            os.environ["KAGGLEHUB_CACHE"] = before
