"""What the layers of a network answer to an image: activations, dead channels, filters, Grad-CAM.

Works on every Sequential or functional Keras model, flat or nested, fresh or loaded from a file.
Whatever can be reduced is reduced inside the network's own graph, batch by batch, so that memory
grows with the batch and not with the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import pandas as pd
from keras import ops

Batches = Iterable[np.ndarray | tuple]


@dataclass(frozen=True)
class Stop:
    """One stop on an image's way through a network.

    Args:
        name: Name of the layer; inside a nested model with the model's name before a slash.
        layer: The layer.
        input: What it receives, as a symbolic tensor.
        output: What it answers, as a symbolic tensor.
    """

    name: str
    layer: keras.layers.Layer
    input: keras.KerasTensor
    output: keras.KerasTensor

    @property
    def rectified(self) -> bool:
        """Whether the layer ends in a ReLU: only there is a zero a decision and not a chance."""
        ends_in = getattr(self.layer, "activation", None)
        return isinstance(self.layer, keras.layers.ReLU) or ends_in is keras.activations.relu


@dataclass(frozen=True)
class Route:
    """All stops of a network in the order of the data, nested models opened.

    Args:
        inputs: The symbolic input.
        stops: One per layer.
    """

    inputs: keras.KerasTensor
    stops: tuple[Stop, ...]

    def find(self, name: str) -> Stop:
        """Returns the stop of that name.

        Raises:
            KeyError: If there is none.
        """
        for stop in self.stops:
            if stop.name == name:
                return stop
        known = ", ".join(stop.name for stop in self.stops)
        raise KeyError(f"The network has no such layer. It has {known}. Received: {name!r}")


def trace(model: keras.Model) -> Route:
    """Follows the data through a network, into its nested models, too.

    Args:
        model: A built Sequential or functional model with one input.

    Returns:
        Its route; the layers are those of the model itself, with its weights.

    Raises:
        ValueError: If the model cannot be followed: subclassed, not built, or several inputs.
    """
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        raise ValueError(
            "Layers can be followed in a built Sequential or functional model with one input; "
            f"call the model on an image first. Received: {type(model).__name__} {model.name!r}"
        )
    stops: list[Stop] = []

    def visit(layer: keras.layers.Layer, received: keras.KerasTensor, *args, **kwargs):
        if isinstance(layer, keras.Model):
            answer, inner = _open(layer, received)
            stops.extend(inner)
        else:
            answer = layer(received, *args, **kwargs)
            stops.append(Stop(layer.name, layer, received, answer))
        return answer

    copy = keras.models.clone_model(
        keras.Model(model.inputs, model.outputs), clone_function=_itself, call_function=visit
    )
    return Route(copy.inputs[0], tuple(stops))


def _itself(layer: keras.layers.Layer) -> keras.layers.Layer:
    return layer


def _open(model: keras.Model, received: keras.KerasTensor) -> tuple[keras.KerasTensor, list[Stop]]:
    """Calls a nested model so that it answers with the inputs and outputs of all its layers."""
    route = trace(model)
    ends = [tensor for stop in route.stops for tensor in (stop.input, stop.output)]
    answers = keras.Model(route.inputs, ends, name=f"{model.name}_opened")(received)
    pairs = zip(route.stops, answers[::2], answers[1::2], strict=True)
    stops = [Stop(f"{model.name}/{s.name}", s.layer, start, end) for s, start, end in pairs]
    return answers[-1], stops


def layer_table(model: keras.Model) -> pd.DataFrame:
    """Lists the layers of a network in the order of the data.

    Args:
        model: As in `trace`.

    Returns:
        One row per layer: `layer`, `kind`, `shape` (without the batch), `parameters`, `rectified`.
    """
    rows = [
        (
            stop.name,
            type(stop.layer).__name__,
            tuple(stop.output.shape[1:]),
            stop.layer.count_params(),
            stop.rectified,
        )
        for stop in trace(model).stops
    ]
    return pd.DataFrame(rows, columns=["layer", "kind", "shape", "parameters", "rectified"])


def activations(
    model: keras.Model, images: np.ndarray, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Returns what some layers answer to some images.

    Args:
        model: As in `trace`.
        images: As the network takes them, shape (n, side, side, 3), 0 to 255.
        layers: Names as in `layer_table`.

    Returns:
        For each layer its answers, the images first and the channels last.

    Raises:
        KeyError: If the network has no such layer.
    """
    route = trace(model)
    ends = [route.find(name).output for name in layers]
    answers = _answers(keras.Model(route.inputs, ends), np.asarray(images, np.float32))
    return dict(zip(layers, answers, strict=True))


