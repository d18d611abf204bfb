"""Draws one nucleus that could pass for a sibling of the real ones, from its class and its subject.

Everything is calibrated to published and measured figures of C-NMC 2019: size, outline, colour,
chromatin mottling, the dark outermost pixel with a bright rim inside it, and the odd bit of debris
that the published segmentation left on. Outlines are points (x, y) in px about their mean. Smooth
fields are sums of Gaussian bumps on a coarse grid, so that a nucleus takes some 20 ms and no
Fourier transform.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy import ndimage

from helpers.data.image_files import SIDE

ANGLES = np.linspace(0.0, 2 * np.pi, 480, endpoint=False)
SMALLEST, LARGEST = 9_000, 51_000  # px: the smallest published box of a cell is 69 x 79 px
LIMIT = SIDE // 2 - 4  # px from the centre; what reaches farther is cut off
# The rim scatters white light: height (levels of 255) and fall-off (px) in red, green and blue.
RIM_HEIGHT = np.array([31.0, 35.0, 29.0], np.float32)
RIM_LENGTH = np.array([4.0, 5.0, 8.0], np.float32)
OUTERMOST = np.array([0.50, 0.82, 0.50], np.float32)  # of the interior's colour
# One-factor model of chromatin: loadings on the common field give channel correlations of about
# .93 (red-green), .84 (red-blue) and .88 (green-blue) away from the rim.
CHROMATIN_SD = np.array([6.5, 3.4, 3.35], np.float32)
CHROMATIN_SHARED = np.array([0.94, 0.98, 0.89], np.float32)
DEBRIS = 0.15  # probability that a nucleus carries some
DEBRIS_COLOUR = np.array([66.0, 42.0, 52.0], np.float32)
# Mean and standard deviation of a nucleus' area in px, as published.
AREA = {"ALL": (36_500, 7_700), "HEM": (26_700, 8_300)}
# The form of nuclei goes from -1, as in the usual healthy subject, to 1, as in leukaemia. Waves,
# dents, nucleoli and chromatin follow it on average; every trait varies from cell to cell.
USUAL = {"ALL": 1.0, "HEM": -1.0}


@dataclass(frozen=True)
class Style:
    """What all nuclei of one subject (or one smear field of it) share."""

    colour: tuple[float, ...] = (69.5, 26.5, 76.5)  # mean red, green, blue of the interior
    tilt: tuple[float, float] = (0.0, 0.0)  # relative change of light per 100 px, right and down
    focus: float = 1.0  # fall-off of the rim relative to the usual one; above 1 is blurred
    size: float = 0.0  # in standard deviations of the class
    stretch: tuple[float, float] = (0.0, 0.0)  # shares of the diameter, right and down
    form: float = 0.0  # how far from its class, in the direction of leukaemia
    contrast: float = 1.0  # strength of the chromatin relative to the usual one


def draw_nucleus(rng: Generator, label: str, style: Style) -> np.ndarray:
    """Draws one nucleus on black.

    Args:
        rng: Source of all randomness; the same state gives the same picture.
        label: "ALL" or "HEM".
        style: The subject's style; `Style()` is an average one.

    Returns:
        An image of shape (450, 450, 3), uint8, exactly 0 outside the nucleus.

    Example:
        >>> draw_nucleus(np.random.default_rng(0), "ALL", Style()).shape
        (450, 450, 3)
    """
    form = np.clip(USUAL[label] + style.form, -2.2, 2.2)
    mean, spread = AREA[label]
    body = _draw_body(rng, form, mean + spread * style.size, style.stretch)
    debris = [_draw_debris(rng, body)] if rng.random() < DEBRIS else []
    nucleus, mask, corner = _rasterise([body, *debris])
    chromatin = _chromatin(rng, nucleus, form)
    colour = _colour(rng, chromatin, corner, style)
    if debris:
        inside = ndimage.gaussian_filter(nucleus.astype(np.float32), 2.5)[..., None]
        pale = DEBRIS_COLOUR + 3.0 * _field(rng, nucleus.shape, 6.0)[..., None]
        colour = inside * colour + (1.0 - inside) * pale
    colour = _add_edge(rng, colour, mask, style)
    return _place(rng, colour, mask, corner)


def _draw_body(rng: Generator, form: float, area: float, stretch: tuple) -> np.ndarray:
    """Draws the outline: an ellipse with waves, at times dented or frayed."""
    radius = _ellipse(rng)
    waves = 0.038 * np.exp(0.45 * form) * rng.lognormal(0.0, 0.35)  # their relative height
    radius *= 1.0 + (_wiggle(rng, waves, 3, 7) + _wiggle(rng, 0.22 * waves, 8, 30))
    if rng.random() < 1 / (1 + np.exp(-1.4 * form)):  # a dent
        radius *= 1.0 - _bump(rng, rng.uniform(0.05, 0.20), rng.uniform(0.08, 0.30))
    if rng.random() < 0.10:  # a ragged stretch, where the segmentation frayed
        radius += _bump(rng, 1.0, rng.uniform(0.15, 0.5)) * _wiggle(rng, 0.03, 14, 40)
    points = radius[:, None] * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
    points *= 1.0 + np.array(stretch)
    x, y = points.T
    drawn = 0.5 * abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()))
    points *= np.sqrt(np.clip(area, SMALLEST, LARGEST) / drawn)
    return points - points.mean(axis=0)


def _ellipse(rng: Generator) -> np.ndarray:
    eccentricity = np.clip(rng.normal(0.49, 0.13), 0.1, 0.8)
    flattening = np.sqrt(1.0 - eccentricity**2)
    turned = ANGLES - rng.uniform(0.0, np.pi)
    return 1.0 / np.hypot(np.cos(turned), np.sin(turned) / flattening)


def _wiggle(rng: Generator, height: float, low: int, high: int) -> np.ndarray:
    """Returns a random wave of the given standard deviation between two frequencies."""
    k = np.arange(low, high + 1)
    amplitude = rng.standard_normal(k.size) / k
    phase = rng.uniform(0.0, 2 * np.pi, k.size)
    wave = (amplitude[:, None] * np.cos(k[:, None] * ANGLES + phase[:, None])).sum(axis=0)
    return height * wave / np.sqrt((1.0 / k**2).sum() / 2)


def _bump(rng: Generator, height: float, width: float) -> np.ndarray:
    away = np.angle(np.exp(1j * (ANGLES - rng.uniform(0.0, 2 * np.pi))))
    return height * np.exp(-0.5 * (away / width) ** 2)


def _draw_debris(rng: Generator, body: np.ndarray) -> np.ndarray:
    """Draws a tail of cytoplasm or the arc of a red cell that starts at an outline."""
    start = body[rng.integers(len(body))]
    length, bend = rng.uniform(25, 85), rng.normal(0.0, 1.2)
    along = np.linspace(0.0, 1.0, 40)
    heading = np.arctan2(start[1], start[0]) + rng.normal(0.0, 0.5) + bend * along
    course = np.column_stack([np.cos(heading), np.sin(heading)])
    spine = 0.94 * start + np.cumsum(course, axis=0) * length / 40
    half = rng.uniform(6, 16) * (1 + _wiggle(rng, 0.25, 1, 12)[:320:8])
    side = np.column_stack([-course[:, 1], course[:, 0]]) * np.maximum(half, 2.0)[:, None]
    return np.vstack([spine + side, (spine - side)[::-1]])


def _rasterise(shapes: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Fills an outline, and one of debris if there is any, in the smallest window that holds both.

    Returns the mask of the nucleus, the mask of everything (one component, no holes), and the
    window's left and top from the centre of the image.
    """
    points = np.vstack(shapes)
    corner = np.maximum(np.floor(points.min(axis=0)) - 2, -LIMIT).astype(int)
    end = np.minimum(np.ceil(points.max(axis=0)) + 3, LIMIT).astype(int)
    nucleus, mask = _fill(shapes[:1], corner, end), _fill(shapes, corner, end)
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return nucleus & mask, ndimage.binary_fill_holes(mask), corner


