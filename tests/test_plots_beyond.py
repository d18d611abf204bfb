"""Figures of notebook 07: what is drawn is what is in the table."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import comparisons
from helpers.plots import beyond
from helpers.plots.style import PALETTE

ORIGIN = "made up"
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def compared(**variants):
    rows = [(v, seed, x) for v, values in variants.items() for seed, x in enumerate(values)]
    scores = pd.DataFrame(rows, columns=["variant", "seed", "roc_auc"])
    return comparisons.compare_draws(scores, "base")


def test_when_effects_are_drawn_then_each_has_its_interval_and_the_colour_of_its_verdict():
    table = compared(base=[0.7, 0.8, 0.6], up=[0.8, 0.9, 0.71], mixed=[0.9, 0.79, 0.61])
    ax = beyond.effects(table, "base", ORIGIN).axes[0]
    bars, dots = ax.collections[:2]
    low, high = table.loc["up", ["low", "high"]]
    assert bars.get_segments()[0].tolist() == [[low, 0], [high, 0]]
    assert mpl.colors.to_hex(dots.get_facecolor()[0]).upper() == PALETTE[2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["up", "mixed"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["helps", "not shown"]


def test_when_there_is_one_draw_then_effects_are_points_without_an_interval():
    fig = beyond.effects(compared(base=[0.7], other=[0.8]), "base", ORIGIN)
    fig.canvas.draw()
    bars, dots = fig.axes[0].collections
    assert "1 draw of" in fig.axes[0].get_xlabel()
    assert not np.isfinite(bars.get_segments()[0]).any()
    assert len(dots.get_offsets()) == 1


def test_when_questions_are_collected_then_their_names_are_on_the_axis():
    summary = pd.concat({"one": compared(base=[0.7, 0.8], other=[0.8, 0.8])})
    ax = beyond.effects(summary, "its baseline", ORIGIN).axes[0]
    assert ax.get_yticklabels()[0].get_text() == "one: other"


def test_when_the_error_is_split_then_the_bars_reach_up_to_the_members():
    parts = pd.DataFrame({"members": [0.2, 0.3], "spread": [0.05, 0.1], "ensemble": [0.15, 0.2]})
    ax = beyond.error_parts(parts, ORIGIN).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in ax.patches[2:]]
    assert tops == pytest.approx([0.2, 0.3])


def test_when_views_are_drawn_then_each_says_what_the_network_said():
    fig = beyond.views(RNG.uniform(0, 99, (8, 6, 6, 3)), np.linspace(0.1, 0.8, 8), "HEM", ORIGIN)
    assert [ax.get_title() for ax in fig.axes][::7] == ["ALL: 10%", "ALL: 80%"]
    assert "70%" in fig.get_suptitle()


def test_when_curves_are_drawn_then_the_line_is_the_mean_over_seeds():
    rows = [("x", seed, epoch, seed + epoch) for seed in (0, 2) for epoch in (1, 2)]
    table = pd.DataFrame(rows, columns=["variant", "seed", "epoch", "loss"])
    ax = beyond.learning_curves(table, "loss", "loss", "Curves", ORIGIN).axes[0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 3.0]


def test_when_labels_are_few_then_both_starts_have_a_line_of_means():
    rows = [
        (start, share, seed, share) for start in "ab" for share in (0.1, 1.0) for seed in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=["start", "share", "seed", "roc_auc"])
    ax = beyond.label_efficiency(table, ORIGIN).axes[0]
    means = [line.get_ydata().tolist() for line in ax.lines if len(line.get_ydata()) == 2]
    assert means == [[0.1, 1.0], [0.1, 1.0]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["10", "100"]


def test_when_moving_out_then_each_variant_has_a_panel_and_each_seed_a_line():
    rows = [(v, p, seed, 0.5) for v in "abc" for p in ("home", "new lab") for seed in (1, 2)]
    table = pd.DataFrame(rows, columns=["variant", "place", "seed", "roc_auc"])
    axes = beyond.moving_out(table, ORIGIN).axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "c"]
    assert [len(ax.lines) for ax in axes] == [3, 3, 3]
