"""Recipes: which stages a network goes through, and that its frozen part stays as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import tiny_training
from tiny_training import PROFILE

from helpers.models import registry, weights
from helpers.training import loop, recipes


def build_branched(image_size: int, *, dropout: float = 0.2) -> keras.Model:
    """A base with a branch and normalisation, a block that can be freed, and a head."""
    layers = keras.layers
    first = keras.Input((image_size, image_size, 3))
    x = layers.Conv2D(4, 3, strides=4, activation="relu", name="base")(first)
    x = layers.BatchNormalization(name="base_bn")(x)
    x = layers.Add(name="base_end")([x, layers.Conv2D(4, 1, name="branch")(x)])
    x = layers.Conv2D(4, 3, activation="relu", name="block")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(first, layers.Dense(2, activation="softmax")(x), name="branched")


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("CNMC_WORK", str(tmp_path))
    monkeypatch.setattr(weights, "_is_online", lambda: False)
    published = weights.Published("none/none.h5", "0" * 32, bgr=False)
    spec = registry.ModelSpec(
        "branched", build_branched, last_after="base_end", published=published
    )
    monkeypatch.setitem(registry.MODELS, "branched", spec)
    monkeypatch.setitem(
        registry.MODELS, "tiny", registry.ModelSpec("tiny", tiny_training.build_tiny)
    )
    return tiny_training.make_table(tmp_path / "images")


def _moved(before: keras.Model, after: keras.Model) -> set[str]:
    pairs = zip(before.layers, after.layers, strict=True)
    return {
        one.name.rstrip("_0123456789")
        for one, other in pairs
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True)
        if not np.array_equal(a, b)
    }


def test_when_weights_are_published_then_the_head_comes_first_and_the_base_never_moves(table):
    lines = []
    head, last = recipes.train_stages("branched", table, PROFILE, lines.append)
    first = registry.build("branched", 32, seed=1)
    assert _moved(first, head.load_model()) == {"dense"}
    assert _moved(head.load_model(), last.load_model()) <= {"block", "dense"}
    assert last.metrics["settings"]["start_from"] == head.folder.name
    assert len([line for line in lines if line.startswith("epoch ")]) == 2 * PROFILE.epochs
    assert last.weights_note == "random weights: not a transfer result"


def test_when_there_is_nothing_to_transfer_then_all_layers_are_trained_at_once(table):
    runs = recipes.train_stages("tiny", table, PROFILE)
    assert [run.metrics["settings"]["stage"] for run in runs] == ["all"]
    assert recipes.train_recipe("tiny", table, PROFILE).folder == runs[-1].folder


def test_when_the_network_is_unknown_then_the_known_ones_are_listed(table):
    with pytest.raises(ValueError, match=r"vgg16.*Received: model='lenet'"):
        recipes.train_recipe("lenet", table, PROFILE)


def test_when_a_branched_network_is_divided_then_both_parts_together_are_the_whole():
    model = build_branched(32)
    for layer in model.layers[: model.layers.index(model.get_layer("base_end")) + 1]:
        layer.trainable = False
    base, rest = loop.divide(model)
    assert base.output.shape == (None, 8, 8, 4)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype("float32")
    whole = model(images)  # not by `predict`, which may compute in bfloat16
    np.testing.assert_allclose(rest(base(images)), whole, atol=1e-6)


def test_when_the_branch_is_still_open_then_the_division_lies_before_it():
    model = build_branched(32)
    for name in ("base", "base_bn"):
        model.get_layer(name).trainable = False
    base, _ = loop.divide(model)
    assert base.layers[-1].name == "base_bn"


def test_when_nothing_is_frozen_then_it_cannot_be_divided():
    with pytest.raises(ValueError, match=r"frozen base.*Received: \d+ trainable"):
        loop.divide(build_branched(32))
