"""What a network is made of, counted and not run: blocks, parameters, multiplications, memory."""

import keras
import numpy as np
import pandas as pd
from keras import layers

CONVOLUTIONS = (layers.Conv2D, layers.SeparableConv2D, layers.DepthwiseConv2D)


def blocks(model: keras.Model) -> pd.DataFrame:
    """Sums a network up: its layers of one size are one block.

    Args:
        model: A flat network, as from `registry.build`.

    Returns:
        Rows in the order of the data: `network`, `kind` ("input", "convolution" or "dense"),
        `layers` (convolutions or dense ones), `side` (px; 1 for vectors), `channels` of the last
        layer and `parameters`, which together are all that the network has.
    """
    rows = [(model.name, "input", 0, *model.input_shape[2:], 0)]
    maps = [layer for layer in model.layers if len(layer.output.shape) == 4]
    sides = [layer.output.shape[1] for layer in maps if isinstance(layer, CONVOLUTIONS)]
    for side in dict.fromkeys(sides):
        block = [layer for layer in maps if layer.output.shape[1] == side]
        rows.append((model.name, "convolution", sides.count(side), side, *_ends(block)))
    for layer in model.layers:
        if isinstance(layer, layers.Dense) and layer not in maps:
            rows.append((model.name, "dense", 1, 1, *_ends([layer])))
    names = ["network", "kind", "layers", "side", "channels", "parameters"]
    return pd.DataFrame(rows, columns=names)


def _ends(block: list[layers.Layer]) -> tuple[int, int]:
    """Channels that leave the last of some layers, and the parameters of all of them."""
    return block[-1].output.shape[-1], sum(layer.count_params() for layer in block)


def multiplications(model: keras.Model) -> int:
    """Counts the multiplications in the convolutions for one image: nearly all of the work.

    Each kernel is laid once on every place of the map that comes out.

    Args:
        model: As in `blocks`.

    Example:
        >>> first = keras.Input((32, 32, 3))
        >>> multiplications(keras.Model(first, keras.layers.Conv2D(4, 5, strides=2)(first)))
        58800
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, CONVOLUTIONS):
            kernels = [int(np.prod(w.shape)) for w in layer.weights if len(w.shape) == 4]
            total += int(np.prod(layer.output.shape[1:3])) * sum(kernels)
    return total


def memory(model: keras.Model, batch_size: int = 30, *, bits: int = 32) -> float:
    """Estimates the memory that a training step takes on a GPU, by counting.

    Counted are weights, gradients and momentum, in 32 bits; the answers of all layers, which
    back-propagation needs again; and the gradients of the two largest of these.
    Not counted are the workspace of the libraries, some 0.5 to 2 GB, and the images read ahead.

    Args:
        model: As in `blocks`; what is frozen by `registry.set_trainable` has no gradients.
        batch_size: Images per step.
        bits: Of an answer: 16 under a mixed precision policy, else 32.

    Returns:
        GB (of 10^9 bytes): an estimate, to be labelled as one.
    """
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    answers = [int(np.prod(layer.output.shape[1:])) for layer in model.layers]
    kept = sum(answers) + sum(sorted(answers)[-2:])
    weights = 4 * (model.count_params() + 2 * trained)
    return (weights + kept * batch_size * bits / 8) / 1e9
