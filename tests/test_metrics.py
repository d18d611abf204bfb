"""Every score against scikit-learn, which computes it another way, or against a hand-worked one."""

from __future__ import annotations

import numpy as np
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
    return metrics.from_counts(*np.array(rows, float).T, threshold)


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
    assert together["roc_auc"].shape == (2, 2)
    np.testing.assert_allclose([v[1, 0] for v in together.values()], list(alone.values()))


def test_when_probabilities_are_gathered_then_calls_stay_and_areas_hardly_move():
    table = sample(judged(20_000))
    counts = {}
    for most in (None, 500):
        scores, level = metrics.levels(table.probability, 0.37, most)
        rows = [np.bincount(level[k], minlength=len(scores)) for k in (table.is_all, ~table.is_all)]
        counts[most] = metrics.from_counts(scores, *rows, 0.37)
    assert len(scores) < 520
    for name in metrics.NAMES:
        assert counts[500][name] == pytest.approx(counts[None][name], abs=1 / 500)
