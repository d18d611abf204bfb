"""Rules and cheap scores against images and splits of known answer; what others published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judged import judged
from PIL import Image
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

from helpers.evaluation import baselines, performance


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


def test_when_some_areas_are_known_then_only_the_others_are_counted(table):
    known = table.assign(area=[7.0, np.nan, 9.0, np.nan])
    known.loc[[0, 2], "path"] = "a file that is not there"
    assert list(baselines.nucleus_area(known)) == [7, 40_000, 9, 160_000]


def quick_score(table, features, model):
    scores = baselines.repeat_scores(
        {"as is": lambda seed: table}, {"rule": (features, model)}, [0]
    )
    return scores["score"].item()


def test_when_scored_then_it_is_the_weighted_f1_of_the_test_rows(table):
    # Trained on HEM and ALL, tested on HEM and ALL; always ALL: F1 of 2/3 and 0, equal weights.
    model = DummyClassifier(strategy="constant", constant="ALL")
    assert quick_score(table, np.zeros(4), model) == pytest.approx(1 / 3)
    assert quick_score(table, np.array([0, 0, 1, 1]), KNeighborsClassifier(1)) == 1


def test_when_judged_then_the_test_rows_carry_the_guess(table):
    judged = baselines.judge(table, np.array([0, 0, 1, 1]), KNeighborsClassifier(1))
    assert judged["path"].tolist() == table["path"][[1, 3]].tolist()
    assert judged["probability"].tolist() == [0.0, 1.0]  # HEM, ALL


def test_when_features_do_not_match_then_it_is_refused(table):
    with pytest.raises(ValueError, match="Received: 3 rows"):
        baselines.judge(table, np.zeros(3), DummyClassifier())


def test_when_repeated_then_each_rule_and_split_has_each_seed(table):
    rules = {"by value": (np.array([0, 0, 1, 1]), KNeighborsClassifier(1))}
    turned = table.assign(label=table["label"].to_numpy()[[1, 2, 3, 0]])
    splitters = {"right": lambda seed: table, "wrong": lambda seed: turned}
    scores = baselines.repeat_scores(splitters, rules, seeds=range(3))
    assert list(scores["seed"]) == [0, 1, 2, 0, 1, 2]
    assert list(scores["split"]) == ["right"] * 3 + ["wrong"] * 3
    assert (scores.loc[scores["split"] == "right", "score"] == 1).all()


def test_when_the_published_gap_is_read_then_it_is_as_published():
    gap = pd.read_csv(baselines.DATA / "published_gap.csv").eval("random - disjoint")
    assert gap.between(0.125, 0.176).all()
    assert (gap.min(), gap.max()) == (pytest.approx(0.129), pytest.approx(0.175))


def test_when_table_2_is_read_then_it_is_as_printed():
    table = pd.read_csv(baselines.DATA / "paper_results.csv", dtype=str)
    table = table.set_index("model")["accuracy_percent"]
    assert table["vgg16"] == "84.8"
    assert table["proposed_cnn"] == "93.02"
    assert len(table) == table.index.notna().sum() == 5


def test_when_results_are_read_then_each_has_a_protocol_and_a_score():
    table = pd.read_csv(baselines.DATA / "published_results.csv", keep_default_na=False)
    assert table["value"].between(0.5, 1).all()
    assert (table[["protocol", "work", "score"]] != "").all(axis=None)
    leaky = table[table["protocol"] == "random images"]
    assert leaky["value"].min() > 0.93


def test_when_the_networks_are_read_then_all_that_borrow_weights_are_told_of():
    table = pd.read_csv(baselines.DATA / "networks.csv", index_col="network")
    assert set(table.index) == {"alexnet", "vgg16", "inception_v3", "resnet50"}
    assert table.notna().all(axis=None)


@pytest.mark.parametrize(
    ("printed", "possible"),
    [("81.62", False), ("84.8", True), ("84.77", False), ("83.67", False), ("93.02", True)],
)
def test_when_a_percentage_is_checked_then_every_whole_number_was_tried(printed, possible):
    decimals = len(printed) - 3
    tried = {f"{100 * k / 2120:.{decimals}f}" for k in range(2121)}
    found = baselines.whole_number(printed)
    assert found["rounded"] == possible == (printed in tried)


def test_when_a_percentage_was_cut_off_then_it_is_told():
    # 1,774 of 2,120 are 83.679 %.
    found = baselines.whole_number("83.67")
    assert (found["images"], found["cut"], found["rounded"]) == (1774, True, False)


@pytest.mark.parametrize("printed", ["0", "100", "0.05"])
def test_when_it_is_at_the_edge_then_it_is_possible(printed):
    assert baselines.whole_number(printed)["rounded"]


class TestFreeRules:
    @pytest.fixture
    def split(self):
        table = judged(300).drop(columns="probability")
        return table.assign(split=np.where(table.index < 200, "train", "test"))

    def test_when_the_class_is_guessed_then_it_is_the_share_in_training(self, split):
        guess = baselines.free_rules(split, np.arange(300))["majority class"]
        share = (split["label"][:200] == "ALL").mean()
        assert guess["probability"].unique() == [share]
        assert performance.evaluate(guess, draws=5).loc["roc_auc", "value"] == 0.5

    def test_when_area_tells_the_class_then_the_rule_finds_it(self, split):
        area = np.where(split["label"] == "ALL", 39_000, 33_000)
        guess = baselines.free_rules(split, area)["area only"]
        assert len(guess) == 100
        assert performance.evaluate(guess, draws=5).loc["accuracy", "value"] == 1
