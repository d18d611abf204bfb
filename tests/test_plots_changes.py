"""Figures of notebook 07: what is drawn is what is in the table."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import comparisons
from helpers.plots import scores
from helpers.plots.style import PALETTE

ORIGIN = "made up"


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
    ax = scores.effects(table, "base", ORIGIN).axes[0]
    bars, dots = ax.collections[:2]
    low, high = table.loc["up", ["low", "high"]]
    assert bars.get_segments()[0].tolist() == [[low, 0], [high, 0]]
    assert mpl.colors.to_hex(dots.get_facecolor()[0]).upper() == PALETTE[2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["up", "mixed"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["helps", "not shown"]


def test_when_there_is_one_draw_then_effects_are_points_without_an_interval():
    fig = scores.effects(compared(base=[0.7], other=[0.8]), "base", ORIGIN)
    fig.canvas.draw()
    bars, dots = fig.axes[0].collections
    assert "draws of subjects: 1" in fig.axes[0].get_xlabel()
    assert not np.isfinite(bars.get_segments()[0]).any()
    assert len(dots.get_offsets()) == 1


def test_when_questions_are_collected_then_their_names_are_on_the_axis():
    summary = pd.concat({"one": compared(base=[0.7, 0.8], other=[0.8, 0.8])})
    ax = scores.effects(summary, "its baseline", ORIGIN).axes[0]
    assert ax.get_yticklabels()[0].get_text() == "one: other"


def test_when_the_error_is_split_then_the_bars_reach_up_to_the_members():
    parts = pd.DataFrame({"members": [0.2, 0.3], "spread": [0.05, 0.1], "ensemble": [0.15, 0.2]})
    ax = scores.error_parts(parts, ORIGIN).axes[0]
    tops = [bar.get_y() + bar.get_height() for bar in ax.patches[2:]]
    assert tops == pytest.approx([0.2, 0.3])
