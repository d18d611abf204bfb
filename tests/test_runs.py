"""Run folders: found by what determines them, made once, whole or not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

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


def _damage_file(folder: Path) -> None:
    (folder / "model.txt").write_text("damaged")


def _lose_file(folder: Path) -> None:
    (folder / "model.txt").unlink()


def _lose_manifest(folder: Path) -> None:
    (folder / "run.json").unlink()


def _break_manifest(folder: Path) -> None:
    (folder / "run.json").write_text("[]")


def _claim_another_key(folder: Path) -> None:
    manifest = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(manifest | {"key": "0" * 16}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_file, "changed model.txt"),
        (_lose_file, "lacks model.txt"),
        (_lose_manifest, "no readable run.json"),
        (_break_manifest, "no readable run.json"),
        (_claim_another_key, "belongs to run 0000"),
    ],
)
def test_when_a_folder_is_damaged_or_foreign_then_it_is_reported_and_kept(
    tmp_path, damage, message
):
    folder = runs.make_once(tmp_path, {"seed": 1}, _make)
    damage(folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.warns(UserWarning, match=message):
        again = runs.make_once(tmp_path, {"seed": 1}, _make)
    aside = tmp_path / f"{folder.name}.set-aside-1"
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    assert (again / "model.txt").read_text() == "weights"


def test_when_a_folder_is_damaged_twice_then_both_are_kept(tmp_path):
    for _ in range(2):
        _damage_file(runs.make_once(tmp_path, {"seed": 1}, _make))
        with pytest.warns(UserWarning, match="set aside"):
            runs.make_once(tmp_path, {"seed": 1}, _make)
    assert len(list(tmp_path.glob("*.set-aside-*"))) == 2


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


def test_when_the_unfinished_folder_is_foreign_then_it_is_set_aside(tmp_path):
    partial = tmp_path / f".{runs.key_of({'seed': 1})}.partial"
    partial.mkdir()
    (partial / "state.npz").write_text("not ours")
    with pytest.warns(UserWarning, match="belongs to another run"):
        folder = runs.make_once(tmp_path, {"seed": 1}, _make)
    assert sorted(p.name for p in folder.iterdir()) == ["model.txt", "run.json"]


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


def test_when_arrays_are_saved_then_they_come_back_bit_for_bit(tmp_path):
    arrays = [np.float32([[1.5, np.nan]]), np.array(7), *map(np.full, [(2,)] * 10, range(10))]
    runs.save_arrays(tmp_path / "state.npz", arrays)
    back = runs.load_arrays(tmp_path / "state.npz")
    assert [a.tobytes() for a in back] == [a.tobytes() for a in arrays]
