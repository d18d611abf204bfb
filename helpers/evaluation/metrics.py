"""Every score of the series, from counts of cells per probability; many samples in one call.

Cells with the same probability are gathered into one *level*. A sample is then two rows of counts,
how many ALL and how many HEM cells are on each level, and a bootstrap draw is the same levels with
other counts. All scores follow from the counts, ties included.

How far a score would move with other patients: bootstrap over subjects, and over cells.

Cells of one patient resemble each other, so a test set of 2,000 cells of 15 patients tells about
15 patients, not about 2,000. The bootstrap over subjects draws whole subjects with replacement and
leaves each with all its cells (a cluster bootstrap: Field & Welsh 2007,
doi 10.1111/j.1467-9868.2007.00593.x). The one over cells is there to show what goes wrong without.

Subjects are drawn ALL and HEM apart, as the test part was; cells from all cells, as is usual.
Every draw is a row of counts per level of `levels`, so that thousands of draws are a few
matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

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


LEAST = 3  # subjects of a class; two can be drawn in three ways only
MOST_LEVELS = 4_096  # of the draws only; the score itself is exact
ROOM = 4_000_000  # numbers of a chunk of draws, which bounds the memory


@dataclass(frozen=True)
class Sample:
    """Judged cells as arrays of one length.

    Args:
        probability: Of ALL, 0 to 1.
        is_all: The truth.
        subject: Number of the linked subject, from 0 on without gaps.
    """

    probability: np.ndarray
    is_all: np.ndarray
    subject: np.ndarray

    @property
    def subjects(self) -> int:
        """How many subjects there are."""
        return int(self.subject.max()) + 1


def score(sample: Sample, threshold: float = 0.5) -> np.ndarray:
    """Computes the scores of a sample, in the order of `NAMES`."""
    scores, level = levels(sample.probability, threshold)
    return _stack(scores, _per_level(sample, level, len(scores)), threshold)


def _per_level(sample: Sample, level: np.ndarray, levels: int) -> list[np.ndarray]:
    return [np.bincount(level[is_it], minlength=levels) for is_it in _classes(sample)]


def _classes(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.is_all, ~sample.is_all


def over_subjects(sample: Sample, threshold: float, draws: int, seed: int) -> np.ndarray:
    """Scores many draws of subjects; the same subjects and seed give the same draws.

    Args:
        sample: The judged cells.
        threshold: As in `from_counts`.
        draws: How many.
        seed: Decides the draws.

    Returns:
        Shape (draws, scores). All NaN if a class has fewer than `LEAST` subjects: next to nothing
        can vary then, which would look like certainty.
    """
    strata = _strata(sample)
    if any(len(members) < LEAST for members in strata):
        return np.full((draws, len(NAMES)), np.nan)
    scores, level = levels(sample.probability, threshold, MOST_LEVELS)
    tables = [_per_subject(sample, level, len(scores), is_it) for is_it in _classes(sample)]
    rng, found = np.random.default_rng(seed), []
    for chunk in _chunks(draws, sample.subjects + 4 * len(scores)):
        times = _draw_subjects(rng, strata, chunk, sample.subjects)
        found.append(_stack(scores, [(table @ times.T).T for table in tables], threshold))
    return np.concatenate(found)


def _strata(sample: Sample) -> list[np.ndarray]:
    """Returns the subjects with ALL cells, with HEM cells, and with both, where there are any."""
    kinds = np.zeros(sample.subjects, int)
    for value, is_it in enumerate(_classes(sample), start=1):
        kinds[np.unique(sample.subject[is_it])] += value
    return [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _per_subject(
    sample: Sample, level: np.ndarray, levels: int, rows: np.ndarray
) -> sparse.csr_array:
    """Counts cells per level and subject."""
    place = (level[rows], sample.subject[rows])
    ones = np.ones(int(rows.sum()))
    return sparse.coo_array((ones, place), shape=(levels, sample.subjects)).tocsr()


def _chunks(draws: int, width: int) -> Iterator[int]:
    """Cuts the draws into chunks that fit into memory."""
    if draws < 1:
        raise ValueError(f"A bootstrap needs draws, usual are 2,000. Received: draws={draws}")
    size = max(1, ROOM // width)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _draw_subjects(
    rng: np.random.Generator, strata: list[np.ndarray], draws: int, subjects: int
) -> np.ndarray:
    """Returns how often each subject is in each draw, shape (draws, subjects)."""
    times = np.zeros((draws, subjects))
    for row in times:
        for members in strata:
            drawn = members[rng.integers(0, len(members), len(members))]
            row += np.bincount(drawn, minlength=subjects)
    return times


def _stack(scores: np.ndarray, counts: list[np.ndarray], threshold: float) -> np.ndarray:
    positive, negative = counts
    found = from_counts(scores, positive, negative, threshold)
    return np.stack(list(found.values()), axis=-1)


def over_cells(sample: Sample, threshold: float, draws: int, seed: int) -> np.ndarray:
    """Scores many draws of single cells, as if each came from a patient of its own.

    The draws are from all cells, so the share of ALL varies with them, as in the usual interval.

    Args:
        sample: The judged cells.
        threshold: As in `from_counts`.
        draws: How many.
        seed: Decides the draws.

    Returns:
        Shape (draws, scores). All NaN if a class has but one cell.
    """
    scores, level = levels(sample.probability, threshold, MOST_LEVELS)
    counts = _per_level(sample, level, len(scores))
    if any(n.sum() == 1 for n in counts):
        return np.full((draws, len(NAMES)), np.nan)
    rng, found = np.random.default_rng(seed), []
    share = np.concatenate(counts) / len(sample.is_all)
    for chunk in _chunks(draws, 4 * len(scores)):
        drawn = rng.multinomial(len(sample.is_all), share, size=chunk)
        found.append(_stack(scores, np.split(drawn, 2, axis=1), threshold))
    return np.concatenate(found)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle part of the draws (percentile method), without those not defined.

    Args:
        values: Shape (draws, scores).
        level: Share of the draws inside.

    Returns:
        Lower and upper ends, shape (scores,); NaN where no draw is defined.
    """
    ends = np.full((2, values.shape[1]), np.nan)
    some = ~np.isnan(values).all(axis=0)
    if len(values):
        tails = [(1 - level) / 2, (1 + level) / 2]
        ends[:, some] = np.nanquantile(values[:, some], tails, axis=0)
    return ends[0], ends[1]
