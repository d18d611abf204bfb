"""Figures of scores: what is drawn is what the tables say, for one model or many."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from judged import judged

from helpers.evaluation import comparisons, performance
from helpers.plots import scores

ORIGIN = "made-up cells"


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def models():
    cells = judged(120)
    return {"one": cells, "always ALL": cells.assign(probability=0.7)}


@pytest.fixture(scope="module")
def few():
    """One subject of each class: no interval over subjects."""
    cells = judged(60)
    return cells[cells["linked_subject"].isin(["H0", "1"])].reset_index(drop=True)


@pytest.fixture(scope="module")
def found(models):
    return {name: performance.scores(cells) for name, cells in models.items()}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_when_scores_are_drawn_then_both_intervals_are(models):
    table = performance.evaluate_models(models, draws=50)
    ax = scores.forest(table, ORIGIN).axes[0]
    for bars, way in ((ax.collections[0], ""), (ax.collections[2], "cell_")):
        ends = [path.vertices[:, 0] for path in bars.get_paths()]
        low_high = table.xs("accuracy", level="metric")[[f"{way}low", f"{way}high"]]
        np.testing.assert_allclose(ends, low_high)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(models)


def test_when_there_is_no_interval_then_the_score_is_still_drawn(few):
    table = performance.evaluate_models({"few": few}, draws=5)
    fig = scores.forest(table, ORIGIN)
    fig.canvas.draw()
    assert len(fig.axes[0].collections[1].get_offsets()) == 1


def test_when_counts_are_drawn_then_they_are_those_of_the_table(models, found):
    axes = scores.confusion(found, ORIGIN).axes
    cells = models["one"]
    sick, called = cells["label"] == "ALL", cells["probability"] > 0.5
    counted = [(~sick & ~called), (~sick & called), (sick & ~called), (sick & called)]
    assert [text.split("\n")[0] for text in texts(axes[0])] == [f"{n.sum()}" for n in counted]
    assert texts(axes[1])[2] == "0\n0%"


def test_when_a_threshold_is_given_then_the_counts_follow(models):
    axes = scores.confusion({"one": performance.scores(models["one"], 1.0)}, ORIGIN).axes
    assert texts(axes[0])[3] == "0\n0%"


def test_when_curves_are_drawn_then_each_model_has_both(models, found):
    fig = scores.curves(models, found, ORIGIN)
    assert [len(ax.lines) for ax in fig.axes] == [3, 3]
    assert "always ALL: 0.50" in fig.legends[0].get_texts()[1].get_text()


def test_when_cells_of_several_parts_are_there_then_the_curve_is_of_the_test_part(models, found):
    more = pd.concat([models["one"], models["one"].assign(split="validation", probability=0.1)])
    both = [scores.curves({"one": cells}, found, ORIGIN).axes for cells in (models["one"], more)]
    for alone, mixed in zip(*both, strict=True):
        np.testing.assert_array_equal(alone.lines[0].get_xydata(), mixed.lines[0].get_xydata())


def test_when_calibration_is_drawn_then_the_points_are_the_bins(models, found):
    tables = {name: performance.reliability(cells) for name, cells in models.items()}
    ax = scores.reliability(tables, found, ORIGIN).axes[0]
    np.testing.assert_allclose(ax.lines[1].get_xydata(), tables["one"][["said", "true"]])


def test_when_subjects_are_drawn_then_each_is_a_dot(models):
    tables = {name: performance.by_subject(cells) for name, cells in models.items()}
    ax = scores.subject_strip(tables, ORIGIN).axes[0]
    assert sum(len(dots.get_offsets()) for dots in ax.collections) == 2 * 9


def test_when_pairs_are_drawn_then_clear_ones_are_filled(models):
    cells = models["one"]
    best = cells.assign(probability=np.where(cells["label"] == "ALL", 0.9, 0.1))
    table = comparisons.compare_models({"best": best, "same": best, **models})
    ax = scores.differences(table, ORIGIN).axes[0]
    clear = (table["p_subjects_holm"] < 0.05).sum()
    assert 0 < clear < len(table)
    assert len(ax.collections[1].get_offsets()) == clear


def test_when_the_operating_point_is_drawn_then_it_is_in_both_parts(models):
    cells = models["one"]
    axes = scores.operating_point(cells, cells, {"chosen": 0.4}, ORIGIN).axes
    assert [ax.lines[2].get_xdata()[0] for ax in axes] == [0.4, 0.4]
    sick = cells[cells["label"] == "ALL"]
    assert axes[1].lines[0].get_ydata()[100] == (sick["probability"] > 0.5).mean()


def test_when_costs_are_drawn_then_each_network_is_named():
    columns = ["model", "seconds", "parameters", "value", "low", "high"]
    rows = [("a", 3.0, 1e6, 0.8, 0.7, 0.9), ("b", 9.0, 2e6, 0.9, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns=columns)
    ax = scores.cost(table, ORIGIN, "CPU").axes[0]
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == ["a: 1.0 M weights", "b: 2.0 M weights"]


def test_when_published_scores_are_drawn_then_each_protocol_has_its_panel():
    rows = [("final", "a", "F1", 0.9), ("final", "a", "accuracy", 0.8), ("final", "b", "F1", 0.7)]
    rows += [("random images", "c", "accuracy", 0.99)]
    table = pd.DataFrame(rows, columns=["protocol", "work", "score", "value"])
    fig = scores.published(table, ORIGIN)
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["final", "random images"]
    assert [len(ax.get_yticks()) for ax in fig.axes] == [2, 1]
    drawn = sum(len(dots.get_offsets()) for ax in fig.axes for dots in ax.collections)
    assert drawn == len(table)


def test_when_sizes_differ_then_the_range_is_told():
    table = pd.DataFrame({"cells": [200, 2_000], "subjects": [9, 9]})
    assert scores.size_of(table) == "200 to 2,000 cells of 9 unseen subjects"
