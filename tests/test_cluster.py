"""Trainings on several machines: a real scheduler and two workers, all on this one."""

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
from distributed import LocalCluster

sys.path.insert(0, str(Path(__file__).parent))

import tiny_training
from tiny_training import PROFILE

from helpers.training import callbacks, recipes, trainer

ROOT = Path(__file__).resolve().parent.parent
NETWORK = {"filters": (4,) * 6, "convs_per_block": (1,) * 6, "epochs": 1}


def wait_for(is_there) -> None:
    until = time.monotonic() + 60
    while not is_there() and time.monotonic() < until:
        time.sleep(0.05)
    assert is_there()


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a scheduler with two workers, which know of no work folder."""
    folder = tmp_path_factory.mktemp("cluster")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests")))}
    env.pop("CNMC_WORK", None)
    how = {"cwd": folder, "env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask, where = [sys.executable, "-m", "dask"], ["--scheduler-file", "here.json"]
    host = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
    worker = [*dask, "worker", *where, "--nthreads", "1", "--no-nanny", "--memory-limit", "0"]
    began = [subprocess.Popen([*dask, "scheduler", *host, *where], **how)]
    try:
        wait_for((folder / "here.json").is_file)
        began += [subprocess.Popen(worker, **how) for _ in range(2)]
        yield json.loads((folder / "here.json").read_text())["address"]
    finally:
        for process in reversed(began):
            process.kill()
            process.wait()


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "shared"))
    table = tiny_training.make_table(tmp_path / "images", 16)
    job = {"name": "proposed_cnn", "table": table, "profile": PROFILE, **NETWORK}
    return {seed: {**job, "seed": seed} for seed in (1, 2)}


@pytest.fixture
def cluster(scheduler, jobs, monkeypatch):
    monkeypatch.setenv("CNMC_CLUSTER", scheduler)


def train_here(jobs, folder, monkeypatch):
    """Trains the first job in a process of this machine, and in a work folder of its own."""
    monkeypatch.setenv("CNMC_WORK", str(folder))
    return recipes.train_all({1: jobs[1]}, 2)[1]


def bits(run):
    weights = run.load_model().get_weights()
    told = run.history.to_numpy().tolist(), run.predictions["probability"].tolist()
    return told, [array.tobytes() for array in weights]


def meet(folder, **job):
    """Ends once two processes are here at the same time."""
    (folder / str(os.getpid())).touch()
    wait_for(lambda: len(list(folder.iterdir())) == 2)
    return os.getpid()


def fall_once(folder, **job):
    """Trains; the first process that comes here is killed in its second epoch."""
    (folder / str(os.getpid())).touch()
    if len(list(folder.iterdir())) == 1:
        callbacks.EVERY = 0.0
        tiny_training.kill_after(1)
    return trainer.train(**job)


class Unreadable:
    """What can be sent, but not read where it arrives."""

    def __reduce__(self):
        return __import__, ("there_is_no_such_module",)


def test_when_workers_of_a_cluster_train_then_the_bits_are_those_of_this_machine(
    jobs, cluster, tmp_path, monkeypatch
):
    afar = recipes.train_all(jobs)
    assert list(afar) == [1, 2]
    assert bits(afar[1]) != bits(afar[2])
    here = train_here(jobs, tmp_path / "own", monkeypatch)
    assert afar[1].folder == tmp_path / "shared" / "runs" / here.folder.name
    assert bits(afar[1]) == bits(here)


def test_when_all_is_trained_already_then_it_is_found_from_here_and_from_there(
    jobs, cluster, tmp_path, monkeypatch
):
    made = recipes.train_all(jobs)[1].folder / "run.json"
    written = made.stat().st_mtime_ns
    again = recipes.train_all(jobs)[1], train_here(jobs, tmp_path / "shared", monkeypatch)
    assert [run.folder for run in again] == [made.parent] * 2
    assert made.stat().st_mtime_ns == written
    assert not list((tmp_path / "shared").glob(".cluster-*"))


def test_when_there_are_two_workers_then_they_work_at_the_same_time(jobs, cluster, tmp_path):
    (tmp_path / "met").mkdir()
    found = recipes.train_all(jobs, train=partial(meet, tmp_path / "met"))
    assert len({*found.values(), os.getpid()}) == 3


def test_when_a_number_of_processes_is_told_then_the_cluster_is_not_asked(jobs, monkeypatch):
    monkeypatch.setenv("CNMC_CLUSTER", "nowhere")
    assert recipes.train_all(jobs, 1, lambda **job: job["seed"]) == {1: 1, 2: 2}


def test_when_a_job_fails_on_a_worker_then_its_own_error_arrives(jobs, cluster):
    jobs[2]["table"] = jobs[2]["table"].query("label == 'ALL'")
    with pytest.raises(ValueError, match=r"images of both classes.*Received: "):
        recipes.train_all(jobs)


def test_when_a_worker_cannot_read_a_job_then_nobody_waits_for_it(jobs, cluster):
    with pytest.raises(RuntimeError, match="environments"):
        recipes.train_all(jobs, train=Unreadable())


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "http://127.0.0.1:1"])
def test_when_nobody_listens_at_the_address_then_one_line_says_so(jobs, monkeypatch, address):
    monkeypatch.setattr(recipes, "PATIENCE", 0.5)
    monkeypatch.setenv("CNMC_CLUSTER", address)
    with pytest.raises(ConnectionError, match=f"^CNMC_CLUSTER names .*Received: '{address}': .+$"):
        recipes.train_all(jobs)


def test_when_the_library_is_missing_then_it_is_said_how_to_get_it(jobs, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv("CNMC_CLUSTER", "tcp://127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"pip install distributed.*Received: .*distributed"):
        recipes.train_all(jobs)


@pytest.mark.parametrize(
    ("workers", "error", "said"),
    [
        (0, ConnectionError, "with workers.*0/1"),
        (1, RuntimeError, "nthreads 1.*with --nthreads 2, "),
    ],
)
def test_when_workers_are_none_or_not_as_they_must_be_then_it_is_said(
    jobs, monkeypatch, workers, error, said
):
    monkeypatch.setattr(recipes, "PATIENCE", 2.0)
    how = {"threads_per_worker": 2, "processes": False, "dashboard_address": None}
    with LocalCluster(n_workers=workers, **how, protocol="tcp://") as small:
        monkeypatch.setenv("CNMC_CLUSTER", small.scheduler_address)
        with pytest.raises(error, match=said):
            recipes.train_all(jobs)


def test_when_a_worker_does_not_see_the_work_folder_then_one_line_says_so(
    jobs, cluster, tmp_path, monkeypatch
):
    other = tmp_path / "of this machine"
    monkeypatch.setattr(recipes, "TemporaryDirectory", lambda **_: nullcontext(str(other / "mark")))
    with pytest.raises(RuntimeError, match=f"CNMC_WORK.*Received: tcp://.*1, not {other}$"):
        recipes.train_all(jobs)


def test_when_a_worker_is_killed_then_its_job_ends_on_another(jobs, cluster, tmp_path, monkeypatch):
    """The last test: one worker fewer is left."""
    (tmp_path / "came").mkdir()
    one = {1: {**jobs[1], "batch_size": 2, "learning_rate": 1e-3, "epochs": 2}}
    disturbed = recipes.train_all(one, train=partial(fall_once, tmp_path / "came"))[1]
    assert len(list((tmp_path / "came").iterdir())) == 2
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "other"))
    left_in_peace = recipes.train_all(one)[1]
    assert disturbed.folder != left_in_peace.folder
    assert bits(disturbed) == bits(left_in_peace)
