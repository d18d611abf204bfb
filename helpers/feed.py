"""The eight positions in which a square comes to lie on itself: four turns, each also mirrored.

A nucleus has no up and no left, and no pixel is lost or computed anew by any of them.

Tables to batches: decode, crop, resize, cache, shuffle, turn, batch, prefetch, with `tf.data`.

The images leave as they are, with values of 0 to 255: what one network wants of them (BGR and a
mean taken off for VGG16, -1 to 1 for InceptionV3) is the first layer of that network, so that no
image can be scaled twice, or not at all, on its way in.

Images decoded once for everything that trains on them, in one file per size.

The file only grows. A list beside it says whose image is where in it, by the digest of the image
file: so draws of subjects that share images, and trainings that share draws, share them here, too.
A place that is in the list is never written again, so nobody who reads has to wait.

Batches read from a file, in an order that only the seed and the epoch decide.

Memory holds a few batches, whatever the number of images; what memory is free, the system uses to
keep the file at hand. A dataset that is shuffled as it is read could not take up the order of
epoch 57 without epochs 1 to 56.
"""

from __future__ import annotations

import math
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from filelock import FileLock

from helpers import runs
from helpers.data import cnmc
from helpers.data.image_files import FINAL_SIDE, SIDE, decode
from helpers.settings import work_dir

POSITIONS = 8
VERSION = 1  # raise it whenever the same image is decoded or shrunk to other values


def turn(images: np.ndarray, position: int) -> np.ndarray:
    """Turns images into one position.

    Args:
        images: An array of shape (n, side, side, channels).
        position: From 0, the images as they are, to 7; from 4 on mirrored.

    Returns:
        An array of the same shape.

    Example:
        >>> turn(np.arange(4).reshape(1, 2, 2, 1), 1).ravel().tolist()
        [1, 3, 0, 2]
    """
    mirrored = images[:, :, ::-1] if position >= POSITIONS // 2 else images
    return np.rot90(mirrored, position % 4, axes=(1, 2))


