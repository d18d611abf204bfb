"""An auto-encoder whose encoder is a network's convolution part.

It draws each image again from what the last convolution keeps of it. `helpers.pretraining` trains
it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import keras

_HEADS = (keras.layers.Flatten, keras.layers.GlobalAveragePooling2D)


def encoder_of(network: keras.Model) -> keras.Model:
    """Returns the convolution part of a network, with the very layers of the network.

    Args:
        network: A flat network whose head begins with flattening or global average pooling.

    Returns:
        The model from the raw image to the input of the head.

    Raises:
        ValueError: If the network has no such head.
    """
    heads = [layer for layer in network.layers if isinstance(layer, _HEADS)]
    if not heads:
        raise ValueError(
            "An encoder ends where the network's head begins: with Flatten or "
            f"GlobalAveragePooling2D. Received: {network.name!r}, which has neither"
        )
    return keras.Model(network.inputs, heads[0].input, name="encoder")


def build(network: keras.Model, seed: int = 0) -> keras.Model:
    """Builds the auto-encoder: the network's convolutions, and one convolution per step back up.

    Args:
        network: As in `encoder_of`; what the auto-encoder learns, the network knows.
        seed: Decides the first weights of the decoder.

    Returns:
        A model from raw images (0 to 255) to the same images from about 0 to 1. Nothing in the
        decoder can fall silent: cells are dark, and with ReLU and sigmoid it settled for black.
    """
    encoder = encoder_of(network)
    answer = encoder.output
    for number, (side, channels) in enumerate(_steps_up(encoder)):
        answer = _enlarge(answer, side)
        start = keras.initializers.HeNormal(seed + number)
        answer = keras.layers.Conv2D(
            channels, 3, padding="same", activation="leaky_relu", kernel_initializer=start
        )(answer)
    start = keras.initializers.GlorotUniform(seed)
    last = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer=start, dtype="float32")
    return keras.Model(network.inputs, last(answer), name="autoencoder")


def _steps_up(encoder: keras.Model) -> list[tuple[int, int]]:
    """Returns the sides that the encoder left behind, with their channels, smallest first."""
    shapes = [layer.output.shape for layer in encoder.layers]
    steps = [(before[1], before[-1]) for before, after in pairwise(shapes) if after[1] < before[1]]
    return [(side, max(channels, 8)) for side, channels in reversed(steps)]


def _enlarge(answer: Any, side: int) -> Any:
    """Repeats pixels until the side is reached, and crops what is too much."""
    factor = math.ceil(side / answer.shape[1])
    answer = keras.layers.UpSampling2D(factor)(answer)
    extra = answer.shape[1] - side
    half = (extra // 2, extra - extra // 2)
    return keras.layers.Cropping2D((half, half))(answer) if extra else answer
