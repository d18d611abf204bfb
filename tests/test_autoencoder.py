"""The auto-encoder: whose layers it has, whom it must not see, and that its weights arrive."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny_training
from tiny_training import PROFILE, make_table, register_tiny

from helpers import feed
from helpers.models import registry
from helpers.training import autoencoder, trainer

SMALL = {"filters": (4, 4, 8, 8, 8, 8)}


def network(size=32):
    return registry.build("proposed_cnn", size, weights=None, seed=3, **SMALL)


@pytest.fixture(scope="module", autouse=True)
def work(tmp_path_factory):
    """One work folder for all tests, so that the same training is done once."""
    register_tiny()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNMC_WORK", str(tmp_path_factory.mktemp("work")))
        yield patch
    del registry.MODELS["tiny"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return make_table(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def unlabelled(table):
    return table[table["split"] != "test"].drop(columns="label")


def pretrain(table, **options):
    return autoencoder.pretrain("tiny", table, PROFILE, epochs=4, seed=3, **options)


def convolutions(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]


@pytest.mark.parametrize("size", [32, 48, 65])
def test_when_built_then_the_image_comes_back_in_its_size(size):
    model = autoencoder.build(network(size))
    assert model.output_shape == (None, size, size, 3)
    drawn = model.predict_on_batch(np.full((2, size, size, 3), 90, "float32"))
    assert drawn.shape == (2, size, size, 3)
    assert -1 < drawn.min() <= drawn.max() < 2  # of the order of its target, 90 / 255


def test_when_it_begins_at_the_mean_then_it_draws_the_mean_image_of_all_batches(tmp_path):
    images = np.random.default_rng(0).uniform(0, 1, (5, 32, 32, 3)).astype("float32")
    model = autoencoder.build(network())
    model.get_layer("usual_image").adapt(part for part in (images[:3], images[3:]))
    drawn = model.predict_on_batch(255 * images[:1])[0]
    np.testing.assert_allclose(drawn, images.mean(axis=0), atol=4e-3)  # bfloat16 on some CPUs
    kept = model.get_layer("usual_image").get_weights()[0]
    np.testing.assert_allclose(kept, images.mean(axis=0), atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert (loaded.predict_on_batch(255 * images[:1])[0] == drawn).all()


def test_when_pretrained_then_it_starts_below_the_error_of_black_and_falls(unlabelled):
    """The error after one epoch is already near that of the mean image."""
    run = pretrain(unlabelled)
    held = unlabelled[unlabelled["split"] == "validation"]
    images = feed.read_images(held, 32) / 255
    assert run.history["val_loss"].iloc[0] < np.square(images).mean() / 2


def test_when_an_encoder_is_taken_then_it_holds_all_convolutions_and_no_head():
    whole = network()
    encoder = autoencoder.encoder_of(whole)
    assert convolutions(encoder) == convolutions(whole)
    assert len(convolutions(encoder)) == 14
    assert not [layer for layer in encoder.layers if isinstance(layer, keras.layers.Dense)]


def test_when_a_network_has_no_head_then_the_error_names_it():
    inputs = keras.Input((8, 8, 3))
    bare = keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs), name="bare")
    with pytest.raises(ValueError, match="Received: 'bare'"):
        autoencoder.encoder_of(bare)


def test_when_test_subjects_are_among_the_rows_then_they_are_refused(table):
    with pytest.raises(ValueError, match=r"leave those rows out.*Received: .*'test': 12"):
        pretrain(table)


def test_when_labels_are_turned_then_nothing_changes(table, unlabelled):
    run = pretrain(unlabelled)
    turned = table[table["split"] != "test"].assign(label="HEM")
    assert pretrain(turned).folder == run.folder


def test_when_pretrained_then_the_encoder_moved_and_the_head_did_not(unlabelled):
    before, after = registry.build("tiny", 32, seed=3), pretrain(unlabelled).load_model()
    moved = {
        one.name: any(
            (a != b).any() for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
        )
        for one, other in zip(before.layers, after.layers, strict=True)
        if one.weights
    }
    assert list(moved.values()) == [True, True, False]  # convolution, normalisation, dense


def test_when_training_starts_from_a_run_then_the_weights_really_arrive(table, unlabelled):
    start = pretrain(unlabelled)
    run = trainer.train("tiny", table, PROFILE, epochs=1, learning_rate=1e-12, start_from=start)
    given, got = (convolutions(each.load_model())[0].get_weights() for each in (start, run))
    assert got[0] == pytest.approx(given[0], abs=1e-7)
    assert run.weights_note == f"weights of run {start.folder.name} ({start.weights_note})"
    other = convolutions(registry.build("tiny", 32, seed=1))[0].get_weights()
    assert np.abs(got[0] - other[0]).max() > 0.01


def test_when_images_are_redrawn_then_the_recorded_error_is_found_again(unlabelled):
    run = pretrain(unlabelled)
    assert run.history["loss"].is_monotonic_decreasing
    images = feed.read_images(run.predictions, 32)
    errors = ((autoencoder.redraw(run, images) - images) / 255) ** 2
    expected = run.predictions["error"].to_numpy()
    assert errors.mean(axis=(1, 2, 3)) == pytest.approx(expected, rel=0.02)  # bfloat16 on some CPUs


def test_when_repeated_elsewhere_then_the_weights_have_the_same_bits(unlabelled, work, tmp_path):
    first = pretrain(unlabelled)
    work.setenv("CNMC_WORK", str(tmp_path))
    again = pretrain(unlabelled)
    assert again.folder != first.folder
    pairs = zip(first.load_model().get_weights(), again.load_model().get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)


def test_when_a_pretraining_is_killed_then_it_resumes_and_no_bit_differs(unlabelled, tmp_path):
    unlabelled.to_csv(tmp_path / "table.csv", index=False)
    arguments = json.dumps({"epochs": 4, "seed": 3, "unlabelled": True})
    command = [sys.executable, tiny_training.__file__, str(tmp_path / "table.csv"), arguments]
    told = {"capture_output": True, "text": True, "timeout": 300}
    told["env"] = {**os.environ, "CNMC_WORK": str(tmp_path)}
    killed = subprocess.run([*command, "2"], **told)
    assert killed.returncode == -signal.SIGKILL
    assert killed.stdout.count("epoch ") == 2
    resumed = subprocess.run(command, **told)
    assert resumed.stdout.count("epoch ") == 2
    assert "error 0." in resumed.stdout
    assert " left" in resumed.stdout
    whole = pretrain(unlabelled)
    again = replace(whole, folder=tmp_path / "runs" / whole.folder.name)
    pairs = zip(whole.load_model().get_weights(), again.load_model().get_weights(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    assert (again.folder / "history.csv").read_text() == (whole.folder / "history.csv").read_text()


def test_when_the_loss_is_no_number_then_pretraining_says_what_to_try(unlabelled):
    with pytest.raises(FloatingPointError, match=r"Received: learning_rate=1e\+30"):
        pretrain(unlabelled, learning_rate=1e30)


def test_when_a_run_starts_from_an_encoder_then_what_it_is_stands_beside_it(unlabelled):
    run = pretrain(unlabelled)
    assert run.weights_note == "encoder of an auto-encoder, 4 epochs without labels"
    assert not run.is_random_start
    assert run.metrics["error"] == pytest.approx(run.predictions["error"].mean())


@pytest.mark.parametrize("wrong", [{"optimizer": "sgd"}, {"select_on": "validation"}])
def test_when_a_setting_is_the_auto_encoders_own_then_it_cannot_be_told(unlabelled, wrong):
    with pytest.raises(TypeError, match="multiple values"):
        pretrain(unlabelled, **wrong)
