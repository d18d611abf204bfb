"""Every score of the series from counts of cells, and how far it would move with other patients.

Cells with the same probability form one *level*. A sample is then two rows of counts, how many ALL
and how many HEM cells are on each level, and all scores follow from the counts, ties included. A
bootstrap draw is the same levels with other counts, so thousands of draws are scored in one call.

Cells of one patient resemble each other: a test set of 2,000 cells of 15 patients tells about 15
patients, not about 2,000. So the bootstrap draws whole subjects with replacement, each with all its
cells (a cluster bootstrap: Field & Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x), ALL and HEM
apart, as the test part was. The one over cells is there to show what goes wrong without.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

BINS = 10  # of equal width, for the calibration error
LEAST = 3  # subjects with cells of a class; two can be drawn in three ways only
MOST_LEVELS = 4_096  # of the draws only; the score itself is exact
CHUNK = 250  # draws that are scored at once, which bounds the memory

LABELS = pd.read_csv(Path(__file__).with_name("scores.csv"), index_col="name")["label"].to_dict()
NAMES = tuple(LABELS)
COUNTS = NAMES[-4:]  # tp, tn, fp, fn
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sample:
    """Judged cells as arrays of one length, of so many subjects, numbered from 0 on."""

    probability: np.ndarray
    is_all: np.ndarray
    subject: np.ndarray
    subjects: int


def score(sample: Sample, threshold: float = 0.5) -> np.ndarray:
    """Computes the scores of a sample, in the order of `NAMES`."""
    scores, level = np.unique(sample.probability, return_inverse=True)
    positive, negative = _count(sample, level)
    return from_counts(scores, positive, negative, threshold)


def levels(probability: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Gathers equal probabilities, and close ones if there are more than `MOST_LEVELS` of them.

    Close ones are gathered between quantiles and never across the threshold or the edge of a
    calibration bin. That keeps every score but the areas and Brier exact, and moves those by less
    than about 1 / `MOST_LEVELS`.

    Returns:
        The mean probability of each level, rising, and the level of each cell.
    """
    scores, level = np.unique(probability, return_inverse=True)
    if len(scores) <= MOST_LEVELS:
        return scores, level
    fixed = [threshold, *np.linspace(0, 1, BINS + 1)[1:-1]]
    edges = np.unique([*np.quantile(probability, np.linspace(0, 1, MOST_LEVELS)), *fixed])
    level = np.unique(np.searchsorted(edges, probability), return_inverse=True)[1]
    return np.bincount(level, probability) / np.bincount(level), level


def _count(sample: Sample, level: np.ndarray) -> list[np.ndarray]:
    """Counts the cells on each level, ALL and HEM."""
    size = level.max() + 1
    return [np.bincount(level[rows], minlength=size) for rows in (sample.is_all, ~sample.is_all)]


