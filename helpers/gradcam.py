"""Where in the image a network found its answer: Grad-CAM, its sanity check, and a fair count.

Grad-CAM after Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74; the check by randomised weights
after Adebayo et al. 2018, arXiv 1810.03292.
"""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
from keras import ops
from scipy import ndimage

from helpers.activations import Route, trace

BATCH = 16  # images at a time, which bounds the memory


def last_map(model: keras.Model) -> str:
    """Returns the name of the last convolution, or of the ReLU or normalisation that follows it.

    Args:
        model: A Sequential or functional model with one input.

    Returns:
        A layer name as in `activations.layer_table`.

    Raises:
        ValueError: If no convolution is left.
    """
    stops = trace(model).stops
    found = [n for n, stop in enumerate(stops) if isinstance(stop.layer, keras.layers.Conv2D)]
    if not found:
        raise ValueError(f"Grad-CAM needs a convolution. Received: {model.name!r} without one")
    last = found[-1]
    follows = (keras.layers.ReLU, keras.layers.Activation, keras.layers.BatchNormalization)
    while isinstance(stops[last + 1].layer, follows):
        last += 1
    return stops[last].name


def grad_cam(
    model: keras.Model, images: np.ndarray, target: int = 1, layer: str | None = None
) -> np.ndarray:
    """Maps which places spoke for a class.

    The score that is followed back is the class's logit less the mean of the others: a softmax
    knows differences only, and its own output would flatten wherever the network is sure.

    Args:
        model: A Sequential or functional model that ends in a softmax.
        images: As the network takes them, shape (n, side, side, 3), 0 to 255.
        target: Position of the class; 1 is ALL.
        layer: Where to look, as in `activations.layer_table`; by default as in `last_map`.

    Returns:
        Maps of shape (n, side, side), float32, each scaled to a maximum of 1; all 0 where
        nothing spoke for the class.

    Raises:
        KeyError: If the network has no such layer.
        ValueError: If the network does not end in a softmax.
    """
    import tensorflow as tf

    route = trace(model)
    place = route.find(layer or last_map(model)).output
    probe = keras.Model(route.inputs, [place, _logits(route)])

    @tf.function(reduce_retracing=True)
    def look(batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(batch)
            maps, logits = probe(batch, training=False)
            others = (tf.reduce_sum(logits, axis=-1) - logits[:, target]) / (logits.shape[-1] - 1)
            score = logits[:, target] - others
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))

    images = np.asarray(images, np.float32)
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    coarse = np.concatenate([look(tf.constant(part)).numpy() for part in parts])
    return _enlarge(coarse, images.shape[1:3])


def _logits(route: Route) -> keras.KerasTensor:
    """Returns what goes into the softmax at the end of a network."""
    end = route.stops[-1]
    if isinstance(end.layer, keras.layers.Softmax):
        return end.input
    if getattr(end.layer, "activation", None) is not keras.activations.softmax:
        raise ValueError(
            "Grad-CAM follows the score before the softmax, so the network must end in one. "
            f"Received: a last layer {end.name!r} of kind {type(end.layer).__name__}"
        )
    if isinstance(end.layer, keras.layers.Dense):
        logits = ops.matmul(end.input, end.layer.kernel)
        return logits if end.layer.bias is None else logits + end.layer.bias
    return end.input


def _enlarge(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scales maps to the image's size, bilinearly, and each to a maximum of 1."""
    large = ops.image.resize(maps[..., None], size, interpolation="bilinear")
    large = ops.convert_to_numpy(large)[..., 0]
    top = large.max(axis=(1, 2), keepdims=True)
    return np.divide(large, top, out=np.zeros_like(large), where=top > 0)


def regions(images: np.ndarray, edge: int | None = None) -> np.ndarray:
    """Divides images into background (0), nucleus (1) and the edge between them (2).

    Args:
        images: Shape (n, side, side, 3), 0 to 255, black outside the nucleus.
        edge: Half the width of the edge in px; by default 3 % of the side, at least 1.

    Returns:
        An int array of shape (n, side, side).
    """
    edge = edge or max(1, round(0.03 * images.shape[1]))
    inside = np.asarray(images).max(axis=-1) > 8  # resizing smears a little light over the border
    around = np.zeros((3, 3, 3), bool)
    around[1] = True  # within each image, not from one to the next
    grown = ndimage.binary_dilation(inside, around, iterations=edge)
    shrunk = ndimage.binary_erosion(inside, around, iterations=edge)
    return np.where(grown & ~shrunk, 2, inside.astype(int))


def attention_shares(maps: np.ndarray, images: np.ndarray) -> pd.DataFrame:
    """Counts which share of each map falls on nucleus, edge and background.

    Args:
        maps: As from `grad_cam`.
        images: The images they belong to.

    Returns:
        One row per image and region with `image` (its position), `region`, `attention` (share of
        the map), `area` (share of the image: what a blind map would get). Empty maps are missing.
    """
    where, rows = regions(images), []
    for image, (one, place) in enumerate(zip(maps, where, strict=True)):
        for number, region in enumerate(("background", "nucleus", "edge")):
            here = place == number
            share = float(one[here].sum() / one.sum()) if one.any() else np.nan
            rows.append((image, region, share, float(here.mean())))
    return pd.DataFrame(rows, columns=["image", "region", "attention", "area"])


def randomised(model: keras.Model, last: int | None = None, seed: int = 0) -> keras.Model:
    """Copies a network and shuffles its weights within each tensor, from the top down.

    Args:
        model: A Sequential or functional model; it stays as it is.
        last: How many layers with weights to shuffle, counted from the output; None: all.
        seed: Decides the shuffling.

    Returns:
        The copy. Its weights have the same values as before, in other places.
    """
    copy, rng = keras.models.clone_model(model), np.random.default_rng(seed)
    copy.set_weights(model.get_weights())
    weighted = [stop.layer for stop in trace(copy).stops if stop.layer.weights]
    for layer in weighted[::-1][:last]:
        weights = layer.get_weights()
        layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in weights])
    return copy


def sanity(model: keras.Model, images: np.ndarray, steps: list[int], seed: int = 0) -> pd.DataFrame:
    """Compares Grad-CAM of a network with that of ever more shuffled copies of it.

    A map that stays the same says something of the image and nothing of what was learned.

    Args:
        model: A Sequential or functional model that ends in a softmax.
        images: As in `grad_cam`.
        steps: Numbers of layers to shuffle, from the output down.
        seed: Decides the shuffling.

    Returns:
        One row per image and step: `image`, `shuffled` (layers), `similarity` (rank correlation of
        the two maps; missing where one of them is empty).
    """
    layer, rows = last_map(model), []
    true = grad_cam(model, images, layer=layer)
    for step in steps:
        other = grad_cam(randomised(model, step, seed), images, layer=layer)
        rows += [
            (n, step, _similarity(*pair)) for n, pair in enumerate(zip(true, other, strict=True))
        ]
    return pd.DataFrame(rows, columns=["image", "shuffled", "similarity"])


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(spearmanr(one.ravel(), other.ravel()).statistic)
