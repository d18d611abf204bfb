"""Reads one image file, in full and checked, and tells images apart by their content."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # workers that only read images start in a third of the time without it
    import pandas as pd

SIDE, FINAL_SIDE = 450, 600  # px: all published images but those of the final test set
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
_STRIDE = -(-3 * SIDE // 4) * 4  # bytes of a BMP row, padded to a multiple of four
_BODY = _STRIDE * SIDE
_CHUNK = 64  # files per task of a worker


class ImageError(ValueError):
    """A file that is not one of the data set's images; `problem` says why in a few words."""

    def __init__(self, problem: str, path: str | Path):
        super().__init__(
            f"Expected a whole BMP, PNG or JPEG image of {SIDE} x {SIDE} px (final test set: "
            f"{FINAL_SIDE} x {FINAL_SIDE}): fetch it again, or remove it. "
            f"Received: {path}: {problem}"
        )
        self.problem = problem
        self.path = path

    def __reduce__(self):  # so that it comes through from a worker process
        return type(self), (self.problem, self.path)


def to_bmp(image: np.ndarray) -> bytes:
    """Returns an image as an uncompressed 24-bit BMP, byte for byte as C-NMC's training images.

    Args:
        image: A uint8 array of shape (h, w, 3).

    Returns:
        The bytes of the file.
    """
    height, width, _ = image.shape
    rows = np.zeros((height, -(-3 * width // 4) * 4), np.uint8)
    rows[:, : 3 * width] = image[::-1, :, ::-1].reshape(height, -1)
    return _header(height, width, rows.size) + rows.tobytes()


def _header(height: int, width: int, size: int) -> bytes:
    file = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    return file + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 3779, 3779, 0, 0)


_HEADER = _header(SIDE, SIDE, _BODY)


def read_image(path: str | Path) -> np.ndarray:
    """Reads an image as the series uses it.

    Args:
        path: A BMP, PNG or JPEG file of 450 x 450 px, or 600 x 600 px as in the final test set,
            which is cropped about its centre, since its cells are of the same scale. Grey images
            get three equal channels; transparent pixels become black, as the background is.

    Returns:
        A uint8 array of shape (450, 450, 3), red first.

    Raises:
        FileNotFoundError: If there is no such file.
        ImageError: If the file is empty, truncated, unreadable or of another size.
    """
    return decode(Path(path).read_bytes(), path)


def decode(data: bytes, path: str | Path) -> np.ndarray:
    """Decodes the bytes of an image file as `read_image` does.

    Args:
        data: The whole file.
        path: Its path, for messages.

    Returns:
        A uint8 array of shape (450, 450, 3).

    Raises:
        ImageError: As in `read_image`.
    """
    from PIL import Image

    if not data:
        raise ImageError("zero bytes", path)
    try:
        with Image.open(io.BytesIO(data), formats=("BMP", "PNG", "JPEG")) as image:
            _check_header(image, path)
            image.load()
            return _crop(np.asarray(_on_black(image)))
    except ImageError:
        raise
    except Exception as error:  # Pillow raises many kinds, from OSError to SyntaxError
        raise ImageError(_diagnose(error), path) from error


def _check_header(image, path: str | Path) -> None:
    if image.size not in ((SIDE, SIDE), (FINAL_SIDE, FINAL_SIDE)):
        raise ImageError(f"wrong size, {image.width} x {image.height} px", path)
    if image.mode not in _MODES:
        raise ImageError(f"unreadable, pixels of the kind {image.mode!r}", path)


def _on_black(image):
    from PIL import Image

    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    return image.convert("RGB")


def _crop(pixels: np.ndarray) -> np.ndarray:
    edge = (len(pixels) - SIDE) // 2
    return np.ascontiguousarray(pixels[edge : edge + SIDE, edge : edge + SIDE])


def _diagnose(error: Exception) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "unreadable, not an image"
    cut = isinstance(error, OSError | EOFError) and "truncated" in str(error).lower()
    return "truncated" if cut else f"unreadable, {error}"


def add_digests(table: pd.DataFrame, workers: int | None = None) -> pd.DataFrame:
    """Adds two SHA-256 digests to each image: of its file, and of what it shows.

    `pixels` is the digest of the image written as a training image (`to_bmp`). So it is equal
    across headers, formats and sizes of border, and for the training images themselves both are
    one number: every file is read once and hashed once.

    Args:
        table: One row per image, with `path`.
        workers: Reading threads; by default one per processor, and at least four.

    Returns:
        The table with the columns `sha256` and `pixels`.

    Raises:
        FileNotFoundError: If a file is missing.
        ImageError: If a file is not a whole image of the right size.
    """
    digests = list(map_files(digest, table["path"].tolist(), workers))
    return table.assign(sha256=[d[0] for d in digests], pixels=[d[1] for d in digests])


def map_files(
    measure: Callable[[memoryview, str], object], paths: list[str], workers: int | None = None
) -> Iterator:
    """Applies a function to the bytes of every file, read in parallel.

    Reading and hashing release Python's lock, and each worker reads into one buffer that it keeps,
    since getting fresh memory for every file costs more than reading a file the system has cached.

    Args:
        measure: Takes the bytes of a file (valid during the call only) and its path.
        paths: The files.
        workers: Reading threads; by default one per processor, and at least four.

    Yields:
        The results, in order.
    """

    def measure_chunk(chunk: list[str]) -> list:
        buffer = bytearray()
        results = []
        for path in chunk:
            with open(path, "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                buffer = buffer if size <= len(buffer) else bytearray(size)
                with memoryview(buffer) as view:
                    results.append(measure(view[: file.readinto(view[:size])], path))
        return results

    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(workers or max(4, os.cpu_count() or 1)) as pool:
        for results in pool.map(measure_chunk, chunks):
            yield from results


def side_of(data: memoryview) -> int:
    """Returns the width of an image file in px, from its header."""
    from PIL import Image

    if _plain_rows(data) is not None:
        return SIDE
    with Image.open(io.BytesIO(data)) as image:
        return image.width


def digest(data: memoryview, path: str) -> tuple[str, str]:
    """Returns the digests (hex) of a file and of its image, as in `add_digests`."""
    file = hashlib.sha256(data).hexdigest()
    rows = _plain_rows(data)
    if rows is None:
        return file, hashlib.sha256(to_bmp(decode(bytes(data), path))).hexdigest()
    if len(data) == len(_HEADER) + _BODY and data[: len(_HEADER)] == _HEADER:
        return file, file
    image = hashlib.sha256(_HEADER)
    image.update(rows)
    return file, image.hexdigest()


def _plain_rows(data: memoryview) -> memoryview | None:
    """Returns the pixel rows of a BMP that stores them as the training images do, else None."""
    if len(data) < len(_HEADER) + _BODY or data[:2] != b"BM":
        return None
    start, _, *shape = struct.unpack_from("<IIiiHHI", data, 10)
    if shape != [SIDE, SIDE, 1, 24, 0] or len(data) < start + _BODY:
        return None
    rows = data[start : start + _BODY]
    padding = np.frombuffer(rows, np.uint8).reshape(SIDE, _STRIDE)[:, 3 * SIDE :]
    return None if padding.any() else rows