def _fill(shapes: list[np.ndarray], corner: np.ndarray, end: np.ndarray) -> np.ndarray:
    canvas = Image.new("L", tuple(int(n) for n in end - corner))
    for shape in shapes:
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in shape - corner], fill=1)
    return np.asarray(canvas) > 0


def _chromatin(rng: Generator, nucleus: np.ndarray, form: float) -> np.ndarray:
    """Returns the chromatin field: mean 0, and standard deviation 1 before the nucleoli.

    `grain` is the width of a clump in px, `strands` the share that lies in strands, not in clumps.
    """
    grain = 8.5 * np.exp(0.19 * form) * rng.lognormal(0.0, 0.15)
    strands = np.float32(np.clip(0.28 + 0.17 * form + rng.normal(0.0, 0.2), 0.0, 1.0))
    clumps = np.exp(0.45 * _field(rng, nucleus.shape, grain))
    threads = np.exp(-1.2 * _field(rng, nucleus.shape, 1.4 * grain) ** 2)
    field = (1 - strands) * 2.0 * clumps + strands * 2.6 * threads
    field += 0.45 * _field(rng, nucleus.shape, 35.0) + 0.35 * _field(rng, nucleus.shape, 4.0)
    field = (field - field[nucleus].mean()) / field[nucleus].std()
    for _ in range(rng.poisson(0.55 * np.exp(1.5 * form))):
        _add_nucleolus(rng, field)
    return field - field[nucleus].mean()


