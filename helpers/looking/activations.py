"""What the layers of a network answer to an image: activations, zeros, dead channels.

Works on every Sequential or functional Keras model, flat or nested, fresh or loaded from a file.
Whatever can be reduced is reduced inside the network's own graph, batch by batch, so that memory
holds the activations of one batch, whatever the number of images.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers, ops

from helpers.models.architecture import CONVOLUTIONS

_POOLINGS = (layers.MaxPooling2D, layers.AveragePooling2D)
_WHOLE = (layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.Dense)


@dataclass(frozen=True)
class Stop:
    """One stop on an image's way through a network.

    Args:
        name: Name of the layer; inside a nested model with the model's name before a slash.
        layer: The layer.
        inputs: What it receives, as symbolic tensors.
        output: What it answers, as a symbolic tensor.
    """

    name: str
    layer: layers.Layer
    inputs: list[keras.KerasTensor]
    output: keras.KerasTensor

    @property
    def rectified(self) -> bool:
        """Whether the layer ends in a ReLU: only there is a zero a decision and not a chance."""
        ends_in = getattr(self.layer, "activation", None)
        return isinstance(self.layer, layers.ReLU) or ends_in is keras.activations.relu


def trace(model: keras.Model, begin: list | None = None, prefix: str = "") -> list[Stop]:
    """Follows an image through a network, into its nested models, too.

    Args:
        model: A built Sequential or functional model with one input.
        begin: The symbolic image to begin with, in a list; by default the model's own input.
        prefix: What the names of the layers begin with.

    Returns:
        One stop per layer, in the order of the data; the layers are those of the model itself.

    Raises:
        ValueError: If the model cannot be followed: subclassed, not built, or several inputs.
    """
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        told = "Expected a Sequential or functional model of one input, called on an image first."
        raise ValueError(f"{told} Received: {type(model).__name__} {model.name!r}")
    stops: list[Stop] = []

    def call(layer: layers.Layer, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        if isinstance(layer, keras.Model):
            stops.extend(trace(layer, [args[0]], f"{prefix}{layer.name}/"))
        else:
            received = filter(keras.backend.is_keras_tensor, keras.tree.flatten((args, kwargs)))
            stops.append(Stop(prefix + layer.name, layer, [*received], layer(*args, **kwargs)))
        return stops[-1].output

    # Keras walks along a graph to clone it: here each layer is kept, and noted when it is called.
    graph, begin = keras.Model(model.inputs, model.outputs), begin or model.inputs
    keras.models.clone_model(graph, begin, clone_function=lambda layer: layer, call_function=call)
    return stops


def find(stops: list[Stop], name: str) -> Stop:
    """Returns the stop of that name; a KeyError names those that there are."""
    known = {stop.name: stop for stop in stops}
    if name not in known:
        raise KeyError(f"Name a layer that is there: {', '.join(known)}. Received: {name!r}")
    return known[name]


def layer_table(model: keras.Model) -> pd.DataFrame:
    """Lists the layers of a network in the order of the data.

    Args:
        model: A built Sequential or functional model with one input, also with models inside.

    Returns:
        One row per layer: `layer`, `kind`, `shape` (without the batch), `parameters`, `rectified`,
        and `receptive_field`: side in px of the square that one value depends on, at most the
        image. Normalisation while training, which looks at whole batches, is not counted.

    Raises:
        ValueError: If the model cannot be followed: subclassed, not built, or several inputs.

    Example:
        >>> first = keras.Input((32, 32, 3))
        >>> x = keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(4, 3)(first))
        >>> layer_table(keras.Model(first, x))["receptive_field"].tolist()
        [3, 5]
    """
    stops, rows = trace(model), []
    whole, seen = model.input_shape[1] or np.inf, {id(stops[0].inputs[0]): (1, 1)}
    for stop in stops:
        before = [seen[id(tensor)] for tensor in stop.inputs]
        seen[id(stop.output)] = field = _widen(stop.layer, before, whole)
        kind, shape = type(stop.layer).__name__, tuple(stop.output.shape[1:])
        # A bare operation, such as a division, has no weights.
        parameters = sum(int(np.prod(w.shape)) for w in getattr(stop.layer, "weights", []))
        rows.append((stop.name, kind, shape, parameters, stop.rectified, field[0]))
    columns = ["layer", "kind", "shape", "parameters", "rectified", "receptive_field"]
    return pd.DataFrame(rows, columns=columns)


def _widen(layer: layers.Layer, before: list[tuple[int, int]], whole: int) -> tuple[int, int]:
    """The field of a layer's values, and how many px apart those of two neighbours are."""
    field, step = (max(values) for values in zip(*before, strict=True))
    if isinstance(layer, _WHOLE):
        return whole, step
    if not isinstance(layer, (*CONVOLUTIONS, *_POOLINGS)):
        return field, step
    window = layer.kernel_size if isinstance(layer, CONVOLUTIONS) else layer.pool_size
    apart = getattr(layer, "dilation_rate", (1,))[0] * step
    return min(field + (max(window) - 1) * apart, whole), layer.strides[0] * step


def activations(model: keras.Model, images: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Returns what some layers answer to some images.

    Args:
        model: As in `layer_table`.
        images: As the network takes them, shape (n, side, side, 3), 0 to 255.
        names: Of layers, as in `layer_table`.

    Returns:
        For each layer its answers, the images first and the channels last.

    Raises:
        KeyError: If the network has no such layer.
    """
    stops = trace(model)
    ends = [find(stops, name).output for name in names]
    return dict(zip(names, _answers(keras.Model(model.inputs[0], ends), images), strict=True))


def silence(model: keras.Model, batches: Iterable[np.ndarray]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures how much of each rectified layer stays at zero.

    Args:
        model: As in `layer_table`.
        batches: Arrays of some images each, as the network takes them.

    Returns:
        The share of zeros, one row per image in their order and one column per layer; and one row
        per layer with `depth` (1 is the first) and the share of its channels that is `dead`: at
        zero everywhere, on every image.

    Raises:
        ValueError: If the network has no rectified layer, or there is no image.
    """
    stops = [stop for stop in trace(model) if stop.rectified]
    if not stops:
        raise ValueError(f"Zeros are set by a ReLU; no layer ends in one. Received: {model.name!r}")
    probe = keras.Model(model.inputs[0], [_summary(stop.output) for stop in stops])
    answers = [_answers(probe, images) for images in batches]
    found = {stop.name: np.concatenate(of) for stop, *of in zip(stops, *answers, strict=True)}
    dead = [float((each[:, 1:].max(axis=0) <= 0).mean()) for each in found.values()]
    zeros = pd.DataFrame({name: each[:, 0] for name, each in found.items()})
    return zeros, pd.DataFrame({"depth": range(1, 1 + len(stops)), "dead": dead})


def _summary(answer: keras.KerasTensor) -> keras.KerasTensor:
    """Returns per image the share of zeros, then the loudest answer of each channel."""
    flat = ops.reshape(answer, (-1, int(np.prod(answer.shape[1:-1], dtype=int)), answer.shape[-1]))
    share = ops.mean(ops.cast(flat <= 0, "float32"), axis=(1, 2))
    return ops.concatenate([share[:, None], ops.cast(ops.max(flat, axis=1), "float32")], axis=1)


def _answers(probe: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Asks a model directly: compiling it with `predict` would take longer than the answer."""
    answers = probe(np.asarray(images, np.float32), training=False)
    return [ops.convert_to_numpy(answer) for answer in keras.tree.flatten(answers)]
