"""Images to batches: read, crop and shrink each once, keep it, and serve it in a known order.

The images leave as they are, with values of 0 to 255: what one network wants of them (BGR and a
mean taken off for VGG16, -1 to 1 for InceptionV3) is the first layer of that network, so that no
image can be scaled twice, or not at all, on its way in.

What trains reads its batches from one file per size, in which every image is decoded once. Memory
holds a few batches, whatever the number of images, and the order is a function of seed and epoch:
a training that is resumed takes up the order of epoch 57 without epochs 1 to 56.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import runs
from helpers.data import cnmc
from helpers.data.image_files import SIDE, read_image
from helpers.settings import work_dir

CROP = 400  # px, as in the paper; notebook 02 measures what it cuts
POSITIONS = 8  # in which a square comes to lie on itself: four turns, each also mirrored
QUIET = 30.0  # s without a line while images are read
VERSION = 2  # raise it whenever the same image is decoded or shrunk to other values
IMAGES = "images.u8"
Report = Callable[[str], Any] | None  # takes a line now and then, such as `print`
# The libraries' objects, hundreds of thousands, are as they are: else Python looks through all of
# them before each training, and once more at its end (up to a third of a second, and a whole one).
gc.freeze()


def shrink(image: tf.Tensor, size: int, antialias: bool = True) -> tf.Tensor:
    """Crops an image to the central 400 px and resizes it.

    Args:
        image: Pixels of shape (450, 450, 3), 0 to 255.
        size: Side to resize to, in px.
        antialias: Whether to average over the pixels that one new pixel covers.

    Returns:
        A float32 tensor of shape (size, size, 3), 0 to 255.
    """
    edge = (SIDE - CROP) // 2
    central = image[edge : edge + CROP, edge : edge + CROP]
    small = tf.image.resize(central, (size, size), antialias=antialias)
    return tf.ensure_shape(small, (size, size, 3))


def read_images(table: pd.DataFrame, size: int) -> np.ndarray:
    """Reads the images of a table into memory, in its order.

    Args:
        table: One row per image, with `path`; labels are not looked at.
        size: Side of the images in px, at least 1.

    Returns:
        A float32 array of shape (n, size, size, 3), whole levels from 0 to 255.

    Raises:
        ValueError: If the table is empty or the size below 1.
        FileNotFoundError: If an image is missing.
    """
    return np.concatenate(list(stream_images(table, size))).astype(np.float32)


def stream_images(table: pd.DataFrame, size: int, batch_size: int = 100) -> Iterator[np.ndarray]:
    """Yields batches of uint8 images in the order of the table, read only as they are taken."""
    paths = [str(path) for path in table["path"]]
    gone = [path for path in paths if not Path(path).is_file()]
    if gone:
        advice = f"{len(gone)} of {len(paths)} images are gone: bring them back, or remove their"
        raise FileNotFoundError(f"{advice} folder, and begin anew. Received: {gone[0]}")
    if not paths or size < 1 or batch_size < 1:
        advice = "Batches need at least one image, and sizes of at least 1. Received:"
        raise ValueError(f"{advice} {len(paths)} images, size={size}, batch_size={batch_size}")

    def level(path: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.round(shrink(_read(path), size)), tf.uint8)

    images = tf.data.Dataset.from_tensor_slices(paths).map(level, tf.data.AUTOTUNE)
    yield from images.batch(batch_size).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def _read(path: tf.Tensor) -> tf.Tensor:
    """Reads an image as `image_files.read_image` does, in TensorFlow where it is a plain BMP."""
    data = tf.io.read_file(path)
    # As many bytes has a 450 px BMP of C-NMC, which is read the fast way.
    is_plain = tf.reduce_any(tf.strings.length(data) == tf.constant((608_454, 608_538)))
    image = tf.cond(
        is_plain & (tf.strings.substr(data, 0, 2) == b"BM"),
        lambda: tf.io.decode_bmp(data, 3),
        lambda: tf.numpy_function(lambda name: read_image(name.decode()), [path], tf.uint8),
    )
    return tf.ensure_shape(image, (SIDE, SIDE, 3))


@dataclass
class Pixels:
    """Shrunk images in a file, read from it as they are asked for.

    They are kept as whole levels, in a quarter of the bytes of float32.
    """

    stored: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        """Counts the images."""
        return len(self.places)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        """Reads images as float32, 0 to 255, of shape (n, side, side, 3)."""
        return self.stored[self.places[chosen]].astype(np.float32)


def keep_images(rows: pd.DataFrame, size: int, report: Report = None) -> Pixels:
    """Decodes the images of a table, unless that was done before.

    There is one file per size, which only grows: each image with the digest of its file before it.
    So draws of subjects that share images share them here, too. It lies in the folder `pixels` of
    the work folder (3.5 GB for the whole of the paper's setting), which can be deleted whenever
    nothing trains.

    Args:
        rows: Rows with `path`, and `sha256` where it is known.
        size: Side of the images in px.
        report: Takes a line now and then while it lasts.

    Returns:
        The images, one per row.
    """
    by = {"size": size, "version": VERSION, "tensorflow": tf.__version__}
    path = work_dir() / "pixels" / runs.key_of(by) / IMAGES
    rows = rows.assign(sha256=runs.image_digests(rows))
    with runs.lock(path.with_name(".lock")):
        known = _open(path, size)
        new = rows[~rows["sha256"].isin(known["digest"].astype(str))].drop_duplicates("sha256")
        if len(new):
            what = f"Keeping {len(new):,} images of {size} px"
            runs.check_disk(path.parent, len(new) * known.itemsize, what)
            batches = tell(_stream_unchanged(new, size), len(new), report)
            _append(path, known, new["sha256"].to_numpy(), batches)
    stored = _open(path, size)
    places = {digest: place for place, digest in enumerate(stored["digest"].astype(str))}
    return Pixels(stored["image"], rows["sha256"].map(places).to_numpy())


def _stream_unchanged(rows: pd.DataFrame, size: int) -> Iterator[np.ndarray]:
    """Streams images whose files still are those that their digests were taken of."""
    done = 0
    for batch in stream_images(rows, size):
        runs.check_unchanged(rows[done : done + len(batch)])
        yield batch
        done += len(batch)


def _open(path: Path, size: int) -> np.ndarray:
    """Returns the images that are whole, each with its digest; none of them is ever changed."""
    path.touch()
    entry = np.dtype([("digest", "S64"), ("image", np.uint8, (size, size, 3))])
    count = path.stat().st_size // entry.itemsize
    return np.memmap(path, entry, "r", shape=count) if count else np.empty(0, entry)


def _append(path: Path, known: np.ndarray, digests: np.ndarray, batches: Iterable) -> None:
    """Writes images behind those that are known, over what an interruption left of one."""
    with open(path, "r+b") as file:
        file.seek(known.nbytes)
        for images in batches:
            entries = np.empty(len(images), known.dtype)
            entries["digest"], digests = np.split(digests, [len(images)])
            entries["image"] = images
            file.write(entries.tobytes())


def tell(batches: Iterable[np.ndarray], total: int, report: Report) -> Iterator[np.ndarray]:
    """Passes batches on and reports how far it is; not of what takes less than half a minute."""
    done, last = 0, time.monotonic()
    for batch in batches:
        yield batch
        done += len(batch)
        if report and time.monotonic() - last > QUIET:
            last = time.monotonic()
            report(f"{done:,} of {total:,} images read")


@dataclass(eq=False)
class Batches(keras.utils.PyDataset):
    """Images or features with their labels, batch by batch, in an order of seed and epoch.

    Args:
        entries: One per row: images as from `keep_images`, or an array.
        rows: Rows with `label`.
        batch_size: Entries per batch.
        seed: Shuffles anew for each epoch; None: the order of the rows.
        jitter: Changes the colours anew for each epoch, as by `draw_gains`; needs a seed.
        turn: Puts each image into one of the eight positions of a square anew for each epoch;
            needs a seed.

    Raises:
        ValueError: If a label is missing, or is none of the classes.
    """

    entries: Pixels | np.ndarray
    rows: pd.DataFrame
    batch_size: int
    seed: int | None = None
    jitter: float = 0.0
    turn: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        labels = self.rows["label"]
        unknown = labels[~labels.isin(cnmc.CLASSES)]
        if len(unknown):
            advice = f"Labels are {' or '.join(cnmc.CLASSES)}; leave other rows out. Received:"
            raise ValueError(f"{advice} {len(unknown)} others, such as {unknown.iloc[0]!r}")
        self.labels = labels.map(cnmc.CLASSES.index).to_numpy(np.int32)
        self.start_epoch(0)

    def start_epoch(self, epoch: int, logs: Any = None) -> None:
        """Takes up the order of an epoch, counted from 0; Keras' callbacks hand logs over, too."""
        self.order = np.arange(len(self.labels))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(self.order)
            self.gains = draw_gains(len(self.order), self.jitter, self.seed, epoch)
            rng = np.random.default_rng((self.seed, epoch, 2))
            self.positions = rng.integers(POSITIONS, size=len(self.order))

    def __len__(self) -> int:
        """Counts the batches."""
        return -(-len(self.labels) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Reads one batch."""
        chosen = self.order[number * self.batch_size :][: self.batch_size]
        entries = self.entries[chosen]
        if self.jitter:
            # Row by row: a factor for each of three colours at a time takes twice as long.
            rows = entries.reshape(*entries.shape[:2], -1)
            rows *= np.tile(self.gains[chosen][:, 0], entries.shape[2])
        if self.turn:
            entries = turn_each(entries, self.positions[chosen])
        return entries, self.labels[chosen]


def draw_gains(count: int, jitter: float, seed: int, epoch: int = 0) -> np.ndarray:
    """Draws a factor for each colour of each image: another stain, another lamp.

    Args:
        count: Number of images.
        jitter: Standard deviation of the factors about 1; draws beyond twice that are cut there.
        seed: Decides the draws, together with the epoch.
        epoch: Counted from 0.

    Returns:
        Factors of shape (count, 1, 1, 3).

    Example:
        >>> draw_gains(1, 0.1, seed=1).shape
        (1, 1, 1, 3)
    """
    draws = np.random.default_rng((seed, epoch, 1)).standard_normal((count, 1, 1, 3))
    return (1 + jitter * draws.clip(-2, 2)).astype(np.float32)


def turn(images: np.ndarray, position: int) -> np.ndarray:
    """Turns images into one of the positions of a square; no pixel is lost or computed anew.

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
    """Turns each image into a position of its own."""
    # The colours of a pixel are moved as one thing, three times as fast as one by one.
    pixels = np.ascontiguousarray(images).view(f"V{images.itemsize * images.shape[-1]}")
    turned = np.empty_like(pixels)
    for one, there, position in zip(pixels[:, None], turned, positions, strict=True):
        there[...] = turn(one, position)[0]
    return turned.view(images.dtype)
