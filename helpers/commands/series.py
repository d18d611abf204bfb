"""Runs the notebooks in order and gathers their figures and tables on one page."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, CellExecutionError, DeadKernelError

from helpers import runs, settings

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # else TensorFlow talks through the progress lines
OUTPUTS_WITH_DATA = ("display_data", "execute_result")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The series in the {{ profile }} profile</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
img { max-width: 100%; height: auto }
figure { margin: 1.5rem 0 }
figcaption { color: #555; font-size: .9rem }
table { border-collapse: collapse; min-width: 28rem }
td, th { padding: .2rem .6rem; text-align: right; border: 0; border-bottom: 1px solid #ddd }
.table { overflow-x: auto; margin: 1.5rem 0 }
.failed { color: #a40000; white-space: pre-wrap }
</style>
<h1>The series in the {{ profile }} profile</h1>
<ul>
{%- for part in parts %}
<li><a href="#{{ part.name }}">{{ part.title }}</a>: {{ part.status }},
 {{ "%.1f" | format(part.seconds) }} s</li>
{%- endfor %}
</ul>
{%- for part in parts %}
<h2 id="{{ part.name }}">{{ part.title }}</h2>
<p><a href="{{ part.name }}.ipynb">the executed notebook</a></p>
{%- if part.problem %}<pre class="failed">{{ part.problem }}</pre>{% endif %}
{%- for item in part["items"] %}
{%- if item.file %}
<figure><img src="{{ item.file }}" alt="{{ item.alt }}" loading="lazy">
<figcaption>{{ item.alt }}</figcaption></figure>
{%- else %}
<div class="table">{{ item.table | safe }}</div>
{%- endif %}
{%- endfor %}
{%- endfor %}
</html>
"""


@dataclass(frozen=True)
class Result:
    """What became of one notebook: `ok` or `failed`, after how long, and with what problem."""

    name: str
    status: str
    seconds: float
    problem: str = ""


def run(
    profile: str,
    only: Sequence[str] = (),
    report: Callable[[str], Any] | None = None,
    notebooks: Path = NOTEBOOKS,
) -> tuple[Path, list[Result]]:
    """Executes the notebooks one after the other; a failing one does not stop those behind it.

    Args:
        profile: Name of the profile to run in.
        only: Beginnings of the names of the notebooks to run, such as `["01", "02"]`; all if empty.
        report: Takes the progress, piece by piece, line ends included.
        notebooks: Folder of the notebooks; they are not changed.

    Returns:
        The page with all figures and tables, which lies beside the executed copies in
        `work_dir()/series/<profile>`, and the results in order.

    Raises:
        ValueError: If there is no such profile or notebook.
        FileNotFoundError: If the folder named by `CNMC_DATA` does not exist.
    """
    report = report or (lambda text: None)
    settings.active(profile)
    settings.data_dir()
    paths = find_notebooks(notebooks, only)
    folder = settings.work_dir() / "series" / profile
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for number, path in enumerate(paths, start=1):
        report(f"[{number}/{len(paths)}] {path.stem:<24}")
        results.append(_execute(path, folder / path.name, profile))
        report(f"{results[-1].seconds:8.1f} s  {results[-1].status}\n")
        if results[-1].problem:
            report(f"\n{results[-1].problem}\n\n")
    page = write_page(folder, profile, [folder / path.name for path in find_notebooks(notebooks)])
    return page, results


def find_notebooks(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Lists the numbered notebooks of a folder in order.

    Args:
        folder: Where they are.
        only: Beginnings of the names to keep; all if empty.

    Returns:
        Paths of the notebooks.

    Raises:
        ValueError: If a beginning fits no notebook.
    """
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    unknown = [start for start in only if not any(p.name.startswith(start) for p in paths)]
    if unknown:
        names = ", ".join(path.stem for path in paths) or "none"
        raise ValueError(f"There are these notebooks: {names}. Received: {', '.join(unknown)}")
    return [p for p in paths if not only or p.name.startswith(tuple(only))]


# What a notebook says comes as messages. With our own streams, a process that a notebook left
# behind would keep `series | tee log` waiting for its end.
_APART = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _execute(path: Path, target: Path, profile: str) -> Result:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        startup_timeout=300,
        km=_own_kernel(),
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
    )
    began, problem = time.monotonic(), ""
    try:
        client.execute(env={**QUIET, **os.environ, "CNMC_PROFILE": profile}, **_APART)
    except (CellControlSignal, DeadKernelError) as error:
        problem = _explain(notebook, error)
    seconds, status = time.monotonic() - began, "failed" if problem else "ok"
    result = Result(path.stem, status, seconds, problem)
    notebook.metadata["series"] = vars(result)
    runs.write_atomic(target, lambda temporary: nbformat.write(notebook, temporary))
    return result


def _own_kernel() -> AsyncKernelManager:
    """Makes kernels of this very Python, whatever is registered as python3 on the machine."""
    specs = KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)


def _explain(notebook: nbformat.NotebookNode, error: Exception) -> str:
    """Shows the cell that failed, and the last line of what Python said."""
    done = [c for c in notebook.cells if c.cell_type == "code" and "execution" in c.metadata]
    source = done[-1].source if done else ""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, CellExecutionError):
        said = f"{error.ename}: {error.evalue}"
    return "\n".join([*(f"    {line}" for line in source.splitlines()), "", f"  {said.strip()}"])


def write_page(folder: Path, profile: str, notebooks: Sequence[Path]) -> Path:
    """Writes one page with every figure and table of executed notebooks.

    Args:
        folder: Where the page goes; the figures go to `figures` in it.
        profile: Name of the profile, for the heading.
        notebooks: Executed copies in order; those that do not exist are left out.

    Returns:
        The page, `index.html`.
    """
    parts = [_read_part(path, folder) for path in notebooks if path.exists()]
    template = jinja2.Environment(autoescape=True).from_string(PAGE)
    page, text = folder / "index.html", template.render(profile=profile, parts=parts)
    runs.write_atomic(page, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return page


def _read_part(path: Path, folder: Path) -> dict[str, Any]:
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0].source if notebook.cells else ""
    title = next((line[2:] for line in first.splitlines() if line.startswith("# ")), path.stem)
    items = [_keep(output, n, path, folder) for n, output in enumerate(_shown(notebook), start=1)]
    return {**notebook.metadata["series"], "title": title, "items": items}


def _shown(notebook: nbformat.NotebookNode) -> Iterator[nbformat.NotebookNode]:
    """Yields the outputs that are a figure or a table."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    for output in (output for cell in cells for output in cell.outputs):
        if output.output_type in OUTPUTS_WITH_DATA and (
            "image/png" in output.data or "<table" in output.data.get("text/html", "")
        ):
            yield output


def _keep(output: nbformat.NotebookNode, number: int, path: Path, folder: Path) -> dict[str, str]:
    if "image/png" not in output.data:
        # All styled tables of the series call themselves T_t: on one page each needs a name.
        unique = f"T_{path.stem}_{number}"
        return {"table": output.data["text/html"].replace("T_t", unique)}
    file = folder / "figures" / f"{path.stem}-{number:02}.png"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(base64.b64decode(output.data["image/png"]))
    alt = output.metadata.get("image/png", {}).get("alt", "")
    return {"file": file.relative_to(folder).as_posix(), "alt": alt}
