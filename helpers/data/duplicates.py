"""Images that exist twice, and the subjects they tie together.

Two subjects that share an image are one person as far as a split is concerned: a *linked
subject*. In C-NMC 2019 that joins 20 with 21, 51 with 75 and 78, H2 with H4, H5 and H6, and H10
with h3, which leaves 66 linked subjects of the 73 named ones.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from helpers.data.cnmc import natural_key

DIGESTS = ("pixels", "sha256")


def find_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Lists every pair of rows that hold the same image.

    Args:
        table: One row per image, with the digests of `image_files.add_digests`: `pixels` (of the
            decoded image, equal across file headers), or else `sha256` (of the file) decides.
            A missing digest, as blank images have, equals no other.

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
    key = _digest_column(table)
    rows = table[key].reset_index(drop=True).rename_axis("row").reset_index()
    rows = rows[rows[key].duplicated(keep=False) & rows[key].notna()]
    pairs = rows.merge(rows, on=key, suffixes=("", "_twin")).query("row < row_twin")
    pairs = pairs.sort_values(["row", "row_twin"])
    told = table[[c for c in ("path", "label", "subject", "fold") if c in table]]
    left, right = (told.iloc[pairs[row]].reset_index(drop=True) for row in ("row", "row_twin"))
    return pd.concat([left, right.add_suffix("_twin")], axis="columns")


def _digest_column(table: pd.DataFrame) -> str:
    column = next((c for c in DIGESTS if c in table), None)
    if column is None:
        raise ValueError(f"Digests first: image_files.add_digests(table). Received: {list(table)}")
    return column


def drop_duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the table with the first copy of every image only, rows numbered anew.

    Link the subjects first: a dropped copy no longer shows which subjects belong together. An
    image without a digest, which is blank, is no copy of another.
    """
    digests = table[_digest_column(table)]
    return table[digests.isna() | ~digests.duplicated()].reset_index(drop=True)


def link_subjects(table: pd.DataFrame) -> pd.DataFrame:
    """Names for every row the group of subjects that share images with each other.

    Args:
        table: One row per image, with `subject` and digests; a missing subject stays missing.

    Returns:
        The table with the column `linked_subject`, such as `20+21`; a subject that shares
        nothing keeps its own name.

    Example:
        >>> cells = pd.DataFrame({"path": ["a", "b", "c"], "subject": ["10", "9", "3"]})
        >>> list(link_subjects(cells.assign(sha256=["x", "x", "y"]))["linked_subject"])
        ['9+10', '9+10', '3']
    """
    pairs = find_duplicates(table).dropna(subset=["subject", "subject_twin"])
    names = np.array(sorted(table["subject"].dropna().unique(), key=natural_key), dtype=object)
    place = pd.Series(np.arange(len(names)), index=names)
    edges = place[pairs["subject"]].to_numpy(), place[pairs["subject_twin"]].to_numpy()
    graph = coo_array((np.ones(len(pairs)), edges), shape=(len(names),) * 2)
    component = connected_components(graph, directed=False)[1]
    joined = {c: "+".join(names[component == c]) for c in np.unique(component)}
    groups = pd.Series([joined[c] for c in component], index=names, dtype=object)
    return table.assign(linked_subject=table["subject"].map(groups))
