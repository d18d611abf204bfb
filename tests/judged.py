"""Made-up judged cells: as many as wanted, of subjects that differ, with ties if wanted."""

from __future__ import annotations

import numpy as np
import pandas as pd


def judged(
    cells: int = 300, subjects: int = 9, seed: int = 0, decimals: int | None = None
) -> pd.DataFrame:
    """A predictions table; a third of the subjects are HEM, and each has an effect of its own."""
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, subjects, cells)
    is_all = subject % 3 > 0
    effect = np.random.default_rng(99).normal(0, 0.8, subjects)  # The patients stay the same.
    logit = rng.normal(0, 1, cells) + effect[subject] + np.where(is_all, 1, -1)
    probability = 1 / (1 + np.exp(-1.3 * logit))
    return pd.DataFrame(
        {
            "path": [f"cell_{number}.bmp" for number in range(cells)],
            "label": np.where(is_all, "ALL", "HEM"),
            "linked_subject": np.where(is_all, "", "H") + subject.astype(str).astype(object),
            "split": "test",
            "probability": probability if decimals is None else probability.round(decimals),
        }
    )
