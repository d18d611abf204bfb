"""Figures of the building blocks of a network, and of how it learns (notebooks 00, 00b).

`explore` has a slider for a reader at a live front end, and all panels at once for everybody else,
so a notebook that was executed with nobody watching is complete, and shows no dead controls.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots.style import CLASS_LOOKS, NEUTRAL, PALETTE, Arrays, image_grid, new_figure, show

Function = Callable[[np.ndarray], np.ndarray]
Judges = Mapping[str, Function | None]
Names = tuple[str, str]


def plane(
    points: np.ndarray, labels: np.ndarray, judges: Judges, names: Names, title: str, origin: str
) -> Figure:
    """Draws cells in the plane of two features, over what a model thinks of each place in it.

    Args:
        points: Features of shape (cells, 2).
        labels: Class names of shape (cells,).
        judges: Panel title to a function from points (m, 2) to the probability of ALL (m,), or
            None for the cells alone.
        names: Names of the two features, with units.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure, one panel per judge; the line is where the probability is one half.
    """
    grid = {"ncols": len(judges), "squeeze": False, "sharex": True, "sharey": True}
    fig, axes = new_figure(title, origin, size=(4.6 * len(judges) + 0.9, 4.3), **grid)
    for ax, (name, judge) in zip(axes.flat, judges.items(), strict=True):
        shade = None if judge is None else _shade(ax, points, judge)
        for label, look in CLASS_LOOKS.items():
            here = points[labels == label]
            ax.scatter(*here.T, label=f"{label} (n={len(here)})", s=22, lw=0, alpha=0.75, **look)
        ax.set(title=name, xlabel=names[0])
    axes[0, 0].set_ylabel(names[1])
    axes[0, 0].legend(loc="lower left", fontsize=9, framealpha=0.9)
    if shade is not None:
        fig.colorbar(shade, ax=axes, label="probability of ALL", ticks=[0, 0.25, 0.5, 0.75, 1])
    return fig


def _shade(ax: Axes, points: np.ndarray, judge: Function) -> Any:
    """Colours the plane by the probability of ALL, with a line where it is one half."""
    edges = [(column.min() - 0.4, column.max() + 0.4) for column in points.T]
    across, up = np.meshgrid(*(np.linspace(*edge, 80) for edge in edges))
    judged = judge(np.column_stack([across.ravel(), up.ravel()])).reshape(across.shape)
    ax.contour(across, up, judged, levels=[0.5], colors="black", linewidths=1.5)
    ax.grid(visible=False)
    look = {"cmap": "RdBu_r", "vmin": 0, "vmax": 1, "alpha": 0.45, "aspect": "auto"}
    return ax.imshow(judged, origin="lower", extent=(*edges[0], *edges[1]), **look)


def descents(
    loss: Function, paths: Arrays, best: np.ndarray, names: Names, title: str, origin: str
) -> Figure:
    """Draws walks over a loss surface of two weights.

    Args:
        loss: Takes weights of shape (2, m), returns m losses.
        paths: Panel title to the weights after each step, shape (steps + 1, 2).
        best: The weights with the lowest loss, marked by a star.
        names: Names of the two weights.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure, one panel per path, all on the same stretch of the surface.
    """
    size = (max(2.8 * len(paths) + 0.9, 5.5), 3.8)
    fig, axes = new_figure(title, origin, ncols=len(paths), size=size, squeeze=False, sharey=True)
    reach = 1.15 * np.abs([path[0] - best for path in paths.values()]).max()
    sides = [np.linspace(middle - reach, middle + reach, 90) for middle in best]
    across, up = np.meshgrid(*sides)
    heights = loss(np.array([across.ravel(), up.ravel()])).reshape(across.shape)
    levels = np.geomspace(heights.min() * 1.005, heights.max(), 16)
    for ax, (name, path) in zip(axes.flat, paths.items(), strict=True):
        surface = ax.contourf(across, up, heights, levels=levels, cmap="cividis", extend="both")
        thin = {"lw": 0.4} if len(path) > 300 else {"lw": 1.4, "marker": ".", "ms": 4}
        ax.plot(*path.T, color="white", alpha=0.9, **thin)
        ax.plot(*best, marker="*", color=PALETTE[1], ms=15, mec="black", ls="none")
        ax.set(title=name, xlabel=names[0], xlim=sides[0][[0, -1]], ylim=sides[1][[0, -1]])
        ax.grid(visible=False)
    axes[0, 0].set_ylabel(names[1])
    fig.colorbar(surface, ax=axes, label="loss [nat per cell]", format="%.2f", ticks=levels[::3])
    return fig


def maps(pictures: Arrays, title: str, origin: str, *, numbers: str = "") -> Figure:
    """Shows arrays as pictures: grey from black, or blue to red about zero where values are signed.

    Args:
        pictures: Panel title to an array of shape (h, w), or (h, w, 3) with values 0 to 255.
        title: Title over the whole figure.
        origin: Where the data came from.
        numbers: Format of the value written into each pixel, such as "{:.0f}"; "" for none.

    Returns:
        The figure.
    """
    arrays = list(pictures.values())
    fig, axes = image_grid(arrays, title, origin, titles=pictures, side=2.3, cmap="gray", vmin=0)
    for ax, picture in zip(axes.flat, arrays, strict=False):
        if picture.ndim == 2 and picture.min() < 0:
            reach = np.abs(picture).max()
            ax.images[0].set(cmap="RdBu_r", clim=(-reach, reach))
        for (row, column), value in np.ndenumerate(picture) if numbers else ():
            box = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.75}
            text = numbers.format(value + 0.0)  # adding zero turns -0 into 0
            ax.text(column, row, text, ha="center", va="center", fontsize=8, bbox=box)
    return fig


def network(layers: Arrays, gradients: Sequence[np.ndarray], title: str, origin: str) -> Figure:
    """Draws a small network with its numbers: values of the way forth, gradients of the way back.

    Args:
        layers: What a layer holds, to the values of its nodes, in order.
        gradients: Derivative of the loss by each of them, in the same shapes.
        title: Title over the whole figure.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure(title, origin, size=(9, 4.2))
    ax.axis("off")
    heights = [(len(values) - 1) / 2 - np.arange(len(values)) for values in layers.values()]
    for depth, (here, there) in enumerate(pairwise(heights)):
        ends = np.array(list(product(here, there))).T
        ax.plot([depth, depth + 1], ends, color=NEUTRAL, lw=0.8, zorder=1)
    for depth, (name, values) in enumerate(layers.items()):
        ax.text(depth, 1.62, name, ha="center", fontsize=10)
        for y, value, slope in zip(heights[depth], values, gradients[depth], strict=True):
            ax.scatter(depth, y, s=2600, color="white", edgecolor=NEUTRAL, zorder=2)
            place = {"ha": "center", "va": "center", "fontsize": 10, "zorder": 3}
            ax.text(depth, y + 0.12, f"{value:+.2f}", **place)
            ax.text(depth, y - 0.13, f"{slope:+.2f}", color=PALETTE[1], weight="bold", **place)
    ax.set(xlim=(-0.4, len(layers) - 0.6), ylim=(-1.45, 1.85))
    return fig


def explore(draw: Callable, values: Sequence, name: str, alt: str, start: int = 0) -> None:
    """Shows all panels side by side or, at a live front end, one panel with a slider.

    Args:
        draw: Makes a figure with one panel per value.
        values: What the slider stops at, in order.
        name: Label of the slider.
        alt: What a reader should take from the figure.
        start: Index of the value at which the slider starts.
    """
    if not is_live():
        show(draw(values), alt)
        return
    import ipywidgets  # type: ignore[import-untyped]

    slider = ipywidgets.SelectionSlider(options=values, index=start, description=name)
    slider.continuous_update, slider.style.description_width = False, "initial"
    ipywidgets.interact(lambda value: show(draw([value]), alt), value=slider)


def is_live() -> bool:
    """Tells whether somebody sits at the notebook, who could move a slider.

    A front end that lets code ask for input says so with each cell; what executes notebooks
    unattended (nbclient, and so nbmake and nbconvert) says that it does not.
    """
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))
