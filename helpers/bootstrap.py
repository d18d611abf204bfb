"""How far a score would move with other patients: bootstrap over subjects, and over cells.

Cells of one patient resemble each other, so a test set of 2,000 cells of 15 patients tells about
15 patients, not about 2,000. The bootstrap over subjects draws whole subjects with replacement and
leaves each with all its cells (a cluster bootstrap: Field & Welsh 2007,
doi 10.1111/j.1467-9868.2007.00593.x). The one over cells is there to show what goes wrong without.

Subjects are drawn ALL and HEM apart, as the test part was; cells from all cells, as is usual.
Every draw is a row of counts per level of `metrics.levels`, so that thousands of draws are a few
matrix products.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from helpers import metrics

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
    """Computes the scores of a sample, in the order of `metrics.NAMES`."""
    scores, level = metrics.levels(sample.probability, threshold)
    return _stack(scores, _per_level(sample, level, len(scores)), threshold)


def _per_level(sample: Sample, level: np.ndarray, levels: int) -> list[np.ndarray]:
    return [np.bincount(level[is_it], minlength=levels) for is_it in _classes(sample)]


def _classes(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    return sample.is_all, ~sample.is_all


def over_subjects(sample: Sample, threshold: float, draws: int, seed: int) -> np.ndarray:
    """Scores many draws of subjects; the same subjects and seed give the same draws.

    Args:
        sample: The judged cells.
        threshold: As in `metrics.from_counts`.
        draws: How many.
        seed: Decides the draws.

    Returns:
        Shape (draws, scores). All NaN if a class has fewer than `LEAST` subjects: next to nothing
        can vary then, which would look like certainty.
    """
    strata = _strata(sample)
    if any(len(members) < LEAST for members in strata):
        return np.full((draws, len(metrics.NAMES)), np.nan)
    scores, level = metrics.levels(sample.probability, threshold, MOST_LEVELS)
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
    found = metrics.from_counts(scores, positive, negative, threshold)
    return np.stack(list(found.values()), axis=-1)


def over_cells(sample: Sample, threshold: float, draws: int, seed: int) -> np.ndarray:
    """Scores many draws of single cells, as if each came from a patient of its own.

    The draws are from all cells, so the share of ALL varies with them, as in the usual interval.

    Args:
        sample: The judged cells.
        threshold: As in `metrics.from_counts`.
        draws: How many.
        seed: Decides the draws.

    Returns:
        Shape (draws, scores). All NaN if a class has but one cell.
    """
    scores, level = metrics.levels(sample.probability, threshold, MOST_LEVELS)
    counts = _per_level(sample, level, len(scores))
    if any(n.sum() == 1 for n in counts):
        return np.full((draws, len(metrics.NAMES)), np.nan)
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
