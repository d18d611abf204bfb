"""Figures of notebook 01: what is drawn is what the table says."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers.plots import dataset
from helpers.plots.style import CLASS_COLOURS

ORIGIN = "planted cells"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [("1", "ALL"), ("1", "ALL"), ("2", "ALL"), ("H1", "HEM"), ("H1", "HEM")]
    table = pd.DataFrame(rows, columns=["subject", "label"])
    sides = ["train", "test", "train", "train", "train"]
    return table.assign(linked_subject=table["subject"], split=sides)


def test_when_subjects_are_counted_then_bars_are_their_sizes(table):
    fig = dataset.subject_sizes(table, ORIGIN)
    heights = [[bar.get_height() for bar in ax.patches] for ax in fig.axes]
    assert heights == [[2, 1], [2]]
    assert mpl.colors.to_hex(fig.axes[1].patches[0].get_facecolor()) == CLASS_COLOURS["HEM"].lower()


def test_when_there_are_many_subjects_then_every_bar_is_drawn_and_some_are_named():
    subjects = [f"{n}" for n in range(90)]
    table = pd.DataFrame({"subject": [*subjects, "H1"], "label": 90 * ["ALL"] + ["HEM"]})
    ax = dataset.subject_sizes(table, ORIGIN).axes[0]
    assert len(ax.patches) == 90
    named = {
        int(x): text.get_text()
        for x, text in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
    }
    assert sorted(named) == list(range(0, 90, 3))
    assert set(named.values()) <= set(subjects)


def test_when_a_subject_is_on_two_sides_then_its_bar_and_the_title_say_so(table):
    fig = dataset.sides({"naive": table}, ORIGIN)
    assert fig.axes[0].get_title() == "naive: 1 of 3 subjects on more than one side"
    assert sorted(bar.get_height() for bar in fig.axes[0].patches) == [0, 0, 0.5, 0.5, 1, 1]


def test_when_the_gap_is_drawn_then_both_panels_name_their_origin():
    columns = ["split", "rule", "mean", "low", "high"]
    rows = [("images", "r", 0.8, 0.7, 0.9), ("subjects", "r", 0.5, 0.5, 0.5)]
    gap = pd.DataFrame({"network": ["n"], "side": [64], "random": [0.9], "disjoint": [0.7]})
    fig = dataset.leak_gap(pd.DataFrame(rows, columns=columns), gap, 2, ORIGIN)
    left, right = fig.axes
    assert [c.lines[0].get_ydata()[0] for c in left.containers] == pytest.approx([0.8, 0.5])
    assert "2 splits" in left.get_title()
    assert "real C-NMC 2019" in right.get_title()
    assert [text.get_text() for text in right.get_xticklabels()] == ["n\n64 px"]
    assert fig._supxlabel.get_text() == f"left: {ORIGIN}; right: as published"


def test_when_near_pairs_are_drawn_then_each_is_counted_in_its_kind():
    near = pd.DataFrame({"distance": [0, 0.1, 0.1], "identical": [True, False, False]})
    near = near.assign(subject=["1", "1", "2"], subject_twin=["2", "1", "3"])
    fig = dataset.near_distances(near, ORIGIN)
    texts = [t.get_text() for t in fig.axes[0].get_legend().texts]
    assert texts == ["identical (n=1)", "same subject (n=1)", "two subjects (n=1)"]
