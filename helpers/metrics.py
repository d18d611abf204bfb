"""Every score of the series, from counts of cells per probability; many samples in one call.

Cells with the same probability are gathered into one *level*. A sample is then two rows of counts,
how many ALL and how many HEM cells are on each level, and a bootstrap draw is the same levels with
other counts. All scores follow from the counts, ties included.
"""

from __future__ import annotations

import numpy as np

BINS = 10  # of equal width, for the calibration error

LABELS = {
    "accuracy": "accuracy",
    "sensitivity": "sensitivity (ALL found)",
    "specificity": "specificity (HEM found)",
    "precision": "precision (ALL calls right)",
    "f1": "F1 of ALL",
    "weighted_f1": "weighted F1",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC (average precision)",
    "brier": "Brier score (0 is best)",
    "ece": "calibration error (0 is best)",
    "tp": "true positives (ALL called ALL)",
    "tn": "true negatives (HEM called HEM)",
    "fp": "false positives (HEM called ALL)",
    "fn": "false negatives (ALL called HEM)",
}
NAMES = tuple(LABELS)
COUNTS = NAMES[-4:]


def from_counts(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = 0.5
) -> dict[str, np.ndarray]:
    """Computes all scores of one sample or of many.

    A score that is not defined is NaN: specificity without a HEM cell, precision where nothing is
    called ALL, both areas without both classes. MCC is 0 where all calls are the same.

    Args:
        scores: Probability of ALL per level, rising, shape (levels,).
        positive: Number of ALL cells per level, shape (..., levels).
        negative: Number of HEM cells per level, of the same shape.
        threshold: A cell is called ALL above it.

    Returns:
        An array of shape (...) for each of `NAMES`.

    Example:
        >>> found = from_counts(np.array([0.2, 0.8]), np.array([1, 3]), np.array([4, 0]))
        >>> float(found["accuracy"]), float(found["sensitivity"])
        (0.875, 0.75)
    """
    called = scores > threshold
    tp, fp = positive[..., called].sum(-1), negative[..., called].sum(-1)
    fn, tn = positive.sum(-1) - tp, negative.sum(-1) - fp
    found = {
        **of_calls(tp, tn, fp, fn),
        **_of_ranks(positive, negative),
        **_of_probabilities(scores, positive, negative),
        **dict(zip(COUNTS, (tp, tn, fp, fn), strict=True)),
    }
    return {name: np.asarray(found[name], float) for name in NAMES}


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Divides, and gives `empty` where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, empty), where=whole > 0)


def of_calls(
    tp: np.ndarray, tn: np.ndarray, fp: np.ndarray, fn: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of the calls at the threshold; accuracy is the paper's formula (section IV)."""
    sick, well = tp + fn, tn + fp
    f1, f1_hem = (_ratio(2 * right, 2 * right + fp + fn, 0.0) for right in (tp, tn))
    sensitivity, specificity = _ratio(tp, sick), _ratio(tn, well)
    return {
        "accuracy": _ratio(tp + tn, sick + well),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _ratio(tp, tp + fp),
        "f1": f1,
        "weighted_f1": _ratio(sick * f1 + well * f1_hem, sick + well),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": _matthews(*(np.asarray(count, float) for count in (tp, tn, fp, fn))),
    }


def _matthews(tp: np.ndarray, tn: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> np.ndarray:
    calls = np.sqrt((tp + fp) * (tn + fn))
    truth = np.sqrt((tp + fn) * (tn + fp))
    return np.where(truth > 0, _ratio(tp * tn - fp * fn, calls * truth, 0.0), np.nan)


def _of_ranks(positive: np.ndarray, negative: np.ndarray) -> dict[str, np.ndarray]:
    """Areas under the ROC curve (ties count half) and, in steps, the precision-recall curve."""
    sick, well = positive.sum(-1), negative.sum(-1)
    below = np.cumsum(negative, axis=-1) - negative / 2
    roc = _ratio((positive * below).sum(-1), sick * well)
    right = np.cumsum(positive[..., ::-1], axis=-1)[..., ::-1]
    called = right + np.cumsum(negative[..., ::-1], axis=-1)[..., ::-1]
    steps = (positive * _ratio(right, called, 0.0)).sum(-1)
    return {"roc_auc": roc, "pr_auc": np.where(well > 0, _ratio(steps, sick), np.nan)}


def _of_probabilities(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray
) -> dict[str, np.ndarray]:
    """Brier score, and the expected calibration error over bins of the probability of ALL."""
    cells = (positive + negative).sum(-1)
    brier = _ratio(positive @ (1 - scores) ** 2 + negative @ scores**2, cells)
    member = np.eye(BINS)[bin_of(scores)]
    said = (positive + negative) @ (scores[:, None] * member)
    gaps = np.abs(said - positive @ member).sum(-1)
    return {"brier": brier, "ece": _ratio(gaps, cells)}


def bin_of(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Returns the number of the equal-width bin of each probability; an edge belongs below."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)


def levels(
    probability: np.ndarray, threshold: float = 0.5, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Gathers equal probabilities, and close ones if there are more than `most` different ones.

    Close ones are gathered between quantiles and never across the threshold or the edge of a
    calibration bin. That keeps every score but the areas and Brier exact, and moves those by less
    than about 1 / `most`.

    Args:
        probability: Probability of ALL per cell, shape (cells,).
        threshold: As in `from_counts`.
        most: How many levels at most, about; None: one for each different probability.

    Returns:
        The mean probability of each level, rising, and the level of each cell.
    """
    scores, level = np.unique(probability, return_inverse=True)
    if most is None or len(scores) <= most:
        return scores, level
    fixed = [threshold, *np.linspace(0, 1, BINS + 1)[1:-1]]
    edges = np.unique([*np.quantile(probability, np.linspace(0, 1, most)), *fixed])
    level = np.unique(np.searchsorted(edges, probability), return_inverse=True)[1]
    return np.bincount(level, probability) / np.bincount(level), level
