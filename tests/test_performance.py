"""The front door: tables in, tables out, and clear words for what cannot be scored."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from judged import judged
from sklearn import metrics as sk
from statsmodels.stats.proportion import proportion_confint

from helpers.evaluation import performance


@pytest.fixture(scope="module")
def cells():
    return judged(300)


class TestEvaluate:
    def test_when_scored_then_each_score_has_both_intervals_around_it(self, cells):
        table = performance.evaluate(cells, draws=300)
        inside = table.drop("ece")  # whose draws are biased upwards, as noise adds to any gap
        assert inside["value"].between(inside["low"], inside["high"]).all()
        assert inside["value"].between(inside["cell_low"], inside["cell_high"]).all()
        assert (table["cells"].unique(), table["subjects"].unique()) == (300, 9)

    def test_when_cells_are_independent_then_the_interval_is_the_binomial_one(self):
        # Each cell a subject of its own: both ways are then the same, and known.
        alone = judged(500).assign(linked_subject=lambda table: table["path"])
        row = performance.evaluate(alone).loc["sensitivity"]
        sick = (alone["label"] == "ALL").sum()
        low, high = proportion_confint(row["value"] * sick, sick, method="normal")
        assert [row["low"], row["high"]] == pytest.approx([low, high], abs=0.005)
        assert [row["cell_low"], row["cell_high"]] == pytest.approx([low, high], abs=0.005)

    def test_when_rows_are_shuffled_then_nothing_changes(self, cells):
        one, other = (performance.evaluate(t, draws=50) for t in (cells, cells.sample(frac=1)))
        pd.testing.assert_frame_equal(one, other)

    def test_when_there_are_parts_then_only_the_test_part_is_scored(self, cells):
        parts = cells.assign(split=np.where(cells.index % 2, "test", "validation"))
        test = performance.evaluate(cells[cells.index % 2 == 1], draws=5)
        assert test["cells"].unique() == [150]
        pd.testing.assert_frame_equal(performance.evaluate(parts, draws=5), test)

    def test_when_there_is_one_cell_then_there_is_a_value_and_no_interval(self, cells):
        table = performance.evaluate(cells.query("label == 'ALL'").head(1), draws=5)
        assert table.loc["accuracy", "value"] in (0, 1)
        assert table[["low", "high", "cell_low", "cell_high"]].isna().all(axis=None)

    def test_when_a_class_is_missing_then_the_rest_is_scored(self, cells):
        table = performance.evaluate(cells.query("label == 'ALL'"), draws=50)
        assert table.loc["sensitivity"].notna().all()
        assert table.loc["roc_auc", ["value", "low", "high"]].isna().all()

    def test_when_there_is_one_subject_then_there_is_no_interval_over_subjects(self, cells):
        alone = cells.assign(linked_subject="7")
        row = performance.evaluate(alone, draws=50).loc["accuracy"]
        assert row[["low", "high"]].isna().all()
        assert row[["value", "cell_low", "cell_high"]].notna().all()

    def test_when_no_draw_is_asked_then_it_is_refused(self, cells):
        with pytest.raises(ValueError, match="Received: draws=0"):
            performance.evaluate(cells, draws=0)

    def test_when_several_are_scored_then_each_is_as_if_alone(self, cells):
        models = {"a": cells, "b": judged(300, seed=5)}
        table = performance.evaluate_models(models, threshold=0.3, draws=20)
        alone = performance.evaluate(models["b"], threshold=0.3, draws=20)
        pd.testing.assert_frame_equal(table.loc["b"], alone)

    def test_when_it_is_imported_then_tensorflow_is_not(self):
        rooms = "performance, comparisons, ensembles, baselines"
        code = f"import sys; from helpers.evaluation import {rooms}; "
        code += "print({'tensorflow', 'keras', 'matplotlib'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "set()"


FAULTS = {
    "Received: no probability among": lambda t: t.drop(columns="probability"),
    "Received: no label and no linked_subject": lambda t: t[["path", "probability"]],
    "Received: an empty table": lambda t: t.head(0).drop(columns="split"),
    "Received: 1 of 300 rows whose probability": lambda t: t.assign(
        probability=t["probability"].mask(t.index == 3)
    ),
    "Received: 300 of 300 rows whose probability": lambda t: t.assign(
        probability=100 * t["probability"] + 1
    ),
    "Received: 2 of 300 rows whose label": lambda t: t.assign(label=t["label"].mask(t.index < 2)),
    "Received: 300 of 300 rows whose label": lambda t: t.assign(label=1),
    "Received: 1 of 300 rows without a linked": lambda t: t.assign(
        linked_subject=t["linked_subject"].mask(t.index == 0)
    ),
    "Received: 1 of 300 rows judged twice": lambda t: t.assign(
        path=t["path"].replace("cell_1.bmp", "cell_0.bmp")
    ),
    r"Received: part='test' of \['train'\]": lambda t: t.assign(split="train"),
}


@pytest.mark.parametrize("said", FAULTS)
def test_when_a_table_cannot_be_scored_then_the_reason_is_told(cells, said):
    with pytest.raises(ValueError, match=said):
        performance.evaluate(FAULTS[said](cells))


class TestWords:
    def test_when_a_score_is_told_then_interval_and_sample_size_are_with_it(self, cells):
        words = performance.in_words(performance.evaluate(cells), "accuracy")
        assert words.startswith("accuracy 0.")
        assert words.endswith("; 300 cells of 9 subjects)")
        assert "95 % interval over subjects 0." in words

    def test_when_there_is_no_interval_then_the_reason_is_told(self, cells):
        table = performance.evaluate(cells.assign(linked_subject="1"), draws=5)
        assert "fewer than three subjects of a class" in performance.in_words(table)

    def test_when_a_subject_has_cells_of_both_classes_then_no_lack_of_subjects_is_told(self, cells):
        both = cells.head(12).assign(linked_subject="both", path=[f"b{n}" for n in range(12)])
        words = performance.in_words(performance.evaluate(pd.concat([cells, both]), draws=50))
        assert "95 % interval over subjects 0." in words
        assert words.endswith("; 312 cells of 10 subjects)")

    def test_when_one_score_has_no_interval_then_no_lack_of_subjects_is_told(self, cells):
        table = performance.evaluate(cells, draws=20)
        table.loc["precision", ["low", "high"]] = np.nan
        assert "(no interval; 300 cells of 9" in performance.in_words(table, "precision")

    @pytest.mark.parametrize(("turned", "value"), [(False, "1.000"), (True, "0.000")])
    def test_when_all_draws_are_alike_then_there_is_no_interval(self, turned, value):
        cells = pd.DataFrame({"label": ["ALL", "HEM"] * 6, "linked_subject": list("abcdef") * 2})
        chance = (cells["label"] == "ALL") != turned
        table = performance.evaluate(cells.assign(probability=chance.astype(float)), draws=50)
        told = f"accuracy {value} (no interval: all draws are alike; 12 cells of 6 subjects)"
        assert performance.in_words(table, "accuracy") == told
        shown = performance.for_display(table, ("accuracy", "roc_auc"))
        assert set(shown.filter(like="95 %").to_numpy().ravel()) == {"–"}

    def test_when_a_score_is_not_defined_then_it_is_told(self, cells):
        table = performance.evaluate(cells.query("label == 'ALL'"), draws=5)
        assert performance.in_words(table, "roc_auc").startswith("ROC-AUC not defined")

    def test_when_shown_then_models_stand_beside_each_other_score_by_score(self, cells):
        table = performance.evaluate_models({"a": cells, "b": cells}, draws=20)
        shown = performance.for_display(table, ("tp", "accuracy"))
        assert shown["model"].tolist() == ["a", "b"] * 2
        assert shown["value"].str.fullmatch(r"\d+|0\.\d{3}").all()


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.1, 0.2, "helps"), (-0.2, -0.1, "harms"), (-0.1, 0.2, "not shown"), (0, 0, "not shown"),
     (0.0, 0.2, "not shown"), (np.nan, np.nan, "no interval")],
)  # fmt: skip
def test_when_an_interval_is_judged_then_the_words_say_where_it_is(low, high, words):
    assert performance.verdict(low, high) == words


def test_when_the_words_are_given_then_they_are_said():
    assert performance.verdict(0.1, 0.2, "better", "worse") == "better"
    assert performance.verdict(-0.2, -0.1, "better", "worse") == "worse"


class TestParts:
    def test_when_calls_are_judged_then_the_threshold_itself_is_hem(self):
        table = pd.DataFrame({"label": ["ALL", "ALL", "HEM", "HEM"],
                              "probability": [0.51, 0.5, 0.5, 0.9]})  # fmt: skip
        assert performance.right(table).tolist() == [True, False, True, False]
        assert performance.right(table, 0.9).tolist() == [False, False, True, True]

    def test_when_scored_without_intervals_then_the_values_are_those_of_evaluate(self, cells):
        held = cells.assign(split=np.where(cells.index % 2, "test", "validation"))
        found = performance.scores(held, 0.4, "validation")
        table = performance.evaluate(held[held["split"] == "validation"].drop(columns="split"), 0.4)
        assert found == table["value"].to_dict()

    def test_when_counted_by_subject_then_the_worst_is_first(self, cells):
        table = performance.by_subject(cells)
        assert table["accuracy"].is_monotonic_increasing
        assert table["cells"].sum() == 300
        worst = cells[cells["linked_subject"] == table["linked_subject"][0]]
        right = (worst["probability"] > 0.5) == (worst["label"] == "ALL")
        assert table["accuracy"][0] == right.mean()

    def test_when_bins_are_compared_then_they_sum_to_the_calibration_error(self, cells):
        table = performance.reliability(cells)
        gap = (table["cells"] * (table["said"] - table["true"]).abs()).sum() / 300
        assert gap == pytest.approx(performance.evaluate(cells, draws=2).loc["ece", "value"])


class TestThreshold:
    @pytest.fixture
    def validation(self, cells):
        return cells.assign(split="validation")

    @pytest.mark.parametrize("decimals", [None, 1])
    def test_when_chosen_then_no_other_threshold_is_better(self, decimals):
        validation = judged(300, decimals=decimals).assign(split="validation")

        def score(threshold):
            return performance.scores(validation, threshold, "validation")["balanced_accuracy"]

        best = score(performance.choose_threshold(validation))
        assert best >= max(map(score, validation["probability"])) - 1e-12

    def test_when_chosen_then_it_is_the_point_of_youden(self, validation):
        y, p = validation["label"] == "ALL", validation["probability"]
        fpr, tpr, _ = sk.roc_curve(y, p)
        call = p > performance.choose_threshold(validation)
        found = sk.recall_score(y, call) + sk.recall_score(~y, ~call) - 1
        assert found == pytest.approx((tpr - fpr).max())

    @pytest.mark.parametrize("share", [0.5, 0.95, 1])
    def test_when_a_sensitivity_is_asked_then_it_is_just_reached(self, validation, share):
        threshold = performance.choose_threshold(validation, sensitivity=share)
        sick = validation.loc[validation["label"] == "ALL", "probability"]
        assert (sick > threshold).mean() >= share
        assert (sick > sick[sick > threshold].min()).mean() < share

    def test_when_a_cell_has_probability_zero_then_all_can_still_be_called(self, validation):
        zero = validation.assign(probability=0.0)
        threshold = performance.choose_threshold(zero, sensitivity=1)
        assert (zero["probability"] > threshold).all()

    def test_when_there_is_a_test_part_only_then_it_is_refused(self, cells):
        with pytest.raises(ValueError, match=r"Received: part='validation' of \['test'\]"):
            performance.choose_threshold(cells)

    def test_when_there_is_a_test_part_too_then_its_labels_do_not_matter(self, cells):
        both = pd.concat([cells.assign(split="validation"), judged(300, seed=9)])
        chosen = performance.choose_threshold(cells.assign(split="validation"))
        assert performance.choose_threshold(both) == chosen

    def test_when_one_class_is_there_then_it_is_refused(self, validation):
        with pytest.raises(ValueError, match="0 HEM cells"):
            performance.choose_threshold(validation.query("label == 'ALL'"))

    @pytest.mark.parametrize("wrong", [95, 0])
    def test_when_a_share_is_none_then_it_is_refused(self, validation, wrong):
        with pytest.raises(ValueError, match=f"Received: sensitivity={wrong}"):
            performance.choose_threshold(validation, sensitivity=wrong)


def test_when_a_probability_in_32_bits_is_the_threshold_then_the_cell_is_called_as_it_is_scored():
    odd = float(np.float32(0.9479373))
    cells = pd.DataFrame({"label": ["ALL"], "linked_subject": ["a"],
                          "probability": np.array([0.9479373], np.float32)})  # fmt: skip
    for threshold in (odd, 0.9479373, np.nextafter(odd, 0)):
        assert performance.right(cells, threshold)[0] == (odd > threshold)
