from __future__ import annotations

import base64
import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers.commands import series

DOT = base64.b64encode(b"\x89PNG dot").decode()
SHOW = f"""from IPython.display import display
picture = {{"image/png": {DOT!r}}}
display(picture, raw=True, metadata={{"image/png": {{"alt": "A <dot>."}}}})"""
TABLE = "import pandas as pd\npd.DataFrame({'n': [41 + 1]}).style.set_uuid('t')"


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes notebooks of code cells and runs them."""
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("CNMC_DATA", raising=False)

    def run(**books):
        for name, codes in books.items():
            cells = [new_markdown_cell(f"# About {name[1:]}"), *map(new_code_cell, codes)]
            nbformat.write(new_notebook(cells=cells), tmp_path / f"{name[1:]}.ipynb")
        said = []
        return *series.run("smoke", report=said.append, notebooks=tmp_path), "".join(said)

    return run


def test_when_a_notebook_fails_then_the_next_runs_and_the_cell_is_shown(make):
    _, results, said = make(n00_bad=["fine = 1", "1 / 0"], n01_good=["2 + 2"])
    assert [result.status for result in results] == ["failed", "ok"]
    assert "    1 / 0" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "fine" not in said


def test_when_notebooks_run_then_there_is_one_line_for_each_with_its_seconds(make):
    _, _, said = make(n00_one=["1"], n01_two=["2"])
    assert re.fullmatch(r"\[1/2\] 00_one +[\d.]+ s  ok\n\[2/2\] 01_two +[\d.]+ s  ok\n", said)


def test_when_notebooks_show_figures_and_tables_then_the_page_has_them(make):
    page, _, _ = make(n00_one=[SHOW], n01_two=[TABLE])
    text = page.read_text(encoding="utf-8")
    assert 'src="figures/00_one-01.png" alt="A &lt;dot&gt;."' in text
    assert (page.parent / "figures" / "00_one-01.png").read_bytes() == b"\x89PNG dot"
    assert "T_01_two_1_row0_col0" in text
    assert "About 01_two" in text


def test_when_a_notebook_ran_then_its_copy_has_the_outputs_and_it_has_not(make, tmp_path):
    page, _, _ = make(n00_one=["import os; os.environ['CNMC_PROFILE']"])
    executed = nbformat.read(page.parent / "00_one.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].data["text/plain"] == "'smoke'"
    assert nbformat.read(tmp_path / "00_one.ipynb", as_version=4).cells[1].outputs == []


def test_when_another_kernel_is_called_python3_then_it_does_not_win(make, tmp_path, monkeypatch):
    stray = tmp_path / "jupyter" / "kernels" / "python3"
    stray.mkdir(parents=True)
    spec = {"argv": ["no-such-python"], "display_name": "Python 3", "language": "python"}
    (stray / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    _, results, _ = make(n00_one=["1"])
    assert results[0].status == "ok"


def test_when_a_kernel_dies_then_the_notebook_failed(make):
    _, results, said = make(n00_dead=["import os; os._exit(9)"])
    assert results[0].status == "failed"
    assert "os._exit(9)" in said


def test_when_a_notebook_leaves_a_process_behind_then_it_does_not_hold_our_streams(make):
    code = "import os\nnull = os.stat(os.devnull).st_rdev\nassert os.fstat({}).st_rdev == null"
    _, results, _ = make(n01_left=[code.format(1), code.format(2)])
    assert [result.status for result in results] == ["ok"]


def test_when_some_are_asked_for_then_only_these_are_listed(tmp_path):
    for name in ("01_b.ipynb", "00_a.ipynb", "02_c.ipynb", "notes.ipynb"):
        (tmp_path / name).touch()
    assert [p.stem for p in series.find_notebooks(tmp_path)] == ["00_a", "01_b", "02_c"]
    assert [p.stem for p in series.find_notebooks(tmp_path, ["02", "00"])] == ["00_a", "02_c"]


def test_when_a_notebook_is_unknown_then_the_error_names_those_there_are(tmp_path):
    (tmp_path / "00_a.ipynb").touch()
    with pytest.raises(ValueError, match=r"00_a.*Received: 07"):
        series.find_notebooks(tmp_path, ["07"])
