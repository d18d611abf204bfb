"""Training on a frozen base: the base judges each image once, not in every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from helpers.pixels import Pixels

# Dropout is drawn anew in each epoch: it belongs to what is trained.
_RANDOM = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divides a network where its frozen layers end: a base, and the rest that is trained.

    Args:
        model: A flat network whose first layers are frozen.

    Returns:
        The frozen base and the rest. Both have the layers of the network itself: what the rest
        learns, the network knows.

    Raises:
        ValueError: If the network has no frozen base, or nothing to train.
    """
    layers = model.layers
    trained = [n for n, layer in enumerate(layers) if layer.trainable_weights]
    cut = _last_cut(layers, trained[0]) if trained else 0
    if not any(layer.weights for layer in layers[:cut]):
        raise ValueError(
            "Features can be computed once for a network with a frozen base and something to train "
            f"after it. Received: {len(trained)} trainable of {len(layers)} layers"
        )
    features = layers[cut - 1].output
    return keras.Model(model.input, features), keras.Model(features, model.output)


def _last_cut(layers: list[keras.layers.Layer], trained: int) -> int:
    """Counts the layers before the last place where one tensor alone reaches the trained ones."""
    while trained and isinstance(layers[trained - 1], _RANDOM):
        trained -= 1
    for cut in range(trained, 0, -1):
        made = {id(tensor) for layer in layers[:cut] for tensor in _flat(layer.output)}
        used = {id(tensor) for layer in layers[cut:] for tensor in _flat(layer.input)}
        if made & used == {id(tensor) for tensor in _flat(layers[cut - 1].output)}:
            return cut
    return 0


def _flat(tensors: object) -> list[object]:
    return keras.tree.flatten(tensors)


def features(
    ask: Callable[[np.ndarray], tf.Tensor],
    images: Pixels | np.ndarray,
    gains: np.ndarray,
    batch_size: int = 100,
) -> Iterator[np.ndarray]:
    """Passes images through a base, some at a time.

    Args:
        ask: The frozen part of a network, as from `as_function`.
        images: What it takes, of any number: as a file, no more than a batch is in memory.
        gains: Factors on the colours of each image, as from `batches.draw_gains`.
        batch_size: Images at a time.
    """
    for begin in range(0, len(images), batch_size):
        chosen = slice(begin, begin + batch_size)
        yield ask(images[chosen] * gains[chosen]).numpy()


def as_function(model: keras.Model) -> Callable[[np.ndarray], tf.Tensor]:
    """Returns the answers of a network as a function of a batch, whatever the size of the batch.

    `Model.predict` does the same, but draws up its graph anew for a last, smaller batch.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    return tf.function(
        lambda batch: model(batch, training=False), input_signature=signature, autograph=False
    )