def from_counts(
    scores: np.ndarray, positive: np.ndarray, negative: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """Computes all scores of one sample or of many.

    A score that is not defined is NaN: specificity without a HEM cell, precision where nothing is
    called ALL, both areas without both classes. MCC is 0 where all calls are the same.

    Args:
        scores: Probability of ALL per level, rising, shape (levels,).
        positive: Number of ALL cells per level, shape (..., levels).
        negative: Number of HEM cells per level, of the same shape.
        threshold: A cell is called ALL above it.

    Returns:
        Shape (..., scores), the scores in the order of `NAMES`.
    """
    called = scores > threshold
    tp, fp = positive[..., called].sum(-1), negative[..., called].sum(-1)
    fn, tn = positive.sum(-1) - tp, negative.sum(-1) - fp
    found = dict(zip(COUNTS, np.asarray([tp, tn, fp, fn], float), strict=True))
    found |= _of_calls(found) | _of_ranks(positive, negative)
    found |= _of_probabilities(scores, positive, negative)
    return np.stack([found[name] for name in NAMES], axis=-1)


def _of_calls(counts: Scores) -> Scores:
    """Scores of the calls at the threshold; accuracy is the paper's formula (section IV)."""
    tp, tn, fp, fn = (counts[name] for name in COUNTS)
    sick, well = tp + fn, tn + fp
    sensitivity, specificity = _ratio(tp, sick), _ratio(tn, well)
    f1, f1_hem = (_ratio(2 * right, 2 * right + fp + fn, 0.0) for right in (tp, tn))
    spread = np.sqrt((tp + fp) * (tn + fn)) * np.sqrt(sick * well)
    return {
        "accuracy": _ratio(tp + tn, sick + well),
        "sensitivity": sensitivity,
        "specificity": specificity,
        "precision": _ratio(tp, tp + fp),
        "f1": f1,
        "weighted_f1": _ratio(sick * f1 + well * f1_hem, sick + well),
        "balanced_accuracy": (sensitivity + specificity) / 2,
        "mcc": np.where(sick * well > 0, _ratio(tp * tn - fp * fn, spread, 0.0), np.nan),
    }


def _ratio(part: np.ndarray, whole: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """Divides, and gives `empty` where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(whole.shape, empty), where=whole > 0)


def _of_ranks(positive: np.ndarray, negative: np.ndarray) -> Scores:
    """Areas under the ROC curve (ties count half) and, in steps, the precision-recall curve."""
    sick, well = positive.sum(-1), negative.sum(-1)
    below = np.cumsum(negative, axis=-1) - negative / 2
    roc = _ratio((positive * below).sum(-1), sick * well)
    right = np.cumsum(positive[..., ::-1], axis=-1)[..., ::-1]
    called = right + np.cumsum(negative[..., ::-1], axis=-1)[..., ::-1]
    steps = (positive * _ratio(right, called, 0.0)).sum(-1)
    return {"roc_auc": roc, "pr_auc": np.where(well > 0, _ratio(steps, sick), np.nan)}


def _of_probabilities(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> Scores:
    """Brier score, and the expected calibration error over bins of the probability of ALL."""
    cells = (positive + negative).sum(-1)
    brier = _ratio(positive @ (1 - scores) ** 2 + negative @ scores**2, cells)
    member = np.eye(BINS)[bin_of(scores)]
    said = (positive + negative) @ (scores[:, None] * member)
    return {"brier": brier, "ece": _ratio(np.abs(said - positive @ member).sum(-1), cells)}


def bin_of(scores: np.ndarray) -> np.ndarray:
    """Returns the number of the equal-width bin of each probability; an edge belongs below."""
    return np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], scores)


def over_subjects(sample: Sample, threshold: float, draws: int, seed: int = 0) -> np.ndarray:
    """Scores many draws of subjects; the same subjects and seed give the same draws.

    Returns:
        Shape (draws, scores). All NaN if the cells of a class are of fewer than `LEAST` subjects:
        next to nothing can vary then, which would look like certainty.
    """
    classes = (sample.is_all, ~sample.is_all)
    if any(0 < len(np.unique(sample.subject[rows])) < LEAST for rows in classes):
        return np.full((draws, len(NAMES)), np.nan)
    scores, level = levels(sample.probability, threshold)
    shape = (len(scores), sample.subjects)
    tables = [sparse.csr_array((rows * 1.0, (level, sample.subject)), shape) for rows in classes]
    strata, rng, found = _strata(sample), np.random.default_rng(seed), []
    for size in _chunks(draws):
        times = np.stack([_draw_subjects(strata, rng) for _ in range(size)])
        positive, negative = ((table @ times.T).T for table in tables)
        found.append(from_counts(scores, positive, negative, threshold))
    return np.concatenate(found)


def _strata(sample: Sample) -> list[np.ndarray]:
    """Returns the subjects that are drawn together: those with mostly ALL cells, and the others.

    A subject with cells of both classes belongs to the class of most of its cells: in a stratum of
    its own it would be in every draw, as if it could not vary. Where that leaves too few of a
    class to draw from, all subjects are drawn together.
    """
    share = np.bincount(sample.subject, sample.is_all) / np.bincount(sample.subject)
    strata = [np.flatnonzero(share >= 0.5), np.flatnonzero(share < 0.5)]
    return strata if min(map(len, strata)) >= LEAST else [np.arange(sample.subjects)]


def _draw_subjects(strata: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draws as many subjects as there are, and returns how often each is drawn."""
    drawn = [who[rng.integers(0, len(who), len(who))] for who in strata]
    return np.bincount(np.concatenate(drawn), minlength=sum(map(len, strata)))


def over_cells(sample: Sample, threshold: float, draws: int, seed: int = 0) -> np.ndarray:
    """Scores many draws of single cells, as if each came from a patient of its own.

    The draws are from all cells, so the share of ALL varies with them, as in the usual interval.

    Returns:
        Shape (draws, scores). All NaN if a class has but one cell.
    """
    scores, level = levels(sample.probability, threshold)
    counts = _count(sample, level)
    if any(cells.sum() == 1 for cells in counts):
        return np.full((draws, len(NAMES)), np.nan)
    share = np.concatenate(counts) / len(level)
    rng, found = np.random.default_rng(seed), []
    for size in _chunks(draws):
        positive, negative = np.split(rng.multinomial(len(level), share, size), 2, axis=1)
        found.append(from_counts(scores, positive, negative, threshold))
    return np.concatenate(found)


def _chunks(draws: int) -> list[int]:
    """Cuts the draws into chunks, of which one at a time is in memory."""
    if draws < 1:
        raise ValueError(f"A bootstrap needs draws, usual are 2,000. Received: draws={draws}")
    return [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]


def interval(values: np.ndarray) -> np.ndarray:
    """Returns the two ends of the middle 95 % of the draws (percentile method), score by score.

    Draws in which a score is not defined are left out; the ends are NaN where none is.
    """
    return pd.DataFrame(values).quantile([0.025, 0.975]).to_numpy()
