"""Stain and light of a nucleus: measured, moved to a target, shifted to another lab.

Nuclei lie on exact black, which published code takes for the darkest stain there is, since it
expects a white background. So everything here looks at the nucleus alone, and black stays black.
Every function of an image takes and returns uint8 pixels of shape (h, w, 3), red first.
`write_copies` keeps what a treatment makes of the images of a table.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from helpers import runs
from helpers.data.image_files import add_digests, decode, map_files, nucleus_mask
from helpers.settings import work_dir

VERSION = 1  # raise it whenever a treatment changes an image otherwise
WHITE = 255.0  # what the camera would have given without a cell in the light
_STRENGTH = 99  # percentile that stands for a stain's full strength, as in Macenko et al. 2009


@dataclass(frozen=True)
class Appearance:
    """What the stain of some nuclei looks like: the target of a normalisation."""

    lab_mean: np.ndarray  # of L*, a* and b*
    lab_sd: np.ndarray  # their standard deviations
    # Optical density of the two stains in red, green and blue, each of length 1; the one that takes
    # more red comes first. Shape (2, 3).
    stains: np.ndarray
    strengths: np.ndarray  # robust maximum of the concentration of each stain


def measure(images: Iterable[np.ndarray], per_image: int = 2_000) -> Appearance:
    """Measures the common appearance of images, each with the same weight.

    Args:
        images: One or more images.
        per_image: Pixels drawn from each.

    Returns:
        The appearance of all pixels together.
    """
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.choice(nucleus_pixels(image), per_image) for image in images])
    lab, density = rgb2lab(pixels / np.float32(WHITE)), optical_density(pixels)
    stains = _find_stains(density)
    strengths = np.percentile(density @ np.linalg.pinv(stains), _STRENGTH, axis=0)
    return Appearance(lab.mean(axis=0), lab.std(axis=0), stains, strengths)


def nucleus_pixels(image: np.ndarray) -> np.ndarray:
    """Returns the pixels that are not black background, as an array of shape (n, 3)."""
    pixels = image[nucleus_mask(image)]
    if len(pixels) < 2:
        raise ValueError(f"A stain needs a nucleus. Received: {len(pixels)} pixels, the rest black")
    return pixels


def optical_density(pixels: np.ndarray) -> np.ndarray:
    """Returns what dye takes from the light, in natural logarithms: it adds where dyes add.

    Example:
        >>> optical_density(np.array([94, 35])).round(1).tolist()
        [1.0, 2.0]
    """
    return -np.log(np.maximum(pixels, 1, dtype=np.float32) / np.float32(WHITE))


def _find_stains(density: np.ndarray) -> np.ndarray:
    """Finds the two directions between which all pixels lie, in the plane that holds most."""
    plane = np.linalg.eigh(np.cov(density.T))[1][:, :0:-1]  # the two largest, the largest first
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    along, across = (density @ plane).T
    # As in Macenko et al. 2009, these percentiles stand for the two pure stains.
    angles = np.percentile(np.arctan2(across, along), (1, 99))
    stains = np.array([plane @ (np.cos(angle), np.sin(angle)) for angle in angles])
    return stains[np.argsort(-stains[:, 0])]


def reinhard(image: np.ndarray, target: Appearance) -> np.ndarray:
    """Gives the nucleus the target's mean and spread of lightness and colour.

    Source: Reinhard et al. 2001, IEEE CG&A 21(5), 34-41; in CIELAB, as is usual for stains.

    Args:
        image: The image.
        target: The appearance to reach.

    Returns:
        The normalised image; equal to the target but for rounding and what no screen can show.
    """
    lab = rgb2lab(nucleus_pixels(image) / np.float32(WHITE))
    spread = np.maximum(lab.std(axis=0), 1e-6)
    moved = (lab - lab.mean(axis=0)) / spread * target.lab_sd + target.lab_mean
    moved[:, 0] = np.maximum(moved[:, 0], 0)  # darker than black, or yellower than any light
    moved[:, 2] = np.minimum(moved[:, 2], 200 * (moved[:, 0] + 16) / 116 - 1e-3)
    return _paint(image, lab2rgb(moved.astype(np.float32)) * WHITE)


def macenko(image: np.ndarray, target: Appearance) -> np.ndarray:
    """Separates the nucleus into two stains and mixes it again from the target's stains.

    Source: Macenko et al. 2009, IEEE ISBI, 1107-1110; here the nucleus mask replaces the
    threshold that leaves out the white background.

    Args:
        image: The image.
        target: The appearance to reach.

    Returns:
        The normalised image.
    """
    density = optical_density(nucleus_pixels(image))
    stains = _find_stains(density[::4])  # neighbours are alike
    found = density @ np.linalg.pinv(stains)  # of density = found @ stains, in least squares
    full = np.maximum(np.percentile(found, _STRENGTH, axis=0), 1e-6)
    mixed = (found / full * target.strengths) @ target.stains
    return _paint(image, WHITE * np.exp(-mixed))


def even_light(image: np.ndarray) -> np.ndarray:
    """Takes out light that falls off to one side: the plane through the logarithm of the pixels.

    Args:
        image: The image.

    Returns:
        The image as under even light, of the same geometric mean.
    """
    pixels = nucleus_pixels(image)
    places = np.argwhere(nucleus_mask(image)).astype(float)
    places -= places.mean(axis=0)
    logs = -optical_density(pixels).mean(axis=1)
    slope = np.linalg.lstsq(places, logs - logs.mean(), rcond=None)[0]
    return _paint(image, pixels * np.exp(-places @ slope)[:, None])


def as_seen_in(image: np.ndarray, density: Sequence[float], light: Sequence[float]) -> np.ndarray:
    """Shows the nucleus as another laboratory would have stained and lit it.

    By the law of Beer and Lambert dye multiplies optical density, and lamps multiply light.

    Args:
        image: The image.
        density: Factors on the optical density of red, green and blue: more dye, or another dye.
        light: Factors on the light: brightness and colour of lamp and camera.

    Returns:
        The same cell, seen there.
    """
    levels = optical_density(np.arange(256))[:, None] * np.asarray(density)
    seen = WHITE * np.exp(-levels) * np.asarray(light)
    return _paint(image, seen[nucleus_pixels(image), (0, 1, 2)])


def _paint(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Puts new pixels on the nucleus; none becomes black, or it would turn into background."""
    painted = np.zeros_like(image)
    painted[nucleus_mask(image)] = np.clip(np.rint(pixels), 1, WHITE).astype(np.uint8)
    return painted


