"""Writes the student notebooks in this folder from the notebooks above: `nox -s exercises`.

The notebooks above are the masters: their solutions are executed with them. Tags of cells say what
goes where:

setup      code that exercises need, anywhere in the master: is taken over
exercise   text of an exercise, with two folded hints: is taken over
solution   code: imports, and functions, of which the first line and docstring are left over;
           text (what is to be seen, and why): is left out
check      code that asks `helpers.checks`: is taken over, and may raise
quiz       text of questions with folded answers: is left out, since the master has it

Never edit a student notebook: edit the master, and run the command again.
"""

import ast
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import nbformat

from helpers.commands.series import find_notebooks
from helpers.runs import write_atomic

HERE = Path(__file__).resolve().parent
KEPT = ("setup", "exercise", "check", "solution")
HEAD = """# Exercises to {title}

Each exercise has a cell for your answer and a cell that checks it, and says in words what is still
wrong. Read [the notebook](../{name}) first: its words and figures are what they ask about. Two
hints are folded below each question; open the second one late. Solutions are in the notebook."""


def main() -> None:
    """Writes all student notebooks anew."""
    for master in masters():
        write = partial(Path.write_text, data=generate(master), encoding="utf-8")
        write_atomic(HERE / master.name, write)
        print(f"written: {HERE.parent.name}/{HERE.name}/{master.name}")


def masters() -> list[Path]:
    """Lists the notebooks that have exercises."""
    return find_notebooks(HERE.parent)


def generate(master: Path) -> str:
    """Returns the text of the student notebook of a master."""
    notebook = nbformat.read(master, as_version=4)
    title = notebook.cells[0].source.splitlines()[0].removeprefix("# ")
    head = nbformat.v4.new_markdown_cell(HEAD.format(title=title, name=master.name), id="0" * 8)
    notebook.cells = [head, *filter(None, map(_student_cell, notebook.cells))]
    spec = {key: notebook.metadata[key] for key in ("kernelspec", "language_info")}
    notebook.metadata = nbformat.from_dict(spec)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _student_cell(cell: Any) -> Any:
    """Returns what a student gets of a cell: None where nothing."""
    tag = next((tag for tag in KEPT if tag in cell.metadata.get("tags", [])), "")
    if not tag or (tag == "solution" and cell.cell_type == "markdown"):
        return None
    told = {"tags": [tag, "raises-exception"] if tag == "check" else [tag]}
    if cell.cell_type == "markdown":
        return nbformat.v4.new_markdown_cell(cell.source, id=cell.id, metadata=told)
    source = stub(cell.source) if tag == "solution" else cell.source
    return nbformat.v4.new_code_cell(source, id=cell.id, metadata=told)


def stub(source: str) -> str:
    """Keeps imports, and of each public function the first lines and the docstring."""
    parts = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            parts.append(ast.get_source_segment(source, node))
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            lines = source.splitlines()[node.lineno - 1 : node.body[0].end_lineno]
            parts.append("\n".join([*lines, "    raise NotImplementedError"]))
    imports = [part for part in parts if not part.startswith("def ")]
    functions = [part for part in parts if part.startswith("def ")]
    return "\n\n\n".join([*(["\n".join(imports)] if imports else []), *functions])


if __name__ == "__main__":
    sys.exit(main())
