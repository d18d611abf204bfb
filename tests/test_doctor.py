"""`doctor` where a machine hangs, ends without a word, or limits a part of itself."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import doctor

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def look(monkeypatch, tmp_path):
    """Makes one check; gives the exit status and what is said."""
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))

    def look(topic):
        monkeypatch.setattr(doctor, "CHECKS", {topic: doctor.CHECKS[topic]})
        said = []
        return doctor.tell(said.append), "\n".join(said)

    return look


def test_when_tensorflow_hangs_then_doctor_does_not(look, monkeypatch):
    monkeypatch.setattr(doctor, "ASK", "import time; time.sleep(600)")
    monkeypatch.setattr(doctor, "WAIT", 1)
    code, said = look("TensorFlow")
    assert code == 1
    assert re.fullmatch(r"fail  TensorFlow  gives no answer within 1 s\n +Install .*", said)


def test_when_tensorflow_ends_the_process_without_a_word_then_it_is_not_ready(look, monkeypatch):
    monkeypatch.setattr(doctor, "ASK", "import os; os._exit(0)")
    code, said = look("TensorFlow")
    assert code == 1
    assert "exit status 0: no word" in said


@pytest.mark.parametrize(
    ("own", "files"),
    [("0::/user.slice/me\n", ("memory.max", "memory.current")),
     ("0::/user.slice/me/kernel\n", ("memory.max", "memory.current")),
     ("5:cpu,cpuacct:/\n4:memory:/user.slice/me\n0::/\n",
      ("memory.limit_in_bytes", "memory.usage_in_bytes"))],
)  # fmt: skip
@pytest.mark.parametrize(
    ("stat", "free"),
    [("anon 5\nfile 400000000\ninactive_file 0\n", "1.5"),
     ("active_file 7\ninactive_file 400000000\n", "1.9"),  # which the system gives back
     ("inactive_file 0\nactive_file 7\ntotal_inactive_file 400000000\n", "1.9")],
)  # fmt: skip
def test_when_a_group_around_the_process_has_little_memory_then_that_counts(
    look, monkeypatch, tmp_path, own, files, stat, free
):
    (tmp_path / "own").write_text(own)
    group = tmp_path / ("memory/user.slice/me" if "4:" in own else "user.slice/me")
    group.mkdir(parents=True)
    for name, held in zip(files, (2_000_000_000, 500_000_000), strict=True):
        (group / name).write_text(f"{held}\n")
    (group / "memory.stat").write_text(stat)
    monkeypatch.setattr(doctor, "CGROUPS", tmp_path)
    monkeypatch.setattr(doctor, "OWN", tmp_path / "own")
    assert f"warn  memory      {free} GB free of 2.0 GB" in look("memory")[1]


def test_when_another_group_has_little_memory_then_that_does_not_count(look, monkeypatch, tmp_path):
    (tmp_path / "own").write_text("0::/me\n")
    (tmp_path / "other").mkdir()
    for name in ("memory.max", "memory.current"):
        (tmp_path / "other" / name).write_text("1000\n")
    monkeypatch.setattr(doctor, "CGROUPS", tmp_path)
    monkeypatch.setattr(doctor, "OWN", tmp_path / "own")
    assert "of 0.0 GB" not in look("memory")[1]


def test_when_advice_is_given_then_it_names_what_is_checked():
    assert set(doctor.ADVICE) == {*doctor.CHECKS, "training"}
    assert f"{doctor.MEMORY_NEEDED / 1e9:.0f} GB" in doctor.ADVICE["memory"]
    assert f"{doctor.DISK_NEEDED / 1e9:.0f} GB" in doctor.ADVICE["disk"]
    assert ", ".join(doctor.settings.PROFILES) in doctor.ADVICE["profile"]


def _older_python() -> str | None:
    found = shutil.which("python3.9") or shutil.which("python3.10")
    asked = [found or sys.executable, "-c", "raise SystemExit(7)"]
    return found if subprocess.run(asked, capture_output=True).returncode == 7 else None


@pytest.mark.skipif(not _older_python(), reason="there is no older Python here")
def test_when_python_is_too_old_then_doctor_still_says_so(tmp_path):
    env = {**os.environ, "CNMC_WORK": str(tmp_path), "PYTHONPATH": ""}
    command = [_older_python(), "-m", "helpers", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT)
    assert re.match(r"fail  Python +3\.(9|10)\.\d+\n +Use Python 3\.11", done.stdout)
    assert (done.returncode, done.stderr) == (1, "")


def test_when_settings_are_imported_then_an_older_python_need_not_know_their_types():
    assert doctor.settings.active.__annotations__["name"] == "str | None"
