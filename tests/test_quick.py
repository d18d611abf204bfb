"""Cheap measurements and scores, against images and splits whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from helpers.evaluation import baselines


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Four images: squares of 100, 200, 300 and 400 px on black, as bright as a tenth of that."""
    rows = []
    for number, side in enumerate((100, 200, 300, 400), start=1):
        pixels = np.zeros((450, 450, 3), np.uint8)
        pixels[:side, :side] = side // 10
        Image.fromarray(pixels).save(tmp_path / f"UID_{number}_1_1_all.bmp")
        rows.append((str(tmp_path / f"UID_{number}_1_1_all.bmp"), "ALL" if side > 200 else "HEM"))
    table = pd.DataFrame(rows, columns=["path", "label"])
    return table.assign(linked_subject=["1", "2", "1", "2"], split=["train", "test"] * 2)


def test_when_measured_then_the_area_counts_what_is_not_black(table):
    assert list(baselines.nucleus_area(table)) == [10_000, 40_000, 90_000, 160_000]


def test_when_shrunk_then_every_pixel_is_the_mean_of_those_it_covers(table):
    small = baselines.thumbnails(table, size=9)
    assert small.shape == (4, 9, 9, 3)
    assert (small[0, :2, :2] == 10).all()
    assert not small[0, 2:, 2:].any()
    assert baselines.thumbnails(table, size=1)[3, 0, 0, 0] == pytest.approx(
        40 * (400 / 450) ** 2, abs=1
    )


def test_when_the_size_is_no_size_then_it_is_refused(table):
    with pytest.raises(ValueError, match="Received: size=0"):
        baselines.thumbnails(table, size=0)


def test_when_scored_then_it_is_the_weighted_f1_of_the_test_rows(table):
    # Trained on HEM and ALL, tested on HEM and ALL; always ALL: F1 of 2/3 and 0, equal weights.
    model = DummyClassifier(strategy="constant", constant="ALL")
    assert baselines.quick_score(table, np.zeros(4), model) == pytest.approx(1 / 3)
    assert baselines.quick_score(table, np.array([0, 0, 1, 1]), KNeighborsClassifier(1)) == 1


def test_when_judged_then_the_test_rows_carry_the_guess(table):
    judged = baselines.judge(table, np.array([0, 0, 1, 1]), KNeighborsClassifier(1))
    assert judged["path"].tolist() == table["path"][[1, 3]].tolist()
    assert judged["probability"].tolist() == [0.0, 1.0]  # HEM, ALL


def test_when_features_do_not_match_then_it_is_refused(table):
    with pytest.raises(ValueError, match="Received: 3 rows"):
        baselines.quick_score(table, np.zeros(3), DummyClassifier())


def test_when_repeated_then_the_summary_has_each_rule_and_split_once(table):
    rules = {"by value": (np.array([0, 0, 1, 1]), KNeighborsClassifier(1))}
    turned = table.assign(label=table["label"].to_numpy()[[1, 2, 3, 0]])
    splitters = {"right": lambda seed: table, "wrong": lambda seed: turned}
    scores = baselines.repeat_scores(splitters, rules, seeds=range(3))
    summary = baselines.summarise(scores)
    assert list(scores["seed"]) == [0, 1, 2, 0, 1, 2]
    assert list(summary["split"]) == ["right", "wrong"]
    assert summary.loc[0, ["mean", "low", "high", "repeats"]].tolist() == [1, 1, 1, 3]


def test_when_the_nearest_is_of_the_same_subject_then_it_is_told(table):
    alike = table.assign(linked_subject=["1", "1", "2", "3"])
    assert baselines.nearest_subject(alike, np.array([0, 1, 9, 10])).tolist() == [True, False]


def test_when_the_published_gap_is_read_then_it_is_as_published():
    gap = baselines.published_gap().eval("random - disjoint")
    assert gap.between(0.125, 0.176).all()
    assert (gap.min(), gap.max()) == (pytest.approx(0.129), pytest.approx(0.175))
