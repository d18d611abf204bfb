"""Several opinions on the same cell: of several networks, or of one network on eight views.

Predictions are one long table: one row per image and opinion, with `path`, `label`, `split`,
`probability` of ALL, and `model`, the name of who says so. A combination has one row per image.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd


def stack(predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Puts the predictions of several models into one long table.

    Args:
        predictions: One table per name of a model, all of the same images.

    Returns:
        The rows of all, with `model`.

    Raises:
        ValueError: If a model did not judge the same images as the first.
    """
    first = next(iter(predictions.values()), pd.DataFrame({"path": []}))
    odd = [name for name, rows in predictions.items() if set(rows["path"]) != set(first["path"])]
    if odd or first.empty:
        told = f"{len(predictions)} models, other images from {', '.join(odd) or 'none'}"
        raise ValueError(f"An ensemble is of models that judge the same images. Received: {told}")
    return pd.concat([rows.assign(model=name) for name, rows in predictions.items()])


def combine(stacked: pd.DataFrame, how: str = "mean", by: str = "model") -> pd.DataFrame:
    """Combines the opinions on each image into one.

    Args:
        stacked: As from `stack`.
        how: "mean" of the probabilities; "weighted", with the weights that `weigh` finds on the
            validation rows; "majority": the share of votes for ALL at the threshold 0.5, where a
            tie is decided by the mean.
        by: The column that says whose opinion a row is.

    Returns:
        One row per image, in the order of the first model, with the combined `probability`.
    """
    opinions = _opinions(stacked, by)
    combined = opinions.mean(axis=1)
    if how == "weighted":
        combined = opinions @ weigh(stacked, by)
    elif how == "majority":
        votes = (opinions > 0.5).mean(axis=1)
        combined = votes.where(votes != 0.5, combined)
    elif how != "mean":
        raise ValueError(f"Combine by mean, weighted or majority. Received: how={how!r}")
    rows = stacked.drop_duplicates("path").drop(columns=by)
    return rows.assign(probability=combined.loc[rows["path"]].to_numpy()).reset_index(drop=True)


def _opinions(stacked: pd.DataFrame, by: str) -> pd.DataFrame:
    """Returns the probabilities, images down and models across."""
    wide = stacked.pivot(index="path", columns=by, values="probability")  # noqa: PD010
    return wide[stacked[by].unique()]


def _is_all(stacked: pd.DataFrame, opinions: pd.DataFrame) -> pd.Series:
    """Returns the truth for each row of the opinions."""
    return stacked.drop_duplicates("path").set_index("path")["label"].loc[opinions.index] == "ALL"


def weigh(stacked: pd.DataFrame, by: str = "model") -> pd.Series:
    """Finds the weights, none negative and 1 together, that fit the validation labels best.

    'Best' is the smallest cross-entropy of the weighted mean, which has one minimum only. It is
    found by expectation-maximisation, which can only improve at each step. The test rows are not
    looked at.

    Args:
        stacked: As from `stack`, with validation rows.
        by: The column that says whose opinion a row is.

    Returns:
        One weight per model.

    Raises:
        ValueError: If there are no validation rows.
    """
    rows = stacked[stacked["split"] == "validation"]
    if rows.empty:
        there = ", ".join(sorted(stacked["split"].unique()))
        raise ValueError(f"Weights need the validation part. Received: rows of {there} only")
    opinions = _opinions(rows, by)
    truth, said = _is_all(rows, opinions).to_numpy(), opinions.to_numpy()
    likelihood = np.clip(np.where(truth[:, None], said, 1 - said), 1e-6, 1)  # none is surer
    weights = np.full(said.shape[1], 1 / said.shape[1])
    for _ in range(2_000):
        shares = likelihood * weights
        weights = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    return pd.Series(weights, opinions.columns)


def disagreement(stacked: pd.DataFrame) -> pd.DataFrame:
    """Compares the models two by two: an ensemble can only mend what not all get wrong.

    Args:
        stacked: As from `stack`.

    Returns:
        One row per pair with `first`, `second`, the shares of images on which they `disagree` and
        on which `both_wrong`, and what the latter would be `by_chance` if errors were independent.
    """
    opinions = _opinions(stacked, "model")
    wrong = (opinions > 0.5).ne(_is_all(stacked, opinions), axis=0)
    rows = []
    for first, second in combinations(wrong, 2):
        one, other = wrong[first], wrong[second]
        differ, both = (one != other).mean(), (one & other).mean()
        rows.append((first, second, differ, both, one.mean() * other.mean()))
    return pd.DataFrame(rows, columns=["first", "second", "disagree", "both_wrong", "by_chance"])


def ambiguity(stacked: pd.DataFrame) -> pd.Series:
    """Splits the ensemble's squared error: that of its members, less their spread.

    Source: Krogh & Vedelsby 1995, NeurIPS 7, 231-238. It holds exactly, for any members.

    Args:
        stacked: As from `stack`.

    Returns:
        Mean squared error of the `members` (their Brier score), their `spread` about the mean
        opinion, and the error of the `ensemble` of equal weights; ensemble = members - spread.
    """
    opinions = _opinions(stacked, "model")
    truth, mean = _is_all(stacked, opinions).astype(float), opinions.mean(axis=1)
    members = opinions.sub(truth, axis=0).pow(2).to_numpy().mean()
    spread = opinions.sub(mean, axis=0).pow(2).to_numpy().mean()
    ensemble = (mean - truth).pow(2).mean()
    return pd.Series({"members": members, "spread": spread, "ensemble": ensemble})