def silence(model: keras.Model, batches: Batches) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures how much of each rectified layer stays at zero.

    Args:
        model: As in `trace`.
        batches: Batches of images, such as a `tf.data` pipeline; labels beside them are ignored.

    Returns:
        The share of zeros, one row per image in their order and one column per layer; and one row
        per layer with `depth` (1 is the first), `channels` and the share that is `dead`: at zero
        everywhere, on every image.

    Raises:
        ValueError: If the network has no rectified layer, or there is no image.
    """
    route = trace(model)
    stops = [stop for stop in route.stops if stop.rectified]
    if not stops:
        raise ValueError(
            "Silence is measured where a ReLU sets it, and the network has none. Received: "
            f"{model.name!r} with {len(route.stops)} layers"
        )
    zeros, loudest = _listen(
        keras.Model(route.inputs, [_summary(s.output) for s in stops]), batches
    )
    names = [stop.name for stop in stops]
    dead = pd.DataFrame(
        {
            "layer": names,
            "depth": range(1, 1 + len(stops)),
            "channels": [len(channel) for channel in loudest],
            "dead": [float((channel <= 0).mean()) for channel in loudest],
        }
    )
    return pd.DataFrame(np.concatenate(zeros, axis=0), columns=names), dead


def _summary(answer: keras.KerasTensor) -> keras.KerasTensor:
    """Returns per image the share of zeros, then the loudest answer of each channel."""
    flat = ops.reshape(answer, (-1, int(np.prod(answer.shape[1:-1], dtype=int)), answer.shape[-1]))
    share = ops.mean(ops.cast(flat <= 0, "float32"), axis=(1, 2))
    return ops.concatenate([share[:, None], ops.cast(ops.max(flat, axis=1), "float32")], axis=1)


def _listen(probe: keras.Model, batches: Batches) -> tuple[list[np.ndarray], list[np.ndarray]]:
    zeros: list[np.ndarray] = []
    loudest: list[np.ndarray] = []
    for images in _images_of(batches):
        answers = _answers(probe, images)
        zeros.append(np.stack([answer[:, 0] for answer in answers], axis=1))
        tops = [answer[:, 1:].max(axis=0) for answer in answers]
        loudest = [np.maximum(*pair) for pair in zip(loudest or tops, tops, strict=True)]
    if not zeros:
        raise ValueError("Silence is measured over images. Received: no batch at all")
    return zeros, loudest


def _images_of(batches: Batches) -> Iterator[np.ndarray]:
    for batch in batches:
        yield np.asarray(batch[0] if isinstance(batch, tuple) else batch, np.float32)


def _answers(probe: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Asks a model directly: compiling it with `predict` would take longer than the answer."""
    answers = probe(images, training=False)
    answers = answers if isinstance(answers, list) else [answers]
    return [ops.convert_to_numpy(answer) for answer in answers]


def first_filters(model: keras.Model) -> np.ndarray:
    """Returns the kernels of the first convolution.

    Args:
        model: As in `trace`.

    Returns:
        Shape (height, width, channels in, filters).

    Raises:
        ValueError: If the network has no convolution.
    """
    for stop in trace(model).stops:
        if isinstance(stop.layer, keras.layers.Conv2D):
            return ops.convert_to_numpy(stop.layer.kernel)
    raise ValueError(f"The network has no convolution. Received: {model.name!r}")
