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


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 900}, 2),  # 900 times the 8 images of "train", for three networks
        ({"epochs": 1}, 1),
        ({"epochs": 900, "image_size": 128}, 1),
    ],
)
def test_when_there_is_much_to_do_on_small_images_then_processes_share_it(
    jobs, monkeypatch, changes, expected
):
    monkeypatch.setattr(trials.os, "cpu_count", lambda: 2)
    job = jobs["one"]
    assert (job["table"]["split"] == "train").sum() == 8
    assert trials._default_workers(dict.fromkeys("abc", job | changes)) == expected
