"""What every network must beat: rules that cost nothing, quick scores, and what others reported."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import ClassifierMixin, clone

from helpers.data.image_files import nucleus_area
from helpers.evaluation import performance

DATA = Path(__file__).resolve().parents[2] / "data"  # the published tables lie here


def free_rules(split: pd.DataFrame, area: np.ndarray | None = None) -> dict[str, pd.DataFrame]:
    """Judges cells by the two rules that every network must beat.

    Args:
        split: One row per original image with `path`, `label` and `split`; it needs a "train" part.
        area: Pixels of each nucleus, row by row; by default as `nucleus_area` says.

    Returns:
        Predictions on the other parts: "majority class" gives every cell the share of ALL in the
        training part, "area only" the probability from a logistic regression on the area.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    size = np.asarray(nucleus_area(split) if area is None else area).reshape(len(split), 1)
    train = (split["split"] == "train").to_numpy()
    sick = (split["label"] == "ALL").to_numpy()
    rule = make_pipeline(StandardScaler(), LogisticRegression()).fit(size[train], sick[train])
    rest = split[~train].reset_index(drop=True)
    said = {"majority class": sick[train].mean()}
    said["area only"] = rule.predict_proba(size[~train])[:, 1]
    return {name: rest.assign(probability=chance) for name, chance in said.items()}


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
        raise ValueError(f"Give features of {len(split)} images. Received: {len(features)} rows")
    train, test = (split["split"].to_numpy() == part for part in ("train", "test"))
    rows = np.asarray(features).reshape(len(split), -1)
    labels = split["label"].to_numpy(dtype=str)
    guess = clone(model).fit(rows[train], labels[train]).predict(rows[test])
    return split[test].assign(probability=(guess == "ALL").astype(float))


def repeat_scores(
    splitters: dict[str, Callable], rules: dict[str, tuple], seeds: Iterable[int]
) -> pd.DataFrame:
    """Scores every rule on many splits of the same images.

    Args:
        splitters: For each way of splitting, a function from a seed to the split table; all keep
            the rows in the same order.
        rules: For each rule, its features (one row per image) and its model.
        seeds: One repetition per seed.

    Returns:
        One row per repetition with `split`, `rule`, `seed` and `score` (weighted F1, the score of
        the C-NMC challenge).
    """
    rows = []
    for way, splitter in splitters.items():
        for seed in seeds:
            table = splitter(seed)
            for rule, (features, model) in rules.items():
                found = performance.scores(judge(table, features, model))
                rows.append((way, rule, seed, found["weighted_f1"]))
    return pd.DataFrame(rows, columns=["split", "rule", "seed", "score"])


def whole_number(printed: str, total: int = 2_120) -> pd.Series:
    """Asks whether a printed percentage can be a whole number of images out of a total.

    Args:
        printed: A percentage as printed, such as "84.8".
        total: Number of images it is of; the paper's is a fifth of 10,600.

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
    # In whole numbers, with half a step rounded up: no binary fraction can play tricks.
    rounded = any((2 * k + total) // (2 * total) == wanted for k in around)
    cut = any(k // total == wanted for k in around)
    percent = 100 * nearest / total
    return pd.Series({"images": nearest, "percent": percent, "rounded": rounded, "cut": cut})
