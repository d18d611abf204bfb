"""The grid of pictures, the rows of intervals, and the brightening that all figures share."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import plots
from helpers.plots import style

ORIGIN = "made up in a test"
PIXELS = np.full((8, 8, 3), 100)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_when_an_image_is_brightened_then_nothing_overflows():
    bright = style.brighten(np.array([0, 100, 255]))
    assert bright.tolist() == [0, 160, 255]
    assert bright.dtype == np.uint8


@pytest.mark.parametrize(("bright", "level"), [(False, 100), (True, 160)])
def test_when_pictures_are_shown_then_each_has_its_title_and_level(bright, level):
    titles = {"large": PIXELS, "small": PIXELS[::2].astype(float)}
    fig, axes = plots.image_grid(titles.values(), "Two", ORIGIN, titles=titles, bright=bright)
    assert [ax.get_title() for ax in axes.flat] == ["large", "small"]
    assert {int(ax.images[0].get_array().max()) for ax in axes.flat} == {level}
    assert fig._supxlabel.get_text() == ORIGIN


def test_when_rows_have_names_then_titles_stand_over_the_first_one_only():
    look = {"columns": 3, "titles": "abc", "colours": ["red"] * 3, "rows": ("one", "two")}
    _, axes = plots.image_grid([PIXELS] * 5, "Rows", ORIGIN, **look)
    assert [ax.get_title() for ax in axes.flat] == ["a", "b", "c", "", "", ""]
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["one", "two"]
    assert [len(ax.images) for ax in axes.flat] == [1, 1, 1, 1, 1, 0]


def test_when_panels_do_not_fill_the_grid_then_the_rest_stays_empty():
    _, axes = style.panel_grid(3, "Three", ORIGIN, columns=2, side=(2, 2))
    assert [ax.axison for ax in axes.flat] == [True, True, True, False]


def test_when_names_repeat_then_rows_share_a_line_and_kinds_have_their_looks():
    rows = pd.DataFrame([("a", "x", 1.0), ("b", "x", 2.0), ("a", "y", 3.0)])
    rows.columns = ["name", "kind", "value"]
    _, ax = plots.new_figure("Rows", ORIGIN)
    style.interval_rows(ax, rows, {"x": {"color": "red"}, "y": {"color": "blue"}})
    places = [dots.get_offsets().tolist() for dots in ax.collections]
    assert places == [[[1, 0], [2, 1]], [[3, 0]]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_when_an_interval_is_unknown_then_its_dot_is_drawn_all_the_same():
    rows = pd.DataFrame({"name": ["a", "b"], "kind": "x", "value": [1.0, 2.0]})
    rows = rows.assign(low=[0.5, np.nan], high=[1.5, np.nan])
    fig, ax = plots.new_figure("Rows", ORIGIN)
    style.interval_rows(ax, rows, {"x": {"color": "red"}}, shift=0.25)
    fig.canvas.draw()
    bars, dots = ax.collections
    assert bars.get_segments()[0].tolist() == [[0.5, 0.25], [1.5, 0.25]]
    assert dots.get_offsets()[:, 1].tolist() == [0.25, 1.25]


def test_when_curves_repeat_then_the_line_is_their_median():
    y = np.array([[1.0, 2], [3, 4], [8, 9]])
    fig = plots.lines({"": {"a": (np.arange(2), y)}}, "t", ORIGIN, "x", "y")
    assert fig.axes[0].lines[0].get_ydata().tolist() == [3, 4]
    assert fig.axes[0].get_legend() is None


def test_when_a_name_misses_in_a_panel_then_it_keeps_its_colour_in_the_other():
    curve = (np.arange(2), np.arange(2))
    fig = plots.lines({"p": {"a": curve, "b": curve}, "q": {"b": curve}}, "t", ORIGIN, "x", "y")
    assert fig.axes[1].lines[0].get_color() == fig.axes[0].lines[1].get_color()
