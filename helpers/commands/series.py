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
EVERY = 30.0  # s between signs of life in a log; on a terminal the line changes each second


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
        report: Takes the progress, piece by piece, line ends included: where standard output is a
            terminal, one line per notebook that is rewritten; else a line now and then.
        notebooks: Folder of the notebooks; they are not changed.

    Returns:
        The page that links to those of all notebooks, beside their executed copies and
        `minutes.csv` in `work_dir()/series/<profile>`, and the results in order.

    Raises:
        ValueError: If there is no such profile or notebook.
        FileNotFoundError: If the folder named by `CNMC_DATA` does not exist.
    """
    settings.active(profile)
    settings.data_dir()
    paths, results = find_notebooks(notebooks, only), []
    folder = settings.work_dir() / "series" / profile
    folder.mkdir(parents=True, exist_ok=True)
    # The second: its terminal was closed; not on Windows.
    for number in {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)  # ends all, as Ctrl+C does
    for number, path in enumerate(paths, start=1):
        tell = partial(_tell, report, f"[{number}/{len(paths)}] {path.stem:<24}")
        result = _execute(path, folder, profile, tell)
        tell(f"{result.seconds:8.1f} s {result.memory:5.1f} GB  {result.status}", "\n")
        if result.problem:
            report(f"\n{result.problem}\n\n")
        results.append(result)
        _write_pages(folder, profile, results)
    return folder / "index.html", results


def find_notebooks(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """Lists the numbered notebooks of a folder in order, without copies such as `02_x-Copy1`.

    Raises:
        ValueError: If one of the beginnings in `only` fits no notebook.
    """
    paths = [p for p in sorted(folder.glob("*.ipynb")) if re.fullmatch(r"\d\d[a-z]?_\w+", p.stem)]
    unknown = [start for start in only if not any(p.name.startswith(start) for p in paths)]
    if unknown or not paths:
        names = ", ".join(path.stem for path in paths) or "none"
        raise ValueError(f"There are these notebooks: {names}. Received: {unknown or folder}")
    return [p for p in paths if not only or p.name.startswith(tuple(only))]


def _tell(report: Callable[[str], Any], head: str, text: str, end: str = "") -> None:
    """Rewrites the line of a notebook on a terminal; in a log there is one more."""
    report(f"\r{head}{text:<32}{end}" if os.isatty(1) else f"{head}{text}\n")


def _execute(path: Path, folder: Path, profile: str, tell: Callable[[str], Any]) -> Result:
    """Executes a notebook in a thread: this one stays free to be interrupted, and measures."""
    state: dict[str, Any] = {"cells": [], "cell_index": -1, "problem": ""}
    run = partial(_run_cells, path, folder, profile, state)
    seconds, peak = _measure(threading.Thread(target=run, daemon=True), state, tell)
    problem = state["problem"]
    return Result(path.stem, "failed" if problem else "ok", seconds, peak, problem)


def _measure(worker: threading.Thread, state: dict, tell: Callable) -> tuple[float, float]:
    """Tells how far it is, ends what the notebook has started, and returns seconds and peak GB."""
    this, peak, began, told = psutil.Process(), 0, time.monotonic(), 0.0
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
            peak, seconds = max(peak, used), time.monotonic() - began
            if worker.is_alive() and seconds - told >= (1 if os.isatty(1) else EVERY):
                told = seconds
                tell(f"{seconds:8.0f} s  cell {state['cell_index'] + 1} of {len(state['cells'])}")
    finally:
        for process in started | set(this.children(recursive=True)) - before:
            with suppress(psutil.Error):
                process.kill()
    return time.monotonic() - began, peak / 1e9


def _run_cells(path: Path, folder: Path, profile: str, state: dict[str, Any]) -> None:
    """Executes a notebook, keeps the copy and its page, and notes the cell and what went wrong."""
    copy, page = folder / path.name, folder / f"{path.stem}.html"
    try:
        copy.unlink(missing_ok=True)
        page.unlink(missing_ok=True)
        notebook = nbformat.read(path, as_version=4)
        state["cells"] = list(notebook.cells)
        how = {"startup_timeout": 300, "resources": {"metadata": {"path": str(path.parent)}}}
        # No times of cells: copies are as the notebooks are committed.
        client = NotebookClient(notebook, km=_own_kernel(), record_timing=False, **how)
        client.on_cell_start = state.update  # is called with cell and cell_index
        try:
            client.execute(cleanup_kc=True, env={**os.environ, "CNMC_PROFILE": profile}, **APART)
        finally:
            atexit.unregister(client._cleanup_kernel)  # left there if no kernel started
            runs.write_atomic(copy, lambda path: nbformat.write(notebook, path))
            exporter = HTMLExporter(template_name="classic", exclude_input=True)
            text, _ = exporter.from_notebook_node(notebook)
            runs.write_atomic(page, lambda path: path.write_text(text, encoding="utf-8"))
    except Exception as error:  # a damaged file, a kernel that does not start, a cell: this one
        state["problem"] = _explain(state["cells"][: state["cell_index"] + 1], error)


def _own_kernel() -> AsyncKernelManager:
    """Makes kernels of this very Python, whatever is registered as python3 on the machine."""
    specs = KernelSpecManager(kernel_dirs=[], ensure_native_kernel=True)
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)


def _explain(begun: Sequence[Any], error: Exception) -> str:
    """Shows the cell that failed, if one did, and the last line of what Python said."""
    told = begun[-1:] if type(error).__module__.startswith("nbclient") else []
    source = [f"    {line}" for cell in told for line in cell.source.splitlines()]
    said = f"{getattr(error, 'ename', type(error).__name__)}: {getattr(error, 'evalue', error)}"
    return "\n".join([*source, "", f"  {said.strip()}"])


def _write_pages(folder: Path, profile: str, results: Sequence[Result]) -> None:
    """Writes the page of links to what ran, and what it took, in the form of `data/minutes.csv`."""
    items = [f'<meta charset="utf-8"><h1>The series in the {profile} profile</h1>']
    rows = ["profile,notebook,seconds,memory_gb,machine"]
    machine = f"{settings.processors()} cores {os.environ.get('ONEDNN_MAX_CPU_ISA', '')}".strip()
    for name, status, seconds, memory, problem in results:
        link = f'<a href="{name}.html">{name}</a>' if (folder / f"{name}.html").exists() else name
        items.append(f"<p>{link}: {status}, {seconds:.1f} s</p><pre>{html.escape(problem)}</pre>")
        if not problem:
            rows.append(f"{profile},{name},{seconds:.0f},{memory:.1f},{machine}")
    text = "<!doctype html>\n" + "\n".join(items)
    runs.write_atomic(folder / "index.html", lambda path: path.write_text(text, encoding="utf-8"))
    runs.write_atomic(folder / "minutes.csv", lambda path: path.write_text("\n".join([*rows, ""])))
