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
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from helpers import runs, settings

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
# What a notebook says comes as messages. With our own streams, a process that a notebook left
# behind would keep `series | tee log` waiting for its end.
APART = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Result(NamedTuple):
    """What became of a notebook: `ok` or `failed`, the seconds, the most memory in GB, and why."""

    name: str
    status: str
    seconds: float
    memory: float
    problem: str


def run(
    profile: str, only: Sequence[str], report: Callable[[str], Any], notebooks: Path = NOTEBOOKS
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
    settings.active(profile)
    settings.data_dir()
    paths, results = find_notebooks(notebooks, only), []
    folder = settings.work_dir() / "series" / profile
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends all, as Ctrl+C does
    for number, path in enumerate(paths, start=1):
        report(f"[{number}/{len(paths)}] {path.stem:<24}")
        result = _execute(path, folder, profile)
        report(f"{result.seconds:8.1f} s {result.memory:5.1f} GB  {result.status}\n")
        if result.problem:
            report(f"\n{result.problem}\n\n")
        results.append(result)
        _write_index(folder, profile, results)
    return folder / "index.html", results


def find_notebooks(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Lists the numbered notebooks of a folder in order, without copies such as `02_x-Copy1`.

    Raises:
        ValueError: If one of the beginnings in `only` fits no notebook.
    """
    paths = [p for p in sorted(folder.glob("*.ipynb")) if re.fullmatch(r"\d\d_\w+", p.stem)]
    unknown = [start for start in only if not any(p.name.startswith(start) for p in paths)]
    if unknown or not paths:
        names = ", ".join(path.stem for path in paths) or "none"
        raise ValueError(f"There are these notebooks: {names}. Received: {unknown or folder}")
    return [p for p in paths if not only or p.name.startswith(tuple(only))]


def _execute(path: Path, folder: Path, profile: str) -> Result:
    """Executes a notebook in a thread: this one stays free to be interrupted, and measures."""
    problems: list[str] = []
    run = partial(_run_cells, path, folder, profile, problems)
    began, peak = time.monotonic(), _measure(threading.Thread(target=run, daemon=True))
    status = "failed" if problems else "ok"
    return Result(path.stem, status, time.monotonic() - began, peak, "".join(problems))


def _measure(worker: threading.Thread) -> float:
    """Returns the peak of resident memory in GB, and ends whatever the notebook has started."""
    this, peak = psutil.Process(), 0
    before, started = set(this.children(recursive=True)), set()
    worker.start()
    try:
        while worker.is_alive():
            worker.join(1.0)
            started |= set(this.children(recursive=True)) - before
            used = 0
            for process in (this, *started):
                with suppress(psutil.Error):  # it has ended meanwhile
                    used += process.memory_info().rss
            peak = max(peak, used)
    finally:
        for process in started | set(this.children(recursive=True)) - before:
            with suppress(psutil.Error):
                process.kill()
    return peak / 1e9


def _run_cells(path: Path, folder: Path, profile: str, problems: list[str]) -> None:
    """Executes a notebook, keeps the copy and its page, and notes what went wrong."""
    copy, page, cells = folder / path.name, folder / f"{path.stem}.html", []
    try:
        copy.unlink(missing_ok=True)
        page.unlink(missing_ok=True)
        notebook = nbformat.read(path, as_version=4)
        cells = notebook.cells
        where = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, startup_timeout=300, km=_own_kernel(), resources=where)
        try:
            client.execute(cleanup_kc=True, env={**os.environ, "CNMC_PROFILE": profile}, **APART)
        finally:
            atexit.unregister(client._cleanup_kernel)  # left there if no kernel started
            exporter = HTMLExporter(template_name="classic", exclude_input=True)
            text, _ = exporter.from_notebook_node(notebook)
            runs.write_atomic(copy, lambda path: nbformat.write(notebook, path))
            runs.write_atomic(page, lambda path: path.write_text(text, encoding="utf-8"))
    except Exception as error:  # a damaged file, a kernel that does not start, a cell: this one
        problems.append(_explain(cells, error))


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


def _write_index(folder: Path, profile: str, results: Sequence[Result]) -> None:
    """Writes the page of links to what ran."""
    items = [f'<meta charset="utf-8"><h1>The series in the {profile} profile</h1>']
    for name, status, seconds, _, problem in results:
        there = (folder / f"{name}.html").exists()
        link = f'<a href="{name}.html">{name}</a>' if there else name
        items.append(f"<p>{link}: {status}, {seconds:.1f} s</p><pre>{html.escape(problem)}</pre>")
    text = "<!doctype html>\n" + "\n".join(items)
    runs.write_atomic(folder / "index.html", lambda path: path.write_text(text, encoding="utf-8"))
