"""Figures of cropping and shrinking (notebook 02).

Figures of augmenting (notebook 02).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from helpers.augment import crop
from helpers.data import cnmc, image_files
from helpers.data.image_files import SIDE
from helpers.plots.style import CLASS_COLOURS, NEUTRAL, PALETTE, new_figure

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
        ax.imshow(brighten(image_files.read_image(path)))
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
        image = image_files.read_image(path)
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


def beside(rows: Sequence[Sequence[np.ndarray]], title: str, origin: str) -> Figure:
    """Shows each original at the left, what was drawn from it at its right.

    Args:
        rows: For each original, its pixels and then those of its copies; all rows equally long.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    lines, columns = len(rows), len(rows[0])
    size = (1.7 * columns, 1.7 * lines + 0.8)
    fig, axes = new_figure(title, origin, nrows=lines, ncols=columns, size=size, squeeze=False)
    for line, images in zip(axes, rows, strict=True):
        for ax, image in zip(line, images, strict=True):
            ax.imshow(brighten(image))
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
    names = ["original", *(f"copy {n}" for n in range(1, columns))]
    for ax, name in zip(axes[0], names, strict=True):
        ax.set_title(name, fontsize=9)
    return fig


def asked_and_done(done: pd.DataFrame, origin: str) -> Figure:
    """Draws how often a flip was done against how often it was asked for.

    Args:
        done: One row per asked probability and way, with `asked`, `way`, `done` (shares) and
            `tries`.
        origin: What was flipped.

    Returns:
        The figure; bars are 95 % intervals (Wilson).
    """
    from statsmodels.stats.proportion import proportion_confint

    tries = int(done["tries"].min())
    title = f"A flip asked for with probability p, in {tries:,} tries each"
    fig, ax = new_figure(title, origin, size=(8, 3.8))
    for number, (way, rows) in enumerate(done.groupby("way", sort=False)):
        counts = (rows["done"] * rows["tries"]).round()
        ends = proportion_confint(counts, rows["tries"], method="wilson")
        off = rows["done"] - rows["asked"]
        reach = np.abs(np.array(ends) - rows["done"].to_numpy())
        style = {"color": PALETTE[number], "marker": "os"[number], "linestyle": "none"}
        place = rows["asked"] + (0.006, -0.006)[number]
        ax.errorbar(place, 100 * off, yerr=100 * reach, capsize=3, label=way, **style)
    ax.axhline(0, color=NEUTRAL, linewidth=1)
    ax.set(xlabel="probability asked for", ylabel="done - asked [percentage points]")
    ax.legend(fontsize=9)
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
    names = list(dict.fromkeys(grown["operation"]))
    fig, ax = new_figure(
        "How an operation changes the size of a nucleus", origin, size=(9, 1 + 0.8 * len(names))
    )
    rng = np.random.default_rng(0)
    for line, name in enumerate(names):
        values = grown.loc[grown["operation"] == name, "growth"]
        height = line + rng.uniform(-0.25, 0.25, len(values))
        style = {"s": 9, "alpha": 0.5, "color": PALETTE[line % len(PALETTE)], "linewidths": 0}
        ax.scatter(values, height, **style)
    ax.axvline(class_ratio, color="black", linestyle="--", linewidth=1)
    text = f" ALL / HEM: {class_ratio:.2f}"
    ax.annotate(text, (class_ratio, 1), xycoords=("data", "axes fraction"), fontsize=9, va="bottom")
    labels = [f"{name}\n(n={(grown['operation'] == name).sum():,})" for name in names]
    ax.set_yticks(range(len(names)), labels, fontsize=9)
    ax.set(xlabel="diameter after / before", ylim=(len(names) - 0.5, -0.5))
    return fig


def balance(table: pd.DataFrame, origin: str) -> Figure:
    """Draws the images of each part and class, originals and augmented ones.

    Args:
        table: Rows with `split`, `label`, and `source` where they are augmented.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    kind = table["source"].notna().map({False: "original", True: "augmented"})
    counts = pd.crosstab([table["split"], table["label"]], kind)
    parts = [part for part in ("train", "validation", "test") if part in counts.index]
    fig, ax = new_figure("Images per part and class", origin, size=(8.5, 3.6))
    places = [(part, label) for part in parts for label in CLASS_COLOURS]
    for place, key in enumerate(places):
        row = counts.loc[key] if key in counts.index else pd.Series(dtype=int)
        _bar(ax, place + place // 2 * 0.5, row, CLASS_COLOURS[key[1]])
    at = [place + place // 2 * 0.5 for place in range(len(places))]
    ax.set_xticks(at, [f"{label}\n{part}" for part, label in places])
    ax.set_ylabel("images")
    ax.grid(visible=False, axis="x")
    ax.margins(y=0.12)
    marks = [
        Rectangle((0, 0), 1, 1, facecolor=NEUTRAL, label="original"),
        Rectangle(
            (0, 0), 1, 1, facecolor="white", edgecolor=NEUTRAL, hatch="//", label="augmented"
        ),
    ]
    ax.legend(handles=marks, fontsize=9)
    return fig


def _bar(ax: Axes, place: float, row: pd.Series, colour: str) -> None:
    """Draws one bar, the augmented part hatched on top of the original one."""
    original, added = int(row.get("original", 0)), int(row.get("augmented", 0))
    ax.bar(place, original, color=colour)
    style = {"facecolor": "white", "edgecolor": colour, "hatch": "//"}
    ax.bar(place, added, bottom=original, **style)
    ax.text(place, original + added, f"{original + added:,}", ha="center", va="bottom", fontsize=9)


def batch_grid(images: np.ndarray, labels: np.ndarray, title: str, origin: str) -> Figure:
    """Shows a batch as it is fed to a network, class in the colour of the frame and by a mark.

    Args:
        images: Pixels of shape (n, size, size, 3), 0 to 255.
        labels: Integers of shape (n,), ALL = 1 and HEM = 0.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    columns = min(10, len(images))
    lines = -(-len(images) // columns)
    size = (1.05 * columns + 0.5, 1.2 * lines + 0.9)
    fig, axes = new_figure(title, origin, nrows=lines, ncols=columns, size=size, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, image, label in zip(axes.flat, images, labels, strict=False):
        name = cnmc.CLASSES[int(label)]
        ax.imshow(brighten(image), interpolation="nearest")
        ax.set_title(f"{name} {int(label)}", fontsize=8, color=CLASS_COLOURS[name], pad=2)
    return fig
