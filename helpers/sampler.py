"""Drives Augmentor's operations: exact probabilities, a seed per image, processes, own file names.

Augmentor draws well and samples badly. Its `Pipeline.sample()` rounds the draw for a probability to
one decimal (asked 0.5, it does 0.55), repeats itself only with a single thread, and names its files
by chance. So its operations do the work here, one by one, and everything around them is ours.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from helpers.images import SIDE, read_image

with warnings.catch_warnings():  # new Pythons complain of the escapes in its texts
    warnings.simplefilter("ignore")
    from Augmentor import Operations

# They turn and mirror about the centre, so that black around a cell stays black.
_CENTRED = (Operations.Flip, Operations.Rotate, Operations.RotateStandard)
_DPI = (95.99, 95.99)  # Pillow makes of it the 3,779 px per metre in the headers of C-NMC
_CHUNK = 16  # images per task of a worker
FILE_BYTES = 54 + (3 * SIDE + 2) * SIDE


class Sample(NamedTuple):
    """One image to be drawn: from which file, to which file, and the seed of all its chances."""

    source: str
    target: str
    key: str


def rotations_and_flips() -> list[Any]:
    """Returns the paper's operations (III 3.1.1), in the variant that keeps the size of a cell.

    Returns:
        Augmentor operations: any angle without zoom, then both mirrorings at even chances.
    """
    return [
        Operations.RotateStandard(1.0, 180, 180),
        Operations.Flip(0.5, "LEFT_RIGHT"),
        Operations.Flip(0.5, "TOP_BOTTOM"),
    ]


def draw_samples(
    samples: Sequence[Sample], operations: Sequence[Any], workers: int | None = None
) -> list[str]:
    """Draws every sample whose file is not there yet.

    Files are BMPs, byte for byte in the form of C-NMC's own. Measured on rotated cells, that takes
    1.6 ms of processor time to write and read; a PNG at its fastest takes 6.5 ms for a sixteenth
    of the space, and every network that is trained reads all files once.

    Args:
        samples: What to draw.
        operations: Augmentor operations, in their order, each done with exactly its probability.
        workers: Processes; by default one per processor, fewer for a few images. It does not
            matter to the result.

    Returns:
        The SHA-256 digest of each file, in order.

    Raises:
        ImageError: If a source cannot be read.
    """
    from tqdm import tqdm

    workers = workers or _default_workers(len(samples))
    chunks = [samples[start : start + _CHUNK] for start in range(0, len(samples), _CHUNK)]
    drawn: list[str] = []
    with tqdm(total=len(samples), desc="augment", unit="image", disable=None) as bar:
        parallel = Parallel(n_jobs=workers, return_as="generator")
        for digests in parallel(delayed(_draw_chunk)(chunk, operations) for chunk in chunks):
            drawn += digests
            bar.update(len(digests))
    if workers > 1:  # idle workers would outlive a notebook by minutes
        get_reusable_executor().shutdown(wait=True)
    return drawn


def _default_workers(count: int) -> int:
    """Counts the processes that are worth their start, which takes about a second."""
    return max(1, min(os.cpu_count() or 1, count // 200))


def _draw_chunk(samples: Sequence[Sample], operations: Sequence[Any]) -> list[str]:
    return [_draw(sample, operations) for sample in samples]


def _draw(sample: Sample, operations: Sequence[Any]) -> str:
    """Draws a sample unless it is there, and returns the digest of its file."""
    from PIL import Image

    target = Path(sample.target)
    if target.exists():
        return hashlib.sha256(target.read_bytes()).hexdigest()
    image = Image.fromarray(read_image(sample.source))
    stream = io.BytesIO()
    apply(image, operations, sample.key).save(stream, "BMP", dpi=_DPI)
    temporary = target.with_name(f".partial-{os.getpid()}-{target.name}")
    temporary.write_bytes(stream.getbuffer())
    temporary.replace(target)
    return hashlib.sha256(stream.getbuffer()).hexdigest()


def apply(image: Any, operations: Sequence[Any], key: str) -> Any:
    """Puts an image through operations, each with exactly the probability it was made with.

    Operations about the centre see only the square that holds what is not black; the result is the
    same to the last bit, and rotating a nucleus takes half as long as rotating its surroundings.

    Args:
        image: A Pillow image.
        operations: Augmentor operations.
        key: Any text; the same key gives the same image.

    Returns:
        A Pillow image.
    """
    from PIL import Image

    width, height = image.size
    centred = width == height == SIDE and all(map(_is_centred, operations))
    half = min(_reach(image), SIDE // 2) if centred else SIDE // 2
    corner = SIDE // 2 - half
    seen = image.crop((corner, corner, SIDE - corner, SIDE - corner)) if corner else image
    with _seeded(key):
        for operation in operations:
            if random.random() < operation.probability:
                (seen,) = operation.perform_operation([seen])
    if not corner:
        return seen
    whole = Image.new(image.mode, image.size)
    whole.paste(seen, (corner, corner))
    return whole


def _is_centred(operation: Any) -> bool:
    black = not getattr(operation, "fillcolor", None) and not getattr(operation, "expand", False)
    return isinstance(operation, _CENTRED) and black


def _reach(image: Any) -> int:
    """Returns half the side of the central square that holds the cell however it is turned."""
    box = image.getbbox()
    if box is None:
        return 1
    left, upper, right, lower = box
    lit = np.asarray(image.crop(box)).any(axis=2)
    farthest = _squared_distances()[upper:lower, left:right][lit].max()
    return int(np.sqrt(farthest)) + 4  # bicubic interpolation reaches 2 px, and corners 1 more


@functools.cache
def _squared_distances() -> np.ndarray:
    """Returns how far each pixel is from the centre of the image, squared, in px."""
    steps = (np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2) ** 2
    return steps[:, None] + steps


@contextmanager
def _seeded(key: str) -> Iterator[None]:
    """Seeds the generators that Augmentor draws from, and leaves them as they were."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(key)
    np.random.seed(random.getrandbits(32))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
