"""Many trainings, shared among processes: repeatable, and named by what computed them."""

from __future__ import annotations

import pytest
from tiny_training import PROFILE, make_table

from helpers.training import recipes

NETWORK = {"filters": (4,) * 6, "convs_per_block": (1,) * 6, "epochs": 1}


@pytest.fixture
def jobs(tmp_path):
    table = make_table(tmp_path / "images", 16)
    return {"one": {"name": "proposed_cnn", "table": table, "profile": PROFILE, **NETWORK}}


@pytest.fixture
def trained(jobs, tmp_path, monkeypatch):
    def train(workers, place):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / place))
        return recipes.train_all(jobs, workers)["one"]

    return train


def test_when_two_or_three_processes_train_then_the_bits_are_the_same(trained):
    first, second = trained(2, "a"), trained(3, "b")
    assert first.folder != second.folder
    assert first.predictions["probability"].tolist() == second.predictions["probability"].tolist()
    assert first.history.equals(second.history)


def test_when_a_process_trains_in_one_thread_then_its_run_is_not_taken_for_another(
    trained, monkeypatch
):
    monkeypatch.setattr(recipes.os, "cpu_count", lambda: 2)  # one thread here would be no other
    alone, beside = trained(1, "a"), trained(2, "a")
    assert alone.folder.parent == beside.folder.parent
    assert alone.folder.name != beside.folder.name
    assert ", 1 of " in beside.metrics["accelerator"]


def test_when_all_is_trained_already_then_the_runs_are_found_again(trained):
    made = trained(2, "a").folder / "history.csv"
    written = made.stat().st_mtime_ns
    assert trained(2, "a").folder / "history.csv" == made
    assert made.stat().st_mtime_ns == written


def test_when_a_job_cannot_work_then_its_error_arrives(jobs):
    jobs["one"]["optimizer"] = "none"
    with pytest.raises(ValueError, match="Received: optimizer='none'"):
        recipes.train_all(jobs, workers=2)


@pytest.mark.parametrize(("size", "count", "expected"), [(64, 3, 2), (64, 1, 1), (65, 3, 1)])
def test_when_images_are_small_then_there_is_a_process_per_core_and_job(
    jobs, monkeypatch, size, count, expected
):
    monkeypatch.setattr(recipes.os, "cpu_count", lambda: 2)
    job = jobs["one"] | {"image_size": size}
    assert recipes._default_workers(dict.fromkeys(range(count), job)) == expected
