"""Draws one nucleus that could pass for a sibling of the real ones, from its class and its subject.

Everything is calibrated to published and measured figures of C-NMC 2019: size, outline, colour,
chromatin mottling, the dark outermost pixel with a bright rim inside it, and the odd bit of debris
that the published segmentation left on. Smooth fields are sums of Gaussian bumps on a coarse grid,
so that a nucleus takes some 20 ms and no Fourier transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

SIDE = 450  # px, as in C-NMC 2019
ANGLES = np.linspace(0.0, 2 * np.pi, 480, endpoint=False)

# The rim scatters white light: height (levels of 255) and fall-off (px) in red, green and blue.
RIM_HEIGHT = np.array([27.0, 34.0, 27.0])
RIM_LENGTH = np.array([4.0, 5.0, 8.0])
OUTERMOST = np.array([0.50, 0.82, 0.50])  # of the interior's colour
# One-factor model of chromatin: loadings on the common field give channel correlations of about
# .93 (red-green), .84 (red-blue) and .88 (green-blue) away from the rim.
CHROMATIN_SD = np.array([7.2, 3.9, 3.7])
CHROMATIN_SHARED = np.array([0.94, 0.98, 0.89])
DEBRIS_COLOUR = np.array([92.0, 68.0, 80.0])


@dataclass(frozen=True)
class Kind:
    """What the nuclei of one class tend to look like; every trait overlaps with the other class.

    Args:
        area: Mean area in px.
        area_habit: Standard deviation of the area between subjects, in px.
        area_cell: Standard deviation of the area between the cells of one subject, in px.
        lobes: Typical relative height of the outline's waves.
        dent: Probability of a dent in the outline.
        nucleoli: Mean number of nucleoli that show.
        grain: Typical width of a chromatin clump in px.
        strands: Share of the chromatin that lies in strands rather than in clumps, 0 to 1.
    """

    area: float
    area_habit: float
    area_cell: float
    lobes: float
    dent: float
    nucleoli: float
    grain: float
    strands: float


KINDS = {
    "ALL": Kind(36_900, 3_600, 6_000, 0.026, 0.50, 1.5, 10.5, 0.55),
    "HEM": Kind(26_900, 4_200, 6_200, 0.018, 0.22, 0.35, 7.8, 0.20),
}


@dataclass(frozen=True)
class Style:
    """What all nuclei of one subject (or one smear field of it) share.

    Args:
        colour: Mean red, green and blue of the interior, in levels of 255.
        tilt: Illumination gradient to the right and downwards, relative change per 100 px.
        focus: Fall-off of the bright rim relative to the usual one; above 1 is blurred.
        size: Size habit in standard deviations between subjects.
        contrast: Strength of the chromatin relative to the usual one.
        debris: Probability that a nucleus carries debris.
    """

    colour: tuple[float, float, float] = (71.0, 30.0, 79.0)
    tilt: tuple[float, float] = (0.0, 0.0)
    focus: float = 1.0
    size: float = 0.0
    contrast: float = 1.0
    debris: float = 0.15


def draw_nucleus(rng: np.random.Generator, label: str, style: Style | None = None) -> np.ndarray:
    """Draws one nucleus on black.

    Args:
        rng: Source of all randomness; the same state gives the same picture.
        label: "ALL" or "HEM".
        style: The subject's style; by default an average one.

    Returns:
        An image of shape (450, 450, 3), uint8, exactly 0 outside the nucleus.

    Raises:
        ValueError: If the label is none of the two classes.

    Example:
        >>> draw_nucleus(np.random.default_rng(0), "ALL").shape
        (450, 450, 3)
    """
    if label not in KINDS:
        raise ValueError(f"A nucleus is drawn as 'ALL' or 'HEM'. Received: {label!r}")
    kind, style = KINDS[label], style or Style()
    body = _outline(rng, kind, style)
    debris = _debris(rng, body) if rng.random() < style.debris else []
    nucleus, mask, corner = _rasterise(body, debris)
    chromatin = _chromatin(rng, nucleus, kind)
    colour = _colour(rng, chromatin, style) * _illumination(mask.shape, corner, style)
    if debris:
        colour = _blend_debris(rng, colour, nucleus)
    colour = _add_edge(rng, colour, mask, style)
    return _place(rng, colour, mask, corner)


def _outline(rng: np.random.Generator, kind: Kind, style: Style) -> np.ndarray:
    """Returns the outline as 480 (x, y) points about the origin."""
    area = kind.area + kind.area_habit * style.size + kind.area_cell * rng.standard_normal()
    radius = _ellipse(rng) * (1.0 + _waves(rng, kind))
    if rng.random() < kind.dent:
        radius *= 1.0 - _bump(rng, rng.uniform(0.04, 0.16), rng.uniform(0.08, 0.35))
    if rng.random() < 0.15:  # a ragged stretch, where the segmentation frayed
        radius += _bump(rng, 1.0, rng.uniform(0.15, 0.5)) * _wiggle(rng, 0.02, 18, 60)
    points = radius[:, None] * np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
    points *= np.sqrt(np.clip(area, 17_000, 51_000) / _polygon_area(points))
    return points - points.mean(axis=0)


def _ellipse(rng: np.random.Generator) -> np.ndarray:
    eccentricity = np.clip(rng.normal(0.50, 0.13), 0.1, 0.8)
    flattening = np.sqrt(1.0 - eccentricity**2)
    turned = ANGLES - rng.uniform(0.0, np.pi)
    return 1.0 / np.hypot(np.cos(turned), np.sin(turned) / flattening)


def _waves(rng: np.random.Generator, kind: Kind) -> np.ndarray:
    height = kind.lobes * rng.lognormal(0.0, 0.35)
    return _wiggle(rng, height, 3, 7) + _wiggle(rng, 0.25 * height, 8, 30)


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


def _debris(rng: np.random.Generator, body: np.ndarray) -> list[np.ndarray]:
    """Returns a strip of cytoplasm or the arc of a red cell that starts at the outline."""
    start = body[rng.integers(len(body))]
    outward = np.arctan2(start[1], start[0])
    length, bend = rng.uniform(20, 60), rng.normal(0.0, 1.0)
    along = np.linspace(-8.0, length, 24)
    heading = outward + bend * along / length + rng.normal(0.0, 0.4)
    spine = start * 0.97 + np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]), 0) * (
        along[1] - along[0]
    )
    half = rng.uniform(4, 14) * (1 + 0.25 * np.cumsum(rng.standard_normal(24)) / 3)
    normal = np.column_stack([-np.sin(heading), np.cos(heading)]) * np.maximum(half, 3)[:, None]
    return [np.vstack([spine + normal, (spine - normal)[::-1]])]


def _rasterise(
    body: np.ndarray, debris: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the masks of nucleus and of nucleus with debris, and their corner from the centre."""
    points = np.vstack([body, *debris])
    corner = np.maximum(np.floor(points.min(axis=0)) - 2, 4 - SIDE // 2).astype(int)
    end = np.minimum(np.ceil(points.max(axis=0)) + 3, SIDE // 2 - 4).astype(int)
    nucleus = _fill([body], corner, end - corner)
    mask = _fill([body, *debris], corner, end - corner)
    parts, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count > 1:
        mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return nucleus & mask, ndimage.binary_fill_holes(mask) if debris else mask, corner


def _fill(polygons: list[np.ndarray], corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    canvas = Image.new("L", tuple(int(n) for n in size))
    for polygon in polygons:
        ImageDraw.Draw(canvas).polygon([tuple(p) for p in polygon - corner], fill=1)
    return np.asarray(canvas) > 0


def _chromatin(rng: np.random.Generator, nucleus: np.ndarray, kind: Kind) -> np.ndarray:
    """Returns the common chromatin field: mean 0 and standard deviation 1 inside the nucleus."""
    grain = kind.grain * rng.lognormal(0.0, 0.18)
    strands = np.clip(kind.strands + rng.normal(0.0, 0.2), 0.0, 1.0)
    clumps = np.exp(0.45 * _field(rng, nucleus.shape, grain))
    threads = np.exp(-1.2 * np.abs(_field(rng, nucleus.shape, 1.3 * grain)))
    shade = _field(rng, nucleus.shape, 35.0)
    fine = _field(rng, nucleus.shape, 3.0)
    field = (1 - strands) * 2.2 * clumps + strands * 4.0 * threads + 0.45 * shade + 0.12 * fine
    field = (field - field[nucleus].mean()) / field[nucleus].std()
    for _ in range(rng.poisson(kind.nucleoli)):
        field += _nucleolus(rng, nucleus)
    return field - field[nucleus].mean()


def _field(rng: np.random.Generator, shape: tuple[int, int], width: float) -> np.ndarray:
    """Returns a smooth random field of variance 1: Gaussian bumps of that width (px) on a grid."""
    rows, columns = (_bumps(length, width) for length in shape)
    heights = rng.standard_normal((rows.shape[1], columns.shape[1]), dtype=np.float32)
    # einsum, not @: the threads of a matrix product could change the last bit.
    return np.einsum("ij,kj->ik", np.einsum("ij,jk->ik", rows, heights), columns)


def _bumps(length: int, width: float) -> np.ndarray:
    centres = width * np.arange(-2, int(length / width) + 4)
    bumps = np.exp(-0.5 * ((np.arange(length)[:, None] - centres) / width) ** 2)
    return (bumps / np.sqrt((bumps**2).sum(axis=1, keepdims=True))).astype(np.float32)


def _nucleolus(rng: np.random.Generator, nucleus: np.ndarray) -> np.ndarray:
    """Returns a pale round body with a darker seam, somewhere in the middle of the nucleus."""
    height, width = nucleus.shape
    y, x = np.indices(nucleus.shape, sparse=True)
    away = 0.25 * min(height, width) * np.sqrt(rng.random())
    turn, radius = rng.uniform(0, 2 * np.pi), rng.uniform(9, 17)
    distance = np.hypot(x - width / 2 - away * np.cos(turn), y - height / 2 - away * np.sin(turn))
    pale = np.exp(-((distance / radius) ** 4))
    seam = np.exp(-(((distance - 1.35 * radius) / (0.35 * radius)) ** 2))
    return rng.uniform(1.0, 2.2) * pale - 0.7 * seam


def _colour(rng: np.random.Generator, chromatin: np.ndarray, style: Style) -> np.ndarray:
    own = [_field(rng, chromatin.shape, 14.0) for _ in range(3)]
    loadings = zip(CHROMATIN_SD * style.contrast, CHROMATIN_SHARED, style.colour, own, strict=True)
    return np.stack(
        [mean + sd * (share * chromatin + np.sqrt(1 - share**2) * own_field)
         for sd, share, mean, own_field in loadings],
        axis=-1,
    )  # fmt: skip


def _illumination(shape: tuple[int, int], corner: np.ndarray, style: Style) -> np.ndarray:
    y, x = np.indices(shape, sparse=True)
    light = 1.0 + style.tilt[0] * (x + corner[0]) / 100 + style.tilt[1] * (y + corner[1]) / 100
    return light[..., None]


def _blend_debris(rng: np.random.Generator, colour: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    inside = ndimage.gaussian_filter(nucleus.astype(np.float32), 2.5)[..., None]
    pale = DEBRIS_COLOUR + 3.0 * _field(rng, nucleus.shape, 6.0)[..., None]
    return inside * colour + (1.0 - inside) * pale


def _add_edge(
    rng: np.random.Generator, colour: np.ndarray, mask: np.ndarray, style: Style
) -> np.ndarray:
    """Adds the bright rim, stronger here and weaker there, and darkens the outermost pixel."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, None].astype(np.float32)
    strength = np.clip(1.0 + 0.35 * _field(rng, mask.shape, 30.0), 0.2, 2.0)[..., None]
    rim = RIM_HEIGHT * np.exp(-(depth - 1.5) / (RIM_LENGTH * style.focus)) / style.focus**0.5
    noise = rng.standard_normal(mask.shape, dtype=np.float32)[..., None]
    edged = colour + strength * rim + 0.7 * noise
    return np.where(depth <= 1.0, OUTERMOST * np.array(style.colour), edged)


def _place(
    rng: np.random.Generator, colour: np.ndarray, mask: np.ndarray, corner: np.ndarray
) -> np.ndarray:
    """Puts the nucleus near the middle of a black image."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    left, top = np.clip(
        SIDE // 2 + corner + np.round(rng.normal(0.0, 2.5, 2)).astype(int),
        0,
        SIDE - np.array(mask.shape[::-1]),
    )
    window = image[top : top + mask.shape[0], left : left + mask.shape[1]]
    window[mask] = np.clip(np.round(colour[mask]), 1, 255).astype(np.uint8)
    return image
