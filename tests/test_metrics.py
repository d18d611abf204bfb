"""Scores against scikit-learn and the hand; draws against all there can be, and formulas."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pandas as pd
import pytest
from judged import judged
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from helpers.evaluation import metrics
from helpers.evaluation.performance import sample

PEERS = {
    "accuracy": lambda y, call, p: sk.accuracy_score(y, call),
    "sensitivity": lambda y, call, p: sk.recall_score(y, call),
    "specificity": lambda y, call, p: sk.recall_score(y, call, pos_label=0),
    "precision": lambda y, call, p: sk.precision_score(y, call),
    "f1": lambda y, call, p: sk.f1_score(y, call),
    "weighted_f1": lambda y, call, p: sk.f1_score(y, call, average="weighted"),
    "balanced_accuracy": lambda y, call, p: sk.balanced_accuracy_score(y, call),
    "mcc": lambda y, call, p: sk.matthews_corrcoef(y, call),
    "roc_auc": lambda y, call, p: sk.roc_auc_score(y, p),
    "pr_auc": lambda y, call, p: sk.average_precision_score(y, p),
    "brier": lambda y, call, p: sk.brier_score_loss(y, p),
    "ece": lambda y, call, p: calibration_error(y, p),
    "tp": lambda y, call, p: sk.confusion_matrix(y, call)[1, 1],
    "tn": lambda y, call, p: sk.confusion_matrix(y, call)[0, 0],
    "fp": lambda y, call, p: sk.confusion_matrix(y, call)[0, 1],
    "fn": lambda y, call, p: sk.confusion_matrix(y, call)[1, 0],
}
AT = metrics.NAMES.index
TABLES = {
    "no ties": judged(500),
    "ties": judged(500, decimals=1),
    "one probability": judged(50).assign(probability=0.7),
    "two cells": judged(500).groupby("label").head(1),
}


def calibration_error(y, p):
    """From the two curves of scikit-learn, weighted by the cells in each bin."""
    true, said = calibration_curve(y, p, n_bins=10)
    cells = np.bincount(np.searchsorted(np.linspace(0, 1, 11)[1:-1], p), minlength=10)
    return np.average(np.abs(true - said), weights=cells[cells > 0])


def one(*rows, threshold=0.5):
    """Scores from rows of (probability, ALL cells, HEM cells)."""
    return dict(
        zip(metrics.NAMES, metrics.from_counts(*np.array(rows, float).T, threshold), strict=True)
    )


@pytest.mark.parametrize("threshold", [0.5, 0.3])
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", metrics.NAMES)
def test_when_cells_are_scored_then_scikit_learn_agrees(name, table, threshold):
    y, p = (table["label"] == "ALL").to_numpy(int), table["probability"].to_numpy()
    found = dict(zip(metrics.NAMES, metrics.score(sample(table), threshold), strict=True))
    if name == "precision" and not (p > threshold).any():
        pytest.skip("not defined")
    assert found[name] == pytest.approx(PEERS[name](y, p > threshold, p), abs=1e-12)


def test_when_counted_by_hand_then_it_is_the_same():
    # 3 ALL and 1 HEM above, 1 ALL and 5 HEM below the threshold.
    found = one((0.2, 1, 5), (0.9, 3, 1))
    assert [int(found[name]) for name in ("tp", "tn", "fp", "fn")] == [3, 5, 1, 1]
    assert found["accuracy"] == 0.8
    assert found["roc_auc"] == pytest.approx((3 * 5 + 0.5 * (3 * 1 + 1 * 5)) / 24)
    assert found["pr_auc"] == pytest.approx(3 / 4 * 3 / 4 + 1 / 4 * 4 / 10)
    assert found["brier"] == pytest.approx((0.64 + 5 * 0.04 + 3 * 0.01 + 0.81) / 10)
    assert found["ece"] == pytest.approx((abs(6 * 0.2 - 1) + abs(4 * 0.9 - 3)) / 10)


def test_when_a_class_is_missing_then_only_what_needs_it_is_missing():
    found = one((0.2, 1, 0), (0.9, 3, 0))
    missing = {name for name, value in found.items() if np.isnan(value)}
    assert missing == {"specificity", "balanced_accuracy", "mcc", "roc_auc", "pr_auc"}
    assert found["accuracy"] == found["sensitivity"] == 0.75


def test_when_nothing_is_called_all_then_precision_is_missing_and_mcc_zero():
    found = one((0.2, 1, 5))
    assert np.isnan(found["precision"])
    assert found["mcc"] == found["f1"] == 0


def test_when_always_all_is_scored_then_it_is_the_published_baseline():
    # The preliminary set: 1,219 ALL and 648 HEM; the challenge's score of always saying ALL.
    found = one((1.0, 1219, 648))
    assert found["accuracy"] == pytest.approx(0.653, abs=5e-4)
    assert found["weighted_f1"] == pytest.approx(0.516, abs=5e-4)


def test_when_there_are_many_samples_then_each_is_scored_as_if_alone():
    scores, counts = np.array([0.1, 0.6, 0.8]), np.array([[[1, 2, 3], [4, 0, 1]]] * 2)
    together = metrics.from_counts(scores, counts, counts[:, ::-1])
    alone = metrics.from_counts(scores, counts[1, 0], counts[1, 1])
    assert together.shape == (2, 2, 16)
    np.testing.assert_allclose(together[1, 0], alone)


def test_when_probabilities_are_gathered_then_calls_stay_and_areas_hardly_move(monkeypatch):
    table = sample(judged(20_000))
    counts = {}
    for most in (20_000, 500):
        monkeypatch.setattr(metrics, "MOST_LEVELS", most)
        scores, level = metrics.levels(table.probability, 0.37)
        rows = [np.bincount(level[k], minlength=len(scores)) for k in (table.is_all, ~table.is_all)]
        counts[most] = metrics.from_counts(scores, *rows, 0.37)
    assert len(scores) < 520
    assert counts[500] == pytest.approx(counts[20_000], abs=1 / 500)


@pytest.fixture
def cells():
    return sample(judged(400, decimals=2))


def test_when_subjects_are_drawn_then_it_is_as_if_their_rows_were_copied():
    # Three subjects a class: ten ways to draw each, so all draws there can be are scored apart.
    table = judged(120, subjects=9)
    cells = sample(table[table["linked_subject"].isin(["1", "2", "4", "H0", "H3", "H6"])])
    kinds = [np.unique(cells.subject[rows]) for rows in (cells.is_all, ~cells.is_all)]
    ways = [list(combinations_with_replacement(kind, 3)) for kind in kinds]
    possible = []
    for drawn in product(*ways):
        again = np.concatenate([np.flatnonzero(cells.subject == who) for who in sum(drawn, ())])
        y, p = cells.is_all[again], cells.probability[again]
        f1 = sk.f1_score(y, p > 0.5, average="weighted")
        areas = sk.roc_auc_score(y, p), sk.average_precision_score(y, p)
        possible.append((*areas, f1, sk.brier_score_loss(y, p)))
    found = metrics.over_subjects(cells, 0.5, 2_000, seed=3)
    found = found[:, [AT(name) for name in ("roc_auc", "pr_auc", "weighted_f1", "brier")]]
    gaps = np.abs(found[:, None] - np.array(possible)).max(axis=2)
    assert gaps.min(axis=1).max() < 1e-12
    times = np.bincount(gaps.argmin(axis=1), minlength=100).reshape(10, 10)
    one_of_each = ways[0].index(tuple(kinds[0]))  # 6 of the 27 ordered draws of three
    assert times.min() > 0
    assert times[one_of_each].sum() / 2_000 == pytest.approx(6 / 27, abs=0.03)


def test_when_drawn_then_both_classes_keep_their_number_of_subjects():
    table = judged(400).groupby("linked_subject").head(20)  # of each subject 20 cells
    drawn = metrics.over_subjects(sample(table), 0.5, 50, seed=0)
    assert (drawn[:, AT("tp")] + drawn[:, AT("fn")] == 6 * 20).all()
    assert (drawn[:, AT("tn")] + drawn[:, AT("fp")] == 3 * 20).all()


@pytest.mark.parametrize("name", ["accuracy", "sensitivity"])
def test_when_cells_are_independent_then_the_spread_is_the_binomial_one(cells, name):
    found = metrics.over_cells(cells, 0.5, 4000, seed=0).std(axis=0)
    rate = metrics.score(cells)[AT(name)]
    number = {"accuracy": len(cells.is_all), "sensitivity": cells.is_all.sum()}[name]
    assert found[AT(name)] == pytest.approx(np.sqrt(rate * (1 - rate) / number), rel=0.05)


def test_when_subjects_are_the_unit_then_the_spread_is_the_clustered_one(cells):
    # The variance of a ratio over clusters, linearised (Cochran 1977, section 6.3).
    found = metrics.over_subjects(cells, 0.5, 4000, seed=0).std(axis=0)
    sick = pd.DataFrame({"subject": cells.subject, "right": cells.probability > 0.5})[cells.is_all]
    groups = sick.groupby("subject")["right"].agg(["sum", "size"])
    rest = groups["sum"] - sick["right"].mean() * groups["size"]
    expected = np.sqrt((rest**2).sum()) / len(sick)
    assert found[AT("sensitivity")] == pytest.approx(expected, rel=0.1)


def test_when_cells_of_a_subject_are_alike_then_the_interval_over_subjects_is_wider(cells):
    place = AT("accuracy")
    widths = [
        np.subtract(*(ends[place] for ends in metrics.interval(way(cells, 0.5, 500, 0))[::-1]))
        for way in (metrics.over_subjects, metrics.over_cells)
    ]
    assert widths[0] > 2 * widths[1]


def test_when_chunks_are_smaller_then_the_draws_are_the_same(cells, monkeypatch):
    whole = metrics.over_subjects(cells, 0.5, 40, seed=1)
    monkeypatch.setattr(metrics, "CHUNK", 7)
    np.testing.assert_allclose(metrics.over_subjects(cells, 0.5, 40, seed=1), whole, rtol=1e-12)


def test_when_probabilities_are_gathered_then_the_draws_hardly_move(monkeypatch):
    cells = sample(judged(20_000))
    near = metrics.over_subjects(cells, 0.5, 20, seed=1)
    monkeypatch.setattr(metrics, "MOST_LEVELS", 100_000)
    np.testing.assert_allclose(near, metrics.over_subjects(cells, 0.5, 20, seed=1), atol=1e-4)


@pytest.mark.parametrize("gone", [["H0"], ["H0", "H3"]])
def test_when_a_class_has_one_or_two_subjects_then_there_is_no_interval(gone):
    table = judged(60)
    cells = sample(table[~table["linked_subject"].isin(gone)])
    assert np.isnan(metrics.over_subjects(cells, 0.5, 10, 0)).all()


def test_when_the_middle_is_taken_then_what_is_not_defined_is_left_out():
    values = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    values[0] = np.nan
    low, high = metrics.interval(values)  # of 1 to 100
    assert (low[0], high[0]) == (pytest.approx(3.475), pytest.approx(97.525))
    assert np.isnan([low[1], high[1]]).all()


def mixed(hem_cells, all_cells, hem_subjects=6):
    """Six subjects with ALL cells only, some with HEM cells only, and one with both."""
    table = judged(600, subjects=18)
    pure = table[~table["linked_subject"].isin([f"H{3 * n}" for n in range(hem_subjects, 6)])]
    both = pd.concat([table.query("label == 'HEM'").head(hem_cells),
                      table.query("label == 'ALL'").head(all_cells)])  # fmt: skip
    return sample(pd.concat([pure, both.assign(linked_subject="both")]))


@pytest.mark.parametrize(("hem_cells", "all_cells"), [(30, 5), (5, 30), (10, 10)])
def test_when_one_subject_has_cells_of_both_classes_then_there_are_intervals(hem_cells, all_cells):
    cells = mixed(hem_cells, all_cells)
    low, high = metrics.interval(metrics.over_subjects(cells, 0.5, 300, seed=0))
    assert (low < high).all()


def test_when_a_subject_has_cells_of_both_classes_then_it_is_not_in_every_draw():
    cells = mixed(200, 100, hem_subjects=2)  # with it three subjects have HEM cells
    drawn = metrics.over_subjects(cells, 0.5, 300, seed=0)
    hem = drawn[:, AT("tn")] + drawn[:, AT("fp")]
    assert hem.min() < 200 < 2 * 200 < hem.max()


def test_when_all_subjects_have_cells_of_both_classes_then_there_are_intervals():
    rng = np.random.default_rng(0)
    table = judged(400).assign(linked_subject=rng.integers(0, 8, 400).astype(str))
    low, high = metrics.interval(metrics.over_subjects(sample(table), 0.5, 300, seed=0))
    assert (low < high).all()


def test_when_a_class_is_only_in_two_mixed_subjects_then_there_is_no_interval():
    cells = mixed(20, 40, hem_subjects=1)  # one with HEM cells only, one with both
    assert np.isnan(metrics.over_subjects(cells, 0.5, 10, 0)).all()
