"""Checks of notebook 03: what a base wants to be given, what is trained of it, what was loaded."""

import numpy as np
import pandas as pd

from helpers.checks import Answer, Steps, check, named, predicted

MEANS = np.array([123.68, 116.779, 103.939])  # ImageNet's, in the order red, green, blue
LAYERS = {"kind": ["conv", "norm", "conv", "norm", "dense"], "window": [3, 1, 5, 1, 1],
          "inputs": [3, 8, 8, 16, 16], "outputs": [8, 8, 16, 16, 2],
          "part": ["base", "base", "last", "last", "head"]}  # fmt: skip
STRANGE = {"bias": "its kernel is the file's, its bias is not", "new": "the file has no such layer",
           "noise": "its shapes are the file's, its numbers are not"}  # fmt: skip


@check("a base is to be given its pixels in the form in which it met them when it learned")
def prepare(answer: Answer) -> Steps:
    """Checks the preprocessing for three bases, on images of whole numbers."""
    images = np.resize(np.array([0, 60, 130, 255], np.uint8), (2, 4, 4, 3))
    wanted = dict.fromkeys(["vgg16", "resnet50"], images - MEANS)
    for name, right in (wanted | {"inception_v3": images / 127.5 - 1}).items():
        got = np.asarray(answer(images.copy(), name))
        yield got.shape != right.shape, f"{name}: images of {right.shape} became {got.shape}"
        yours, its = (f"{x.min():.4g} to {x.max():.4g}" for x in (got, right))
        yield yours != its, f"you give {name} values from {yours}; here it should get {its}"
        yield not np.allclose(got, right), f"{name}: the range fits, but red is our first colour"


@check("to a base that takes a mean off, black is not nothing: it is most of what comes in")
def predict_black(answer: Answer) -> Steps:
    """Checks a prediction: the share of black in what VGG16 is given of a picture."""
    black, cell = [80, 20] * np.abs([[0, 0, 0] - MEANS, [90, 50, 110] - MEANS]).sum(axis=1)
    yield from predicted(answer(), {"share (0 to 1)": black / (black + cell)}, margin=0.05)


@check("only what is not frozen is trained, biases included, pretrained normalisation never")
def trained_weights(answer: Answer) -> Steps:
    """Checks how many weights each stage changes in a made-up network."""
    for stage, truth in {"head": 34, "last": 3_250, "all": 3_474}.items():
        off = answer(pd.DataFrame(LAYERS), stage) - truth
        slip = "each output has a bias" if off in (-2, -18, -26) else "some layers are frozen"
        slip = "pretrained normalisation is frozen" if off in (32, 48, 64, 96) else slip
        yield off != 0, f"stage {stage!r}: your count is off by {off:+}. Note that {slip}"


@check("a layer was loaded if its numbers are the file's, whatever its name and shapes say")
def not_loaded(answer: Answer) -> Steps:
    """Checks who tells which layers of a network did not get their weights from a file."""
    kernel, bias = np.arange(12.0).reshape(3, 4), np.zeros(4)
    file = {name: [kernel, bias] for name in ("top", "noise", "bias", "good")}
    network = {"good": [kernel.copy(), bias.copy()], "bias": [kernel, bias + 1],
               "noise": [-kernel, bias], "new": [kernel, bias], "head": [kernel, bias]}  # fmt: skip
    found = answer(network, file)
    for name in ("good", *STRANGE, "head"):
        yield named(found, name, name in STRANGE, STRANGE.get(name, "loaded, or new on purpose"))
