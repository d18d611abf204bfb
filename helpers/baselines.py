"""The two rules that cost nothing, and that every network must beat."""

from __future__ import annotations

import numpy as np
import pandas as pd


def baselines(split: pd.DataFrame, area: np.ndarray | None = None) -> dict[str, pd.DataFrame]:
    """Judges cells by the two rules that every network must beat.

    Args:
        split: One row per original image with `path`, `label` and `split`; it needs a "train" part.
        area: Pixels of each nucleus, row by row; by default `quick.nucleus_area` counts them.

    Returns:
        Predictions on the other parts: "majority class" gives every cell the share of ALL in the
        training part, "area only" the probability from a logistic regression on the area.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from helpers import quick

    size = np.asarray(quick.nucleus_area(split) if area is None else area).reshape(len(split), 1)
    train = (split["split"] == "train").to_numpy()
    sick = (split["label"] == "ALL").to_numpy()
    rule = make_pipeline(StandardScaler(), LogisticRegression()).fit(size[train], sick[train])
    rest = split[~train].reset_index(drop=True)
    return {
        "majority class": rest.assign(probability=sick[train].mean()),
        "area only": rest.assign(probability=rule.predict_proba(size[~train])[:, 1]),
    }
