import base64
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pandas as pd
import psutil
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
        return *series.run("smoke", (), said.append, tmp_path), "".join(said)

    return run


def test_when_a_notebook_fails_then_the_next_runs_and_the_cell_is_shown(make):
    _, results, said = make(n00_bad=["fine = 1", "1 / 0"], n01_good=["2 + 2"])
    assert [result.status for result in results] == ["failed", "ok"]
    assert "    1 / 0" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "fine" not in said


def test_when_notebooks_run_then_there_is_one_line_for_each_with_its_seconds(make):
    _, _, said = make(n00_one=["1"], n01_two=["2"])
    line = r"\[{}/2\] {} +[\d.]+ s +[\d.]+ GB  ok\n"
    assert re.fullmatch(line.format(1, "00_one") + line.format(2, "01_two"), said)


def test_when_a_notebook_takes_long_then_a_log_says_where_it_is_now_and_then(make, monkeypatch):
    monkeypatch.setattr(series, "EVERY", 2.0)
    _, _, said = make(n00_long=["1", "import time; time.sleep(5)"])
    *alive, last = said.splitlines()
    seconds = [int(re.fullmatch(r"\[1/1\] 00_long +(\d+) s  cell \d of 3", s)[1]) for s in alive]
    assert alive[-1].endswith("cell 3 of 3")
    assert [b - a >= 1 for a, b in zip([0, *seconds], seconds, strict=False)] == [True] * len(alive)
    assert 2 <= len(alive) <= 1 + seconds[-1] / 2
    assert last.endswith("GB  ok")


def test_when_it_runs_on_a_terminal_then_one_line_is_rewritten_for_each_notebook(make, monkeypatch):
    monkeypatch.setattr(series.os, "isatty", lambda number: number == 1)
    _, _, said = make(n00_long=["import time; time.sleep(3)"], n01_short=["1"])
    first, second, rest = said.split("\n")
    assert first.count("\r") >= 3
    assert second.split("\r")[-1].startswith("[2/2] 01_short")
    assert rest == ""
    shown = first.split("\r")[1:]
    assert all(text.startswith("[1/2] 00_long") for text in shown)
    assert "cell 2 of 2" in shown[-2]
    assert shown[-1].rstrip().endswith("GB  ok")
    assert {len(text) for text in shown} == {len(shown[-1])}  # nothing of a longer one stays
    assert len(shown[-1]) < 80


