"""What a network is made of, counted and not run: sizes, parameters, receptive fields, memory."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd

from helpers.looking import activations

_WINDOWS = (keras.layers.Conv2D, keras.layers.MaxPooling2D, keras.layers.AveragePooling2D)
_WHOLE = (keras.layers.Flatten, keras.layers.GlobalAveragePooling2D, keras.layers.Dense)


def describe(model: keras.Model) -> pd.DataFrame:
    """Lists the layers of a network with how much of the image each of their values sees.

    Args:
        model: A flat network, as from `models.build`.

    Returns:
        One row per layer, as `activations.layer_table`, and `receptive_field`: side in px of the
        square that one value depends on, at most the image. Normalisation while training, which
        looks at whole batches, is not counted.

    Example:
        >>> first = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(4, 3)(first))
        >>> describe(keras.Model(first, x))["receptive_field"].tolist()
        [3, 5]
    """
    table = activations.layer_table(model)
    fields = _receptive_fields(model)
    seen = [min(fields.get(name, (1, 1))[0], model.input_shape[1]) for name in table["layer"]]
    return table.assign(receptive_field=seen)


def _receptive_fields(model: keras.Model) -> dict[str, tuple[int, int]]:
    """For each layer the side of its field, and how many px apart two neighbours' fields are."""
    side = model.input_shape[1]
    found: dict[str, tuple[int, int]] = {}
    tensors: dict[int, tuple[int, int]] = {}
    for layer in model.layers:
        before = [tensors.get(id(t), (1, 1)) for t in keras.tree.flatten(layer.input)]
        field, step = (max(values) for values in zip(*(before or [(1, 1)]), strict=True))
        if isinstance(layer, _WHOLE):
            field = side
        elif isinstance(layer, _WINDOWS):
            field += (_window(layer) - 1) * step
            step *= layer.strides[0]
        found[layer.name] = tensors[id(layer.output)] = (field, step)
    return found


def _window(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.Conv2D):
        return (max(layer.kernel_size) - 1) * layer.dilation_rate[0] + 1
    return max(layer.pool_size)


def blocks(model: keras.Model) -> pd.DataFrame:
    """Sums a network up: its layers of one size are one block.

    Args:
        model: As in `describe`.

    Returns:
        Rows in the order of the data: `network`, `kind` ("input", "convolution" or "dense"),
        `layers` (convolutions or dense ones), `side` (px; 1 for vectors), `channels` of the last
        layer and `parameters`, which together are all that the network has.
    """
    rows = [(model.name, "input", 0, *model.input_shape[2:], 0)]
    maps: dict[int, list[keras.layers.Layer]] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            maps.setdefault(layer.output.shape[1], [])
        if len(layer.output.shape) == 4 and layer.output.shape[1] in maps:
            maps[layer.output.shape[1]].append(layer)
    for side, layers in maps.items():
        count = sum(isinstance(layer, keras.layers.Conv2D) for layer in layers)
        rows.append((model.name, "convolution", count, side, *_ends(layers)))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            rows.append((model.name, "dense", 1, 1, *_ends([layer])))
    names = ["network", "kind", "layers", "side", "channels", "parameters"]
    return pd.DataFrame(rows, columns=names)


def _ends(layers: list[keras.layers.Layer]) -> tuple[int, int]:
    """Channels that leave the last of some layers, and the parameters of all of them."""
    return layers[-1].output.shape[-1], sum(layer.count_params() for layer in layers)


def memory(model: keras.Model, batch_size: int = 30, *, bits: int = 32, slots: int = 1) -> float:
    """Estimates the memory that a training step takes on a GPU, by counting.

    Counted are weights, gradients and what the optimizer keeps, in 32 bits; the answers of all
    layers, which back-propagation needs again; and the gradients of the two largest of these.
    Not counted are the workspace of the libraries, some 0.5 to 2 GB, and the images read ahead.

    Args:
        model: As in `describe`; what is frozen by `models.set_trainable` has no gradients.
        batch_size: Images per step.
        bits: Of an answer: 16 under a mixed precision policy, else 32.
        slots: Numbers that the optimizer keeps per weight: SGD 0, with momentum 1, Adam 2.

    Returns:
        GB (of 10^9 bytes): an estimate, to be labelled as one.

    Raises:
        ValueError: If the number of images or bits cannot be.
    """
    if batch_size < 1 or bits not in (16, 32):
        raise ValueError(
            "A step takes at least 1 image, in 16 or 32 bits. "
            f"Received: batch_size={batch_size}, bits={bits}"
        )
    trained = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    answers = [int(np.prod(layer.output.shape[1:])) for layer in model.layers]
    kept = sum(answers) + sum(sorted(answers)[-2:])
    weights = 4 * (model.count_params() + (1 + slots) * trained)
    return (weights + kept * batch_size * bits / 8) / 1e9
