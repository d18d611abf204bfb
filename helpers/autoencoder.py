"""An auto-encoder whose encoder is a network's convolution part.

It draws each image again from what the last convolution keeps of it: not the whole of it, but how
it differs from the mean image. All nuclei lie in the middle, dark on black, and an auto-encoder
that must first learn that learns little else in a short training. `helpers.pretraining` trains it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import keras
import numpy as np

_HEADS = (keras.layers.Flatten, keras.layers.GlobalAveragePooling2D)
_USUAL = "usual_image"


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
        A model from raw images (0 to 255) to the same images from about 0 to 1; see
        `begin_at_mean`. Nothing in the decoder can fall silent: cells are dark, and with ReLU and
        sigmoid it settled for black.
    """
    encoder = encoder_of(network)
    answer = encoder.output
    for number, (side, channels) in enumerate(_steps_up(encoder)):
        answer = _enlarge(answer, side)
        start = keras.initializers.HeNormal(seed + number)
        answer = keras.layers.Conv2D(
            channels, 3, padding="same", activation="leaky_relu", kernel_initializer=start
        )(answer)
    exact = {"dtype": "float32"}
    last = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", **exact)
    usual = keras.layers.Normalization(axis=(1, 2, 3), invert=True, name=_USUAL, **exact)
    return keras.Model(network.inputs, usual(last(answer)), name="autoencoder")


def begin_at_mean(model: keras.Model, images: Iterable[np.ndarray]) -> None:
    """Lets an untrained auto-encoder draw the mean image, and measure deviations from it.

    The last layer gives each pixel the mean and the spread that it has among the images, as
    `keras.layers.Normalization` learns them; the convolution before it starts at zero.

    Args:
        model: As from `build`; call before `compile`.
        images: Batches of training images, from 0 to 1.
    """
    model.get_layer(_USUAL).adapt(images)


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
