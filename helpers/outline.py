"""Outlines of drawn nuclei, as points, and what becomes of them on the pixel grid."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

ANGLES = np.linspace(0.0, 2 * np.pi, 480, endpoint=False)
SMALLEST, LARGEST = 17_000, 51_000  # px, the range of real nuclei


def draw_body(
    rng: np.random.Generator,
    area: float,
    lobes: float,
    dent: float,
    stretch: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Draws the outline of a nucleus: an ellipse with waves, at times dented or frayed.

    Args:
        rng: Source of all randomness.
        area: Area in px, kept within that of real nuclei.
        lobes: Typical relative height of the waves.
        dent: Probability of a dent, 0 to 1.
        stretch: Elongation to the right and downwards, as shares of the diameter.

    Returns:
        Points (x, y) in px about their mean, shape (480, 2).
    """
    radius = _ellipse(rng) * (1.0 + _waves(rng, lobes))
    if rng.random() < dent:
        radius *= 1.0 - _bump(rng, rng.uniform(0.05, 0.20), rng.uniform(0.08, 0.30))
    if rng.random() < 0.10:  # a ragged stretch, where the segmentation frayed
        radius += _bump(rng, 1.0, rng.uniform(0.15, 0.5)) * _wiggle(rng, 0.03, 14, 40)
    points = radius[:, None] * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
    points *= 1.0 + np.array(stretch)
    points *= np.sqrt(np.clip(area, SMALLEST, LARGEST) / _polygon_area(points))
    return points - points.mean(axis=0)


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    eccentricity = np.clip(rng.normal(0.49, 0.13), 0.1, 0.8)
    flattening = np.sqrt(1.0 - eccentricity**2)
    turned = ANGLES - rng.uniform(0.0, np.pi)
    return 1.0 / np.hypot(np.cos(turned), np.sin(turned) / flattening)


def _waves(rng: np.random.Generator, lobes: float) -> np.ndarray:
    height = lobes * rng.lognormal(0.0, 0.35)
    return _wiggle(rng, height, 3, 7) + _wiggle(rng, 0.22 * height, 8, 30)


def _wiggle(rng: np.random.Generator, height: float, low: int, high: int) -> np.ndarray:
    """Returns a random wave of the given standard deviation between two frequencies."""
    k = np.arange(low, high + 1)
    amplitude = rng.standard_normal(k.size) / k
    phase = rng.uniform(0.0, 2 * np.pi, k.size)
    wave = (amplitude[:, None] * np.cos(k[:, None] * ANGLES + phase[:, None])).sum(axis=0)
    return height * wave / np.sqrt((1.0 / k**2).sum() / 2)


def _bump(rng: np.random.Generator, height: float, width: float) -> np.ndarray:
    away = np.angle(np.exp(1j * (ANGLES - rng.uniform(0.0, 2 * np.pi))))
    return height * np.exp(-0.5 * (away / width) ** 2)


def _polygon_area(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()))


def draw_debris(rng: np.random.Generator, body: np.ndarray) -> np.ndarray:
    """Draws a tail of cytoplasm or the arc of a red cell that starts at an outline.

    Args:
        rng: Source of all randomness.
        body: The outline, as from `draw_body`.

    Returns:
        Points (x, y) in px, shape (80, 2).
    """
    start = body[rng.integers(len(body))]
    length, bend = rng.uniform(25, 85), rng.normal(0.0, 1.2)
    along = np.linspace(0.0, 1.0, 40)
    heading = np.arctan2(start[1], start[0]) + rng.normal(0.0, 0.5) + bend * along
    course = np.column_stack([np.cos(heading), np.sin(heading)])
    spine = 0.94 * start + np.cumsum(course, axis=0) * length / 40
    half = rng.uniform(6, 16) * (1 + _wiggle(rng, 0.25, 1, 12)[:320:8])
    side = np.column_stack([-course[:, 1], course[:, 0]]) * np.maximum(half, 2.0)[:, None]
    return np.vstack([spine + side, (spine - side)[::-1]])


def rasterise(
    body: np.ndarray, debris: np.ndarray | None, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fills an outline, with its debris if any, in the smallest window that holds them.

    Args:
        body: Points of the nucleus about the centre of the image.
        debris: Points of the debris, or None.
        side: Side of the image in px; what does not fit is cut off.

    Returns:
        The mask of the nucleus, the mask of everything (one component, no holes), and the
        window's left and top from the centre of the image.
    """
    shapes = [body] if debris is None else [body, debris]
    points, limit = np.vstack(shapes), side // 2 - 4
    corner = np.maximum(np.floor(points.min(axis=0)) - 2, -limit).astype(int)
    end = np.minimum(np.ceil(points.max(axis=0)) + 3, limit).astype(int)
    nucleus, mask = _fill(shapes[:1], corner, end), _fill(shapes, corner, end)
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return nucleus & mask, ndimage.binary_fill_holes(mask), corner


def _fill(shapes: list[np.ndarray], corner: np.ndarray, end: np.ndarray) -> np.ndarray:
    canvas = Image.new("L", tuple(int(n) for n in end - corner))
    for shape in shapes:
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in shape - corner], fill=1)
    return np.asarray(canvas) > 0
