"""The two rules that cost nothing, and that every network must beat.

Cheap looks at the images, in seconds and without a network: thumbnails, area, quick scores.

What others reported on C-NMC 2019, each number with the protocol it was measured by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, clone
from sklearn.metrics import f1_score

from helpers.data import image_files


def baselines(split: pd.DataFrame, area: np.ndarray | None = None) -> dict[str, pd.DataFrame]:
    """Judges cells by the two rules that every network must beat.

    Args:
        split: One row per original image with `path`, `label` and `split`; it needs a "train" part.
        area: Pixels of each nucleus, row by row; by default `nucleus_area` counts them.

    Returns:
        Predictions on the other parts: "majority class" gives every cell the share of ALL in the
        training part, "area only" the probability from a logistic regression on the area.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pass

    size = np.asarray(nucleus_area(split) if area is None else area).reshape(len(split), 1)
    train = (split["split"] == "train").to_numpy()
    sick = (split["label"] == "ALL").to_numpy()
    rule = make_pipeline(StandardScaler(), LogisticRegression()).fit(size[train], sick[train])
    rest = split[~train].reset_index(drop=True)
    return {
        "majority class": rest.assign(probability=sick[train].mean()),
        "area only": rest.assign(probability=rule.predict_proba(size[~train])[:, 1]),
    }


Rule = tuple[np.ndarray, ClassifierMixin]


def thumbnails(table: pd.DataFrame, size: int = 24) -> np.ndarray:
    """Shrinks every image, each new pixel the mean of those it covers.

    Args:
        table: One row per image, with `path`.
        size: Side of the thumbnail in px, at least 1.

    Returns:
        A uint8 array of shape (images, size, size, 3).

    Raises:
        ValueError: If the size is under 1.
    """
    from PIL import Image

    if size < 1:
        raise ValueError(f"A thumbnail has a side of at least 1 px. Received: size={size!r}")

    def shrink(path: str) -> np.ndarray:
        image = Image.fromarray(image_files.read_image(path))
        return np.asarray(image.resize((size, size), Image.Resampling.BOX))

    return _map(shrink, table).reshape(-1, size, size, 3)


def nucleus_area(table: pd.DataFrame) -> np.ndarray:
    """Counts the pixels of every image that are not background, which is exactly black.

    Args:
        table: One row per image, with `path`.

    Returns:
        An integer array of shape (images,), in px.
    """
    return _map(lambda path: np.count_nonzero(image_files.read_image(path).any(axis=2)), table)


def _map(measure: Callable[[str], np.ndarray | int], table: pd.DataFrame) -> np.ndarray:
    """Measures every image on all cores; the reading of files releases Python's lock."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        return np.array(list(pool.map(measure, table["path"])))


def judge(split: pd.DataFrame, features: np.ndarray, model: ClassifierMixin) -> pd.DataFrame:
    """Fits a copy of a model on the training rows and lets it judge the test rows.

    Args:
        split: A table with `split` and `label`; other parts than train and test sit out.
        features: One row of numbers per row of the table.
        model: A scikit-learn classifier; it stays as it is.

    Returns:
        The test rows with `probability` of ALL, 1 or 0: such a model makes up its mind.

    Raises:
        ValueError: If there is not one row of features per row of the table.
    """
    if len(features) != len(split):
        raise ValueError(
            "Features and table describe the same images, row by row. Received: "
            f"{len(features)} rows of features and {len(split)} of the table"
        )
    train, test = (split["split"].to_numpy() == part for part in ("train", "test"))
    rows = np.asarray(features).reshape(len(split), -1)
    labels = split["label"].to_numpy(dtype=str)
    guess = clone(model).fit(rows[train], labels[train]).predict(rows[test])
    return split[test].assign(probability=(guess == "ALL").astype(float))


def quick_score(split: pd.DataFrame, features: np.ndarray, model: ClassifierMixin) -> float:
    """Scores a model as `judge` lets it judge; arguments and errors are the same.

    Returns:
        The weighted F1 on the test rows, the score of the C-NMC challenge.
    """
    judged = judge(split, features, model)
    guess = np.where(judged["probability"] > 0.5, "ALL", "HEM")
    return float(f1_score(judged["label"].to_numpy(dtype=str), guess, average="weighted"))


def repeat_scores(
    splitters: dict[str, Callable[[int], pd.DataFrame]],
    rules: dict[str, Rule],
    seeds: Iterable[int],
) -> pd.DataFrame:
    """Scores every rule on many splits of the same images.

    Args:
        splitters: For each way of splitting, a function from a seed to the split table; all keep
            the rows in the same order.
        rules: For each rule, its features (one row per image) and its model.
        seeds: One repetition per seed.

    Returns:
        One row per repetition with `split`, `rule`, `seed` and `score` (weighted F1).
    """
    rows = [
        (way, rule, seed, quick_score(table, features, model))
        for way, splitter in splitters.items()
        for seed in seeds
        for table in [splitter(seed)]
        for rule, (features, model) in rules.items()
    ]
    return pd.DataFrame(rows, columns=["split", "rule", "seed", "score"])


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarises repeated scores by their mean and the range of their middle 95 %.

    The repetitions share images, so this shows how much a score depends on the draw; it is not
    a confidence interval for new patients.

    Args:
        scores: As from `repeat_scores`.

    Returns:
        One row per rule and split, in their order, with `mean`, `low`, `high` and `repeats`.
    """
    groups = scores.groupby(["rule", "split"], sort=False)["score"]
    low, high = groups.quantile(0.025), groups.quantile(0.975)
    table = pd.DataFrame(
        {"mean": groups.mean(), "low": low, "high": high, "repeats": groups.size()}
    )
    return table.reset_index()


