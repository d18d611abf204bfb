"""A slider where somebody can move it, all panels everywhere else."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from helpers.plots import foundations

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
    client = NotebookClient(new_notebook(cells=[new_code_cell(CODE)]), kernel_name="python3")
    with client.setup_kernel():
        client.kc.allow_stdin = True  # what JupyterLab and VS Code say with every cell
        client.execute_cell(client.nb.cells[0], 0)
    kinds = {kind for output in client.nb.cells[0].outputs for kind in output.get("data", {})}
    assert "application/vnd.jupyter.widget-view+json" in kinds
