"""Holds the committed notebooks to the rules of the series; running them is nbmake's task."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_LINES, MOST_BYTES = 14, 2_000_000
PLACES = re.compile(
    r"/(?:home|Users|private|var/folders)/\w|/ro" + r"ot/|/t" + r"mp/|[A-Z]:\\+Users"
)
IMAGE = re.compile(r'"image/(?:png|jpeg)": "[^"]*"')
WARNING = re.compile(r"Warning: ")
DETAILS = re.compile(r"<details.*?</details>", re.DOTALL)
FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def problems(notebook: nbformat.NotebookNode, name: str) -> list[str]:
    """Everything about a committed notebook that a reader would trip over."""
    return [*_text(notebook, name), *_code(notebook), *_outputs(notebook), *_whole(notebook)]


def _text(notebook, name):
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    titles = re.findall(r"^# .+", "\n".join(re.sub(FENCE, "", text) for text in prose), re.M)
    if not notebook.cells or not notebook.cells[0].source.startswith("# ") or len(titles) != 1:
        yield "the first cell does not hold the one and only H1 title"
    folded = [fold for text in prose for fold in DETAILS.findall(text)]
    if not folded:
        yield "nothing folded (<details>): no hint, no answer"
    for code in (code for fold in folded for code in FENCE.findall(fold)):
        try:
            compile(code, "solution", "exec")
        except SyntaxError as error:
            yield f"a solution does not compile: {error}"
    links = re.findall(r"\]\(([^)#]+\.ipynb)", prose[-1] if prose else "")
    following = next((path.name for path in NOTEBOOKS if path.name > name), None)
    if following and following not in links:
        yield f"the last text does not link to notebook {following}"


def _code(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        if not 1 <= len(cell.source.splitlines()) <= MOST_LINES:
            yield f"cell {cell.id} has {len(cell.source.splitlines())} lines"
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "not executed from top to bottom"


def _outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, output in ((c, shown) for c in cells for shown in c.outputs):
        if output.output_type == "error" or output.get("name") == "stderr":
            yield f"cell {cell.id} shows an error or stderr"
        if WARNING.search(output.get("text", "")):
            yield f"cell {cell.id} shows a warning"
        images = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
        if [k for k in images if not output.metadata.get(k, {}).get("alt", "").strip()]:
            yield f"cell {cell.id} shows an image without alt text"


def _whole(notebook):
    text = json.dumps(notebook, ensure_ascii=False)
    if len(text.encode()) > MOST_BYTES:
        yield f"{len(text.encode()) / 1e6:.1f} MB is too much"
    text = IMAGE.sub("", text)  # where any letters may stand
    if PLACES.search(text) or str(ROOT) in text:
        yield "names a place on one machine"
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "its kernel is not python3"
    if len({cell.get("id") for cell in notebook.cells}) != len(notebook.cells):
        yield "cells without an id of their own"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestCommitted:
    def test_when_a_notebook_is_committed_then_it_keeps_the_rules(self, path):
        assert problems(nbformat.read(path, as_version=4), path.name) == []

    def test_when_a_notebook_links_then_the_file_is_there(self, path):
        cells = nbformat.read(path, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
        links = re.findall(r"\]\((?!\w+:|#|attachment:)([^)#\s]+)", text)
        assert [link for link in links if not (path.parent / link).exists()] == []

    def test_when_a_notebook_is_committed_then_its_format_is_valid(self, path):
        nbformat.validate(nbformat.read(path, as_version=4))


SOLUTION = "<details><summary>Solution</summary>\n\n```python\nprint(1 + 1)\n```\n\n</details>"


@pytest.fixture
def good():
    """A notebook without a fault."""
    image = new_output("display_data", {"image/png": "aGk="})
    image.metadata = {"image/png": {"alt": "Two cells side by side."}}
    cells = [
        new_markdown_cell("# A title"),
        new_code_cell("2 + 2", execution_count=1, outputs=[image]),
        new_markdown_cell(SOLUTION),
        new_markdown_cell("Next: [the split](01_dataset_split.ipynb)"),
    ]
    spec = {"name": "python3", "display_name": "Python 3"}
    return new_notebook(cells=cells, metadata={"kernelspec": spec})


def test_when_nothing_is_wrong_then_nothing_is_found(good):
    assert problems(good, "00b_good.ipynb") == []


def test_when_the_next_notebook_is_passed_over_then_it_is_found(good):
    (found,) = problems(good, "00_good.ipynb")
    assert found.endswith("does not link to notebook 00b_convolution.ipynb")


def _plant(good, output):
    good.cells[1].outputs = [output]


FAULTS = {
    "error": lambda nb: _plant(nb, new_output("error", ename="E", evalue="", traceback=[])),
    "stderr": lambda nb: _plant(nb, new_output("stream", name="stderr", text="oh")),
    "warning": lambda nb: _plant(nb, new_output("stream", text="x: UserWarning: old")),
    "alt text": lambda nb: nb.cells[1].outputs[0].metadata.clear(),
    "one machine": lambda nb: _plant(nb, new_output("stream", text="/ho" + "me/me/cells")),
    "MB": lambda nb: _plant(nb, new_output("stream", text="x" * (MOST_BYTES + 1))),
    "H1": lambda nb: nb.cells[0].update(source="## A title"),
    "lines": lambda nb: nb.cells[1].update(source="1\n" * (MOST_LINES + 1)),
    "top to bottom": lambda nb: nb.cells[1].update(execution_count=2),
    "nothing folded": lambda nb: nb.cells[2].update(source="Solution: none"),
    "compile": lambda nb: nb.cells[2].update(source=SOLUTION.replace("1 + 1)", "1 +")),
    "link": lambda nb: nb.cells[3].update(source="The end"),
    "kernel": lambda nb: nb.metadata.kernelspec.update(name="cnmc"),
    "id": lambda nb: nb.cells[1].update(id=nb.cells[0].id),
}


@pytest.mark.parametrize("said", FAULTS)
def test_when_a_fault_is_planted_then_it_is_found(good, said):
    FAULTS[said](good)
    found = problems(good, "00b_good.ipynb")
    assert len(found) == 1
    assert said in found[0]


def test_when_a_notebook_is_broken_then_nbmake_fails(good, tmp_path):
    good.cells[1].source = "1 / 0"
    nbformat.write(good, tmp_path / "00_broken.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbmake", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stdout
