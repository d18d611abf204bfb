"""Figures of cropping and shrinking (notebook 02)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from helpers import cnmc, crop
from helpers.images import SIDE
from helpers.plots.style import PALETTE, new_figure

LOST = {"nucleus": "#F0E442", "debris": "#56B4E9"}
LINES = ("-", "--", "-.", ":")


def crop_squares(
    paths: Sequence[str], sides: Sequence[int], titles: Sequence[str], origin: str
) -> Figure:
    """Draws the squares that crops would keep over a few images, brightened.

    Args:
        paths: The images, at least one.
        sides: Sides of the squares in px.
        titles: One text per image.
        origin: Where the data came from, such as `Source.note`.

    Returns:
        The figure.
    """
    fig, axes = _row("What a crop would keep", origin, len(paths), side=3.2)
    for ax, path, title in zip(axes, paths, titles, strict=True):
        ax.imshow(brighten(cnmc.read_image(path)))
        ax.set_title(title, fontsize=9)
        for number, side in enumerate(sides):
            corner = (SIDE - side) / 2 - 0.5
            style = {"edgecolor": "white", "facecolor": "none", "linestyle": LINES[number % 4]}
            ax.add_patch(Rectangle((corner, corner), side, side, **style))
            ax.text(corner + 4, corner + 6, f"{side}", color="white", fontsize=7, va="top")
    return fig


def _row(title: str, origin: str, count: int, side: float) -> tuple[Figure, np.ndarray]:
    """Makes one row of axes for images, without ticks."""
    size = (side * max(count, 2), side + 0.9)
    fig, axes = new_figure(title, origin, ncols=count, size=size, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    return fig, axes[0]


def brighten(image: np.ndarray) -> np.ndarray:
    """Makes the dark images easier to see, all by the same factor.

    Args:
        image: Pixels, 0 to 255.

    Returns:
        A uint8 array of the same shape.
    """
    return np.clip(1.6 * np.asarray(image, float), 0, 255).astype(np.uint8)


def crop_cuts(summary: pd.DataFrame, origin: str, *, chosen: int = 400) -> Figure:
    """Draws how many images each crop cuts, and what of them.

    Args:
        summary: As from `crop.summarise`.
        origin: Where the data came from.
        chosen: The paper's crop in px, marked.

    Returns:
        The figure.
    """
    images = int(summary["images"].max())
    fig, ax = new_figure(f"What a crop cuts, of {images:,} images", origin, size=(8.5, 3.8))
    kinds = {"cut": "anything", "nucleus if turned": "nucleus, if turned first"}
    for number, (column, text) in enumerate((kinds | {"nucleus": "nucleus"}).items()):
        share = 100 * summary[column] / summary["images"]
        style = {"color": PALETTE[number], "marker": "os^"[number], "linestyle": LINES[number]}
        ax.plot(summary.index, share, label=text, **style)
    ax.axvline(chosen, color="black", linewidth=1)
    ax.annotate("paper", (chosen, 1), xycoords=("data", "axes fraction"), fontsize=9, va="bottom")
    ax.set(xlabel="side of the crop [px]", ylabel="images that lose some [%]", xlim=(250, SIDE))
    ax.set_ylim(bottom=-1)
    ax.legend(title="lost", fontsize=9)
    return fig


def cut_cells(paths: Sequence[str], side: int, titles: Sequence[str], origin: str) -> Figure:
    """Shows what a crop cuts off a few images, nucleus and debris in colours of their own.

    Args:
        paths: The images, at least one.
        side: Side of the crop in px.
        titles: One text per image.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, axes = _row(f"What a crop to {side} px cuts off", origin, len(paths), side=2.6)
    edge = (SIDE - side) // 2
    outside = np.ones((SIDE, SIDE), bool)
    outside[edge : edge + side, edge : edge + side] = False
    for ax, path, title in zip(axes, paths, titles, strict=True):
        image = cnmc.read_image(path)
        shown = brighten(image)
        for colour, part in zip(LOST.values(), crop.find_nucleus(image), strict=True):
            shown[part & outside] = _rgb(colour)
        ax.imshow(shown)
        style = {"edgecolor": "white", "facecolor": "none", "linewidth": 0.8}
        ax.add_patch(Rectangle((edge - 0.5, edge - 0.5), side, side, **style))
        ax.set_title(title, fontsize=9)
    marks = [Line2D([], [], color=c, linewidth=6, label=f"{k} cut off") for k, c in LOST.items()]
    fig.legend(handles=marks, loc="outside lower left", ncols=2, fontsize=9)
    return fig


def _rgb(colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return (255 * np.array(to_rgb(colour))).astype(np.uint8)


def image_row(images: Mapping[str, np.ndarray], title: str, origin: str) -> Figure:
    """Shows images side by side, brightened, each under its name; every pixel stays a square.

    Args:
        images: Pixels of shape (h, w, 3), 0 to 255, by name.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, axes = _row(title, origin, len(images), side=3.0)
    for ax, (name, image) in zip(axes, images.items(), strict=True):
        ax.imshow(brighten(image), interpolation="nearest")
        ax.set_title(name, fontsize=10)
    return fig
