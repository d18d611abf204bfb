"""Run folders: found by what determines them, made once, whole or not there."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
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


@pytest.mark.parametrize(
    "text", [None, "[]", "{", '{"key": "0000000000000000"}', '{"key": 1, "files": ["model.txt"]}']
)
def test_when_a_folder_has_no_manifest_of_its_own_then_it_is_refused_and_kept(tmp_path, text):
    folder = runs.make_once(tmp_path, {"seed": 1}, _make)
    (folder / "run.json").unlink()
    if text is not None:
        (folder / "run.json").write_text(text)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(ValueError, match=rf"move the folder away.*Received: .*{folder.name}"):
        runs.make_once(tmp_path, {"seed": 1}, _make)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_when_a_run_holds_another_network_then_it_is_refused_and_nothing_starts_from_it(tmp_path):
    def make(folder: Path) -> None:
        (folder / "model.keras").write_bytes(b"its own")

    folder = runs.make_once(tmp_path, {"seed": 1}, make)
    (folder / "model.keras").write_bytes(b"another")
    with pytest.raises(ValueError, match=r"Received: .* with no model\.keras, or another"):
        runs.make_once(tmp_path, {"seed": 1}, make)


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


def test_when_a_run_is_finished_then_it_is_read_without_a_lock(tmp_path, monkeypatch):
    folder = runs.make_once(tmp_path, {"seed": 1}, _make)
    for path in tmp_path.glob(".*"):
        path.unlink()
    monkeypatch.setattr(runs, "lock", lambda path: pytest.fail("locked"))
    assert runs.make_once(tmp_path, {"seed": 1}, _make) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["metrics.json", "history.csv"])
@pytest.mark.parametrize("keep", [None, 0, 5])
def test_when_a_table_of_a_run_is_damaged_then_it_is_named_in_a_line(tmp_path, name, keep):
    folder = runs.make_once(tmp_path, {"seed": 1}, lambda f: (f / name).write_text('{"loss": 1}'))
    if keep is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text('{"loss": 1}'[:keep])
    with pytest.raises(ValueError, match=rf"move the folder away.*Received: .*no {name}, or"):
        runs.make_once(tmp_path, {"seed": 1}, _make)


CAUSES = [
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EROFS, "Read-only file system"),
    OSError(errno.ENOLCK, "No locks available"),
    OSError(errno.ENOTSUP, "Operation not supported"),
    NotImplementedError("FileSystem does not appear to support flock"),
]


@pytest.mark.parametrize("cause", CAUSES, ids=str)
def test_when_a_folder_cannot_be_written_or_locked_then_it_says_where_to_go(
    tmp_path, monkeypatch, cause
):
    def fail(*args, **told):
        raise cause

    monkeypatch.setattr(FileLock, "acquire", fail)
    with pytest.raises(PermissionError, match=rf"set CNMC_WORK.*Received: .*{tmp_path.name}"):
        runs.make_once(tmp_path, {"seed": 1}, _make)


def test_when_the_work_is_refused_for_another_cause_then_that_is_told(tmp_path):
    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        runs.make_once(tmp_path, {"seed": 1}, full)


def test_when_an_image_cannot_be_read_then_no_other_work_folder_is_advised(tmp_path):
    def make(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/data/UID_1_1_1_all.bmp")

    with pytest.raises(PermissionError, match="UID_1_1_1_all") as told:
        runs.make_once(tmp_path / "runs", {"seed": 1}, make)
    assert "CNMC_WORK" not in str(told.value)


def test_when_the_work_itself_is_not_implemented_then_nothing_is_said_of_locks(tmp_path):
    def make(folder: Path) -> None:
        raise NotImplementedError("Cannot convert a symbolic tensor")

    with pytest.raises(NotImplementedError, match="symbolic tensor"):
        runs.make_once(tmp_path, {"seed": 1}, make)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="changes the user: needs root")
class TestOtherUser:
    """Two users, one work folder; the second has the group of the first."""

    @pytest.fixture
    def shared(self):
        folder = Path(tempfile.mkdtemp())
        yield folder
        os.seteuid(0)
        shutil.rmtree(folder)

    def test_when_the_group_may_write_then_both_make_and_read(self, shared):
        shared.chmod(0o775)
        first = runs.make_once(shared, {"seed": 1}, _make)
        with runs.lock(shared / f".{runs.key_of({'seed': 2})}.lock"):
            pass  # as an interrupted run leaves it
        os.seteuid(65534)
        assert runs.make_once(shared, {"seed": 1}, _make) == first
        assert runs.make_once(shared, {"seed": 2}, _make).is_dir()

    def test_when_only_reading_is_allowed_then_what_is_there_is_read_and_no_more(self, shared):
        first = runs.make_once(shared, {"seed": 1}, _make)
        shared.chmod(0o755)
        os.seteuid(65534)
        assert runs.make_once(shared, {"seed": 1}, _make) == first
        with pytest.raises(PermissionError, match=r"set CNMC_WORK.*Permission denied"):
            runs.make_once(shared, {"seed": 2}, _make)

    @pytest.mark.parametrize("closed", ["work", "runs", "run", "run.json"])
    def test_when_another_user_keeps_a_run_to_himself_then_it_says_what_to_set(
        self, shared, closed
    ):
        folder = runs.make_once(shared / "runs", {"seed": 1}, _make)
        for path in (shared, folder.parent):
            path.chmod(0o777)
        places = {"work": shared, "runs": folder.parent, "run": folder}
        places.get(closed, folder / closed).chmod(0o000)
        os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"set CNMC_WORK.*Received: .*Permission denied"):
            runs.make_once(shared / "runs", {"seed": 1}, _make)


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


def test_when_a_process_was_killed_while_writing_then_no_leftover_is_sealed(tmp_path):
    def make(folder):
        (folder / ".partial-1-model.keras").write_text("half")
        (folder / "model.keras").write_text("whole")

    folder = runs.make_once(tmp_path, {"seed": 1}, make)
    assert sorted(p.name for p in folder.iterdir()) == ["model.keras", "run.json"]


def test_when_subjects_or_origin_change_then_the_digest_changes(tmp_path):
    table = _table(tmp_path / "one", [b"a", b"b"]).assign(subject="1", linked_subject="1")
    changed = [
        table.assign(subject="2"),
        table.assign(linked_subject=["1", "1+2"]),
        table.assign(linked_subject=[None, "1"]),
        table.assign(drawn=True),
    ]
    assert len({runs.table_digest(t) for t in [table, *changed]}) == 5


def test_when_a_disk_is_nearly_full_then_megabytes_are_told():
    assert [runs.in_units(size) for size in (2.5e9, 40_960, 5e8)] == [
        "2.5 GB",
        "0.041 MB",
        "500 MB",
    ]