def test_when_notebooks_ran_then_what_they_took_lies_beside_the_page(make, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    page, results, _ = make(n00_one=["import time; time.sleep(1.6)"], n01_bad=["1 / 0"])
    table = pd.read_csv(page.with_name("minutes.csv"))
    assert list(table.columns) == ["profile", "notebook", "seconds", "memory_gb", "machine"]
    (row,) = table.itertuples(index=False)  # what failed has measured nothing
    assert row[:2] == ("smoke", "00_one")
    assert abs(row.seconds - results[0].seconds) <= 0.5
    assert abs(row.memory_gb - results[0].memory) <= 0.05
    assert re.fullmatch(r"\d+ cores AVX2", row.machine)


@pytest.mark.parametrize("cells", ["3", "null", '{"a": 1}'])
def test_when_the_cells_of_a_file_are_no_list_then_it_fails_alone(make, tmp_path, cells):
    text = f'{{"cells": {cells}, "metadata": {{}}, "nbformat": 4, "nbformat_minor": 5}}'
    (tmp_path / "00_bad.ipynb").write_text(text)
    _, results, _ = make(n01_good=["1"])
    assert [result.status for result in results] == ["failed", "ok"]


def test_when_a_notebook_takes_memory_then_its_peak_tells(make):
    few, many = "import time", "import time\nheld = b'1' * 600_000_000"
    _, results, _ = make(n00_few=[few, "time.sleep(1)"], n01_many=[many, "time.sleep(1)"])
    assert 0.4 < results[1].memory - results[0].memory < 0.8


def test_when_notebooks_show_figures_and_tables_then_their_pages_have_them(make):
    page, _, _ = make(n00_one=[SHOW], n01_two=[TABLE])
    assert re.findall(r'href="(.*?)"', page.read_text(encoding="utf-8")) == [
        "00_one.html",
        "01_two.html",
    ]
    one, two = (page.with_name(f"{n}.html").read_text(encoding="utf-8")
                for n in ("00_one", "01_two"))  # fmt: skip
    assert f"data:image/png;base64,{DOT}" in one
    assert 'alt="A &lt;dot&gt;."' in one
    assert "About 00_one" in one
    assert "picture =" not in one
    assert "T_t_row0_col0" in two


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


@pytest.mark.parametrize(
    "text", ["", "<<<<<<< HEAD\n{}\n=======\n", '{"cells": 3}', "version https://git-lfs"]
)
def test_when_a_file_is_no_notebook_then_it_fails_alone(make, tmp_path, text):
    (tmp_path / "00_bad.ipynb").write_text(text)
    page, results, said = make(n01_good=["1"])
    assert [result.status for result in results] == ["failed", "ok"]
    assert re.search(r"00_bad .* failed\n\n\n  \w+: ", said)
    assert re.findall(r'href="(.*?)"', page.read_text()) == ["01_good.html"]
    assert "<p>00_bad: failed" in page.read_text()


def test_when_a_kernel_does_not_start_then_the_others_run(make, monkeypatch):
    real, calls = series._own_kernel, []

    def kernel():
        manager = real()
        calls.append(manager)
        if len(calls) == 1:
            manager.kernel_spec.argv = [sys.executable, "-c", "raise SystemExit(3)"]
        return manager

    monkeypatch.setattr(series, "_own_kernel", kernel)
    _, results, _ = make(n00_no_kernel=["1"], n01_good=["1"])
    assert [result.status for result in results] == ["failed", "ok"]
    assert "RuntimeError" in results[0].problem


def test_when_a_notebook_ends_then_its_kernel_and_what_it_started_are_gone(make, tmp_path):
    codes = ["import os, subprocess, sys",
             "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])",
             f"open({str(tmp_path / 'pids')!r}, 'a').write(f'{{os.getpid()}} {{left.pid}} ')",
             "1 / 0"]  # fmt: skip
    make(n00_one=codes[:3], n01_two=codes)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 4
    assert not any(map(runs, pids))


def runs(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_when_the_series_is_stopped_then_it_ends_at_once_with_its_processes(tmp_path, name):
    told, number = tmp_path / "pid", getattr(signal, name)
    sleep = "import time; time.sleep(600)"
    code = (
        f"import subprocess, sys\nleft = subprocess.Popen([sys.executable, '-c', {sleep!r}])\n"
        f"open({str(told)!r}, 'w').write(str(left.pid))\n{sleep}"
    )
    for name in ("00_one", "01_two"):
        nbformat.write(new_notebook(cells=[new_code_cell(code)]), tmp_path / f"{name}.ipynb")
    call = f"series.run('smoke', (), print, pathlib.Path({str(tmp_path)!r}))"
    command = [sys.executable, "-c", f"import pathlib; from helpers.commands import series; {call}"]
    env = {**os.environ, "CNMC_WORK": str(tmp_path / "work")}
    how = {"env": env, "stderr": subprocess.PIPE, "text": True}
    how["preexec_fn"] = lambda: signal.signal(number, signal.SIG_DFL)  # nohup ignores SIGHUP
    with subprocess.Popen(command, **how) as process:
        try:
            while not (told.exists() and told.read_text()):
                time.sleep(0.1)
                assert process.poll() is None
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode != 0
    assert "atexit" not in said
    assert not runs(int(told.read_text()))
    assert not (tmp_path / "work" / "series" / "smoke" / "01_two.ipynb").exists()


def test_when_a_notebook_leaves_a_process_behind_then_it_does_not_hold_our_streams(make):
    code = "import os\nnull = os.stat(os.devnull).st_rdev\nassert os.fstat({}).st_rdev == null"
    _, results, _ = make(n01_left=[code.format(1), code.format(2)])
    assert [result.status for result in results] == ["ok"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no nohup")
def test_when_a_hang_up_is_ignored_as_nohup_does_then_it_stays_so(make, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        make(n00_one=["1"])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_when_no_page_can_be_made_then_the_executed_notebook_is_kept_and_no_cell_is_blamed(
    make, monkeypatch
):
    def fail(**_):
        raise ValueError("No template sub-directory with name 'classic' found")

    monkeypatch.setattr(series, "HTMLExporter", fail)
    page, results, said = make(n00_one=["fine = 40 + 2\nfine"])
    assert "No template" in results[0].problem
    assert "fine" not in said
    executed = nbformat.read(page.parent / "00_one.ipynb", as_version=4)
    assert executed.cells[1].outputs[0].data["text/plain"] == "42"


def test_when_standard_output_is_closed_then_the_notebooks_run(make, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    _, results, _ = make(n00_one=["import time; time.sleep(2)"])
    assert results[0].status == "ok"


def test_when_some_are_asked_for_then_only_these_are_listed(tmp_path):
    for name in ("01_b.ipynb", "00_a.ipynb", "02_c.ipynb", "notes.ipynb", "02_c-Copy1.ipynb",
                 "01_b (1).ipynb", "00_a copy.ipynb", "00b_d.ipynb", "00B_d.ipynb"):  # fmt: skip
        (tmp_path / name).touch()
    assert [p.stem for p in series.find_notebooks(tmp_path)] == ["00_a", "00b_d", "01_b", "02_c"]
    for only, found in ((["02", "00_"], ["00_a", "02_c"]), (["00"], ["00_a", "00b_d"])):
        assert [p.stem for p in series.find_notebooks(tmp_path, only)] == found


def test_when_a_notebook_is_unknown_then_the_error_names_those_there_are(tmp_path):
    (tmp_path / "00_a.ipynb").touch()
    with pytest.raises(ValueError, match=r"00_a.*Received: \['07'\]"):
        series.find_notebooks(tmp_path, ["07"])