def nearest_subject(split: pd.DataFrame, features: np.ndarray) -> pd.Series:
    """Tells for every test image whether its nearest training image is of the same subject.

    Args:
        split: A table with `split` and `linked_subject`.
        features: One row of numbers per row of the table.

    Returns:
        A boolean series over the test rows.
    """
    from sklearn.neighbors import NearestNeighbors

    rows = np.asarray(features, dtype=float).reshape(len(split), -1)
    train, test = (split["split"].to_numpy() == part for part in ("train", "test"))
    nearest = NearestNeighbors(n_neighbors=1).fit(rows[train]).kneighbors(rows[test])[1][:, 0]
    who = split["linked_subject"].to_numpy()
    return pd.Series(who[train][nearest] == who[test], index=split.index[test])


def published_gap() -> pd.DataFrame:
    """Returns the leak as others measured it on the real C-NMC 2019 images.

    The same trained networks were scored twice, in the executed public notebooks of
    ChristianMarzahl/ISBI2019_WhiteBloodCancer: on a random 10 % of the training images, whose
    subjects the network knew, and on the preliminary test set, whose subjects it did not.

    Returns:
        One row per network and input side (px) with the weighted F1 `random` and `disjoint`.
    """
    rows = [
        ("ResNet18", 256, 0.961, 0.832),
        ("ResNet18", 384, 0.975, 0.828),
        ("ResNet18", 450, 0.967, 0.792),
        ("SE-ResNeXt50", 256, 0.961, 0.816),
        ("SE-ResNeXt50", 384, 0.983, 0.831),
        ("SE-ResNeXt50", 450, 0.983, 0.823),
    ]
    return pd.DataFrame(rows, columns=["network", "side", "random", "disjoint"])


DATA = Path(__file__).resolve().parents[2] / "data"
TEST_IMAGES = 2_120  # of the paper: a fifth of 10,600
MODELS = {
    "AlexNet": "alexnet",
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "InceptionV3": "inception_v3",
    "Proposed Model": "proposed_cnn",
}


def paper_table() -> pd.DataFrame:
    """Reads Table 2 of the paper, as printed.

    Returns:
        One row per network: `architecture`, `model` (its name in `models.MODELS`) and `printed`
        (accuracy in per cent on 2,120 images of a random split, as text: its decimals count).
    """
    table = pd.read_csv(DATA / "paper_results.csv", dtype=str)
    table = table.rename(columns={"accuracy_percent": "printed"})
    return table.assign(model=table["architecture"].map(MODELS))


def published_results() -> pd.DataFrame:
    """Reads published scores on C-NMC 2019, protocol by protocol.

    Returns:
        One row per score: `protocol`, `work`, `source`, `score` (which one it is), `value` (0 to 1)
        and `remark`.
    """
    return pd.read_csv(DATA / "published_results.csv", keep_default_na=False)


def whole_number(printed: str, total: int = TEST_IMAGES) -> pd.Series:
    """Asks whether a printed percentage can be a whole number of images out of a total.

    Args:
        printed: A percentage as printed, such as "84.8".
        total: Number of images it is of.

    Returns:
        `images` (the whole number nearest to it), `percent` (what that would be), `rounded` and
        `cut` (whether some whole number gives the printed one when rounded, or when cut off).

    Example:
        >>> bool(whole_number("93.02").rounded), bool(whole_number("81.62").rounded)
        (True, False)
    """
    step = 10 ** len(printed.partition(".")[2])
    wanted = round(float(printed) * step)
    nearest = round(wanted * total / (100 * step))
    around = [100 * step * k for k in range(max(nearest - 1, 0), nearest + 2)]
    return pd.Series(
        {
            "images": nearest,
            "percent": 100 * nearest / total,
            # In whole numbers, with half a step rounded up: no binary fraction can play tricks.
            "rounded": any((2 * k + total) // (2 * total) == wanted for k in around),
            "cut": any(k // total == wanted for k in around),
        }
    )
