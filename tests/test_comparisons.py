"""Models and draws compared: against other libraries, hand-worked tables and known differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from judged import judged
from scipy.stats import binomtest, ttest_rel
from statsmodels.stats.multitest import multipletests

from helpers.data import splits
from helpers.evaluation import comparisons
from helpers.evaluation.comparisons import compare_draws, compare_models, holm


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
    # Rising: 3 x 0.01, then 2 x 0.03, then 0.04 raised to the one before; the missing one stays.
    found = holm(pd.Series([0.04, 0.01, np.nan, 0.03]))
    assert found[[0, 1, 3]].tolist() == pytest.approx([0.06, 0.03, 0.06])
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
    "Received: no path": lambda t: {"a": t, "b": t.drop(columns="path")},
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


def make_split(subjects=12):
    """Subjects of both classes with 10 images each, a quarter of them in the test part."""
    rows = []
    for label in ("ALL", "HEM"):
        for n in range(subjects):
            part = "test" if n % 4 == 0 else "validation" if n % 4 == 1 else "train"
            rows += [(f"{label}{n}-{i}", label, f"{label}{n}", part) for i in range(10)]
    table = pd.DataFrame(rows, columns=["path", "label", "subject", "split"])
    return table.assign(linked_subject=table["subject"])


def make_scores(**variants):
    rows = [(v, seed, x) for v, values in variants.items() for seed, x in enumerate(values)]
    return pd.DataFrame(rows, columns=["variant", "seed", "roc_auc"])


def test_when_subjects_are_drawn_then_nobody_of_the_test_part_is_among_them():
    split = make_split()
    draws = comparisons.draw_splits(split, [1, 2, 3])
    tested = split.loc[split["split"] == "test", "linked_subject"]
    for draw in draws.values():
        assert not draw["linked_subject"].isin(tested).any()
        splits.check_split(draw)
        assert draw.groupby("split")["label"].nunique().to_dict() == dict.fromkeys(splits.PARTS, 2)
    judged = {frozenset(d.loc[d["split"] == "test", "subject"]) for d in draws.values()}
    assert len(judged) > 1


def test_when_there_are_too_few_subjects_then_the_split_itself_is_used():
    split = make_split(subjects=3)
    draw = comparisons.draw_splits(split, [1])[1]
    assert draw is split


def test_when_a_share_of_subjects_is_kept_then_smaller_shares_are_nested():
    draw = comparisons.draw_splits(make_split(), [1])[1]
    names = [
        set(kept.loc[kept["split"] == "train", "subject"])
        for kept in (comparisons.keep_subjects(draw, share, seed=4) for share in (0.1, 0.5, 1))
    ]
    assert names[0] < names[1] < names[2]
    assert {name[:3] for name in names[0]} == {"ALL", "HEM"}
    few = comparisons.keep_subjects(draw, 0.1)
    held = few["split"] != "train"
    assert held.sum() == (draw["split"] != "train").sum()


class TestDraws:
    def test_when_compared_then_differences_are_paired_and_the_interval_is_the_wide_one(self):
        base, other = [0.70, 0.80, 0.75, 0.78], [0.74, 0.83, 0.80, 0.80]
        row = compare_draws(make_scores(base=base, other=other), "base").loc["other"]
        plain = ttest_rel(other, base).confidence_interval()
        wider = np.sqrt(1 / 4 + 0.3 / 0.6) / np.sqrt(1 / 4)
        assert row["difference"] == pytest.approx(0.035)
        assert row["high"] - row["low"] == pytest.approx(wider * (plain.high - plain.low))

    def test_when_the_gain_is_steady_then_it_helps_and_its_mirror_harms(self):
        scores = make_scores(base=[0.7, 0.8, 0.6], up=[0.8, 0.9, 0.71], down=[0.6, 0.7, 0.49])
        verdicts = compare_draws(scores, "base")["verdict"]
        assert verdicts[["up", "down"]].tolist() == ["helps", "harms"]
        assert np.isnan(verdicts["base"])

    def test_when_the_gain_varies_then_nothing_is_shown(self):
        scores = make_scores(base=[0.7, 0.8, 0.6], other=[0.9, 0.79, 0.61])
        table = compare_draws(scores, "base")
        assert table.loc["other", "verdict"] == "not shown"
        assert table.loc["other", "low"] < 0 < table.loc["other", "high"]

    def test_when_variants_are_the_same_then_the_error_bound_holds(self):
        rng = np.random.default_rng(0)
        wrong = 0
        for _ in range(300):
            noise = dict(zip("ab", rng.normal(0.8, 0.05, (2, 5)), strict=True))
            wrong += compare_draws(make_scores(**noise), "a").loc["b", "verdict"] != "not shown"
        assert wrong / 300 < 0.05

    def test_when_there_is_one_seed_then_there_is_no_verdict(self):
        table = compare_draws(make_scores(base=[0.5], other=[0.9]), "base")
        assert table.loc["other", "verdict"] == "not shown"
        assert table.loc["other", ["low", "high", "p"]].isna().all()

    def test_when_a_seed_is_missing_then_it_says_so(self):
        with pytest.raises(ValueError, match=r"Received: .*'other': \[0\]"):
            compare_draws(make_scores(base=[0.5, 0.6], other=[0.9]), "base")


def test_when_many_questions_are_asked_then_holm_takes_weak_answers_back():
    names = [f"v{n}" for n in range(20)]
    weak = make_scores(base=[0.7, 0.8, 0.6], **{n: [0.74, 0.85, 0.635] for n in names})
    single = compare_draws(weak[weak["variant"].isin(["base", "v0"])], "base")
    assert single.loc["v0", "verdict"] == "helps"
    asked = compare_draws(weak, "base").drop(index="base")
    assert set(asked["verdict"]) == {"helps"}
    assert (holm(asked["p"]) > 0.05).all()
