"""Figures of notebooks 00 and 00b: what goes in is drawn; a slider only where one can move it."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers.plots import foundations

ORIGIN = "planted numbers"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def bowl(w):
    return 1 + (w**2).sum(axis=0)


def test_when_cells_are_drawn_then_each_is_in_its_class_and_the_border_at_one_half():
    points = np.array([[-1.0, 0], [1, 0], [2, 1]])
    judges = {"cells": None, "model": lambda p: 1 / (1 + np.exp(-p[:, 0]))}
    fig = foundations.plane(
        points, np.array(["HEM", "ALL", "ALL"]), judges, ("a", "b"), "t", ORIGIN
    )
    assert [len(dots.get_offsets()) for dots in fig.axes[0].collections] == [2, 1]
    border = fig.axes[1].collections[0].get_paths()[0].vertices
    assert np.allclose(border[:, 0], 0, atol=1e-2)


def test_when_a_walk_is_drawn_then_its_steps_and_the_star_are_where_they_are():
    walk = np.array([[2.0, 2], [1, 1], [0, 0.5]])
    fig = foundations.descents(bowl, {"walk": walk}, np.zeros(2), ("v", "w"), "t", ORIGIN)
    drawn, star = fig.axes[0].lines
    assert np.array_equal(drawn.get_xydata(), walk)
    assert star.get_xydata().tolist() == [[0, 0]]


def test_when_walks_start_apart_then_all_starts_are_in_view():
    walks = {"near": np.array([[1.0, 0], [0, 0]]), "far": np.array([[-5.0, 3], [0, 0]])}
    fig = foundations.descents(bowl, walks, np.zeros(2), ("v", "w"), "t", ORIGIN)
    assert fig.axes[1].get_xlim()[0] < -5
    assert fig.axes[0].get_xlim() == fig.axes[1].get_xlim()


def test_when_a_picture_is_signed_then_zero_is_in_the_middle_of_the_colours():
    fig = foundations.maps({"signed": np.array([[-1.0, 3]]), "grey": np.ones((2, 2))}, "t", ORIGIN)
    assert fig.axes[0].images[0].get_clim() == (-3, 3)
    assert fig.axes[1].images[0].get_clim()[0] == 0


def test_when_numbers_are_written_then_none_is_minus_zero():
    fig = foundations.maps({"p": np.array([[-0.0, 5]])}, "t", ORIGIN, numbers="{:.0f}")
    assert [text.get_text() for text in fig.axes[0].texts] == ["0", "5"]


def test_when_a_network_is_drawn_then_each_node_has_its_value_and_gradient():
    layers = {"in": np.array([1.0, -2]), "out": np.array([0.5])}
    fig = foundations.network(layers, [np.array([0.1, 0.2]), np.array([-0.3])], "t", ORIGIN)
    shown = [text.get_text() for text in fig.axes[0].texts]
    assert shown == ["in", "+1.00", "+0.10", "-2.00", "+0.20", "out", "+0.50", "-0.30"]
    assert len(fig.axes[0].lines) == 2


CODE = """
from helpers.plots import new_figure
from helpers.plots.foundations import explore
def draw(values):
    return new_figure("t", "o", ncols=len(values))[0]
explore(draw, [0.1, 2.0, 30.0], "rate", "Three panels.", start=1)
"""


@pytest.fixture
def drawn(monkeypatch):
    """Keeps what is drawn and shown instead of displaying it."""
    seen = []
    monkeypatch.setattr(foundations, "show", lambda fig, alt: seen.append((fig, alt)))
    return seen


def test_when_nobody_is_there_then_all_values_are_shown_at_once(drawn):
    foundations.explore(list, [1, 2, 3], "rate", "Three panels.")
    assert drawn == [([1, 2, 3], "Three panels.")]


def test_when_somebody_is_there_then_one_value_is_shown_and_the_slider_moves_it(drawn, monkeypatch):
    import ipywidgets

    made = []
    monkeypatch.setattr(foundations, "is_live", lambda: True)
    monkeypatch.setattr(ipywidgets, "interact", lambda f, value: made.append((f, value)))
    foundations.explore(list, [0.5, 1.0], "rate", "A panel.", start=1)
    (redraw, slider), *_ = made
    assert slider.value == 1.0
    redraw(0.5)
    assert drawn == [([0.5], "A panel.")]


def test_when_a_notebook_is_executed_unattended_then_it_has_the_figure_and_no_widget():
    notebook = new_notebook(cells=[new_code_cell(CODE)])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    kinds = [set(output.get("data", {})) for output in notebook.cells[0].outputs]
    assert len(kinds) == 1
    assert "image/png" in kinds[0]
    assert "widget" not in nbformat.writes(notebook)


def test_when_a_front_end_can_be_asked_then_it_gets_a_slider():
    notebook = new_notebook(cells=[new_code_cell(CODE)])
    client = NotebookClient(notebook, timeout=120, kernel_name="python3")
    with client.setup_kernel():
        client.kc.allow_stdin = True  # what JupyterLab and VS Code say with every cell
        client.execute_cell(notebook.cells[0], 0)
    kinds = {kind for output in notebook.cells[0].outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
