import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import filelock
import kagglehub
import numpy as np
import pandas as pd
import psutil
import pytest
import tensorflow as tf
from PIL import Image
from sealed_run import known_table, make_run, write_cells
from typer.testing import CliRunner

from helpers.__main__ import app, main
from helpers.commands import card, doctor
from helpers.data import cnmc, official
from helpers.training import recipes

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = sorted(command.callback.__name__ for command in app.registered_commands)


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    """Runs a command in this process; gives the exit status, the output and what was told."""
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
    monkeypatch.delenv("CNMC_DATA", raising=False)
    monkeypatch.delenv("CNMC_PROFILE", raising=False)

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["helpers", *map(str, args)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return stopped.value.code, *capfd.readouterr()

    return call


@pytest.fixture
def cells(tmp_path):
    """Ten cells of each class, of five subjects each, in plain folders."""
    rng = np.random.default_rng(0)
    for n in range(20):
        label, subject = (("all", f"{n // 4 + 1}"), ("hem", f"H{n // 4 + 1}"))[n % 2]
        path = tmp_path / "cells" / label / f"UID_{subject}_{n}_1_{label}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (450, 450, 3), dtype=np.uint8)).save(path)
    return tmp_path / "cells"


class TestStart:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_when_help_is_asked_then_the_command_says_what_it_does(self, command):
        shown = CliRunner().invoke(app, [command, "--help"])
        assert shown.exit_code == 0
        assert re.search(r"^  [A-Z].*\.$", shown.stdout, flags=re.MULTILINE)

    def test_when_commands_start_then_nothing_heavy_is_imported(self):
        heavy = "{'tensorflow', 'keras', 'pandas', 'matplotlib', 'skimage', 'sklearn'}"
        started = "import sys, helpers.__main__, helpers.commands.doctor"
        code = f"{started}; print({heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "set()"

    @pytest.mark.parametrize(
        "module",
        ["data.split_files", "data.official", "standin.cohort", "augment.augmentation",
         "commands.series", "commands.report", "commands.card"],
    )  # fmt: skip
    def test_when_a_command_does_not_train_then_it_starts_without_tensorflow(self, module):
        code = f"import sys, helpers.{module}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "set()"

    def test_when_the_package_is_run_then_it_lists_its_commands(self):
        command = [sys.executable, "-m", "helpers", "--help"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0
        assert all(name in done.stdout for name in COMMANDS)


class TestErrors:
    def test_when_input_is_missing_then_one_line_says_so(self, run, tmp_path):
        code, out, told = run("split", tmp_path / "nowhere", tmp_path / "out")
        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: .*Received: .*nowhere'?\n", told)

    def test_when_an_option_is_no_choice_then_it_is_a_usage_error(self, run, tmp_path):
        code, _, told = run("split", tmp_path, tmp_path / "out", "--by", "magic")
        assert code == 2
        assert "subject" in told

    def test_when_the_profile_is_unknown_then_one_line_says_so(self, run):
        code, _, told = run("series", "huge")
        assert code == 1
        assert "smoke, workshop, paper" in told

    def test_when_the_data_folder_is_missing_then_the_series_does_not_start(self, run, monkeypatch):
        monkeypatch.setenv("CNMC_DATA", "nowhere")
        code, out, told = run("series", "smoke")
        assert (code, out) == (1, "")
        assert "CNMC_DATA" in told

    @pytest.mark.parametrize(
        ("error", "told"),
        [(tf.errors.ResourceExhaustedError(None, None, "OOM\nat conv"),
          "OOM at conv: memory is full: close what else uses it"),
         (MemoryError("8 GB"), "8 GB: memory is full"),
         (tf.errors.InvalidArgumentError(None, None, "no image"), "no image"),
         (ImportError("No module named x"), "No module named x: `python -m helpers doctor`"),
         (ImportError("Traceback\n  File\nImportError: libx.so: none\n\nFailed to load."),
          "ImportError: libx.so: none: `python -m helpers doctor`"),
         (PermissionError(13, "Permission denied", "lost+found"),
          "[Errno 13] Permission denied: 'lost+found': change its rights, or name another"),
         (FileNotFoundError(2, "No such file or directory", "a.bmp"),
          "[Errno 2] No such file or directory: 'a.bmp': it was moved meanwhile, or is a link"),
         (NotADirectoryError(20, "Not a directory", "file/out"),
          "[Errno 20] Not a directory: 'file/out': there is a file where a folder is expected"),
         (OSError(28, "No space left on device"),
          "[Errno 28] No space left on device: the disk or the path refuses: make room"),
         (OSError(40, "Too many levels of symbolic links", "a.bmp"),
          "[Errno 40] Too many levels of symbolic links: 'a.bmp': the disk or the path refuses"),
         (PermissionError("Set CNMC_WORK. Received: x"), "Set CNMC_WORK. Received: x\n"),
         (zipfile.BadZipFile("File is not a zip file"), "File is not a zip file")],
    )  # fmt: skip
    def test_when_a_library_raises_its_own_error_then_it_is_one_line_with_advice(
        self, run, monkeypatch, error, told
    ):
        def fail(*_):
            raise error

        monkeypatch.setattr(doctor, "tell", fail)
        code, _, said = run("doctor")
        assert (code, said.count("\n")) == (1, 1)
        assert said.startswith(f"Error: {told}")

    @pytest.mark.parametrize("command", ["evaluate", "train", "split"])
    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_when_a_link_leads_nowhere_then_one_line_says_what_to_do(
        self, run, cells, trained, tmp_path, command
    ):
        (cells / "hem" / "UID_H9_1_1_hem.bmp").symlink_to("gone.bmp")
        given = {"evaluate": (trained,), "train": ("proposed_cnn",)}.get(command, ())
        more = (tmp_path / "out",) if command == "split" else ()
        code, out, told = run(command, *given, cells, *more)
        assert (code, out) == (1, "")
        assert re.match(r"Error: .*UID_H9_1_1_hem.bmp': .*remove the link", told.splitlines()[-1])

    @pytest.mark.parametrize("place", ["file", "file/out"])
    def test_when_a_file_is_in_the_way_then_one_line_says_so_at_once(
        self, run, cells, trained, tmp_path, place
    ):
        (tmp_path / "file").write_text("mine")
        for command in (("evaluate", trained, cells, "--out"), ("predict", trained, cells, "--out"),
                        ("split", cells)):  # fmt: skip
            code, out, told = run(*command, tmp_path / place)
            assert (code, out) == (1, "")
            assert re.fullmatch(r"Error: .*(new or empty|there is a file where).*\n", told)

    def test_when_images_are_of_other_formats_then_it_is_said_once(
        self, run, cells, trained, tmp_path
    ):
        for name in ("UID_9_1_1_all.tif", "UID_9_2_1_all.gif"):
            (cells / "all" / name).write_bytes(b"")
        for command in (("split", cells, tmp_path / "out"), ("predict", trained, cells),
                        ("evaluate", trained, cells)):  # fmt: skip
            code, _, told = run(*command)
            assert code == 0
            assert re.findall(r"Warning: .*2 files \((.*)\) under", told) == [".gif, .tif"]

    def test_when_we_warn_then_it_is_one_line(self, run, cells, tmp_path):
        for n, path in enumerate(sorted(cells.rglob("*.bmp"))):
            path.rename(path.with_name(f"{n}.bmp"))
        code, _, told = run("split", cells, tmp_path / "out")
        assert code == 0
        assert re.match(r"Warning: These are not C-NMC's names.*\n(?!  )", told)
        assert "UserWarning" not in told

    @pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437"])
    def test_when_the_console_lacks_a_letter_then_the_work_is_told(self, tmp_path, encoding):
        command = [sys.executable, "-m", "helpers", "verify", tmp_path / "Zellen ü 細胞"]
        write_cells(command[-1], ("1", "H1"))
        (command[-1] / "all" / "UID_細_1_1_all.bmp").write_bytes(b"")
        env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, env=env, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, b"")
        assert b"not the whole published set" in done.stdout

    def test_when_tensorflow_ends_the_process_then_a_line_is_left(self, cells, trained, broken):
        for command in ("predict", "evaluate", "train"):
            given = ("proposed_cnn",) if command == "train" else (str(trained),)
            done = broken("os.abort()", command, *given, str(cells))
            assert done.returncode not in (0, 1)
            assert "python -m helpers doctor" in done.stderr

    def test_when_tensorflow_cannot_be_imported_then_one_line_says_so(self, cells, trained, broken):
        fault = "raise ImportError('ImportError: libx.so: none\\nSee below')"
        done = broken(fault, "predict", str(trained), str(cells))
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("Error: ImportError: libx.so: none: `python")
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("fault", ["raise RuntimeError('ABI 1 and 2')", "(*).x = 'ABI 1'"])
    def test_when_libraries_do_not_fit_each_other_then_one_line_says_so(
        self, cells, trained, broken, fault
    ):
        done = broken(fault, "predict", str(trained), str(cells))
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith(
            "`python -m helpers doctor` says what to install"
        )
        assert "Traceback" not in done.stderr

    def test_when_a_library_of_the_commands_is_broken_then_doctor_names_it(self, tmp_path):
        (tmp_path / "typer.py").write_text("raise ImportError('libx.so: none')")
        paths = os.pathsep.join([str(tmp_path), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": paths, "CNMC_WORK": str(tmp_path / "work")}
        command = [sys.executable, "-m", "helpers", "draw", tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
        assert done.returncode == 1
        assert "libx.so: none" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr

    @pytest.mark.skipif(os.name == "nt", reason="written for a POSIX shell")
    @pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
    def test_when_a_stream_is_closed_then_the_work_is_done(self, cells, tmp_path, closed):
        command = f'"{sys.executable}" -m helpers split "{cells}" "{tmp_path}/out" {closed}'
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, shell=True, capture_output=True, env=env, cwd=tmp_path)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        assert (tmp_path / "out" / "split.json").is_file()

    def test_when_the_home_of_nobody_is_named_then_one_line_says_so(self, run, tmp_path):
        code, _, told = run("split", "~nobody at all/cells", tmp_path / "out")
        assert code == 1
        assert re.fullmatch(r"Error: Expected a folder .*Received: '~nobody at all/cells'\n", told)

    @pytest.mark.parametrize(
        "words", [("evaluate", "~nobody at all/run", "cells"), ("draw", "~nobody at all/x")]
    )
    def test_when_a_run_or_a_target_is_in_the_home_of_nobody_then_there_is_no_traceback(
        self, run, tmp_path, monkeypatch, words
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CNMC_PROFILE", "smoke")
        code, out, told = run(*words)
        assert "Traceback" not in told
        assert "RuntimeError" not in told
        # A target of that name is one like any other; a run is not there.
        assert (code == 0 and "~nobody at all" in out) or "Received: '~nobody" in told

    def test_when_the_fault_is_ours_then_it_keeps_its_traceback(self, monkeypatch):
        monkeypatch.setattr(doctor, "tell", lambda *_: [][0])
        monkeypatch.setattr(sys, "argv", ["helpers", "doctor"])
        with pytest.raises(IndexError):
            main()


@pytest.fixture
def broken(tmp_path):
    """Runs a command in a process whose TensorFlow does something else."""

    def call(fault, *args):
        fake = tmp_path / "fake" / "tensorflow"
        fake.mkdir(parents=True, exist_ok=True)
        (fake / "__init__.py").write_text(f"import os\n{fault}\n")
        paths = os.pathsep.join([str(fake.parent), str(ROOT)])
        env = {**os.environ, "PYTHONPATH": paths, "CNMC_WORK": str(tmp_path / "work")}
        command = [sys.executable, "-m", "helpers", *args]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    return call


class TestDoctor:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch, tmp_path):
        """Spares most tests the seconds that TensorFlow and all the libraries take to start."""
        monkeypatch.setattr(doctor, "ASK", "print('1 x CPU')")
        (tmp_path / "few.toml").write_text('dependencies = [\n    "numpy>=2",\n]\n')
        monkeypatch.setattr(doctor, "PROJECT", tmp_path / "few.toml")

    def test_when_tensorflow_starts_then_its_devices_are_told(self, broken, tmp_path):
        command = [sys.executable, "-m", "helpers", "doctor"]
        env = {**os.environ, "CNMC_WORK": str(tmp_path), "PYTHONPATH": str(ROOT)}
        env.pop("CNMC_DATA", None)
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"ok +TensorFlow +\d x .*; \d+ of \d+ cores may be used", done.stdout)

    @pytest.mark.parametrize(
        ("fault", "found"),
        [("os.write(2, b'F0000 this needs AVX2\\n'); os.abort()", "F0000 this needs AVX2"),
         ("os._exit(132)", "exit status 132: no word"),
         ("raise ImportError('libx.so: none')", "ImportError: libx.so: none")],
    )  # fmt: skip
    def test_when_tensorflow_cannot_be_imported_then_doctor_fails(self, broken, fault, found):
        done = broken(fault, "doctor")
        assert (done.returncode, done.stderr) == (1, "")
        assert re.search(rf"fail +TensorFlow +.*{found}\n +Install .*AVX", done.stdout)
        assert re.search("ok +images", done.stdout)  # the checks behind it are made

    def test_when_there_is_a_gpu_that_tensorflow_does_not_see_then_it_is_told(
        self, run, monkeypatch
    ):
        monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
        code, out, _ = run("doctor")
        assert code == 0
        assert re.search(r"warn +TensorFlow .*does not see the NVIDIA GPU\n.*\[gpu\]", out)

    @pytest.mark.parametrize("files", [("memory.max", "memory.current"),
                                       ("memory/memory.limit_in_bytes",
                                        "memory/memory.usage_in_bytes")])  # fmt: skip
    def test_when_a_container_has_little_memory_then_that_counts(
        self, run, monkeypatch, tmp_path, files
    ):
        (tmp_path / "memory").mkdir()
        for name, held in zip(files, (2_000_000_000, 500_000_000), strict=True):
            (tmp_path / name).write_text(f"{held}\n")
            (tmp_path / name).with_name("memory.stat").write_text("inactive_file 0\n")
        monkeypatch.setattr(doctor, "CGROUPS", tmp_path)
        assert re.search(r"warn +memory +1\.5 GB free of 2\.0 GB\n", run("doctor")[1])

    def test_when_a_container_has_no_limit_then_the_machine_counts(
        self, run, monkeypatch, tmp_path
    ):
        (tmp_path / "memory.max").write_text("max\n")
        (tmp_path / "memory.current").write_text("500000000\n")
        monkeypatch.setattr(doctor, "CGROUPS", tmp_path)
        whole = psutil.virtual_memory().total / 1e9
        assert f"of {whole:.1f} GB" in run("doctor")[1]

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux binds processes")
    def test_when_the_process_is_bound_to_one_core_then_one_counts(self):
        bind = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
        code = f"{bind}; from helpers import settings; print(settings.processors())"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "1\n"

    def test_when_paths_may_not_be_long_then_the_disk_fails(self, run, monkeypatch):
        monkeypatch.setattr(doctor, "LONG", "folder/" + 300 * "n")
        assert re.search(r"fail +disk .*\n +Set CNMC_WORK .*short path", run("doctor")[1])

    def test_when_the_disk_has_no_locks_then_it_fails(self, run, monkeypatch):
        def refuse(*_):
            raise NotImplementedError("FileSystem does not appear to support flock")

        monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +disk .*support flock\n +Set CNMC_WORK", out)

    def test_when_an_image_of_any_kind_cannot_be_read_then_it_fails(self, run, monkeypatch, cells):
        monkeypatch.setenv("CNMC_DATA", str(cells))
        (cells / "hem" / "UID_H9_1_1_hem.png").write_bytes(b"version https://git-lfs.github.com")
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +images .*UID_H9_1_1_hem.png", out)

    def test_when_a_folder_cannot_be_entered_then_it_is_told(self, run, monkeypatch, cells):
        def refuse(*_):
            raise PermissionError(13, "Permission denied", "lost+found")

        monkeypatch.setenv("CNMC_DATA", str(cells))
        monkeypatch.setattr(cnmc, "list_images", refuse)
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +images .*lost\+found", out)

    def test_when_all_is_well_then_every_topic_has_one_line(self, run):
        code, out, told = run("doctor")
        assert (code, told) == (0, "")
        topics = [
            "Python",
            "libraries",
            "TensorFlow",
            "memory",
            "disk",
            "profile",
            "images",
        ]
        assert all(re.search(rf"^(ok|warn) +{topic} ", out, re.MULTILINE) for topic in topics)

    def test_when_the_data_folder_is_missing_then_it_fails_and_says_what_to_do(
        self, run, monkeypatch
    ):
        monkeypatch.setenv("CNMC_DATA", "nowhere")
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +images +CNMC_DATA .*nowhere.*\n +Set CNMC_DATA", out)

    def test_when_the_data_folder_is_empty_then_it_says_how_to_fetch(
        self, run, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("CNMC_DATA", str(tmp_path))
        code, out, _ = run("doctor")
        assert code == 1
        assert "python -m helpers fetch" in out

    def test_when_the_profile_is_unknown_then_it_fails(self, run, monkeypatch):
        monkeypatch.setenv("CNMC_PROFILE", "huge")
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +profile .*'huge'\n .*smoke, workshop, paper", out)

    def test_when_the_work_folder_cannot_be_made_then_it_fails(self, run, monkeypatch, tmp_path):
        (tmp_path / "file").touch()
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "file" / "work"))
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +disk .*\n +Set CNMC_WORK", out)

    def test_when_images_are_there_then_they_are_counted(self, run, monkeypatch, cells):
        monkeypatch.setenv("CNMC_DATA", str(cells))
        assert "20 images in" in run("doctor")[1]

    def test_when_images_are_too_few_for_the_notebooks_then_it_fails(self, run, monkeypatch, cells):
        monkeypatch.setenv("CNMC_DATA", str(cells))
        for path in sorted(cells.rglob("UID_H[3-9]_*")):
            path.unlink()
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +images .*3 subjects of each class.*HEM of 2 subjects", out)

    def test_when_memory_is_short_then_it_warns_but_does_not_fail(self, run, monkeypatch):
        monkeypatch.setattr(doctor, "MEMORY_NEEDED", 1e18)
        code, out, _ = run("doctor")
        assert code == 0
        assert re.search(r"warn +memory .*\n +Close other programs", out)

    def test_when_a_library_is_missing_then_it_is_named(self, run, monkeypatch, tmp_path):
        project = tmp_path / "pyproject.toml"
        project.write_text('dependencies = [\n    "numpy>=2",\n    "no-such-library<3",\n]\n')
        monkeypatch.setattr(doctor, "PROJECT", project)
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +libraries +not installed: no-such-library\n .*requirements", out)

    @pytest.mark.parametrize("module", ["skimage", "scipy", "statsmodels"])
    def test_when_a_library_cannot_be_imported_then_it_is_told(
        self, run, monkeypatch, tmp_path, module
    ):
        (tmp_path / f"{module}.py").write_text("raise ImportError('libblas.so: none')")
        monkeypatch.setattr(doctor, "PROJECT", ROOT / "pyproject.toml")
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
        code, out, _ = run("doctor")
        assert code == 1
        assert re.search(r"fail +libraries +not to be imported.*libblas.so: none\n .*requ", out)

    def test_when_no_library_is_there_then_it_still_runs(self):
        command = [sys.executable, "-S", "-m", "helpers", "doctor"]  # -S: the standard library
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 1
        assert re.search(r"fail +libraries +not installed: tensorflow, keras", done.stdout)
        assert done.stderr == ""


class TestLinkedSplit:
    def test_when_parts_of_a_split_are_links_then_it_is_augmented(self, run, tmp_path):
        run("draw", tmp_path / "d", "--profile", "smoke")
        run("split", tmp_path / "d", tmp_path / "s", "--by", "subject")
        (tmp_path / "x").mkdir()
        for part in ("train", "test"):
            (tmp_path / "x" / part).symlink_to(tmp_path / "s" / part, target_is_directory=True)
        code, *_ = run("augment", tmp_path / "x", tmp_path / "a", "--total", 150)
        assert code == 0
        assert len(list((tmp_path / "a" / "train").rglob("*.bmp"))) == 150
        assert cnmc.locate(tmp_path / "a").is_synthetic

    def test_when_no_subject_is_on_both_sides_then_no_such_thing_is_said(self, run, tmp_path):
        run("draw", tmp_path / "d", "--profile", "smoke")
        _, _, leaky = run("split", tmp_path / "d", tmp_path / "s")
        _, _, clean = run("split", tmp_path / "d", tmp_path / "t", "--by", "subject")
        assert "both sides" in leaky
        assert "both sides" not in clean


class TestFetch:
    def test_when_fetched_then_origin_and_folder_are_told(self, run, monkeypatch, tmp_path):
        monkeypatch.setattr(official, "fetch", lambda folder: folder / "C-NMC_Leukemia")
        code, out, _ = run("fetch", tmp_path)
        assert code == 0
        assert "10.7937/tcia.2019.dc64i46r" in out
        assert f"{tmp_path / 'C-NMC_Leukemia'}: set CNMC_DATA" in out

    def test_when_there_is_no_network_then_one_line_says_what_to_do(
        self, run, monkeypatch, tmp_path
    ):
        def fail(handle):
            raise OSError("no network")

        monkeypatch.setattr(official, "DISK_NEEDED", 0)
        monkeypatch.setattr(kagglehub, "dataset_download", fail)
        code, out, told = run("fetch", tmp_path)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: .*by hand.*Received: OSError: no network\n", told)


class TestDraw:
    def test_when_drawn_then_the_cells_are_there(self, run, tmp_path):
        code, out, _ = run("draw", tmp_path / "out", "--profile", "smoke", "--seed", 3)
        assert code == 0
        assert len(list((tmp_path / "out").rglob("*.bmp"))) == 200
        assert "200 drawn cells" in out
        assert json.loads((tmp_path / "out" / cnmc.MARKER).read_text())["seed"] == 3

    def test_when_the_folder_is_not_empty_then_nothing_is_drawn(self, run, cells):
        code, _, told = run("draw", cells)
        assert code == 1
        assert re.search(r"new or empty.*Received", told)
        assert len(list(cells.rglob("*.bmp"))) == 20

    def test_when_the_disk_is_small_then_nothing_is_drawn(self, run, tmp_path, monkeypatch):
        usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        code, _, told = run("draw", tmp_path / "out", "--profile", "smoke")
        assert code == 1
        assert re.search(r"needs 122 MB.*Received: .* 1 MB free", told)
        assert not list(tmp_path.rglob("*.bmp"))


class TestVerify:
    def test_when_a_copy_is_not_the_published_set_then_it_says_so_and_fails(self, run, cells):
        code, out, _ = run("verify", cells)
        assert code == 1
        assert "not the whole published set" in out


class TestSplit:
    def test_when_images_are_split_then_the_folders_hold_them(self, run, cells, tmp_path):
        code, out, told = run("split", cells, tmp_path / "out", "--ratio", "0.8", "--seed", "1")
        assert code == 0
        assert len(list((tmp_path / "out" / "train").rglob("*.bmp"))) == 16
        assert re.search(r"test +HEM +2 images", out)
        assert "both sides" in told

    def test_when_stand_ins_are_split_and_augmented_then_the_copies_are_known_as_such(
        self, run, cells, tmp_path
    ):
        (cells / cnmc.MARKER).write_text("{}")
        run("split", cells, tmp_path / "out", "--ratio", "0.8", "--seed", "1")
        run("augment", tmp_path / "out", tmp_path / "more", "--total", "20")
        assert cnmc.locate(tmp_path / "out" / "test").is_synthetic
        assert cnmc.locate(tmp_path / "more" / "train").is_synthetic

    @pytest.mark.parametrize("command", ["split", "augment"])
    def test_when_drawn_cells_lie_among_others_then_no_copy_mixes_them(
        self, run, cells, tmp_path, command
    ):
        run("split", cells, tmp_path / "split")
        folder, more = (cells, ()) if command == "split" else (tmp_path / "split", ("--total", 30))
        place = next(path.parent for path in sorted(folder.rglob("*_all.bmp")))
        (place / cnmc.MARKER).write_text("{}")
        code, _, told = run(command, folder, tmp_path / "out", *more)
        assert code == 1
        assert re.search(r"take them apart. Received: \d+ drawn of 20 images", told)
        assert not (tmp_path / "out").exists()

    def test_when_a_named_image_is_of_another_size_then_it_is_refused(self, run, cells, tmp_path):
        path = next((cells / "all").iterdir())
        Image.open(path).resize((300, 300)).save(path)
        code, _, told = run("split", cells, tmp_path / "out")
        assert code == 1
        assert re.search(rf"Received: .*{path.name}: wrong size, 300 x 300 px\n$", told)

    def test_when_folders_are_parts_then_they_are_no_classes(self, run, cells, tmp_path):
        for label, part in (("all", "test"), ("hem", "val")):
            folder = (cells / label).rename(cells / part)
            for n, path in enumerate(sorted(folder.iterdir())):
                path.rename(path.with_name(f"{n}.bmp"))
        code, _, told = run("split", cells, tmp_path / "out")
        assert code == 1
        assert re.fullmatch(r"Error: .*named as the classes.*Received: test, val in .*\n", told)

    def test_when_parts_are_left_out_then_it_is_told(self, run, cells, tmp_path):
        write_cells(cells / "C-NMC_test_final_phase_data", ("7",))
        code, _, told = run("split", cells, tmp_path / "out", "--by", "subject")
        assert code == 0
        assert "Left out, as of test parts or second copies: 2 of 22 images" in told

    @pytest.mark.parametrize("names", ["published", "foreign"])
    def test_when_images_are_identical_then_sides_and_classes_are_counted(
        self, run, cells, tmp_path, names
    ):
        files = sorted(cells.rglob("*.bmp"))
        for copy in (f"all/UID_{n}_99_1_all.bmp" for n in range(40, 50)):
            (cells / copy).write_bytes(files[0].read_bytes())
        (cells / "hem" / "UID_H40_99_1_hem.bmp").write_bytes(files[0].read_bytes())
        if names == "foreign":
            for n, path in enumerate(sorted(cells.rglob("*.bmp"))):
                path.rename(path.with_name(f"{n}.bmp"))
        told = run("split", cells, tmp_path / "out", "--seed", "1")[2]
        assert "Identical images: 1 on both sides, 1 in both classes." in told

    @pytest.mark.parametrize("seed", ["-1", "99999999999999999999"])
    @pytest.mark.parametrize("command", ["split", "augment", "train", "draw"])
    def test_when_the_seed_is_none_then_the_option_is_named(self, run, tmp_path, command, seed):
        given = {"train": ("vgg16", tmp_path), "draw": (tmp_path / "out",),
                 "augment": (tmp_path, tmp_path / "out", "--total", 9)}  # fmt: skip
        code, _, told = run(
            command, *given.get(command, (tmp_path, tmp_path / "out")), "--seed", seed
        )
        assert code == 2
        assert re.search(rf"--seed.*{seed}", told, re.DOTALL)

    def test_when_they_are_split_by_subject_then_there_is_no_warning(self, run, cells, tmp_path):
        code, _, told = run("split", cells, tmp_path / "out", "--by", "subject")
        assert code == 0
        assert "both sides" not in told


@pytest.fixture
def trained(cells, tmp_path):
    """A run that calls bright cells ALL, and knows none of the cells."""
    others = write_cells(tmp_path / "others", ("77", "H77"), seed=7)
    return make_run(tmp_path / "runs", known_table(others, "train"))


class TestEvaluate:
    def test_when_a_run_is_scored_then_all_four_files_are_there(
        self, run, cells, trained, tmp_path
    ):
        code, out, told = run("evaluate", trained, cells, "--out", tmp_path / "out")
        assert code == 0
        assert re.search(r"^accuracy 0\.\d+ \(no interval: all draws .*; 20 cells", out, re.M)
        assert out.startswith("20 images, none known as the run's")
        assert out.splitlines()[0].endswith(" (images of unknown origin)")
        assert "To beat, area only: ROC-AUC 0." in out
        assert "Not for diagnosis." in told
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"predictions.csv", "metrics.json", "model_card.md", "report.html"}

    def test_when_no_folder_is_named_then_each_call_has_its_own(self, run, cells, trained):
        places = [run("evaluate", trained, cells)[1] for _ in range(2)]
        for number, out in enumerate(places, start=1):
            name = f"{trained.name}-cells-{number}"
            assert str(Path("work", "evaluations", name, "report.html")) in out

    def test_when_nearly_all_cells_get_one_class_then_it_is_told(self, run, cells, trained):
        _, _, told = run("evaluate", trained, cells, "--threshold", "0.9999999")
        assert "Nearly all cells are called HEM" in told

    def test_when_the_run_is_missing_then_one_line_says_so(self, run, cells):
        code, out, told = run("evaluate", "nowhere.keras", cells)
        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: .*folder of a run.*Received: 'nowhere.keras'\n", told)

    def test_when_the_network_is_from_elsewhere_then_the_notebook_is_named(
        self, run, cells, trained, tmp_path
    ):
        (trained / "model.keras").rename(tmp_path / "mine.keras")
        for command in ("evaluate", "predict"):
            code, out, told = run(command, tmp_path / "mine.keras", cells)
            assert (code, out) == (1, "")
            assert re.fullmatch(r"Error: .*Notebook 06.*mine.keras'\n", told)

    def test_when_the_part_is_not_there_then_one_line_says_what_is(self, run, cells, trained):
        code, out, told = run("evaluate", trained, cells, "--part", "preliminary")
        assert (code, out) == (1, "")
        assert re.fullmatch(r"Error: .*preliminary part.*holds 20 training images.*\n", told)

    def test_when_the_final_set_is_to_be_scored_then_it_is_a_usage_error(self, run, cells, trained):
        code, _, told = run("evaluate", trained, cells, "--part", "final")
        assert code == 2
        assert "preliminary" in told