def turn_each(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Turns each image into a position of its own.

    Args:
        images: An array of shape (n, side, side, channels).
        positions: As in `turn`, one per image.

    Returns:
        An array of the same shape.
    """
    turned = np.empty_like(images)
    for position in range(POSITIONS):
        turned[positions == position] = turn(images[positions == position], position)
    return turned


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
        image ends it with the message of `image_files.ImageError`.

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


def read_images(table: pd.DataFrame, size: int) -> np.ndarray:
    """Reads the images of a table into memory, in its order.

    Args:
        table: One row per image, with `path`; labels are not looked at.
        size: Side of the images in px, at least 1.

    Returns:
        A float32 array of shape (n, size, size, 3), 0 to 255.
    """
    return np.concatenate([batch.numpy() for batch in stream_images(table, size)])


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
    """Reads an image as `image_files.read_image` does, in TensorFlow where it is a plain BMP.

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


IMAGES, DIGESTS = "images.f32", "digests.txt"


class Pixels:
    """Decoded images, read from the file as they are asked for.

    Args:
        path: The file: float32 values, image after image.
        places: Which of its images these are, in their order.
        side: Of each image, in px.
    """

    def __init__(self, path: Path, places: np.ndarray, side: int):
        shape = (int(places.max()) + 1, side, side, 3)
        self.images = np.memmap(path, "<f4", "r", shape=shape)
        self.places = places

    def __len__(self) -> int:
        """Counts the images."""
        return len(self.places)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Reads images, 0 to 255, of shape (n, side, side, 3)."""
        return np.asarray(self.images[self.places[chosen]])


def keep_images(
    rows: pd.DataFrame, size: int, report: Callable[[str], Any] | None = None
) -> Pixels:
    """Decodes the images of a table, unless that was done before.

    The files lie in the folder `pixels` of the work folder (13 GB for the whole of the paper's
    setting); it can be deleted whenever nothing trains.

    Args:
        rows: Rows with `path`, and `sha256` where it is known.
        size: Side of the images in px.
        report: Takes a line now and then while it lasts.

    Returns:
        The images, one per row.
    """
    by = {
        "size": size,
        "version": VERSION,
        "tensorflow": version("tensorflow"),
    }
    folder = work_dir() / "pixels" / runs.key_of(by)
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows.assign(sha256=runs.image_digests(rows))
    with FileLock(folder / ".lock"):
        known = _read_digests(folder, size)
        new = rows[~rows["sha256"].isin(known)].drop_duplicates("sha256")
        if len(new):
            known = _append(folder, known, new, size, report)
    places = {digest: place for place, digest in enumerate(known)}
    return Pixels(folder / IMAGES, rows["sha256"].map(places).to_numpy(), size)


def _read_digests(folder: Path, size: int) -> list[str]:
    """Lists whose images are there; none where the file is shorter than the list says."""
    if not (folder / DIGESTS).exists():
        return []
    known = (folder / DIGESTS).read_text().split()
    images = folder / IMAGES
    is_whole = images.exists() and images.stat().st_size >= len(known) * _bytes_of(size)
    return known if is_whole else []


def _bytes_of(size: int) -> int:
    return 4 * 3 * size * size


def _append(
    folder: Path,
    known: list[str],
    rows: pd.DataFrame,
    size: int,
    report: Callable[[str], Any] | None,
) -> list[str]:
    """Writes images behind those that are known; after each batch the list is brought up to it."""
    decoded = stream_images(rows, size)
    told = tell(decoded, len(rows), report) if report else decoded
    digests = iter(rows["sha256"])
    (folder / IMAGES).touch()
    with open(folder / IMAGES, "r+b") as stream:
        stream.seek(len(known) * _bytes_of(size))  # over what an interruption left behind it
        for batch in told:
            stream.write(np.asarray(batch, "<f4").tobytes())
            stream.flush()
            os.fsync(stream.fileno())  # the list must never be ahead of the images
            known = [*known, *islice(digests, len(batch))]
            _write_digests(folder, known)
    return known


def _write_digests(folder: Path, known: list[str]) -> None:
    runs.write_atomic(folder / DIGESTS, lambda path: path.write_text("\n".join(known)))


if TYPE_CHECKING:
    pass

QUIET = 30.0  # s without a line while images are read


class Batches(keras.utils.PyDataset):
    """Arrays with their labels, batch by batch.

    Args:
        entries: One per row: images as from `pixels.keep_images`, or features as from `keep`.
        rows: Rows with `label`.
        batch_size: Entries per batch.
        seed: Shuffles anew for each epoch; None: the order of the rows.
        jitter: Changes the colours anew for each epoch, as by `draw_gains`; needs a seed.
        turn: Puts each image into one of the eight `positions` anew for each epoch; needs a seed.
    """

    def __init__(
        self,
        entries: Pixels | np.ndarray,
        rows: pd.DataFrame,
        batch_size: int,
        seed: int | None = None,
        jitter: float = 0.0,
        turn: bool = False,
    ):
        super().__init__()
        self.entries = entries
        self.labels = rows["label"].map(cnmc.CLASSES.index).to_numpy(np.int32)
        self.batch_size = batch_size
        self.seed = seed
        self.jitter = jitter
        self.turn = turn
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Takes up the order of an epoch, counted from 0."""
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)
            self.gains = draw_gains(len(self.order), self.jitter, self.seed, epoch)
            rng = np.random.default_rng((self.seed, epoch, 2))
            self.positions = rng.integers(POSITIONS, size=len(self.order))

    def __len__(self) -> int:
        """Counts the batches."""
        return math.ceil(len(self.labels) / self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one batch."""
        chosen = self.order[number * self.batch_size :][: self.batch_size]
        entries = self.entries[chosen]
        if self.jitter:
            entries = entries * self.gains[chosen]
        if self.turn:
            entries = turn_each(entries, self.positions[chosen])
        return entries, self.labels[chosen]


def draw_gains(count: int, jitter: float, seed: int, epoch: int = 0) -> np.ndarray:
    """Draws a factor for each colour of each image: another stain, another lamp.

    Args:
        count: Number of images.
        jitter: Standard deviation of the factors about 1; none is more than twice as far off.
        seed: Same seed and epoch, same factors.
        epoch: Number of the epoch.

    Returns:
        Factors of shape (count, 1, 1, 3).

    Example:
        >>> draw_gains(1, 0.1, seed=1).shape
        (1, 1, 1, 3)
    """
    draws = np.random.default_rng((seed, epoch, 1)).standard_normal((count, 1, 1, 3))
    return (1 + jitter * draws.clip(-2, 2)).astype(np.float32)


def keep(
    path: Path,
    batches: Iterable[np.ndarray],
    shape: tuple[int, ...],
    report: Callable[[str], Any] | None = None,
) -> np.ndarray:
    """Writes batches to a file as they come, unless the file is there.

    Args:
        path: The `.npy` file to write.
        batches: Arrays of float32, together of the shape given.
        shape: Number of entries, then the shape of one.
        report: Takes a line now and then while it lasts.

    Returns:
        The entries, in the file.
    """
    if not path.exists():
        told = tell(batches, shape[0], report) if report else batches
        runs.write_atomic(path, lambda partial: _write(partial, told, shape))
    return np.load(path, mmap_mode="r")


def tell(
    batches: Iterable[np.ndarray], total: int, report: Callable[[str], Any]
) -> Iterator[np.ndarray]:
    """Passes batches on and reports how far it is; not of what takes less than half a minute.

    Args:
        batches: Arrays of images.
        total: Number of images.
        report: Takes a line, such as `print`.
    """
    done, last = 0, time.monotonic()
    for batch in batches:
        yield batch
        done += len(batch)
        if time.monotonic() - last > QUIET:
            last = time.monotonic()
            report(f"{done:,} of {total:,} images read")


def _write(path: Path, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    with open(path, "wb") as stream:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        for batch in batches:
            stream.write(np.asarray(batch, "<f4").tobytes())
