"""Training a new head on a frozen base: the base judges each image once, not in every epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import keras
import numpy as np

# Dropout is drawn anew in each epoch: it belongs to the head.
_RANDOM = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divides a network before its first trainable layer, or before the dropout that precedes it.

    Args:
        model: A flat network, a plain chain of layers from the division on.

    Returns:
        The frozen base and the head. Both have the layers of the network itself: what the head
        learns, the network knows.

    Raises:
        ValueError: If the network has no frozen base, or nothing to train.
    """
    layers = model.layers
    trained = [n for n, layer in enumerate(layers) if layer.trainable_weights]
    if not trained or not any(layer.weights for layer in layers[: trained[0]]):
        raise ValueError(
            "Features can be computed once for a network with a frozen base and a trainable "
            f"head. Received: {len(trained)} trainable of {len(layers)} layers"
        )
    first = trained[0]
    while isinstance(layers[first - 1], _RANDOM):
        first -= 1
    return keras.Model(model.inputs, layers[first].input), _chain(layers[first:])


def _chain(layers: list[keras.layers.Layer]) -> keras.Model:
    start = keras.Input(layers[0].input.shape[1:])
    output = start
    for layer in layers:
        output = layer(output)
    return keras.Model(start, output)


def features(base: keras.Model, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Passes batches of images through a base, one at a time."""
    for batch in images:
        yield base.predict_on_batch(batch)
