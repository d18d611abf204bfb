"""What is on two sides of a split, by name; and the refusal of it.

Which image goes to which side: the paper's random cut, the cut by subject, and the folds.

Every function takes the table and returns it with the column `split`. Nothing touches the disk;
`helpers.data.split_files` makes folders and prepares.
"""

from __future__ import annotations

import warnings
from pathlib import PurePath

import numpy as np
import pandas as pd
from sklearn.model_selection import ShuffleSplit

from helpers.data.cnmc import CLASSES
from helpers.data.duplicates import DIGESTS, drop_duplicates, natural_key

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


FOLDS = ("0", "1", "2")
CANDIDATES = 300


def split_by_image(table: pd.DataFrame, ratio: float = 0.8, seed: int = 0) -> pd.DataFrame:
    """Shuffles the images of every class and cuts (the paper, section III 2). It leaks.

    Args:
        table: One row per image, with `label`.
        ratio: Share of every class that goes to training, between 0 and 1.
        seed: Any whole number; the same seed gives the same split.

    Returns:
        The table with `split`: `train` or `test`.

    Raises:
        ValueError: If the ratio is not between 0 and 1, or a class has under two images.
    """
    check_ratio(ratio)
    _check_classes(table["label"], least=2, unit="images")
    rng = np.random.default_rng(seed)
    split = np.full(len(table), "test", dtype=object)
    for label in CLASSES:
        rows = rng.permutation(np.flatnonzero(table["label"] == label))
        split[rows[: np.clip(round(ratio * len(rows)), 1, len(rows) - 1)]] = "train"
    return table.assign(split=split)


def split_by_subject(
    table: pd.DataFrame,
    ratio: float = 0.8,
    validation: float = 0.1,
    seed: int = 0,
    tolerance: float = 0.005,
) -> pd.DataFrame:
    """Splits each class by whole linked subjects, so that no subject is on two sides.

    Subjects hold from 9 to 757 images, so a random choice of subjects misses the asked ratio by
    far. Of many random choices (scikit-learn's `ShuffleSplit` over the subjects of each class)
    it takes the first whose share of the class's images is within `tolerance` of the asked one,
    so that seeds differ; where there is none, the nearest. Meeting the ratio in each class keeps
    the class balance as well. `describe_split` reports what was reached.

    Args:
        table: One row per image, with `label` and `linked_subject`.
        ratio: Share of images for training and validation together, between 0 and 1.
        validation: Share of images set aside from the training subjects, from 0 (none) to
            under `ratio`.
        seed: Any whole number; the same seed gives the same split.
        tolerance: Distance from the asked share that counts as met, from 0 to 1.

    Returns:
        The table with `split`: `train`, `validation` or `test`.

    Raises:
        ValueError: If a share is out of range or a class has too few linked subjects.
    """
    check_ratio(ratio)
    if not 0 <= validation < ratio:
        raise ValueError(
            "validation is a share of all images, from 0 to under the ratio, which counts "
            f"training and validation together. Received: {validation!r} with ratio={ratio!r}"
        )
    subjects = _subject_sizes(table)
    shares = {"test": 1 - ratio} | ({"validation": validation} if validation else {})
    _check_classes(subjects["label"], least=1 + len(shares), unit="linked subjects")
    rng = np.random.default_rng(seed)
    side = pd.Series("train", index=subjects.index, dtype=object)
    for _, sizes in subjects.groupby("label")["images"]:
        side.update(_assign(sizes, shares, tolerance, rng))
    return table.assign(split=table["linked_subject"].map(side))


def check_ratio(ratio: float) -> None:
    """Raises ValueError unless the ratio is a number between 0 and 1, both excluded."""
    if not 0 < ratio < 1:
        raise ValueError(
            "ratio is the share of images for training, more than 0 and less than 1, such as "
            f"0.8. Received: ratio={ratio!r}"
        )


def _check_classes(labels: pd.Series, least: int, unit: str) -> None:
    """Raises ValueError unless every class has enough to be on all sides."""
    counts = labels.value_counts().reindex(CLASSES, fill_value=0)
    if labels.isna().any() or counts.min() < least:
        raise ValueError(
            f"A split needs a label in every row and at least {least} {unit} of each class, one "
            f"for each side. Received: {counts.to_dict()} and {labels.isna().sum()} without label"
        )