def write_copies(table: pd.DataFrame, transform: Callable) -> pd.DataFrame:
    """Writes a changed copy of every image below the work folder, once.

    They are found again by what the transform does: the text of its function, its defaults and its
    arguments. What it calls or reads by a global name is not looked at, so after a change there,
    give it another argument, or delete the folder `stain`.

    Args:
        table: One row per image, with `path`.
        transform: What to do with an image: a function with a name, from the top of a module or a
            notebook, or `functools.partial` of one, with plain values, arrays and dataclasses.

    Returns:
        The table with the paths and the digests of the copies.

    Raises:
        ValueError: If the transform or an argument is something else.
    """
    images = runs.table_digest(table[table.columns.intersection(["path", "sha256"])])
    description = {"images": images, "transform": _identify(transform), "version": VERSION}
    paths = table["path"].unique()
    names = {path: f"{n:05}_{Path(path).stem}.png" for n, path in enumerate(paths)}
    description["names"] = [names[path] for path in table["path"]]

    def make(folder: Path) -> None:
        def write(data: bytes, path: str) -> None:
            image = Image.fromarray(transform(decode(data, path)))
            image.save(folder / names[path], compress_level=1)

        list(map_files(write, paths))

    folder = runs.make_once(work_dir() / "stain", description, make)
    return add_digests(table.assign(path=[str(folder / names[path]) for path in table["path"]]))


def _identify(transform: Callable) -> str:
    """Digests the text of a function and what it is given; refuses what has no text of its own."""
    call = transform if isinstance(transform, partial) else partial(transform)
    given = [*call.args, *call.keywords.values()]
    # Lambdas and inner functions may have the text of one that does something else.
    is_named = inspect.isfunction(call.func) and "<" not in call.func.__qualname__
    if not is_named or hasattr(call.func, "__wrapped__") or any(map(callable, given)):
        raise ValueError(
            "A transform is a named function from the top of a module or notebook, or partial of "
            f"one with plain values, arrays and dataclasses. Received: {transform!r}"
        )
    text, defaults = inspect.getsource(call.func), call.func.__defaults__
    return joblib.hash([text, defaults, call.func.__kwdefaults__, call.args, call.keywords])
