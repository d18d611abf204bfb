"""Notebook 03: its solutions pass the checks, and typical mistakes are told by name."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from solved import solutions

from helpers.checks import AnswerError, n03

SOLVED = solutions("03_transfer_baselines")
MEANS = np.array([123.68, 116.779, 103.939])


def count(kinds=("conv", "dense"), bias=1, per_channel=0, whole=False, always=False):
    """A count of what is trained that is wrong in one way."""

    def trained(layers, stage):
        parts = {"head": ["head"], "last": ["last", "head"], "all": ["base", "last", "head"]}[stage]
        parts = ["last"] if whole and stage == "last" else parts
        rows = layers if always else layers[layers["part"].isin(parts)]
        chosen = rows[rows["kind"].isin(kinds)]
        weights = (chosen["window"] ** 2 * chosen["inputs"] + bias) * chosen["outputs"]
        return weights.sum() + per_channel * rows.query("kind == 'norm'")["outputs"].sum()

    return trained


def loaded_if(same):
    """Names layers of the base whose arrays are not the same, in some sense, as the file's."""
    return lambda network, file: {
        name
        for name in network
        if name != "head" and not (name in file and same(network[name], file[name]))
    }


MISTAKES = {
    "divided by 255": ("prepare", lambda x, _: x / 255, "vgg16 values from 0 to 1; .* -123.7 to"),
    "twice": ("prepare", lambda x, _: x / 255 - MEANS, "vgg16 values from -123.7 to -102.9"),
    "the means of blue": (
        "prepare",
        lambda x, _: x - MEANS[::-1],
        "vgg16: the range fits, but red",
    ),
    "blue first": ("prepare", lambda x, _: x[..., ::-1] - MEANS, "vgg16: the range fits"),
    "whole numbers": ("prepare", lambda x, _: x - MEANS.astype(np.uint8), "vgg16 values from"),
    "one for all": ("prepare", lambda x, _: x - MEANS, "inception_v3 values .*should get -1 to 1"),
    "no -1": (
        "prepare",
        lambda x, name: x / 127.5 if name == "inception_v3" else x - MEANS,
        "inception_v3 values from 0 to 2",
    ),
    "one image": ("prepare", lambda x, _: x[0] - MEANS, r"images of \(2, 4, 4, 3\) became \(4"),
    "black is nothing": (
        "predict_black",
        lambda: 0.0,
        r"share \(0 to 1\): you said 0, not 0.928: -0.928 off",
    ),
    "its area": ("predict_black", lambda: 0.8, "you said 0.8, not 0.928"),
    "percent": ("predict_black", lambda: 93, "you said 93, not 0.928"),
    "no biases": (
        "trained_weights",
        count(bias=0),
        "'head'.*-2. Note that each output has a bias",
    ),
    "norm weights": ("trained_weights", count(per_channel=2), r"'last'.*\+32.*normalisation is"),
    "memories": (
        "trained_weights",
        count(per_channel=4),
        r"'last'.*\+64. .*normalisation is frozen",
    ),
    "all of it": (
        "trained_weights",
        count(always=True),
        "'head'.*Note that some layers are frozen",
    ),
    "no head": (
        "trained_weights",
        count(whole=True),
        "'last'.*-34. Note that some layers are frozen",
    ),
    "names": ("not_loaded", loaded_if(lambda *_: True), "forgot bias: .* its bias is not"),
    "kernels": (
        "not_loaded",
        loaded_if(lambda a, b: np.array_equal(a[0], b[0])),
        "forgot bias: its kernel is the file's, its bias is not",
    ),
    "shapes": (
        "not_loaded",
        loaded_if(lambda a, b: a[0].shape == b[0].shape and a[1].sum() == b[1].sum()),
        "forgot noise: its shapes are the file's, its numbers are not",
    ),
    "the file's layers": (
        "not_loaded",
        lambda network, file: {
            name
            for name in file
            if name in network and not all(map(np.array_equal, network[name], file[name]))
        },
        "forgot new: the file has no such layer",
    ),
    "the same object": (
        "not_loaded",
        loaded_if(lambda a, b: all(x is y for x, y in zip(a, b, strict=True))),
        "named good: loaded",
    ),
    "the head": (
        "not_loaded",
        lambda network, file: SOLVED["not_loaded"](network, file) | {"head"},
        "named head: loaded, or new on purpose",
    ),
    "the keys": ("not_loaded", lambda network, _: network.keys(), "set of names, not dict_keys"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_when_a_typical_mistake_is_made_then_the_hint_says_what_it_is(mistake):
    name, answer, said = MISTAKES[mistake]
    with pytest.raises(AnswerError, match=said):
        getattr(n03, name)(answer)


def test_when_the_solution_counts_then_it_finds_what_keras_published_of_vgg16():
    sizes = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    convs = [("conv", 3, i, o) for i, o in pairwise(sizes)]
    layers = pd.DataFrame([*convs, ("dense", 1, 512, 2)])
    layers.columns = ["kind", "window", "inputs", "outputs"]
    layers["part"] = ["base"] * 10 + ["last"] * 3 + ["head"]
    found = [SOLVED["trained_weights"](layers, stage) for stage in ("head", "last", "all")]
    assert found == [1_026, 7_079_424 + 1_026, 14_714_688 + 1_026]


def test_when_black_and_white_are_prepared_then_they_are_what_was_worked_out_by_hand():
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(3, axis=3)
    black, white = SOLVED["prepare"](images, "resnet50").reshape(2, 3)
    assert black == pytest.approx([-123.68, -116.779, -103.939])
    assert white == pytest.approx([131.32, 138.221, 151.061])
    assert SOLVED["prepare"](images, "inception_v3").ravel().tolist() == [-1, -1, -1, 1, 1, 1]