def _subject_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the images and the (most frequent) label of every linked subject."""
    if "linked_subject" not in table or table["linked_subject"].isna().any():
        raise ValueError(
            "Splitting by subject needs `linked_subject` in every row: call link_subjects(table), "
            f"and leave out images of unknown subjects. Received: columns {list(table.columns)}"
        )
    groups = table.groupby("linked_subject")["label"]
    sizes = groups.agg(images="size", label=lambda labels: labels.mode().max())
    return sizes.loc[sorted(sizes.index, key=natural_key)]


def _assign(
    sizes: pd.Series, shares: dict[str, float], tolerance: float, rng: np.random.Generator
) -> pd.Series:
    """Draws one part after the other from the subjects of one class; training keeps the rest."""
    side = pd.Series(dtype=object)
    total, rest = sizes.sum(), sizes
    for still_to_fill, part in zip(range(len(shares), 0, -1), shares, strict=True):
        count, most = round(shares[part] * len(sizes)), len(rest) - still_to_fill
        chosen = _choose(rest / total, shares[part], count, most, tolerance, rng)
        side = pd.concat([side, pd.Series(part, index=rest.index[chosen])])
        rest = rest.drop(rest.index[chosen])
    return side


def _choose(
    shares: pd.Series,
    goal: float,
    count: int,
    most: int,
    tolerance: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns the positions of subjects whose images add up to about the asked share."""
    candidates = []
    for size in sorted({int(np.clip(count + step, 1, most)) for step in (-1, 0, 1)}):
        draws = ShuffleSplit(CANDIDATES, test_size=size, random_state=int(rng.integers(2**31)))
        candidates += [chosen for _, chosen in draws.split(shares)]
    order = rng.permutation(len(candidates))
    values = shares.to_numpy()
    distance = np.array([abs(values[candidates[i]].sum() - goal) for i in order])
    return candidates[order[np.argmin(np.where(distance <= tolerance, -1.0, distance))]]


def describe_split(table: pd.DataFrame) -> pd.DataFrame:
    """Reports what a split reached: images, share, both classes and subjects of each part.

    Args:
        table: A table with `split`, `label` and `linked_subject` or `subject`.

    Returns:
        One row per part with `images`, `share` of all, `HEM`, `ALL`, `ALL_share` and `subjects`.
    """
    who = "linked_subject" if "linked_subject" in table else "subject"
    groups = table.groupby("split")
    report = groups.size().to_frame("images")
    report["share"] = report["images"] / len(table)
    for label in CLASSES:
        report[label] = groups["label"].agg(lambda labels, label=label: (labels == label).sum())
    report["ALL_share"] = report["ALL"] / report["images"]
    report["subjects"] = groups[who].nunique()
    return report.loc[[part for part in PARTS if part in report.index]]


def official_folds(table: pd.DataFrame, test: str = "2") -> pd.DataFrame:
    """Splits along the published folds of C-NMC 2019, and warns of what they leak.

    No subject *name* is in two folds, but the same images are, under different names.

    Args:
        table: One row per image, with `fold`, and digests and `linked_subject` to see leaks by.
        test: The fold to test on, `0`, `1` or `2`.

    Returns:
        The table with `split`: `train` or `test`.

    Raises:
        ValueError: If not every row is in one of the three folds.
    """
    split = _split_along_folds(table, test)
    leaks = find_leaks(table, sides="fold")
    if len(leaks):
        warnings.warn(f"The official folds leak: {name_leaks(leaks)}", LeakWarning, stacklevel=2)
    return split


def repaired_folds(table: pd.DataFrame, test: str = "2") -> pd.DataFrame:
    """Splits along the published folds after second copies went and linked subjects moved.

    Every linked subject moves to the fold that holds most of its remaining images. For C-NMC
    2019 this sends 21 to fold 0, 75, 78 and h3 to fold 1, and H6 to fold 2.

    Args:
        table: One row per image, with `fold`, digests and `linked_subject`.
        test: The fold to test on, `0`, `1` or `2`.

    Returns:
        The remaining rows with the repaired `fold`, and `split`: `train` or `test`.

    Raises:
        ValueError: If not every row is in one of the three folds.
    """
    kept = drop_duplicates(table)
    home = kept.groupby("linked_subject")["fold"].agg(lambda folds: folds.mode().min())
    return _split_along_folds(kept.assign(fold=kept["linked_subject"].map(home)), test)


def _split_along_folds(table: pd.DataFrame, test: str) -> pd.DataFrame:
    """Returns the table with one fold as the test part."""
    if test not in FOLDS or not table["fold"].isin(FOLDS).all():
        raise ValueError(
            f"The training part of C-NMC 2019 has the folds {', '.join(FOLDS)}; plain folders have "
            f"none. Received: test={test!r} and the folds {sorted(set(map(str, table['fold'])))}"
        )
    return table.assign(split=np.where(table["fold"] == test, "test", "train"))
