"""Figures of cropping and augmenting (notebook 02)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from helpers.plots import style
from helpers.plots.style import BESIDE, CLASS_COLOURS, NEUTRAL, PALETTE, image_grid, new_figure

LOST = {"nucleus": "#F0E442", "debris": "#56B4E9"}
Images = Sequence[np.ndarray]


def crop_squares(images: Images, sides: Sequence[int], titles: list[str], origin: str) -> Figure:
    """Draws the squares that crops would keep over a few images, brightened.

    Args:
        images: Pixels of whole square images, at least one.
        sides: Sides of the squares in px.
        titles: One text per image.
        origin: Where the data came from, such as `Source.note`.

    Returns:
        The figure.
    """
    title = "What a crop would keep"
    fig, axes = image_grid(images, title, origin, titles=titles, side=3.2, bright=True)
    for ax, image in zip(axes.flat, images, strict=True):
        for number, side in enumerate(sides):
            corner = (len(image) - side) / 2
            ax.add_patch(_square(corner, side, linestyle=style.LINES[number % 4]))
            ax.text(corner + 4, corner + 6, f"{side}", color="white", fontsize=7, va="top")
    return fig


def _square(corner: float, side: float, **look) -> Rectangle:
    """A white square whose upper left pixel is that many px from both edges."""
    start = corner - 0.5  # a pixel's middle is at its number
    return Rectangle((start, start), side, side, edgecolor="white", facecolor="none", **look)


def crop_cuts(summary: pd.DataFrame, origin: str) -> Figure:
    """Draws how many images each crop cuts, and what of them.

    Args:
        summary: As from `crop.summarise`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    images = int(summary["images"].max())
    fig, ax = new_figure(f"What a crop cuts, of {images:,} images", origin, size=(8.5, 3.8))
    texts = {"cut": "anything", "nucleus if turned": "nucleus, if turned first", "nucleus": None}
    for number, (column, text) in enumerate(texts.items()):
        share = 100 * summary[column] / summary["images"]
        look = style.dots(number) | style.dash(number)
        ax.plot(summary.index, share, label=text or column, **look)
    _mark(ax, 400, "paper")
    ax.set(xlabel="side of the crop [px]", ylabel="images that lose some [%]", xlim=(250, 450))
    ax.set_ylim(bottom=-1)
    ax.legend(title="lost", fontsize=9)
    return fig


def _mark(ax: Axes, place: float, text: str, line: str = "-") -> None:
    """Draws a vertical line with a text at its top."""
    ax.axvline(place, color="black", linestyle=line, linewidth=1)
    ax.annotate(text, (place, 1), xycoords=("data", "axes fraction"), fontsize=9, va="bottom")


def cut_cells(
    images: Images, parts: Sequence[Images], side: int, titles: Sequence[str], origin: str
) -> Figure:
    """Shows what a crop cuts off a few images, nucleus and debris in colours of their own.

    Args:
        images: Pixels of whole square images, at least one.
        parts: Which pixels are nucleus, and which debris, of each, as from `crop.find_nucleus`.
        side: Side of the crop in px.
        titles: One text per image.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    edge = (len(images[0]) - side) // 2
    kept = np.pad(np.ones((side, side), bool), edge)
    shown = [style.brighten(image) for image in images]
    for image, masks in zip(shown, parts, strict=True):
        for colour, mask in zip(LOST.values(), masks, strict=True):
            image[mask & ~kept] = np.multiply(255, to_rgb(colour))
    title = f"What a crop to {side} px cuts off"
    fig, axes = image_grid(shown, title, origin, titles=titles, side=2.6)
    for ax in axes.flat:
        ax.add_patch(_square(edge, side, linewidth=0.8))
    marks = [Patch(color=colour, label=f"{name} cut off") for name, colour in LOST.items()]
    fig.legend(handles=marks, loc="outside lower left", ncols=2, fontsize=9)
    return fig


def asked_and_done(done: pd.DataFrame, tries: int, origin: str) -> Figure:
    """Draws how often a flip was done against how often it was asked for.

    Args:
        done: One row per asked probability and way, with `asked`, `way`, and the share `done` with
            its interval, `low` to `high`.
        tries: How many there were of each.
        origin: What was flipped.

    Returns:
        The figure.
    """
    title = f"A flip asked for with probability p, in {tries:,} tries each"
    fig, ax = new_figure(title, origin, size=(8, 3.8))
    for number, (way, rows) in enumerate(done.groupby("way", sort=False)):
        off = 100 * rows[["done", "low", "high"]].sub(rows["asked"], axis="index")
        reach = [off["done"] - off["low"], off["high"] - off["done"]]
        place, look = rows["asked"] + (0.006, -0.006)[number], style.dots(number)
        ax.errorbar(place, off["done"], reach, capsize=3, label=way, linestyle="none", **look)
    ax.axhline(0, color=NEUTRAL, linewidth=1)
    ax.set(xlabel="probability asked for", ylabel="done - asked [percentage points]")
    ax.legend(**BESIDE)
    return fig


def growth(grown: pd.DataFrame, class_ratio: float, origin: str) -> Figure:
    """Draws how much larger a nucleus is after an operation, beside the difference of the classes.

    Args:
        grown: One row per image drawn, with `operation` and `growth` (diameter after by before).
        class_ratio: Mean diameter of ALL by that of HEM.
        origin: Where the data came from.

    Returns:
        The figure, with one line of dots per operation.
    """
    kinds, names = pd.factorize(grown["operation"])
    title = "How an operation changes the size of a nucleus"
    fig, ax = new_figure(title, origin, size=(9, 1 + 0.8 * len(names)))
    heights = kinds + np.random.default_rng(0).uniform(-0.25, 0.25, len(kinds))
    colours = [PALETTE[kind % 7] for kind in kinds]
    ax.scatter(grown["growth"], heights, s=9, alpha=0.5, color=colours, linewidths=0)
    _mark(ax, class_ratio, f" ALL / HEM: {class_ratio:.2f}", line="--")
    counts = zip(names, np.bincount(kinds), strict=True)
    ax.set_yticks(range(len(names)), [f"{name}\n(n={n:,})" for name, n in counts], fontsize=9)
    ax.set(xlabel="diameter after / before", ylim=(len(names) - 0.5, -0.5))
    return fig


def balance(counts: pd.DataFrame, origin: str) -> Figure:
    """Draws the images of each part and class, originals and augmented ones.

    Args:
        counts: Numbers of images `original` and `augmented`, by part and class.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure("Images per part and class", origin, size=(8.5, 3.6))
    keys = [(part, label) for part in ("train", "validation", "test") for label in CLASS_COLOURS]
    counts = counts.reindex(index=keys, columns=["original", "augmented"], fill_value=0)
    place = np.arange(len(keys)) + np.arange(len(keys)) // 2 * 0.5
    colours = [CLASS_COLOURS[label] for _, label in keys]
    first, hatched = counts["original"], {"facecolor": "white", "hatch": "//"}
    ax.bar(place, first, color=colours)
    bars = ax.bar(place, counts["augmented"], bottom=first, edgecolor=colours, **hatched)
    ax.bar_label(bars, [f"{count:,}" for count in counts.sum(axis=1)], fontsize=9)
    ax.set_xticks(place, [f"{label}\n{part}" for part, label in keys])
    ax.set_ylabel("images")
    ax.grid(visible=False, axis="x")
    ax.margins(y=0.12)
    added = Patch(edgecolor=NEUTRAL, label="augmented", **hatched)
    ax.legend(handles=[Patch(facecolor=NEUTRAL, label="original"), added], fontsize=9)
    return fig
