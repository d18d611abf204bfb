"""Tables to batches: decode, crop, resize, cache, shuffle, turn, batch, prefetch, with `tf.data`.

The images leave as they are, with values of 0 to 255: what one network wants of them (BGR and a
mean taken off for VGG16, -1 to 1 for InceptionV3) is the first layer of that network, so that no
image can be scaled twice, or not at all, on its way in.
"""

from __future__ import annotations

import os
import struct

import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import cnmc
from helpers.images import FINAL_SIDE, SIDE, decode

CROP = 400  # px, as in the paper; notebook 02 measures what it cuts
_IN_PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def make_dataset(
    table: pd.DataFrame,
    size: int,
    *,
    batch_size: int = 30,
    seed: int | None = None,
    cache: bool = True,
    crop: int = CROP,
    augment: bool = False,
    antialias: bool = True,
) -> tf.data.Dataset:
    """Makes the batches that a network takes, the same ones each time.

    Args:
        table: One row per image, with `path`; with `label` ("ALL" or "HEM") where it is known.
        size: Side of the images in px, at least 1.
        batch_size: Images per batch, at least 1 (paper: 30); the last batch may be smaller.
        seed: Shuffles, anew on every pass; None: the order of the table. Two datasets of the same
            seed give the same passes. (TensorFlow mixes in its global seed, if one is set.)
        cache: Whether to keep the resized images in memory (12 * size * size bytes each).
        crop: Side in px of the central square that is kept of the 450 px (paper: 400).
        augment: Whether to flip and turn by quarters at random, anew on every pass. Both keep
            every pixel, and so the scale of the cell.
        antialias: Whether to average over the pixels that one new pixel covers.

    Returns:
        A dataset of float32 images 0 to 255 of shape (batch, size, size, 3), in pairs with integer
        labels (ALL = 1, HEM = 0) if the table has the column `label`. A file that is not a whole
        image ends it with the message of `cnmc.ImageError`.

    Raises:
        ValueError: If the table is empty, a label is missing, or a number is out of range.
        FileNotFoundError: If an image is missing.
    """
    _check_arguments(size, batch_size, crop)
    paths, labels = _check_table(table)
    data = tf.data.Dataset.from_tensor_slices((paths, labels))
    if seed is not None and not cache:
        data = data.shuffle(len(paths), seed)
    data = data.map(
        lambda path, label: (shrink(read(path), size, crop, antialias), label), **_IN_PARALLEL
    )
    if cache:
        data = data.cache()
        data = data if seed is None else data.shuffle(len(paths), seed)
    if augment:
        draws = tf.data.Dataset.random(seed or 0, rerandomize_each_iteration=True)
        data = tf.data.Dataset.zip(data, draws).map(_turn, **_IN_PARALLEL)
    if "label" not in table:
        data = data.map(lambda image, label: image)
    return data.batch(batch_size, **_IN_PARALLEL).prefetch(tf.data.AUTOTUNE)


def stream_images(table: pd.DataFrame, size: int, batch_size: int = 100) -> tf.data.Dataset:
    """Makes batches of images alone, in the order of the table and read only as they are taken.

    Args:
        table: One row per image, with `path`; labels are not looked at.
        size: Side of the images in px, at least 1.
        batch_size: Images per batch, at least 1.

    Returns:
        A dataset of images as from `make_dataset`, without labels.
    """
    return make_dataset(table[["path"]], size, batch_size=batch_size, cache=False)


def _check_arguments(size: int, batch_size: int, crop: int) -> None:
    if size < 1 or batch_size < 1 or not 1 <= crop <= SIDE:
        raise ValueError(
            f"Sizes are whole numbers of at least 1, and a crop is at most {SIDE} px. Received: "
            f"size={size}, batch_size={batch_size}, crop={crop}"
        )


def _check_table(table: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """Returns paths and labels, if batches can be made of them."""
    paths = [str(path) for path in table["path"]]
    if not paths:
        raise ValueError("Batches need at least one image. Received: an empty table")
    gone = [path for path in paths if not os.path.isfile(path)]
    if gone:
        raise FileNotFoundError(
            f"{len(gone)} of {len(paths)} images are missing; make the table again from what is "
            f"there. Received: {gone[0]}"
        )
    if "label" not in table:
        return paths, np.zeros(len(paths), np.int32)
    unknown = ~table["label"].isin(cnmc.CLASSES)
    if unknown.any():
        raise ValueError(
            f"Labels are {' or '.join(cnmc.CLASSES)}; for images without, drop the column `label`. "
            f"Received: {int(unknown.sum())} others, such as {table['label'][unknown].iloc[0]!r}"
        )
    return paths, table["label"].map(cnmc.CLASSES.index).to_numpy(np.int32)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def read(path: tf.Tensor) -> tf.Tensor:
    """Reads an image as `cnmc.read_image` does, in TensorFlow where it is a plain BMP.

    Args:
        path: Path of a BMP, PNG or JPEG file, a scalar string.

    Returns:
        A uint8 tensor of shape (450, 450, 3).
    """
    data = tf.io.read_file(path)
    image = tf.cond(
        _is_plain(data, SIDE) | _is_plain(data, FINAL_SIDE),
        lambda: tf.image.resize_with_crop_or_pad(tf.io.decode_bmp(data, 3), SIDE, SIDE),
        lambda: tf.numpy_function(_decode, [data, path], tf.uint8),
    )
    return tf.ensure_shape(image, (SIDE, SIDE, 3))


def _is_plain(data: tf.Tensor, side: int) -> tf.Tensor:
    """Tells whether bytes are a whole, uncompressed 24-bit BMP of that side."""
    shape = struct.pack("<iiHHI", side, side, 1, 24, 0)
    head = tf.strings.join([tf.strings.substr(data, 0, 34), bytes(34)])
    start = tf.io.decode_raw(tf.strings.substr(head, 10, 4), tf.int32)[0]
    body = -(-3 * side // 4) * 4 * side
    return (
        (tf.strings.substr(head, 0, 2) == b"BM")
        & (tf.strings.substr(head, 18, 16) == shape)
        & (start >= 54)
        & (tf.strings.length(data) - body >= start)
    )


def _decode(data: bytes, path: bytes) -> np.ndarray:
    return decode(data, path.decode())


def shrink(image: tf.Tensor, size: int, crop: int = CROP, antialias: bool = True) -> tf.Tensor:
    """Crops an image about its centre and resizes it.

    Args:
        image: Pixels of shape (450, 450, 3), 0 to 255.
        size: Side to resize to, in px.
        crop: Side of the central square that is kept, in px.
        antialias: Whether to average over the pixels that one new pixel covers.

    Returns:
        A float32 tensor of shape (size, size, 3), 0 to 255.
    """
    edge = (SIDE - crop) // 2
    central = image[edge : edge + crop, edge : edge + crop]
    return tf.ensure_shape(
        tf.image.resize(central, (size, size), antialias=antialias), (size, size, 3)
    )


def _turn(pair: tuple[tf.Tensor, tf.Tensor], draw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Puts an image into one of the eight positions of a square, each as likely."""
    image, label = pair
    image = tf.image.rot90(image, tf.cast(draw % 4, tf.int32))
    return tf.cond(draw // 4 % 2 == 0, lambda: image, lambda: image[:, ::-1]), label
