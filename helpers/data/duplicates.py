"""Images that exist twice, images that nearly do, and the subjects they tie together.

Two subjects that share an image are one person as far as a split is concerned: a *linked
subject*. In C-NMC 2019 that joins 20 with 21, 51 with 75 and 78, H2 with H4, H5 and H6, and H10
with h3, which leaves 66 linked subjects of the 73 named ones.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.data import image_files

DIGESTS = ("pixels", "sha256")
HASH_SIDE = 16
BLOCK = 1024


def find_duplicates(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Lists every pair of rows that hold the same image.

    Args:
        table: One row per image, with the digests of `image_files.add_digests`.
        by: Column that tells images apart: `sha256` (bytes of the file) or `pixels` (the decoded
            image, equal across file headers). By default `pixels` where there is one.

    Returns:
        One row per pair, in table order; the columns of the second image end in `_twin`.

    Raises:
        ValueError: If the table holds no digests.

    Example:
        >>> cells = pd.DataFrame({"path": ["a", "b", "c"], "subject": ["1", "2", "3"]})
        >>> find_duplicates(cells.assign(sha256=["x", "y", "x"]))[["subject", "subject_twin"]]
          subject subject_twin
        0       1            3
    """
    key = _digest_column(table, by)
    kept = [c for c in ("path", "label", "subject", "fold") if c in table]
    rows = table.assign(_row=np.arange(len(table)))[[*kept, key, "_row"]]
    rows = rows[rows[key].duplicated(keep=False)]
    pairs = rows.merge(rows, on=key, suffixes=("", "_twin")).query("_row < _row_twin")
    pairs = pairs.sort_values(["_row", "_row_twin"]).reset_index(drop=True)
    return pairs[[*kept, *(f"{c}_twin" for c in kept)]]


def _digest_column(table: pd.DataFrame, by: str | None) -> str:
    """Returns the column to compare by, or says how to make one."""
    column = by or next((c for c in DIGESTS if c in table), None)
    if column not in DIGESTS or column not in table:
        raise ValueError(
            "Identical images are found by their digests: add them with image_files.add_digests(table). "
            f"Received: by={by!r} and the columns {list(table.columns)}"
        )
    return column


def drop_duplicates(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Returns the table with the first copy of every image only.

    Link the subjects first: a dropped copy no longer shows which subjects belong together.

    Args:
        table: One row per image, with digests.
        by: As in `find_duplicates`.

    Returns:
        The remaining rows in their order, numbered anew.
    """
    return table.drop_duplicates(_digest_column(table, by)).reset_index(drop=True)


def link_subjects(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Names for every row the group of subjects that share images with each other.

    Args:
        table: One row per image, with `subject` and digests; a missing subject stays missing.
        by: As in `find_duplicates`.

    Returns:
        The table with the column `linked_subject`, such as `20+21`; a subject that shares
        nothing keeps its own name.

    Example:
        >>> cells = pd.DataFrame({"path": ["a", "b", "c"], "subject": ["10", "9", "3"]})
        >>> list(link_subjects(cells.assign(sha256=["x", "x", "y"]))["linked_subject"])
        ['9+10', '9+10', '3']
    """
    pairs = find_duplicates(table, by).dropna(subset=["subject", "subject_twin"])
    names = np.array(sorted(table["subject"].dropna().unique(), key=natural_key), dtype=object)
    place = pd.Series(np.arange(len(names)), index=names)
    edges = place[pairs["subject"]].to_numpy(), place[pairs["subject_twin"]].to_numpy()
    graph = coo_array((np.ones(len(pairs)), edges), shape=(len(names),) * 2)
    component = connected_components(graph, directed=False)[1]
    joined = {c: "+".join(names[component == c]) for c in np.unique(component)}
    groups = pd.Series([joined[c] for c in component], index=names, dtype=object)
    return table.assign(linked_subject=table["subject"].map(groups))


def natural_key(name: str) -> list[str | int]:
    """Returns a sort key that puts 9 before 10, and capitals before small letters."""
    return [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]


def near_duplicates(table: pd.DataFrame, distance: float = 0.15) -> pd.DataFrame:
    """Reports images that look alike without being identical: a report to look at, not a rule.

    Every image becomes a difference hash: the nucleus, cut out and shrunk, reduced to whether it
    gets brighter from each pixel to the next (Krawetz, 'Kind of like that', 2013). A nucleus
    that was segmented twice, slightly differently, keeps most of its bits.

    Args:
        table: One row per image, with `path` and `subject`.
        distance: Largest share of differing bits that is reported, from 0 to 1.

    Returns:
        One row per pair, the most alike first, with the columns of `find_duplicates`, `distance`,
        and `identical` where the table holds digests.

    Raises:
        ValueError: If `distance` is not between 0 and 1.
    """
    if not 0 <= distance <= 1:
        raise ValueError(f"distance is a share of bits, from 0 to 1. Received: {distance!r}")
    with ThreadPoolExecutor(cpu_count()) as pool:
        bits = np.stack(list(pool.map(difference_hash, table["path"])))
    first, second, apart = _close_pairs(bits, distance)
    order = np.argsort(apart, kind="stable")
    return _describe_pairs(table, first[order], second[order], apart[order])


def difference_hash(path: str) -> np.ndarray:
    """Returns the bits (bool) of one image's difference hash, across and down.

    Args:
        path: An image file that `image_files.read_image` reads.
    """
    from PIL import Image

    image = Image.fromarray(image_files.read_image(path)).convert("L")
    side = HASH_SIDE + 1
    small = image.resize((side, side), Image.Resampling.BOX, box=image.getbbox())
    grey = np.asarray(small, dtype=np.int16)
    return np.concatenate([np.diff(grey[:-1]).ravel() > 0, np.diff(grey.T[:-1]).ravel() > 0])


def _close_pairs(bits: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rows of all pairs within a distance, block by block to bound the memory."""
    signs = bits.astype(np.float32) * 2 - 1
    found = []
    for start in range(0, len(signs), BLOCK):
        apart = (1 - signs[start : start + BLOCK] @ signs[start:].T / signs.shape[1]) / 2
        first, second = np.nonzero(np.triu(apart <= distance, k=1))
        found.append((first + start, second + start, apart[first, second]))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _describe_pairs(
    table: pd.DataFrame, first: np.ndarray, second: np.ndarray, apart: np.ndarray
) -> pd.DataFrame:
    """Returns the two rows of every pair side by side, with their distance."""
    kept = [c for c in ("path", "label", "subject", "fold") if c in table]
    left = table.iloc[first][kept].reset_index(drop=True)
    right = table.iloc[second][kept].reset_index(drop=True).add_suffix("_twin")
    pairs = pd.concat([left, right], axis="columns").assign(distance=apart)
    key = next((c for c in DIGESTS if c in table), None)
    if key is not None:
        digests = table[key].to_numpy()
        pairs["identical"] = digests[first] == digests[second]
    return pairs
