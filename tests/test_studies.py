"""Comparisons over seeds: nobody of the test part, paired differences, verdicts that can fail."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from sklearn.metrics import f1_score

from helpers.data import splits
from helpers.evaluation import comparisons


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
    assert all(comparisons.is_own_draw(draw, split) for draw in draws.values())
    for draw in draws.values():
        splits.check_split(draw)
        assert draw.groupby("split")["label"].nunique().to_dict() == dict.fromkeys(splits.PARTS, 2)
    judged = {frozenset(d.loc[d["split"] == "test", "subject"]) for d in draws.values()}
    assert len(judged) > 1


def test_when_there_are_too_few_subjects_then_the_split_itself_is_used():
    split = make_split(subjects=3)
    draw = comparisons.draw_splits(split, [1])[1]
    assert draw is split
    assert not comparisons.is_own_draw(draw, split)


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


def test_when_scored_then_only_the_judging_part_counts():
    rows = make_split().assign(probability=lambda t: np.where(t["label"] == "ALL", 0.9, 0.1))
    rows.loc[rows["split"] != "test", "probability"] = 0.5
    assert (comparisons.score(rows)["weighted_f1"], comparisons.score(rows)["roc_auc"]) == (
        1.0,
        1.0,
    )
    rows["probability"] = 0.9
    truth = rows.query("split == 'test'")["label"] == "ALL"
    assert comparisons.score(rows)["roc_auc"] == 0.5
    expected = f1_score(truth, truth | True, average="weighted")
    assert comparisons.score(rows)["weighted_f1"] == pytest.approx(expected)


def test_when_many_are_scored_then_each_row_says_whose_it_is():
    rows = make_split().assign(probability=0.9)
    table = comparisons.score_all({("a", 1): rows, ("b", 1): rows})
    assert table["variant"].tolist() == ["a", "b"]
    assert table["roc_auc"].tolist() == [0.5, 0.5]


class TestCompare:
    def test_when_compared_then_differences_are_paired_and_the_interval_is_the_wide_one(self):
        base, other = [0.70, 0.80, 0.75, 0.78], [0.74, 0.83, 0.80, 0.80]
        row = comparisons.compare_draws(make_scores(base=base, other=other), "base").loc["other"]
        plain = ttest_rel(other, base).confidence_interval()
        wider = np.sqrt(1 / 4 + 0.25 / 0.6) / np.sqrt(1 / 4)
        assert row["difference"] == pytest.approx(0.035)
        assert row["high"] - row["low"] == pytest.approx(wider * (plain.high - plain.low))

    def test_when_the_gain_is_steady_then_it_helps_and_its_mirror_harms(self):
        scores = make_scores(base=[0.7, 0.8, 0.6], up=[0.8, 0.9, 0.71], down=[0.6, 0.7, 0.49])
        verdicts = comparisons.compare_draws(scores, "base")["verdict"]
        assert verdicts[["up", "down"]].tolist() == [comparisons.HELPS, comparisons.HARMS]
        assert np.isnan(verdicts["base"])

    def test_when_the_gain_varies_then_nothing_is_shown(self):
        scores = make_scores(base=[0.7, 0.8, 0.6], other=[0.9, 0.79, 0.61])
        table = comparisons.compare_draws(scores, "base")
        assert table.loc["other", "verdict"] == comparisons.OPEN
        assert comparisons.say(table)[0].endswith("3 draws): not shown")

    def test_when_variants_are_the_same_then_the_error_bound_holds(self):
        rng = np.random.default_rng(0)
        wrong = 0
        for _ in range(300):
            noise = dict(zip("ab", rng.normal(0.8, 0.05, (2, 5)), strict=True))
            wrong += (
                comparisons.compare_draws(make_scores(**noise), "a").loc["b", "verdict"]
                != comparisons.OPEN
            )
        assert wrong / 300 < 0.05

    def test_when_there_is_one_seed_then_there_is_no_verdict(self):
        table = comparisons.compare_draws(make_scores(base=[0.5], other=[0.9]), "base")
        assert table.loc["other", "verdict"] == comparisons.OPEN
        assert "one draw, so no interval" in comparisons.say(table)[0]

    def test_when_a_seed_is_missing_then_it_says_so(self):
        with pytest.raises(ValueError, match=r"Received: .*'other': \[0\]"):
            comparisons.compare_draws(make_scores(base=[0.5, 0.6], other=[0.9]), "base")


def test_when_many_questions_are_asked_then_holm_takes_weak_answers_back():
    names = [f"v{n}" for n in range(20)]
    weak = make_scores(base=[0.7, 0.8, 0.6], **{n: [0.74, 0.85, 0.635] for n in names})
    single = comparisons.compare_draws(weak[weak["variant"].isin(["base", "v0"])], "base")
    assert single.loc["v0", "verdict"] == comparisons.HELPS
    summary = comparisons.adjust({"all": comparisons.compare_draws(weak, "base")})
    assert len(summary) == 20
    assert set(summary["after_correction"]) == {comparisons.OPEN}
