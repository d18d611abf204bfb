"""Tests between models against statsmodels, hand-worked tables and known differences."""

from __future__ import annotations

import numpy as np
import pytest
from judged import judged
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from helpers.evaluation.comparisons import compare_models, holm


@pytest.fixture
def cells():
    return judged(300)


def wrong_on(table, rows):
    """The same cells with the calls of some rows turned round."""
    return table.assign(probability=np.where(rows, 1 - table["probability"], table["probability"]))


def perfect(table):
    return table.assign(probability=np.where(table["label"] == "ALL", 0.9, 0.1))


def test_when_two_models_disagree_then_mcnemar_is_the_binomial_test(cells):
    best = perfect(cells)
    one, other = (
        wrong_on(best, best.index < 4),
        wrong_on(best, (best.index > 9) & (best.index < 24)),
    )
    row = compare_models({"a": one, "b": other}, draws=50).iloc[0]
    assert (row["only_first"], row["only_second"]) == (14, 4)
    assert row["p_mcnemar"] == pytest.approx(binomtest(4, 18).pvalue)


def test_when_they_disagree_often_then_mcnemar_is_the_corrected_chi_squared(cells):
    # (|b - c| - 1)^2 / (b + c) = (|10 - 30| - 1)^2 / 40 = 9.025, p = 0.00266
    best = perfect(cells)
    one, other = wrong_on(best, best.index < 10), wrong_on(best, best.index >= 270)
    assert compare_models({"a": one, "b": other}, draws=50)["p_mcnemar"][0] == pytest.approx(
        0.00266, abs=1e-5
    )


def test_when_models_are_the_same_then_nothing_differs(cells):
    row = compare_models({"a": cells, "b": cells.sample(frac=1)}, draws=50).iloc[0]
    assert row[["difference", "low", "high", "only_first", "only_second"]].eq(0).all()
    assert row[["p_mcnemar", "p_subjects"]].eq(1).all()


def test_when_one_is_better_on_every_subject_then_both_tests_say_so(cells):
    row = compare_models({"good": perfect(cells), "bad": cells}, metric="roc_auc").iloc[0]
    assert row["difference"] > row["low"] > 0
    assert row["p_subjects"] == pytest.approx(2 / 2**9)  # the least that nine subjects allow


def test_when_there_are_many_subjects_then_the_draws_are_the_floor():
    cells = judged(900, subjects=30)
    row = compare_models({"good": perfect(cells), "bad": cells}, metric="roc_auc", draws=500).iloc[
        0
    ]
    assert row["p_subjects"] == pytest.approx(2 / 501)


def test_when_it_is_better_on_one_subject_only_then_the_bootstrap_is_not_sure(cells):
    worst = (cells["linked_subject"] == "4").to_numpy()
    row = compare_models(
        {"a": perfect(cells), "b": wrong_on(perfect(cells), worst)}, draws=500
    ).iloc[0]
    assert row["p_mcnemar"] < 1e-6
    assert row["p_subjects"] > 0.2


def test_when_there_are_three_models_then_every_pair_is_corrected(cells):
    models = {"a": cells, "b": judged(300, seed=3), "c": perfect(cells)}
    models["b"][["label", "linked_subject"]] = cells[["label", "linked_subject"]]
    table = compare_models(models, draws=100)
    assert list(zip(table["first"], table["second"], strict=True)) == [
        ("a", "b"), ("a", "c"), ("b", "c")
    ]  # fmt: skip
    expected = multipletests(table["p_mcnemar"], method="holm")[1]
    assert table["p_mcnemar_holm"].tolist() == pytest.approx(expected)


def test_when_corrected_by_hand_then_it_is_the_same():
    import pandas as pd

    # Rising: 3 x 0.01, then 2 x 0.03, then 0.04 raised to the one before; the missing one stays.
    found = holm(pd.Series([0.04, 0.01, np.nan, 0.03]))
    assert found[[0, 1, 3]] == pytest.approx([0.06, 0.03, 0.06])
    assert np.isnan(found[2])


def test_when_a_class_has_one_subject_then_only_mcnemar_answers(cells):
    few = cells[~cells["linked_subject"].isin(["H0", "H3"])]
    row = compare_models({"a": few, "b": perfect(few)}, draws=50).iloc[0]
    assert row[["low", "high", "p_subjects", "p_subjects_holm"]].isna().all()
    assert row["p_mcnemar"] < 1


FAULTS = {
    "needs two models": lambda t: {"a": t},
    "300 cells of 'a' and 299": lambda t: {"a": t, "b": t[1:]},
    "299 of them the same": lambda t: {"a": t, "b": t.assign(path=["x", *t["path"][1:]])},
    "no such column for b": lambda t: {"a": t, "b": t.drop(columns="path")},
    "100 of them the same": lambda t: {"a": t, "b": t.assign(label="HEM")},
}


@pytest.mark.parametrize("said", FAULTS)
def test_when_models_cannot_be_compared_then_the_reason_is_told(cells, said):
    said_here = said.replace("100", str((cells["label"] == "HEM").sum()))
    with pytest.raises(ValueError, match=said_here):
        compare_models(FAULTS[said](cells))


def test_when_the_score_is_unknown_then_it_is_refused(cells):
    with pytest.raises(ValueError, match="metric='luck'"):
        compare_models({"a": cells, "b": cells}, metric="luck")
