"""Runs the notebooks in order, each in a kernel of its own, and writes a page of each."""

import atexit
import html
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from helpers import runs, settings

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3"}  # else TensorFlow talks through the progress lines
# What a notebook says comes as messages. With our own streams, a process that a notebook left
# behind would keep `series | tee log` waiting for its end.
APART = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>The series</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto }
pre { color: #a40000; white-space: pre-wrap }</style>
"""


@dataclass(frozen=True)
class Result:
    """What became of a notebook: `ok` or `failed`, the seconds, the most memory in GB, and why."""

    name: str
    status: str
    seconds: float
    memory: float
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
        The page that links to those of all notebooks, beside their executed copies in
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
    signal.signal(signal.SIGTERM, _stop)  # as Ctrl+C does: with all that was started
    results = []
    for number, path in enumerate(paths, start=1):
        report(f"[{number}/{len(paths)}] {path.stem:<24}")
        result = _execute(path, folder, profile)
        report(f"{result.seconds:8.1f} s {result.memory:5.1f} GB  {result.status}\n")
        if result.problem:
            report(f"\n{result.problem}\n\n")
        results.append(result)
        _write_index(folder, profile, results, find_notebooks(notebooks))
    return folder / "index.html", results


def find_notebooks(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Lists the numbered notebooks of a folder in order, without copies such as `02_x-Copy1`.

    Args:
        folder: Where they are.
        only: Beginnings of the names to keep; all if empty.

    Returns:
        Paths of the notebooks.

    Raises:
        ValueError: If a beginning fits no notebook.
    """
    found = sorted(folder.glob("*.ipynb"))
    paths = [path for path in found if re.fullmatch(r"\d\d_\w+", path.stem)]
    unknown = [start for start in only if not any(p.name.startswith(start) for p in paths)]
    if unknown or not paths:
        names = ", ".join(path.stem for path in paths) or "none"
        raise ValueError(
            f"There are these notebooks: {names}. Received: {', '.join(unknown) or folder}"
        )
    return [p for p in paths if not only or p.name.startswith(tuple(only))]


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(128 + number)


def _execute(path: Path, folder: Path, profile: str) -> Result:
    """Executes a notebook in a thread: this one stays free to be interrupted, and measures."""
    problems: list[str] = []
    worker = threading.Thread(
        target=lambda: problems.append(_run_cells(path, folder, profile)), daemon=True
    )
    began, peak = time.monotonic(), _measure(worker)
    seconds, problem = time.monotonic() - began, problems[0]
    return Result(path.stem, "failed" if problem else "ok", seconds, peak, problem)


def _measure(worker: threading.Thread) -> float:
    """Returns the peak of resident memory in GB, and ends whatever the notebook has started."""
    this, peak = psutil.Process(), 0
    before, started = set(this.children(recursive=True)), set()
    worker.start()
    try:
        while worker.is_alive():
            worker.join(0.5)
            started |= set(this.children(recursive=True)) - before
            peak = max(peak, sum(_resident(process) for process in (this, *started)))
    finally:
        for process in started | set(this.children(recursive=True)) - before:
            with suppress(psutil.Error):  # it has ended already
                process.kill()
    return peak / 1e9


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:  # it has ended meanwhile
        return 0


def _run_cells(path: Path, folder: Path, profile: str) -> str:
    """Executes a notebook, keeps the copy and its page, and returns what went wrong, or ""."""
    cells: list[Any] = []
    try:
        for kind in ("ipynb", "html"):
            (folder / f"{path.stem}.{kind}").unlink(missing_ok=True)
        notebook = nbformat.read(path, as_version=4)
        cells = notebook.cells
        client = NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=300,
            km=_own_kernel(),
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            resources={"metadata": {"path": str(path.parent)}},
        )
        env = {**QUIET, **os.environ, "CNMC_PROFILE": profile}
        try:
            client.execute(cleanup_kc=True, env=env, **APART)
        finally:
            atexit.unregister(client._cleanup_kernel)  # left there if no kernel started
            _write_pages(notebook, folder / path.stem)
    except Exception as error:  # a damaged file, a kernel that does not start, a cell: this one
        return _explain(cells, error)
    return ""


def _own_kernel() -> AsyncKernelManager:
    """Makes kernels of this very Python, whatever is registered as python3 on the machine."""
    specs = KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)


def _explain(cells: Sequence[Any], error: Exception) -> str:
    """Shows the cell that failed, and the last line of what Python said."""
    done = [c for c in cells if c.cell_type == "code" and "execution" in c.metadata]
    source = [f"    {line}" for line in done[-1].source.splitlines()] if done else []
    said = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    return "\n".join([*source, "", f"  {said.strip()}"])


def _write_pages(notebook: Any, stem: Path) -> None:
    """Writes the executed copy, and a page with its text, figures and tables, without the code."""
    page, _ = HTMLExporter(template_name="classic", exclude_input=True).from_notebook_node(notebook)
    runs.write_atomic(stem.with_suffix(".ipynb"), lambda path: nbformat.write(notebook, path))
    runs.write_atomic(
        stem.with_suffix(".html"), lambda path: path.write_text(page, encoding="utf-8")
    )


def _write_index(folder: Path, profile: str, results: Sequence[Result], paths: list[Path]) -> None:
    """Writes the page of links: to what ran now, and to what earlier calls have left."""
    known = {result.name: result for result in results}
    items = [f"<h1>The series in the {profile} profile</h1>"]
    for name in (path.stem for path in paths):
        there = (folder / f"{name}.html").exists()
        title = f'<a href="{name}.html">{name}</a>' if there else name
        if name in known:
            items.append(f"<p>{title}: {known[name].status}, {known[name].seconds:.1f} s</p>")
            items.append(f"<pre>{html.escape(known[name].problem)}</pre>")
        elif there:
            items.append(f"<p>{title}: of an earlier call</p>")
    text = PAGE + "\n".join(items)
    runs.write_atomic(folder / "index.html", lambda path: path.write_text(text, encoding="utf-8"))