class TestPredict:
    @pytest.fixture
    def final(self, tmp_path):
        folder = tmp_path / "data" / "C-NMC_test_final_phase_data"
        folder.mkdir(parents=True)
        for name, light in (("10", 230), ("2", 20)):
            image = np.full((600, 600, 3), light, np.uint8)
            image[300, 300] = light + 1  # else it would be blank
            Image.fromarray(image).save(folder / f"{name}.bmp")
        return folder

    def test_when_images_have_no_labels_then_each_is_judged(self, run, trained, final, tmp_path):
        code, out, _ = run("predict", trained, final, "--out", tmp_path / "out")
        assert code == 0
        assert re.search(r"called ALL: +1 of 2 images", out)
        found = pd.read_csv(tmp_path / "out" / "predictions.csv")
        assert list(zip(found["file"], found["called"], strict=True)) == [
            ("2.bmp", "HEM"), ("10.bmp", "ALL")]  # fmt: skip

    def test_when_an_image_is_truncated_then_the_others_are_judged_and_it_fails(
        self, run, trained, final
    ):
        (final / "2.bmp").write_bytes((final / "2.bmp").read_bytes()[:1000])
        code, out, told = run("predict", trained, final)
        assert code == 1
        assert re.search(r"called ALL: +1 of 2 images", out)
        assert "Not judged: 2.bmp: truncated" in told

    def test_when_an_image_is_blank_then_it_is_named_and_the_others_are_judged(
        self, run, trained, final
    ):
        Image.new("RGB", (450, 450)).save(final / "2.bmp")
        code, out, told = run("predict", trained, final)
        assert code == 1
        assert "called HEM" not in out
        assert "Not judged: 2.bmp: blank" in told

    def test_when_all_of_many_images_are_called_one_class_then_it_is_told(
        self, run, trained, cells
    ):
        _, _, told = run("predict", trained, cells, "--threshold", "0.9999999")
        assert "Nearly all cells are called HEM" in told

    def test_when_there_are_no_images_then_one_line_says_so(self, run, trained, tmp_path):
        (tmp_path / "empty").mkdir()
        code, _, told = run("predict", trained, tmp_path / "empty")
        assert code == 1
        assert re.fullmatch(r"Error: Expected images .*\n", told)


