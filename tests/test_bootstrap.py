"""The draws against drawing rows one by one, and their spread against textbook formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from judged import judged
from sklearn import metrics as sk

from helpers.evaluation import metrics
from helpers.evaluation.performance import sample

AT = metrics.NAMES.index


@pytest.fixture
def cells():
    return sample(judged(400, decimals=2))


def test_when_subjects_are_drawn_then_it_is_as_if_their_rows_were_copied(cells):
    drawn = metrics.over_subjects(cells, 0.5, 5, seed=3)
    strata = metrics._strata(cells)
    times = metrics._draw_subjects(np.random.default_rng(3), strata, 5, cells.subjects)
    for row, weights in zip(drawn, times.astype(int), strict=True):
        again = np.repeat(np.arange(400), weights[cells.subject])
        y, p = cells.is_all[again], cells.probability[again]
        assert row[AT("roc_auc")] == pytest.approx(sk.roc_auc_score(y, p))
        assert row[AT("pr_auc")] == pytest.approx(sk.average_precision_score(y, p))
        assert row[AT("weighted_f1")] == pytest.approx(sk.f1_score(y, p > 0.5, average="weighted"))
        assert row[AT("brier")] == pytest.approx(sk.brier_score_loss(y, p))


def test_when_drawn_then_both_classes_keep_their_number_of_subjects(cells):
    strata = metrics._strata(cells)
    times = metrics._draw_subjects(np.random.default_rng(0), strata, 50, cells.subjects)
    assert [len(members) for members in strata] == [6, 3]
    assert all((times[:, members].sum(axis=1) == len(members)).all() for members in strata)


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
    monkeypatch.setattr(metrics, "ROOM", 2_000)
    np.testing.assert_array_equal(metrics.over_subjects(cells, 0.5, 40, seed=1), whole)


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
    low, high = metrics.interval(values, level=0.9)
    assert (low[0], high[0]) == (pytest.approx(5.95), pytest.approx(95.05))
    assert np.isnan([low[1], high[1]]).all()
