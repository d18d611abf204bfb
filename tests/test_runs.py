"""Run folders: found by what determines them, made once, whole or not there."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from helpers import runs


def _make(folder: Path) -> None:
    (folder / "model.txt").write_text("weights")


def _count_calls(calls: list[Path]):
    def make(folder: Path) -> None:
        calls.append(folder)
        _make(folder)

    return make


def test_when_the_description_changes_then_the_key_changes():
    base = {"model": "vgg16", "seed": 1, "options": {"dropout": 0.5}}
    keys = {runs.key_of(base | change) for change in ({}, {"seed": 2}, {"options": {}})}
    assert len(keys) == 3


def test_when_a_run_is_whole_then_it_is_not_made_again(tmp_path):
    calls = []
    first = runs.make_once(tmp_path, {"seed": 1}, _count_calls(calls))
    second = runs.make_once(tmp_path, {"seed": 1}, _count_calls(calls))
    assert first == second
    assert len(calls) == 1
    assert json.loads((first / "run.json").read_text())["description"] == {"seed": 1}


@pytest.mark.parametrize("text", [None, "[]", "{", '{"key": "0000000000000000"}'])
def test_when_a_folder_has_no_manifest_of_its_own_then_it_is_refused_and_kept(tmp_path, text):
    folder = runs.make_once(tmp_path, {"seed": 1}, _make)
    (folder / "run.json").unlink()
    if text is not None:
        (folder / "run.json").write_text(text)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError, match=rf"move the folder away.*Received: .*{folder.name}"):
        runs.make_once(tmp_path, {"seed": 1}, _make)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_when_a_run_is_sealed_then_the_digest_of_each_file_is_on_record(tmp_path):
    def make(folder: Path) -> None:
        (folder / "deep").mkdir()
        (folder / "deep" / "abc.txt").write_text("abc")

    manifest = json.loads((runs.make_once(tmp_path, {"seed": 1}, make) / "run.json").read_text())
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert manifest["files"] == {"deep/abc.txt": known}


def test_when_making_fails_then_there_is_no_run_and_the_next_call_finds_what_was_left(tmp_path):
    def interrupted(folder: Path) -> None:
        (folder / "state.txt").write_text("epoch 3")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.make_once(tmp_path, {"seed": 1}, interrupted)
    assert not (tmp_path / runs.key_of({"seed": 1})).exists()
    found = []
    runs.make_once(tmp_path, {"seed": 1}, lambda f: found.append((f / "state.txt").read_text()))
    assert found == ["epoch 3"]


RACER = """
import sys, time
from pathlib import Path
from helpers import runs

def make(folder):
    with open(sys.argv[1] + "/made.txt", "a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    (folder / "model.txt").write_text("weights")

print(runs.make_once(Path(sys.argv[1]), {"seed": 1}, make).name)
"""


def test_when_two_processes_race_then_the_run_is_made_once(tmp_path):
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = {racer.communicate(timeout=60)[0] for racer in racers}
    assert answers == {runs.key_of({"seed": 1}) + "\n"}
    assert (tmp_path / "made.txt").read_text() == "made\n"


def test_when_the_maker_is_killed_then_the_next_caller_is_not_locked_out(tmp_path):
    slow = RACER.replace("time.sleep(0.5)", "time.sleep(60)")
    racer = subprocess.Popen([sys.executable, "-c", slow, str(tmp_path)])
    deadline = time.monotonic() + 60
    while not (tmp_path / "made.txt").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    racer.send_signal(signal.SIGKILL)
    racer.wait()
    assert (runs.make_once(tmp_path, {"seed": 1}, _make) / "model.txt").exists()


def test_when_another_process_holds_the_lock_then_the_waiting_one_says_so(tmp_path, caplog):
    held = FileLock(tmp_path / f".{runs.key_of({'seed': 1})}.lock")
    held.acquire()
    waiting = threading.Thread(target=runs.make_once, args=(tmp_path, {"seed": 1}, _make))
    waiting.start()
    deadline = time.monotonic() + 60
    while not caplog.records and time.monotonic() < deadline:
        time.sleep(0.05)
    held.release()
    waiting.join()
    assert [r.message.split(",")[0] for r in caplog.records] == ["Waiting for another process"]


def test_when_a_disk_is_too_small_then_it_says_for_what_and_where(tmp_path):
    runs.check_disk(tmp_path / "not" / "yet" / "there", 1, "a byte")
    with pytest.raises(OSError, match=r"A film needs 1000000000\.0 GB.*Received: .*there"):
        runs.check_disk(tmp_path / "there", 1e18, "A film")


def _table(folder: Path, contents: list[bytes]) -> pd.DataFrame:
    folder.mkdir()
    paths = [folder / f"{number}.bmp" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    rows = {"path": map(str, paths), "label": ["ALL", "HEM"], "split": ["train", "test"]}
    return pd.DataFrame(rows)


def test_when_the_same_files_lie_elsewhere_then_the_table_has_the_same_digest(tmp_path):
    here, there = (_table(tmp_path / name, [b"a", b"b"]) for name in ("here", "there"))
    assert runs.table_digest(here) == runs.table_digest(there)


def test_when_a_byte_label_part_or_the_order_changes_then_the_digest_changes(tmp_path):
    table = _table(tmp_path / "one", [b"a", b"b"])
    changed = [
        _table(tmp_path / "two", [b"a", b"c"]),
        table.assign(label=["ALL", None]),
        table.assign(split=["train", "train"]),
        table.iloc[::-1],
    ]
    assert len({runs.table_digest(t) for t in [table, *changed]}) == 5
