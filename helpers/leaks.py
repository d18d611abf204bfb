"""What is on two sides of a split, by name; and the refusal of it."""

from __future__ import annotations

from pathlib import PurePath

import pandas as pd

from helpers.duplicates import DIGESTS

PARTS = ("train", "validation", "test")
LEAKS = {
    "linked_subject": "linked subject",
    "subject": "subject",
    **dict.fromkeys(DIGESTS, "identical image"),
    "path": "image",
    "source": "image drawn from",
}
NAMED = 6


class LeakError(ValueError):
    """A subject or an image is on two sides of a split that promises otherwise."""


class LeakWarning(UserWarning):
    """A split that never promised otherwise has a subject or an image on two sides."""


def find_leaks(table: pd.DataFrame, sides: str = "split") -> pd.DataFrame:
    """Names every subject and every image that is on more than one side.

    Args:
        table: One row per image; each of `LEAKS` that is among its columns is looked at.
        sides: Column that holds the side, such as `split` or `fold`.

    Returns:
        One row per leak with `kind`, `name` and `sides`; no rows for a clean split.
    """
    found = [pd.DataFrame({"kind": [], "name": [], "sides": []}, dtype=str)]
    for column in (c for c in LEAKS if c in table):
        rows = table[table.groupby(column)[sides].transform("nunique") > 1]
        for value, group in rows.groupby(column):
            is_name = column.endswith("subject")
            name = value if is_name else " = ".join(PurePath(path).name for path in group["path"])
            on = ", ".join(sorted(set(group[sides])))
            found.append(pd.DataFrame({"kind": [LEAKS[column]], "name": [name], "sides": [on]}))
    return pd.concat(found, ignore_index=True).drop_duplicates(["kind", "name"])


def check_split(table: pd.DataFrame) -> None:
    """Refuses a split that has a subject or an image on two sides.

    Args:
        table: A table with `split`.

    Raises:
        LeakError: With the names of what is on two sides.
        ValueError: If a row is on no side.
    """
    if "split" not in table or not table["split"].isin(PARTS).all():
        raise ValueError(
            f"Every row of a split belongs to one of {', '.join(PARTS)}. Received: "
            f"{sorted(map(str, table['split'].unique())) if 'split' in table else 'no split'}"
        )
    leaks = find_leaks(table)
    if len(leaks):
        raise LeakError(
            "Every linked subject and every identical image belongs on one side only; split "
            f"again with split_by_subject. Received: {name_leaks(leaks)}"
        )


def name_leaks(leaks: pd.DataFrame) -> str:
    """Returns the leaks as one line: how many of each kind, and the first few by name."""
    counts = leaks["kind"].value_counts(sort=False)
    lines = [f"{kind} {name} in {on}" for kind, name, on in leaks.head(NAMED).to_numpy()]
    more = ["…"] if len(leaks) > NAMED else []
    total = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    return f"{total} ({'; '.join(lines + more)})"
