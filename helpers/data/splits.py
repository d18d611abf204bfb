"""Which image goes to which side, at random or by subject, and what must not be on two sides.

Every function takes the table and returns it with the column `split`. Nothing touches the disk;
`helpers.data.split_files` makes folders and prepares.
"""

from pathlib import PurePath

import numpy as np
import pandas as pd
from numpy.random import Generator
from sklearn.model_selection import ShuffleSplit

from helpers.data.cnmc import CLASSES, NAME_FORM
from helpers.data.duplicates import DIGESTS, natural_key

CANDIDATES = 300  # random choices of subjects looked at for each part
NAMED = 6  # leaks named in a message
PARTS = ("train", "validation", "test")
LEAKS = {"linked_subject": "linked subject", "subject": "subject", "pixels": "identical image"}
LEAKS |= {"sha256": "identical image", "path": "image", "source": "image drawn from"}


class LeakError(ValueError):
    """A subject or an image is on two sides of a split that promises otherwise."""


def find_leaks(table: pd.DataFrame, sides: str = "split") -> pd.DataFrame:
    """Names every subject and every image that is on more than one side.

    Args:
        table: One row per image; each of `LEAKS` that is among its columns is looked at.
        sides: Column that holds the side, such as `split` or `fold`.

    Returns:
        One row per leak with `kind`, `name` and `sides`; no rows for a clean split.
    """
    if "source" in table:  # an original is a source, too: of itself
        table = table.assign(source=table["source"].fillna(table["path"]))
    if set(DIGESTS) <= set(table):  # blank images, without the first, prove nothing
        table = table.assign(sha256=table["sha256"].where(table["pixels"].notna()))
    found = []
    for column in (c for c in LEAKS if c in table):
        rows = table[table.groupby(column)[sides].transform("nunique") > 1]
        for value, group in rows.groupby(column):
            files = " = ".join(PurePath(path).name for path in group["path"])
            name = value if column.endswith("subject") else files
            found.append((LEAKS[column], name, ", ".join(sorted(set(group[sides])))))
    leaks = pd.DataFrame(found, columns=["kind", "name", "sides"], dtype=str)
    return leaks.drop_duplicates(["kind", "name"])


def check_split(table: pd.DataFrame) -> None:
    """Refuses a split that has a subject or an image on two sides.

    Args:
        table: A table with `split`.

    Raises:
        LeakError: With the names of what is on two sides.
        ValueError: If a row is on no side.
    """
    sides = set(table["split"]) if "split" in table else {"no split"}
    if not sides <= set(PARTS):
        raise ValueError(f"Each row is in one of {', '.join(PARTS)}. Received: {list(sides)}")
    leaks = find_leaks(table)
    if len(leaks):
        advice = "Nothing may be on two sides: split by subject."
        raise LeakError(f"{advice} Received: {name_leaks(leaks)}")


def name_leaks(leaks: pd.DataFrame) -> str:
    """Returns the leaks as one line: how many of each kind, and the first few by name."""
    counts = leaks["kind"].value_counts(sort=False)
    total = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    lines = [f"{kind} {name} in {on}" for kind, name, on in leaks.head(NAMED).to_numpy()]
    return f"{total} ({'; '.join(lines)}{'; …' if len(leaks) > NAMED else ''})"


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
    check_classes(table, least=2)
    rng = np.random.default_rng(seed)
    split = np.full(len(table), "test", dtype=object)
    for label in classes_of(table["label"]):
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
        raise ValueError(f"validation is a share from 0 to under {ratio}. Received: {validation!r}")
    subjects = _subject_sizes(table)
    shares = {"test": 1 - ratio} | ({"validation": validation} if validation else {})
    check_classes(table, 1 + len(shares), "linked subjects", subjects["label"])
    rng = np.random.default_rng(seed)
    classes = subjects.groupby("label")["images"]
    side = pd.concat([_assign(sizes, shares, tolerance, rng) for _, sizes in classes])
    return table.assign(split=table["linked_subject"].map(side))


def classes_of(labels: pd.Series) -> list[str]:
    """Returns HEM and ALL, or the names of other classes in their order; the last is positive."""
    found = set(labels.dropna())
    return list(CLASSES) if found <= set(CLASSES) else sorted(found)


def check_ratio(ratio: float) -> None:
    """Raises ValueError unless the ratio is a number between 0 and 1, both excluded."""
    if not 0 < ratio < 1:
        raise ValueError(f"ratio is a share, more than 0 and less than 1. Received: {ratio!r}")


def check_classes(
    table: pd.DataFrame, least: int = 1, unit: str = "images", labels: pd.Series | None = None
) -> None:
    """Raises ValueError, with what the table holds, unless each class has enough of a unit.

    `labels` holds the class of each unit; by default that of each image.
    """
    labels = table["label"] if labels is None else labels
    counts = labels.value_counts().reindex(classes_of(labels), fill_value=0)
    unknown = table["label"].isna().sum()
    if unknown or counts.min() < least:
        who = table.get("linked_subject", table.get("subject", table["path"]))
        people = who.groupby(table["label"]).nunique()
        images = table["label"].value_counts()
        held = [f"{images.get(c, 0)} {c} of {people.get(c, 0)} subjects" for c in counts.index]
        advice = f"Expected a label for each image, and at least {least} {unit} of each class."
        raise ValueError(f"{advice} Received: {', '.join(held)}; {unknown} without a label")


def _subject_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the images and the (most frequent) label of every linked subject."""
    subjects = table.get("linked_subject", pd.Series(None, table.index, dtype=object))
    unknown = table.loc[subjects.isna(), "path"].tolist()
    if unknown:
        advice = f"A split by subject needs names that tell it, {NAME_FORM}, and link_subjects."
        raise ValueError(f"{advice} Received: {len(unknown)} other images, such as {unknown[0]}")
    groups = table.groupby("linked_subject")["label"]
    sizes = groups.agg(images="size", label=lambda labels: labels.mode().max())
    return sizes.loc[sorted(sizes.index, key=natural_key)]


def _assign(sizes: pd.Series, shares: dict, tolerance: float, rng: Generator) -> pd.Series:
    """Draws one part after the other from the subjects of one class; training keeps the rest."""
    side, rest = pd.Series("train", index=sizes.index, dtype=object), sizes / sizes.sum()
    for number, (part, goal) in enumerate(shares.items()):
        count, most = round(goal * len(sizes)), len(rest) - len(shares) + number
        counts = sorted({int(np.clip(count + step, 1, most)) for step in (-1, 0, 1)})
        chosen = rest.index[_choose(rest.to_numpy(), goal, counts, tolerance, rng)]
        side[chosen] = part
        rest = rest.drop(chosen)
    return side


def _choose(
    shares: np.ndarray, goal: float, counts: list[int], tolerance: float, rng: Generator
) -> np.ndarray:
    """Returns the positions of subjects whose images add up to about the asked share."""
    candidates = []
    for size in counts:
        draws = ShuffleSplit(CANDIDATES, test_size=size, random_state=int(rng.integers(2**31)))
        candidates += [chosen for _, chosen in draws.split(shares)]
    order = rng.permutation(len(candidates))
    distance = np.array([abs(shares[candidates[i]].sum() - goal) for i in order])
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
    classes = classes_of(table["label"])
    for label in classes:
        report[label] = (table["label"] == label).groupby(table["split"]).sum()
    report[f"{classes[-1]}_share"] = report[classes[-1]] / report["images"]
    report["subjects"] = groups[who].nunique()
    return report.loc[[part for part in PARTS if part in report.index]]
