"""The five networks of the series in one registry, with first weights and what may be trained.

A sixth network needs one entry here:

    MODELS["mine"] = ModelSpec(build_mine, last_after="the_last_frozen_layer")

where `build_mine(image_size, **options)` returns a flat Keras model that takes raw images and ends
in a softmax over `cnmc.CLASSES`. Everything else (training, runs, figures) then knows it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import keras
from keras.src.random import seed_generator

from helpers.models import networks
from helpers.models.weights import Published, Source, find, load

STAGES = ("all", "head", "last")


@dataclass(frozen=True)
class ModelSpec:
    """What the series knows of a network.

    Args:
        builder: Takes the image size in px and its own options; returns the model.
        native_size: Side in px of the images it was designed for.
        last_after: Name of the layer after which stage "last" trains; "" if it trains all.
        published: Pretrained weights, if any are published.
    """

    builder: Callable[..., keras.Model]
    native_size: int = 224
    last_after: str = ""
    published: Published | None = None


_VGG16 = Published("vgg16/vgg16", "6d6bbae143d832006294945121d1f1fc", bgr=True)
_INCEPTION_V3 = Published("inception_v3/inception_v3", "bcbd6486424b2319ff4ef7d526e38f63")
_RESNET50 = Published("resnet/resnet50", "4d473c1dd8becc155b73f8504c6f6626", bgr=True)
MODELS = {
    "alexnet": ModelSpec(networks.alexnet, 227, "pool2"),
    "vgg16": ModelSpec(networks.vgg16, 224, "block4_pool", _VGG16),
    "inception_v3": ModelSpec(networks.inception_v3, 299, "mixed8", _INCEPTION_V3),
    "resnet50": ModelSpec(networks.resnet50, 224, "conv4_block6_out", _RESNET50),
    "proposed_cnn": ModelSpec(networks.proposed_cnn, 224, "block5_pool"),
}


def build(
    name: str, image_size: int, weights: str | Path | None = "auto", seed: int = 0, **options: Any
) -> keras.Model:
    """Builds a network that takes raw images; its own preprocessing is inside.

    Args:
        name: A name of `MODELS`.
        image_size: Side of the images in px, at least 1.
        weights: "auto" for the best there are, the path of a file, or None for random ones; see
            `models.weights`. The network's `first_weights` say which they were.
        seed: Decides the random weights, and what dropout drops.
        **options: Options of the builder, such as `order` of `networks.proposed_cnn`.

    Returns:
        A flat model: float images 0 to 255 of shape (n, image_size, image_size, 3) in,
        probabilities of `cnmc.CLASSES` out.

    Raises:
        ValueError: If the network, an option or a file of weights does not fit.

    Example:
        >>> build("proposed_cnn", 64, weights=None).output_shape
        (None, 2)
    """
    source = find_weights(name, weights)
    spec = MODELS[name]
    # Keras draws from it the seeds of initialisers and dropouts; other threads have their own.
    with mock.patch.object(seed_generator, "python_random", random.Random(seed)):
        model = spec.builder(image_size, **options)
    load(model, source, bgr=spec.published is not None and spec.published.bgr)
    model.first_weights = source
    return model


def find_weights(name: str, weights: str | Path | None = "auto") -> Source:
    """Finds the first weights that `build` would give a network, and says where they are from.

    Args:
        name: A name of `MODELS`.
        weights: As in `build`.

    Returns:
        Their `note`, `key` (names them by their content) and whether they are `pretrained`.
    """
    if name not in MODELS:
        raise ValueError(f"Choose a network of {', '.join(MODELS)}. Received: {name!r}")
    return find(name, MODELS[name].published, weights)


def set_trainable(model: keras.Model, stage: str) -> None:
    """Says what of a network the next training may change; call before `compile`.

    Batch normalisation of a pretrained network is frozen in every stage: only `trainable = False`
    on the layer itself keeps its statistics, while `training=False` in the call does not.

    Args:
        model: As `build` made it, or loaded from a run (and so trained before).
        stage: "all"; "head": only the dense layers; "last": these and the last block(s).

    Raises:
        ValueError: If there is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"Choose a stage of {', '.join(STAGES)}. Received: {stage!r}")
    spec = MODELS.get(model.name, ModelSpec(keras.Model))
    source = getattr(model, "first_weights", None)
    pretrained = spec.published is not None and (source is None or source.pretrained)
    reached = stage == "all" or (stage == "last" and not spec.last_after)
    for layer in model.layers:
        head = isinstance(layer, keras.layers.Dense)
        keeps = pretrained and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = head or (reached and not keeps)
        reached = reached or (stage == "last" and layer.name == spec.last_after)
