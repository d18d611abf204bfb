"""Training: repeats itself, resumes, learns from the training part only, and fails clearly."""

import gc
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent))

import tiny_training
from tiny_training import PROFILE

from helpers import feed
from helpers.models import registry
from helpers.training import autoencoder, callbacks, loop, recipes, trainer
from helpers.training.loop import Settings


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Registers the network for each test alone, whatever other files do to the registry."""
    monkeypatch.setitem(registry.MODELS, "tiny", registry.ModelSpec(tiny_training.build_tiny))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return tiny_training.make_table(tmp_path_factory.mktemp("images"))


@pytest.fixture
def table(images, tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    return images.copy()


def _train(table, **arguments) -> trainer.Run:
    return trainer.train("tiny", table, arguments.pop("profile", PROFILE), **arguments)


def _weights(run) -> list[bytes]:
    return [w.tobytes() for w in run.load_model().get_weights()]


def _files(folder: Path) -> dict[str, bytes]:
    """What a run found out, without the time it took."""
    return {n: (folder / n).read_bytes() for n in ("history.csv", "predictions.csv")}


def _start(table, work: Path, *more: str, **arguments) -> subprocess.Popen:
    table.to_csv(work / "table.csv", index=False)
    command = [sys.executable, tiny_training.__file__, str(work / "table.csv")]
    return subprocess.Popen(
        [*command, json.dumps(arguments), *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "CNMC_WORK": str(work)},
    )


def test_when_a_run_is_killed_and_two_resume_it_then_one_does_and_no_bit_differs(table, tmp_path):
    """Covers at once: another process repeats a run, SIGKILL, resuming, and two callers."""
    undisturbed = _train(table, schedule="cosine")
    work = tmp_path / "elsewhere"
    work.mkdir()
    killed = _start(table, work, "1", schedule="cosine")
    assert "epoch   1" in killed.communicate(timeout=300)[0]
    assert killed.returncode == -signal.SIGKILL
    racers = [_start(table, work, schedule="cosine") for _ in range(2)]
    said = [racer.communicate(timeout=300)[0] for racer in racers]
    assert sorted(line.count("epoch ") for line in said) == [0, 2]
    resumed = replace(undisturbed, folder=work / "runs" / undisturbed.folder.name)
    assert _files(resumed.folder) == _files(undisturbed.folder)
    assert _weights(resumed) == _weights(undisturbed)


def test_when_trained_again_with_all_the_same_then_the_run_is_loaded(table):
    first, lines = _train(table, epochs=1), []
    second = _train(table, epochs=1, report=lines.append)
    assert lines == [second.provenance]
    pd.testing.assert_frame_equal(first.history, second.history)
    pd.testing.assert_frame_equal(first.predictions, second.predictions)


def test_when_a_run_was_handed_out_then_the_report_and_the_run_say_that_it_was_loaded(
    table, tmp_path, monkeypatch
):
    first, said = _train(table), []
    monkeypatch.setenv("CNMC_WORK", str(tmp_path / "another"))
    shutil.copytree(first.folder, tmp_path / "another" / "runs" / first.folder.name)
    second = _train(table, report=said.append)
    assert not first.is_loaded
    assert first.provenance.startswith("trained in ")
    assert second.is_loaded
    assert said == [second.provenance]
    assert second.provenance.startswith("loaded, not trained now: that took ")
    assert second.metrics["accelerator"] in second.provenance


def test_when_a_run_is_trained_then_no_line_says_that_it_was_loaded(table):
    said = []
    _train(table, report=said.append)
    assert said
    assert not any("loaded" in line for line in said)


def test_when_the_seed_differs_then_so_does_the_result(table):
    one, two = (_train(table, seed=seed, epochs=1) for seed in (1, 2))
    assert one.folder != two.folder
    assert _weights(one) != _weights(two)


def test_when_the_test_labels_change_then_the_network_does_not(table):
    planted = table.copy()
    test = planted["split"] == "test"
    planted.loc[test, "label"] = planted.loc[test, "label"].map({"ALL": "HEM", "HEM": "ALL"})
    honest, turned = _train(table, epochs=2), _train(planted, epochs=2)
    assert honest.folder != turned.folder
    assert _weights(honest) == _weights(turned)
    right, wrong = (run.metrics["accuracy"]["test"] for run in (honest, turned))
    assert right == pytest.approx(1 - wrong)


def test_when_the_test_part_is_watched_then_it_is_recorded_and_chooses_nothing(table):
    plain, watched = _train(table), _train(table, watch_test=True)
    assert _weights(plain) == _weights(watched)
    assert set(watched.history) - set(plain.history) == {"test_loss", "test_accuracy"}


@pytest.mark.parametrize(("part", "column"), [("validation", "val"), ("test", "test")])
def test_when_a_part_chooses_the_epoch_then_the_saved_network_is_of_that_epoch(table, part, column):
    run = _train(table, select_on=part, epochs=4, optimizer="rmsprop", learning_rate=0.01)
    by_hand = run.history.sort_values(
        [f"{column}_accuracy", f"{column}_loss"], ascending=[False, True], kind="stable"
    )
    assert run.history.loc[run.history["best"], "epoch"].tolist() == [by_hand["epoch"].iloc[0]]
    rows = run.predictions[run.predictions["split"] == part]
    truth = (rows["label"] == "ALL").astype(int)
    loss = -np.log(np.where(truth, rows["probability"], 1 - rows["probability"])).mean()
    assert loss == pytest.approx(by_hand[f"{column}_loss"].iloc[0], rel=1e-4)
    assert ("optimistic" in run.note) == (part == "test")


def test_when_the_last_epoch_is_kept_then_no_part_chose_it(table):
    run = _train(table, select_on="last", epochs=4, optimizer="rmsprop", learning_rate=0.01)
    assert run.history["best"].tolist() == [False, False, False, True]
    rows = run.predictions[run.predictions["split"] == "validation"]
    right = ((rows["probability"] > 0.5) == (rows["label"] == "ALL")).mean()
    assert right == pytest.approx(run.history["val_accuracy"].iloc[-1])
    assert "chosen as the last" in run.note


def test_when_loaded_then_the_network_judges_as_the_run_did(table):
    run = _train(table, epochs=1)
    again = trainer.predict(run.load_model(), run.predictions.drop(columns="probability"))
    np.testing.assert_allclose(again["probability"], run.predictions["probability"], atol=1e-6)
    assert again["path"].tolist() == run.predictions["path"].tolist()


def test_when_images_have_no_labels_then_they_are_judged_all_the_same(table):
    model = registry.build("tiny", 32)
    labelled = trainer.predict(model, table, batch_size=7)
    bare = trainer.predict(model, table[["path"]], batch_size=48)
    np.testing.assert_allclose(labelled["probability"], bare["probability"], atol=1e-6)


def test_when_the_head_is_trained_on_features_then_it_is_as_a_frozen_fit(table):
    """With a whole epoch in one batch and no dropout the order of images does not matter."""
    profile = replace(PROFILE, batch_size=24)
    run = _train(table, profile=profile, stage="head", epochs=3, dropout=0.0)
    naive = registry.build("tiny", 32, seed=1, dropout=0.0)
    registry.set_trainable(naive, "head")
    start = [w.copy() for w in naive.get_weights()]
    naive.compile(loop.OPTIMIZERS["sgd"](0.05), "sparse_categorical_crossentropy")
    rows = table[table["split"] == "train"]
    train = feed.Batches(feed.read_images(rows, 32), rows, 24)
    naive.fit(train, epochs=int(run.metrics["best_epoch"]), verbose=0)
    for ours, theirs in zip(run.load_model().get_weights(), naive.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    moved = [not np.array_equal(a, b) for a, b in zip(start, naive.get_weights(), strict=True)]
    assert sum(moved) == 2


def test_when_the_profile_turns_then_only_the_training_part_is_turned(table):
    """Turned or not, a frozen network judges the same images; what it learns from is not."""
    still, turned = (
        _train(table, epochs=1, turn=turn, optimizer="sgd_plain", learning_rate=1e-9)
        for turn in (False, True)
    )
    assert still.folder != turned.folder
    assert still.predictions["probability"].tolist() == pytest.approx(
        turned.predictions["probability"].tolist(), abs=1e-2
    )


def test_when_a_stage_starts_from_a_run_then_it_begins_with_its_weights(table):
    head = _train(table, stage="head", epochs=1)
    tuned = _train(table, start_from=head, epochs=1, optimizer="sgd_plain", learning_rate=1e-12)
    before, after = (run.load_model().get_weights() for run in (head, tuned))
    kernels = [n for n, weights in enumerate(before) if weights.ndim > 1]
    assert kernels
    for n in kernels:
        np.testing.assert_allclose(after[n], before[n], atol=1e-7)


def test_when_classes_are_weighed_then_the_loss_is_the_weighed_mean(table):
    few = table.drop(table[(table["split"] == "train") & (table["label"] == "HEM")].index[3:])
    train = few[few["split"] == "train"]
    profile = replace(PROFILE, batch_size=len(train))  # one step: the loss is of the first weights
    options = {"normalise": False, "dropout": 0.0}
    run = _train(few, class_weights=True, epochs=1, profile=profile, **options)
    judged = trainer.predict(registry.build("tiny", 32, seed=1, **options), train)
    likelihood = judged["probability"].where(judged["label"] == "ALL", 1 - judged["probability"])
    weight = judged["label"].map({"ALL": 15 / (2 * 12), "HEM": 15 / (2 * 3)})
    assert run.history["loss"][0] == pytest.approx(-(weight * np.log(likelihood)).mean(), rel=1e-5)


def test_when_the_loss_is_no_number_then_the_error_names_the_rate(table, tmp_path):
    with pytest.raises(FloatingPointError, match=r"Received: learning_rate=1e\+30"):
        _train(table, learning_rate=1e30)
    assert not [p for p in (tmp_path / "runs").iterdir() if not p.name.startswith(".")]


def _run_out(*_, **__):
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (registry, "build"),
        (loop, "take_weights"),
        (loop, "features"),
        (callbacks.Checkpoint, "resume"),
        (callbacks.StopOnNan, "on_train_batch_end"),
        (loop, "probabilities"),
    ],
)
def test_when_memory_runs_out_then_the_error_names_batch_and_image(table, monkeypatch, place, name):
    start = _train(table, epochs=1) if name == "take_weights" else None
    monkeypatch.setattr(place, name, _run_out)
    with pytest.raises(MemoryError, match=r"Received: batch_size=8, image_size=32"):
        _train(table, stage="head", start_from=start)


def test_when_memory_runs_out_while_images_are_judged_then_the_error_is_the_same(
    table, monkeypatch
):
    monkeypatch.setattr(loop, "as_function", lambda _: _run_out)
    with pytest.raises(MemoryError, match=r"smaller batch.*Received: batch_size=7, image_size=32"):
        trainer.predict(registry.build("tiny", 32), table, batch_size=7)


def test_when_the_training_part_lacks_a_class_then_the_error_counts_labels(table):
    one_class = table[(table["split"] != "train") | (table["label"] == "ALL")]
    with pytest.raises(ValueError, match=r"both classes.*Received: \{'ALL': 12\}"):
        _train(one_class)


def test_when_a_part_is_empty_then_the_error_names_it(table):
    with pytest.raises(ValueError, match="Received: no image in validation"):
        _train(table[table["split"] != "validation"])


def test_when_a_subject_is_on_two_sides_then_only_a_demonstration_may_train(table):
    leaky = table.assign(linked_subject="one")
    with pytest.raises(ValueError, match="one"):
        _train(leaky)
    assert _train(leaky, epochs=1, allow_leaks=True).folder.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sdg"},
        {"select_on": "train"},
        {"stage": "tail"},
        {"schedule": "linear"},
        {"colour_jitter": 0.7},
        {"image_size": 0},
        {"batch_size": -8},
        {"droput": 0.1},
        {"epochs": -1},
        {"learning_rate": -0.1},
    ],
)
def test_when_an_argument_cannot_work_then_the_error_says_what_was_received(table, wrong):
    with pytest.raises(ValueError, match=f"Received: .*{next(iter(wrong))}"):
        _train(table, **wrong)


@pytest.mark.parametrize(
    "train", [trainer.train, autoencoder.pretrain, recipes.train_recipe, recipes.train_stages]
)
@pytest.mark.parametrize("wrong", [{"name": "vgg61"}, {"epochs": 0}, {"droput": 0.1}])
def test_when_an_argument_is_mistyped_then_no_image_is_looked_at(train, wrong):
    nowhere = pd.DataFrame({"path": ["none.bmp"]})  # reading it, or its missing columns, would fail
    with pytest.raises(
        ValueError, match=f"Received: .*{next(iter(wrong)).replace('name', 'model')}"
    ):
        train(**({"name": "tiny", "table": nowhere, "profile": PROFILE} | wrong))


def test_when_a_profile_setting_is_told_as_none_then_it_is_the_profiles():
    told = Settings.choose("tiny", PROFILE, epochs=None, image_size=None, weights=None)
    assert told == Settings.choose("tiny", PROFILE, weights=None)
    assert (told.epochs, told.image_size, told.weights) == (3, 32, None)


def test_when_a_stage_ends_then_none_of_its_features_is_open_when_they_are_deleted(
    table, monkeypatch
):
    """As Windows demands it: there, a file that is mapped cannot be deleted or renamed."""
    closed, unlink = [], Path.unlink

    def refuse_mapped(path, missing_ok=False):
        if path.name.startswith("features-"):
            gc.collect()
            opened = [one for one in gc.get_objects() if isinstance(one, np.memmap)]
            assert not [one for one in opened if Path(one.filename) == path]
            closed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_mapped)
    run = _train(table, stage="head", epochs=1)
    assert len(closed) == 3
    assert not list(run.folder.glob("*.np*"))


def test_when_a_network_is_unknown_then_the_known_ones_are_listed(table):
    with pytest.raises(ValueError, match=r"tiny.*Received: model='lenet'"):
        trainer.train("lenet", table, PROFILE)


def test_when_epochs_are_reported_then_a_long_fit_says_some_twenty_lines():
    lines = []
    progress = callbacks.Progress(lines.append)
    progress.set_params({"epochs": 100})  # as Keras does at the start of a fit
    logs = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": 0.5}
    for epoch in range(100):
        progress.on_epoch_begin(epoch)
        progress.on_epoch_end(epoch, logs)
    assert len(lines) == 21
    assert lines[0].startswith("epoch   1 of 100: loss 0.500, accuracy 75.0%; held out: loss 0.250")


def test_when_the_schedule_is_a_cosine_then_it_falls_from_the_rate_to_nearly_nothing():
    told = {"epochs": 50, "learning_rate": 0.1}
    cosine = Settings.choose("tiny", PROFILE, schedule="cosine", **told)
    assert cosine.rate_at(0) == 0.1
    assert cosine.rate_at(25) == pytest.approx(0.05)
    assert 0 < cosine.rate_at(49) < 0.001
    assert {Settings.choose("tiny", PROFILE, **told).rate_at(n) for n in range(50)} == {0.1}


TWO_DEVICES = """
import sys
import tensorflow as tf
from pathlib import Path
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import numpy as np
import tiny_training
from helpers import feed
from helpers.models import registry
from helpers.training import hardware, loop, trainer

