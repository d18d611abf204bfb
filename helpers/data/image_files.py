"""Reads one image file, in full and checked; tells images apart by their content."""

import hashlib
import io
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:  # workers that only read images start in a third of the time without it
    import pandas as pd

SIDE, FINAL_SIDE = 450, 600  # px: all published images but those of the final test set
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")


class ImageError(ValueError):
    """A file that is not one of the data set's images; `problem` says why in a few words."""

    def __init__(self, problem: str, path: str | Path):
        super().__init__(problem, path)  # both, so that it comes through from a worker process
        self.problem, self.path = problem, path

    def __str__(self) -> str:
        sides = f"{SIDE} x {SIDE} px (final test set: {FINAL_SIDE} x {FINAL_SIDE})"
        advice = f"Expected a whole BMP, PNG or JPEG of {sides}: fetch it again, or remove it."
        return f"{advice} Received: {self.path}: {self.problem}"


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


def decode(data: bytes, path: str | Path, *, any_size: bool = False) -> np.ndarray:
    """Decodes the bytes of a file as `read_image` does, or whole in any size; `path` names it."""
    if not data:
        raise ImageError("zero bytes", path)
    if data.startswith(b"version https://git-lfs"):
        raise ImageError("a Git LFS pointer, not the image itself: run `git lfs pull`", path)
    try:
        with Image.open(io.BytesIO(data), formats=("BMP", "PNG", "JPEG")) as image:
            image.load()
    except UnidentifiedImageError as error:
        raise ImageError("unreadable, not an image", path) from error
    except Exception as error:  # Pillow raises many kinds, from OSError to SyntaxError
        cut = "truncated" in str(error).lower()
        raise ImageError("truncated" if cut else f"unreadable, {error}", path) from error
    if not any_size and image.size not in ((SIDE, SIDE), (FINAL_SIDE, FINAL_SIDE)):
        raise ImageError(f"wrong size, {image.width} x {image.height} px", path)
    if image.mode not in _MODES:
        raise ImageError(f"unreadable, pixels of the kind {image.mode!r}", path)
    pixels = np.asarray(_on_black(image))
    edge = 0 if any_size else (len(pixels) - SIDE) // 2
    return np.ascontiguousarray(pixels[edge : len(pixels) - edge, edge : pixels.shape[1] - edge])


def _on_black(image: Any) -> Any:
    unused = image.format == "BMP" and image.getextrema()[-1] == (0, 0)  # a fourth byte, no alpha
    if not unused and (image.mode in ("LA", "RGBA") or "transparency" in image.info):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image)
    return image.convert("RGB")


def nucleus_mask(image: np.ndarray, above: float = 0) -> np.ndarray:
    """Returns which pixels belong to the cell: those with a channel brighter than `above`.

    Args:
        image: Array of shape (..., h, w, channels) on a background of 0.
        above: Grey level from 0 to 255; a few levels leave out the noise of a compressed file.
    """
    return image.max(axis=-1) > above


def map_paths(measure: Callable[[str], Any], paths: Iterable[str]) -> Iterator:
    """Yields `measure(path)` of every path in order, computed in threads."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(measure, paths)


def map_files(measure: Callable[[bytes, str], Any], paths: Iterable[str]) -> Iterator:
    """Yields `measure(bytes, path)` of every file in order, computed in threads."""
    return map_paths(lambda path: measure(Path(path).read_bytes(), path), paths)


def map_images(measure: Callable[[np.ndarray], Any], paths: Iterable[str]) -> Iterator:
    """Yields `measure(image)` of every image file in order, computed in threads."""
    return map_files(lambda data, path: measure(decode(data, path)), paths)


def nucleus_area(table: "pd.DataFrame") -> np.ndarray:
    """Counts the pixels of every image that are not background, which is exactly black.

    Args:
        table: One row per image, with `path`; where a column `area` knows it, none is read.

    Returns:
        An integer array of shape (images,), in px.
    """
    area = np.array(table.get("area", np.full(len(table), np.nan)), dtype=float)
    new = np.isnan(area)
    counts = map_images(lambda image: np.count_nonzero(nucleus_mask(image)), table["path"][new])
    area[new] = list(counts)
    return area.astype(int)


def add_digests(table: "pd.DataFrame", *, any_size: bool = False) -> "pd.DataFrame":
    """Adds two SHA-256 digests to each image: of its file, and of what it shows.

    Args:
        table: One row per image, with `path`.
        any_size: Whether images of other sizes than C-NMC's are accepted.

    Returns:
        The table with the columns `sha256` and `pixels`. The second is the digest of the image
        written as a training image (`to_bmp`): equal across headers, formats and borders. Images
        without content, such as black ones, have neither, since they say nothing of whose they are.

    Raises:
        FileNotFoundError: If a file is missing.
        ImageError: If a file is not a whole image of the right size.
    """
    digests = list(map_files(partial(digest, any_size=any_size), table["path"]))
    table = table.assign(sha256=[d[0] for d in digests], pixels=[d[1] for d in digests])
    blank = table.loc[table["pixels"].isna(), "path"]
    if len(blank):
        named = ", ".join(blank.head(3))
        warnings.warn(f"{len(blank)} images are blank: look at them. {named}", stacklevel=2)
    return table.assign(sha256=table["sha256"].where(table["pixels"].notna()))


def digest(data: bytes, path: str, *, any_size: bool = False) -> tuple[str, str | None]:
    """Returns the digests of a file and of its image, None for one of a single colour."""
    file, plain = hashlib.sha256(data).hexdigest(), _read_plain(data)
    image = decode(data, path, any_size=any_size) if plain is None else plain
    pixels = image.reshape(-1, 3)
    if all((pixels[::step] == pixels[0]).all() for step in (997, 1)):  # a few tell of most
        return file, None
    return file, hashlib.sha256(to_bmp(image)).hexdigest() if plain is None else file


def _read_plain(data: bytes) -> np.ndarray | None:
    """Returns the rows of a file that is byte for byte as `to_bmp` writes it, else None."""
    header = _header(SIDE, SIDE)
    if data[:54] != header or len(data) != int.from_bytes(header[2:6], "little"):
        return None
    rows = np.frombuffer(data, np.uint8, offset=54).reshape(SIDE, -1)
    return None if rows[:, 3 * SIDE :].any() else rows[:, : 3 * SIDE]  # what fills up a row is 0


def to_bmp(image: np.ndarray) -> bytes:
    """Returns a uint8 image (h, w, 3) as a BMP file, byte for byte as C-NMC's training images."""
    height, width, _ = image.shape
    rows = np.pad(image[::-1, :, ::-1].reshape(height, -1), ((0, 0), (0, -3 * width % 4)))
    return _header(height, width) + rows.tobytes()


def _header(height: int, width: int) -> bytes:
    size = height * -(-3 * width // 4) * 4  # rows are filled up to a multiple of four bytes
    file = struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54)
    return file + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 3779, 3779, 0, 0)
