"""Where in the image a network found its answer: Grad-CAM, its sanity check, and a fair count.

Grad-CAM after Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74; the check by randomised weights
after Adebayo et al. 2018, arXiv 1810.03292.
"""

from __future__ import annotations

from itertools import pairwise

import keras
import numpy as np
import pandas as pd
from keras import ops
from scipy import ndimage

from helpers.looking.activations import Route, trace

BATCH = 16  # images at a time, which bounds the memory


def last_map(model: keras.Model, side: int = 7) -> str:
    """Returns the layer to look at: after the last convolution whose maps still tell places apart.

    On small images the very last maps may be a single pixel, which says nothing of where.

    Args:
        model: A Sequential or functional model with one input.
        side: Smallest side of the maps in px; 7 is what VGG16 and ResNet50 have at 224 px. If
            no convolution has that many, the last of those with the largest maps is taken.

    Returns:
        The name of that convolution, or of the ReLU or normalisation that follows it.

    Raises:
        ValueError: If the network has no convolution.
    """
    stops = trace(model).stops
    sides = {
        n: min(stop.output.shape[1:3])
        for n, stop in enumerate(stops)
        if isinstance(stop.layer, keras.layers.Conv2D)
    }
    if not sides:
        raise ValueError(f"Grad-CAM needs a convolution. Received: {model.name!r} without one")
    last = max(n for n, found in sides.items() if found >= min(side, max(sides.values())))
    follows = (keras.layers.ReLU, keras.layers.Activation, keras.layers.BatchNormalization)
    while last + 1 < len(stops) and isinstance(stops[last + 1].layer, follows):
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
    return _look(_probe(model, layer or last_map(model)), images, target)


def _probe(model: keras.Model, layer: str) -> keras.Model:
    """Returns a model that answers with the maps of a layer and with the logits."""
    route = trace(model)
    return keras.Model(route.inputs, [route.find(layer).output, _logits(route)])


def _look(probe: keras.Model, images: np.ndarray, target: int) -> np.ndarray:
    images = np.asarray(images, np.float32)
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    coarse = np.concatenate([_coarse_maps(probe, part, target) for part in parts])
    return _enlarge(coarse, images.shape[1:3])


def _coarse_maps(probe: keras.Model, images: np.ndarray, target: int) -> np.ndarray:
    import tensorflow as tf

    batch = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(batch)
        maps, logits = probe(batch, training=False)
        others = (tf.reduce_sum(logits, axis=-1) - logits[:, target]) / (logits.shape[-1] - 1)
        score = logits[:, target] - others
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1)).numpy()


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
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in _weighted(copy)[:last]:
        _shuffle(layer, seed)
    return copy


def _weighted(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers that have weights, the last one first."""
    return [stop.layer for stop in trace(model).stops if stop.layer.weights][::-1]


def _shuffle(layer: keras.layers.Layer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = layer.get_weights()
    layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in weights])


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
    copy = randomised(model, last=0)
    probe, layers, rows = _probe(copy, last_map(copy)), _weighted(copy), []
    true = _look(probe, images, target=1)
    for before, step in pairwise([0, *sorted(steps)]):
        for layer in layers[before:step]:
            _shuffle(layer, seed)
        pairs = zip(true, _look(probe, images, target=1), strict=True)
        rows += [(image, step, _similarity(*pair)) for image, pair in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["image", "shuffled", "similarity"])


def _similarity(one: np.ndarray, other: np.ndarray) -> float:
    from scipy.stats import spearmanr

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(spearmanr(one.ravel(), other.ravel()).statistic)
