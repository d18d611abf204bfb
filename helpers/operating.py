"""The operating point: above which probability a cell is called ALL."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers import metrics
from helpers.bootstrap import Sample
from helpers.predictions import check, only_part, sample

AIMS = ("balanced_accuracy", "weighted_f1", "accuracy", "f1", "mcc")


def choose_threshold(
    predictions: pd.DataFrame,
    aim: str = "balanced_accuracy",
    sensitivity: float | None = None,
    part: str = "validation",
) -> float:
    """Chooses the operating point, on cells that are not those it is judged on.

    Args:
        predictions: As in `evaluate`, of the validation part.
        aim: What is to be highest: one of `AIMS`; balanced accuracy amounts to Youden's index.
        sensitivity: Or: the highest threshold that finds at least this share of the ALL cells.
        part: If the table has a column `split`, this part of it decides; "test" is refused.

    Returns:
        A threshold half-way between two probabilities that occur; of equally good ones the one
        nearest to 0.5.

    Raises:
        ValueError: If the test part is asked for, a class is missing, or an argument is unknown.
    """
    _check_choice(part, aim, sensitivity)
    cells = sample(check(only_part(predictions, part)))
    if cells.is_all.all() or not cells.is_all.any():
        raise ValueError(
            "A threshold is chosen between two classes; take cells of both. Received: "
            f"{cells.is_all.sum()} ALL and {(~cells.is_all).sum()} HEM cells"
        )
    scores, level = metrics.levels(cells.probability)
    lowest, highest = scores[0] / 2 or -1e-9, (scores[-1] + 1) / 2  # all are called ALL, or none
    cuts = np.concatenate([[lowest], (scores[1:] + scores[:-1]) / 2, [highest]])
    found = _calls_at_each_cut(cells, level, len(scores))
    if sensitivity is not None:
        return float(cuts[found["sensitivity"] >= sensitivity].max())
    best = cuts[np.isclose(found[aim], np.nanmax(found[aim]))]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _calls_at_each_cut(cells: Sample, level: np.ndarray, levels: int) -> dict[str, np.ndarray]:
    """Scores the calls for a threshold below each level, and for one above all."""
    counts = [np.bincount(level[k], minlength=levels) for k in (cells.is_all, ~cells.is_all)]
    tp, fp = (np.append(n[::-1].cumsum()[::-1], 0) for n in counts)
    return metrics.of_calls(tp, counts[1].sum() - fp, fp, counts[0].sum() - tp)


def _check_choice(part: str, aim: str, sensitivity: float | None) -> None:
    if part == "test":
        raise ValueError(
            "A threshold tuned on the test labels makes the test score too good; choose it on "
            "the validation part. Received: part='test'"
        )
    if aim not in AIMS or not (sensitivity is None or 0 < sensitivity <= 1):
        raise ValueError(
            f"`aim` is one of {', '.join(AIMS)}, a sensitivity is above 0 and at most 1. Received: "
            f"aim={aim!r}, sensitivity={sensitivity!r}"
        )