hardware.cpu_has_bfloat16 = lambda: False
tiny_training.register_tiny()
table = tiny_training.make_table(Path(sys.argv[2]) / "images")
plain = dict(normalise=False, dropout=0.0)
two = trainer.train("tiny", table, tiny_training.PROFILE, select_on="last", **plain)

one = registry.build("tiny", 32, seed=1, **plain)  # a fit by hand, on the first device alone
one.compile(loop.OPTIMIZERS["sgd"](0.05), "sparse_categorical_crossentropy")
rows = table[table["split"] == "train"].reset_index(drop=True)
batches = feed.Batches(feed.read_images(rows, 32), rows, 8, seed=1)
losses = []
for epoch in range(3):
    batches.start_epoch(epoch)
    losses += one.fit(batches, shuffle=False, verbose=0).history["loss"]
for a, b in zip(one.get_weights(), two.load_model().get_weights(), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
np.testing.assert_allclose(losses, two.history["loss"], rtol=1e-4)
whole = trainer.train("tiny", table, tiny_training.PROFILE)
assert np.isfinite(whole.history["loss"]).all()
print(two.metrics["accelerator"])
"""


def test_when_two_devices_share_a_batch_then_the_network_is_as_if_fitted_on_one(tmp_path):
    """Without batch normalisation and dropout, whose statistics and masks are per device.

    And in float32: what is rounded to bfloat16 depends on how a batch is cut.
    """
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "CNMC_WORK": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("2 x CPU")


def test_when_a_saved_network_carries_code_then_it_is_not_loaded(table):
    run = _train(table, epochs=1)
    trap = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + math.e)])
    trap.save(run.folder / "model.keras")
    with pytest.raises(ValueError, match="safe"):
        run.load_model()


def test_when_the_first_run_chose_its_epoch_on_the_test_part_then_the_next_has_not_unseen_cells(
    table,
):
    first = _train(table, stage="all", select_on="test", epochs=1)
    images = pd.read_csv(_train(table, start_from=first, epochs=1).folder / "images.csv")
    tested = images[images["sha256"].isin(images.loc[images["split"] == "test", "sha256"])]
    assert set(tested["split"]) == {"test", "validation"}
