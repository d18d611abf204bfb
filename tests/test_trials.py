"""Many trainings: in processes or one by one, the results are the same."""

from __future__ import annotations

import pytest
from tiny_training import PROFILE, make_table

from helpers import trials

NETWORK = {"filters": (4,) * 6, "convs_per_block": (1,) * 6, "epochs": 1}


@pytest.fixture
def jobs(tmp_path):
    table = make_table(tmp_path / "images", 16)
    return {"one": {"name": "proposed_cnn", "table": table, "profile": PROFILE, **NETWORK}}


def test_when_a_process_trains_then_the_bits_are_those_of_this_one(jobs, tmp_path, monkeypatch):
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / f"work{workers}"))
        found.append(trials.train_all(jobs, workers)["one"])
    assert found[0].folder != found[1].folder
    first, second = (run.predictions["probability"].tolist() for run in found)
    assert first == second


def test_when_a_job_cannot_work_then_its_error_arrives(jobs):
    jobs["one"]["optimizer"] = "none"
    with pytest.raises(ValueError, match="Received: optimizer='none'"):
        trials.train_all(jobs, workers=2)