class TestAugment:
    @pytest.fixture
    def divided(self, run, cells, tmp_path):
        run("split", cells, tmp_path / "split", "--ratio", "0.8", "--seed", "1")
        return tmp_path / "split"

    def test_when_a_split_is_augmented_then_each_class_is_counted(self, run, divided, tmp_path):
        code, out, _ = run("augment", divided, tmp_path / "out", "--total", "20", "--seed", "2")
        assert code == 0
        assert len(list((tmp_path / "out" / "train").rglob("*.bmp"))) == 20
        assert sum(map(int, re.findall(r"(\d+) of them augmented", out))) == 4

    def test_when_the_classes_are_foreign_then_one_line_says_so(self, run, cells, tmp_path):
        for label in ("all", "hem"):
            folder = (cells / label).rename(cells / f"{label} cells")
            for n, path in enumerate(sorted(folder.iterdir())):
                path.rename(path.with_name(f"{n}.bmp"))
        assert run("split", cells, tmp_path / "split", "--ratio", "0.8")[0] == 0
        code, _, told = run("augment", tmp_path / "split", tmp_path / "out", "--total", "30")
        assert code == 1
        assert re.fullmatch(r"Error: Images are named UID_.*Received: 16 others, as .*\n", told)

    def test_when_there_is_no_split_then_one_line_says_how_to_make_one(self, run, cells, tmp_path):
        code, _, told = run("augment", cells, tmp_path / "out", "--total", "30")
        assert code == 1
        assert re.fullmatch(r"Error: .*python -m helpers split.*Received: .*\n", told)

    def test_when_the_disk_is_too_small_then_nothing_is_written(self, run, divided, tmp_path):
        code, _, told = run("augment", divided, tmp_path / "out", "--total", "1000000000000")
        assert code == 1
        assert re.search(r"GB of (free )?disk", told)
        assert not (tmp_path / "out").exists()