def _field(rng: Generator, shape: tuple[int, ...], width: float) -> np.ndarray:
    """Returns a smooth random field of variance 1: Gaussian bumps of that width (px) on a grid."""
    rows, columns = (_bumps(length, width) for length in shape)
    heights = rng.standard_normal((columns.shape[1], rows.shape[1]), dtype=np.float32)
    # einsum, not @: the threads of a matrix product could change the last bit.
    return np.einsum("ij,kj->ik", np.einsum("ij,kj->ik", rows, heights), columns)


def _bumps(length: int, width: float) -> np.ndarray:
    centres = width * np.arange(-1, int(length / width) + 3, dtype=np.float32)
    places = np.arange(length, dtype=np.float32)[:, None]
    bumps = np.exp(-0.5 * ((places - centres) / np.float32(width)) ** 2)
    return bumps / np.sqrt((bumps**2).sum(axis=1, keepdims=True))


def _add_nucleolus(rng: Generator, field: np.ndarray) -> None:
    """Adds a pale round body with a faint darker seam, somewhere in the middle of the nucleus."""
    away = 0.25 * min(field.shape) * np.sqrt(rng.random())
    turn, radius, strength = rng.uniform(0, 2 * np.pi), rng.uniform(14, 24), rng.uniform(1.5, 2.7)
    row, column = np.array(field.shape) / 2 + away * np.array([np.sin(turn), np.cos(turn)])
    reach = 2.8 * radius
    middle = zip((row, column), field.shape, strict=True)
    window = tuple(slice(max(int(at - reach), 0), min(int(at + reach), n)) for at, n in middle)
    y, x = np.ogrid[window]
    distance = np.hypot(x - column, y - row) / radius
    seam = np.exp(-(((distance - 1.5) / 0.6) ** 2))
    field[window] += strength * np.exp(-(distance**3)) - 0.4 * seam


def _colour(rng: Generator, chromatin: np.ndarray, corner: np.ndarray, style: Style) -> np.ndarray:
    """Stains the chromatin, and lights it from one side."""
    colour = np.empty((*chromatin.shape, 3), np.float32)
    for channel, mean in enumerate(style.colour):
        shared = CHROMATIN_SHARED[channel]
        own = np.sqrt(1 - shared**2) * _field(rng, chromatin.shape, 14.0)
        sd = np.float32(style.contrast) * CHROMATIN_SD[channel]
        colour[..., channel] = np.float32(mean) + sd * (shared * chromatin + own)
    y, x = np.ogrid[: chromatin.shape[0], : chromatin.shape[1]]
    light = 1.0 + style.tilt[0] * (x + corner[0]) / 100 + style.tilt[1] * (y + corner[1]) / 100
    return colour * light.astype(np.float32)[..., None]


def _add_edge(rng: Generator, colour: np.ndarray, mask: np.ndarray, style: Style) -> np.ndarray:
    """Adds the bright rim, stronger here and weaker there, and darkens the outermost pixel."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, None].astype(np.float32)
    strength = np.clip(0.95 + 0.25 * _field(rng, mask.shape, 30.0), 0.2, 1.5)[..., None]
    focus = np.float32(style.focus)
    rim = RIM_HEIGHT / np.sqrt(focus) * np.exp((1.5 - depth) / (RIM_LENGTH * focus))
    noise = rng.standard_normal(mask.shape, dtype=np.float32)[..., None]
    edged = colour + strength * rim + np.float32(0.6) * noise
    dark = OUTERMOST * np.float32(style.colour) * np.clip(1.1 + 0.35 * noise, 0.15, 1.6)
    return np.where(depth <= 1.0, dark, edged)


def _place(rng: Generator, colour: np.ndarray, mask: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Puts the nucleus near the middle of a black image."""
    room = SIDE - np.array(mask.shape[::-1])
    drift = np.round(rng.normal(0.0, 2.5, 2)).astype(int)
    left, top = np.clip(SIDE // 2 + corner + drift, 0, room)
    right, bottom = room - (left, top)
    pixels = np.clip(np.rint(colour), 1, 255).astype(np.uint8) * mask[..., None]
    return np.pad(pixels, ((top, bottom), (left, right), (0, 0)))
