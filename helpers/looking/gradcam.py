"""Where in the image a network found its answer: Grad-CAM, its sanity check, and a fair count.

Grad-CAM after Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74; the check by randomised weights
after Adebayo et al. 2018, arXiv 1810.03292.
"""

from collections.abc import Iterator

import keras
import numpy as np
import pandas as pd
from keras import layers, ops
from scipy import ndimage, stats

from helpers.data.image_files import nucleus_mask
from helpers.looking.activations import Stop, find, trace
from helpers.models.architecture import CONVOLUTIONS

BATCH = 16  # images at a time, which bounds the memory
# Layers that decide nothing: their maps are those before, coarser, framed or thinned out.
_PASSING = (layers.MaxPooling2D, layers.AveragePooling2D, layers.ZeroPadding2D, layers.Dropout)


def last_map(model: keras.Model, side: int = 7) -> str:
    """Returns the layer to look at: the last whose maps tell places apart and are all there is.

    All that the head learns of the image must pass through these maps: of a network with branches
    they are a block's joined answer, never one of the branches. On small images the very last maps
    may be a single pixel, which says nothing of where.

    Args:
        model: A Sequential or functional model with one input.
        side: Smallest side of the maps in px; 7 is what VGG16 and ResNet50 have at 224 px. If
            none have that many, the last of the largest maps are taken.

    Returns:
        The name of that layer: a convolution, or what joins, normalises or rectifies its answers.

    Raises:
        ValueError: If the network has no convolution, or its branches never meet.
    """
    sides = {
        stop.name: min(stop.output.shape[1:3])
        for stop in _joints(trace(model))
        if len(stop.output.shape) == 4 and not isinstance(stop.layer, _PASSING)
    }
    if not sides:
        raise ValueError(f"No convolution all paths share; name a layer. Received: {model.name!r}")
    wide = min(side, max(sides.values()))
    return [name for name, found in sides.items() if found >= wide][-1]


def _joints(stops: list[Stop]) -> Iterator[Stop]:
    """Yields, from the first convolution on, the stops that no other path leads around."""
    last_use = {id(tensor): n for n, stop in enumerate(stops) for tensor in stop.inputs}
    convolved, reach = False, last_use[id(stops[0].inputs[0])]
    for n, stop in enumerate(stops):
        convolved = convolved or isinstance(stop.layer, CONVOLUTIONS)
        if convolved and reach <= n:  # whatever was made before is used up
            yield stop
        reach = max(reach, last_use.get(id(stop.output), 0))


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
    stops, images = trace(model), np.asarray(images, np.float32)
    looked_at = find(stops, layer or last_map(model)).output
    probe = keras.Model(model.inputs[0], [looked_at, _logits(stops[-1])])
    parts = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    coarse = np.concatenate([_coarse_maps(probe, part, target) for part in parts])
    large = ops.image.resize(coarse[..., None], images.shape[1:3], interpolation="bilinear")
    maps = ops.convert_to_numpy(large)[..., 0]
    top = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, top, out=np.zeros_like(maps), where=top > 0)


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


def _logits(end: Stop) -> keras.KerasTensor:
    """Returns what goes into the softmax at the end of a network."""
    kind = type(end.layer)
    ends_in = getattr(end.layer, "activation", None)
    if kind is not layers.Softmax and ends_in is not keras.activations.softmax:
        raise ValueError(f"Grad-CAM needs a final softmax. Received: {end.name!r}, {kind.__name__}")
    if kind is not layers.Dense:
        return end.inputs[0]
    logits = ops.matmul(end.inputs[0], end.layer.kernel)
    return logits if end.layer.bias is None else logits + end.layer.bias


def regions(images: np.ndarray) -> np.ndarray:
    """Divides images into background (0), nucleus (1) and the edge between them (2).

    Half the width of the edge is 3 % of the side of the image, at least 1 px.
    """
    edge = max(1, round(0.03 * images.shape[1]))
    inside = nucleus_mask(images, above=8)  # resizing smears light over the border
    around = np.ones((1, 3, 3), bool)  # within each image, not from one to the next
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


def randomised(model: keras.Model, last: int) -> keras.Model:
    """Copies a network and shuffles, within each tensor, the weights of its last layers."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    weighted = [stop.layer for stop in trace(copy) if getattr(stop.layer, "weights", [])]
    for layer in weighted[::-1][:last]:
        rng, weights = np.random.default_rng(0), layer.get_weights()
        layer.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in weights])
    return copy


def sanity(model: keras.Model, images: np.ndarray, steps: list[int]) -> pd.DataFrame:
    """Compares Grad-CAM of a network with that of ever more shuffled copies of it.

    A map that stays the same says something of the image and nothing of what was learned.

    Args:
        model: A Sequential or functional model that ends in a softmax.
        images: As in `grad_cam`.
        steps: Numbers of layers with weights to shuffle, from the output down.

    Returns:
        One row per image and step: `image`, `shuffled` (layers), `similarity` (rank correlation of
        the two maps; missing where one of them is empty).
    """
    rows, true = [], grad_cam(model, images)
    for step in sorted(steps):
        maps = grad_cam(randomised(model, step), images)
        for image, (one, other) in enumerate(zip(true, maps, strict=True)):
            alike = np.nan
            if np.ptp(one) and np.ptp(other):
                alike = float(stats.spearmanr(one.ravel(), other.ravel()).statistic)
            rows.append((image, step, alike))
    return pd.DataFrame(rows, columns=["image", "shuffled", "similarity"])