class TestTrain:
    def test_when_a_network_is_trained_then_it_says_where_the_run_lies(self, run, cells, tmp_path):
        options = ("--profile", "smoke", "--epochs", "1")
        code, out, told = run("train", "proposed_cnn", cells, *options)
        assert code == 0
        folder = Path(re.search(r"scores: (.+)\n", out).group(1))
        assert (folder / "model.keras").is_file()
        assert folder.is_relative_to(tmp_path / "work")
        assert "epoch   1 of 1" in told
        code, out, _ = run("evaluate", folder, cells)
        assert code == 0
        assert re.match(r"(\d+) of the \1 images of the run's test part, whose subjects, as", out)

    def test_when_test_images_are_there_twice_then_train_counts_each_once_as_evaluate_does(
        self, run, cells, tmp_path
    ):
        data = tmp_path / "twice"
        run("split", cells, data, "--by", "subject")
        path = next((data / "test" / "all").iterdir())
        for n in range(3):
            shutil.copy(path, path.with_name(re.sub(r"_\d+_all", f"_{70 + n}_all", path.name)))
        options = ("--profile", "smoke", "--epochs", "1")
        _, out, _ = run("train", "proposed_cnn", data, *options)
        folder = re.search(r"scores: (.+)\n", out).group(1)
        _, judged, _ = run("evaluate", folder, data)
        assert re.search(r"; (\d+) cells", out).group(1) == re.search(r"; (\d+) cells", judged)[1]

    def test_when_a_leaky_split_is_accepted_then_its_scores_are_called_too_good(
        self, run, cells, tmp_path
    ):
        run("split", cells, tmp_path / "out", "--seed", "1")
        options = ("--profile", "smoke", "--epochs", "1", "--allow-leaks")
        (tmp_path / "out" / cnmc.MARKER).write_text("{}")
        code, out, told = run("train", "proposed_cnn", tmp_path / "out", *options)
        assert code == 0
        assert re.search(r"test part, but subjects are on both sides of its split, so .*F1", out)
        assert card.limits_of("synthetic stand-in cells, drawn")[0] in told
        folder = re.search(r"scores: (.+)\n", out).group(1)
        code, out, _ = run("evaluate", folder, cells)
        assert code == 0
        assert "both sides of its split, so the score says little about new subjects" in out

    def test_when_some_training_cells_are_drawn_then_only_scored_ones_are_called_so(
        self, run, cells, tmp_path
    ):
        run("split", cells, tmp_path / "out", "--by", "subject")
        some = card.limits_of("synthetic stand-in cells among others")[0]
        for part, told in (("train/all", None), ("test/all", some)):
            (tmp_path / "out" / part / cnmc.MARKER).write_text("{}")
            options = ("--profile", "smoke", "--epochs", "1")
            code, _, said = run("train", "proposed_cnn", tmp_path / "out", *options)
            assert code == 0
            assert [line for line in said.splitlines() if "drawn:" in line] == [told] * bool(told)

    def test_when_the_split_leaks_then_it_is_refused(self, run, cells, tmp_path):
        assert run("split", cells, tmp_path / "out", "--seed", "1")[0] == 0
        code, _, told = run("train", "proposed_cnn", tmp_path / "out", "--profile", "smoke")
        assert code == 1
        assert re.search(r"side.*linked subject", told)

    def test_when_the_network_is_unknown_then_the_known_ones_are_listed_at_once(
        self, run, cells, monkeypatch
    ):
        monkeypatch.setattr(recipes, "gather_table", lambda *_: [][0])
        code, _, told = run("train", "lenet", cells, "--profile", "smoke")
        assert code == 1
        assert "proposed_cnn" in told.splitlines()[-1]
