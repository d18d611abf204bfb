"""Several opinions on the same cell: of several networks, or of one network on eight views.

Predictions are one long table: one row per image and opinion, with `path`, `label`, `split`,
`probability` of ALL, and `model`, the name of who says so. A combination has one row per image.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.feed import POSITIONS, turn

if TYPE_CHECKING:
    import keras

_CAREFUL = 1e-6  # no probability counts as surer than this


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
        raise ValueError(
            "An ensemble needs the opinion of every model on the same images. Received: "
            f"{len(predictions)} models, other images from {', '.join(odd) or 'none'}"
        )
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
    if how == "mean":
        combined = opinions.mean(axis=1)
    elif how == "weighted":
        combined = opinions @ weigh(stacked, by)
    elif how == "majority":
        votes = (opinions > 0.5).mean(axis=1)
        combined = votes.where(votes != 0.5, opinions.mean(axis=1))
    else:
        raise ValueError(f"Combine by mean, weighted or majority. Received: how={how!r}")
    rows = stacked.drop_duplicates("path").drop(columns=by)
    return rows.assign(probability=combined.loc[rows["path"]].to_numpy()).reset_index(drop=True)


def _opinions(stacked: pd.DataFrame, by: str) -> pd.DataFrame:
    """Returns the probabilities, images down and models across."""
    wide = stacked.pivot(index="path", columns=by, values="probability")  # noqa: PD010
    return wide[stacked[by].unique()]


def weigh(stacked: pd.DataFrame, by: str = "model") -> pd.Series:
    """Finds the weights, none negative and 1 together, that fit the validation labels best.

    'Best' is the smallest cross-entropy of the weighted mean, which has one minimum only. The
    test rows are not looked at.

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
        raise ValueError(
            "Weights are fitted on the validation part, so that the test part stays untouched. "
            f"Received: rows of {', '.join(sorted(stacked['split'].unique()))} only"
        )
    opinions = _opinions(rows, by)
    label = rows.drop_duplicates("path").set_index("path")["label"].loc[opinions.index]
    return pd.Series(_mix(opinions.to_numpy(), (label == "ALL").to_numpy()), opinions.columns)


def _mix(opinions: np.ndarray, truth: np.ndarray, steps: int = 2_000) -> np.ndarray:
    """Fits mixture weights by expectation-maximisation, which can only improve at each step."""
    likelihood = np.clip(np.where(truth[:, None], opinions, 1 - opinions), _CAREFUL, 1)
    weights = np.full(opinions.shape[1], 1 / opinions.shape[1])
    for _ in range(steps):
        shares = likelihood * weights
        weights = (shares / shares.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights


def disagreement(stacked: pd.DataFrame, by: str = "model") -> pd.DataFrame:
    """Compares the models two by two: an ensemble can only mend what not all get wrong.

    Args:
        stacked: As from `stack`.
        by: The column that says whose opinion a row is.

    Returns:
        One row per pair with `first`, `second`, the shares of images on which they `disagree` and
        on which `both_wrong`, and what the latter would be `by_chance` if errors were independent.
    """
    opinions = _opinions(stacked, by) > 0.5
    label = stacked.drop_duplicates("path").set_index("path")["label"].loc[opinions.index]
    wrong = opinions.ne(label == "ALL", axis=0)
    rows = [
        (
            first,
            second,
            (opinions[first] != opinions[second]).mean(),
            (wrong[first] & wrong[second]).mean(),
            wrong[first].mean() * wrong[second].mean(),
        )
        for first, second in combinations(opinions.columns, 2)
    ]
    return pd.DataFrame(rows, columns=["first", "second", "disagree", "both_wrong", "by_chance"])


def ambiguity(stacked: pd.DataFrame, by: str = "model") -> pd.Series:
    """Splits the ensemble's squared error: that of its members, less their spread.

    Source: Krogh & Vedelsby 1995, NeurIPS 7, 231-238. It holds exactly, for any members.

    Args:
        stacked: As from `stack`.
        by: The column that says whose opinion a row is.

    Returns:
        Mean squared error of the `members` (their Brier score), their `spread` about the mean
        opinion, and the error of the `ensemble` of equal weights; ensemble = members - spread.
    """
    opinions = _opinions(stacked, by)
    label = stacked.drop_duplicates("path").set_index("path")["label"].loc[opinions.index]
    truth, mean = (label == "ALL").astype(float), opinions.mean(axis=1)
    return pd.Series(
        {
            "members": opinions.sub(truth, axis=0).pow(2).to_numpy().mean(),
            "spread": opinions.sub(mean, axis=0).pow(2).to_numpy().mean(),
            "ensemble": (mean - truth).pow(2).mean(),
        }
    )


def views(images: np.ndarray) -> np.ndarray:
    """Shows images in the eight positions of a square: four turns, each also mirrored.

    Args:
        images: An array of shape (n, side, side, channels).

    Returns:
        An array of shape (8, n, side, side, channels); the first view is the image as it is.
    """
    return np.stack([turn(images, position) for position in range(POSITIONS)])


def predict_views(
    model: keras.Model, table: pd.DataFrame, size: int | None = None, batch_size: int = 100
) -> pd.DataFrame:
    """Lets one network judge each image in eight views (test-time augmentation).

    Args:
        model: Takes raw images, gives the probabilities of `cnmc.CLASSES`.
        table: Rows with `path`; labels are not looked at.
        size: Side of the images in px; by default what the model takes.
        batch_size: Images at a time.

    Returns:
        One row per image and view, with `view` from 0 (as it is) to 7 and `probability` of ALL;
        `combine(…, by="view")` makes one opinion of them.
    """
    from helpers import feed
    from helpers.training import loop

    images = feed.stream_images(table, size or model.input_shape[1], batch_size)
    ask = loop.as_function(model)
    with loop.quiet_tensorflow():
        found = [
            [ask(view).numpy()[:, loop.POSITIVE] for view in views(np.asarray(batch))]
            for batch in images
        ]
    probability = np.concatenate(found, axis=1)
    return pd.concat(
        [table.assign(view=n, probability=seen) for n, seen in enumerate(probability)],
        ignore_index=True,
    )
