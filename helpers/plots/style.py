"""The look that all figures and tables share, and the label that says where the data came from."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito (2008): told apart with any common colour vision, and in grey print.
CLASS_COLOURS = {"ALL": "#D55E00", "HEM": "#0072B2"}
_MARKS = {"ALL": "o", "HEM": "s"}
CLASS_LOOKS = {key: {"color": CLASS_COLOURS[key], "marker": mark} for key, mark in _MARKS.items()}
PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
NEUTRAL = "#555555"
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BESIDE = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": 9}  # a legend's place
Size = tuple[float, float]
Looks = Mapping[str, Mapping[str, Any]]
Arrays = Mapping[str, np.ndarray]
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


def new_figure(title: str, origin: str, size: Size = (9, 4), **subplots: Any) -> tuple[Figure, Any]:
    """Makes a figure in the series' style, labelled with the origin of its data.

    Args:
        title: Title over the whole figure.
        origin: Where the data came from, such as `Source.note`; printed in the corner.
        size: Width and height in inches.
        **subplots: Further arguments of `matplotlib.pyplot.subplots`, such as `nrows`, `ncols`.

    Returns:
        The figure and its axes, as from `matplotlib.pyplot.subplots`.
    """
    with sns.axes_style("whitegrid"), sns.plotting_context("notebook"), sns.color_palette(PALETTE):
        fig, axes = plt.subplots(figsize=size, layout="constrained", **subplots)
    fig.suptitle(title, fontsize=13)
    fig.supxlabel(origin, fontsize=9, style="italic", color=NEUTRAL, x=0.995, ha="right")
    return fig, axes


def dots(number: int) -> dict[str, str]:
    """Returns the colour and the marker of the first (0), second, ... group of dots."""
    return {"color": PALETTE[number % 7], "marker": MARKERS[number % 7]}


def dash(number: int) -> dict[str, str]:
    """Returns the colour and the dashes of the first (0), second, ... line."""
    return {"color": PALETTE[number % 7], "linestyle": LINES[number % 4]}


def panel_grid(
    count: int, title: str, origin: str, *, columns: int, side: Size, **grid: Any
) -> tuple[Figure, np.ndarray]:
    """Makes a figure of so many panels, each of `side` inches, and its axes (rows, columns)."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    size = (max(side[0] * columns + 0.4, 6.0), side[1] * rows + 0.9)
    fig, axes = new_figure(title, origin, size, nrows=rows, ncols=columns, squeeze=False, **grid)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return fig, axes


def image_grid(
    images: Iterable[np.ndarray],
    title: str,
    origin: str,
    *,
    columns: int = 6,
    titles: Iterable[str] = (),
    colours: Sequence[str] = (),
    rows: Sequence[str] = (),
    side: float = 1.6,
    bright: bool = False,
    **look: Any,
) -> tuple[Figure, np.ndarray]:
    """Shows pictures row by row.

    Args:
        images: Colours of shape (h, w, 3), 0 to 255, or values of shape (h, w).
        title: Title over the whole figure.
        origin: Where the data came from.
        columns: Pictures in a row, at most.
        titles: Texts over the pictures, the first ones or all.
        colours: Colours of these texts.
        rows: Names of the rows, at their left.
        side: Width of a picture in inches.
        bright: Whether colours are brightened.
        **look: Further arguments of `matplotlib.axes.Axes.imshow`.

    Returns:
        The figure, and its axes of shape (rows, columns).
    """
    images, titles = list(images), list(titles)
    sides = (side, side + 0.2 * (len(titles) > columns))  # room for titles within
    fig, axes = panel_grid(len(images), title, origin, columns=columns, side=sides)
    fig.set_figwidth(fig.get_figwidth() + 1.2 * bool(rows))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[], frame_on=False)
    for ax, image in zip(axes.flat, images, strict=False):
        colour = np.ndim(image) == 3
        ax.imshow(brighten(image, 1.6 if bright else 1.0) if colour else image, **look)
    for number, (ax, text) in enumerate(zip(axes.flat, titles, strict=False)):
        ax.set_title(text, fontsize=9, color=colours[number] if colours else "black")
    for ax, name in zip(axes[:, 0], rows, strict=False):
        ax.set_ylabel(name, fontsize=10, rotation=0, ha="right", va="center")
    return fig, axes


def brighten(image: np.ndarray, factor: float = 1.6) -> np.ndarray:
    """Makes dark images easier to see, all by the same factor: uint8 from pixels 0 to 255."""
    return np.clip(factor * np.asarray(image, float), 0, 255).astype(np.uint8)


def interval_rows(ax: Axes, rows: pd.DataFrame, looks: Looks, shift: float = 0.0) -> None:
    """Draws a dot per row at `value`, on a bar from `low` to `high`, from top to bottom.

    Args:
        ax: Where to draw.
        rows: Columns `name`, `kind`, `value` and, where there are intervals, `low` and `high`;
            rows of the same name share a line.
        looks: For each kind `color`, `marker` and such of its dots; the legend names the kinds.
        shift: How far below its line a row is drawn, in lines.
    """
    names = list(dict.fromkeys(rows["name"]))
    for kind, look in looks.items():
        some = rows[rows["kind"] == kind]
        place = some["name"].map(names.index) + shift
        if "low" in some:
            ax.hlines(place, some["low"], some["high"], color=look["color"], linewidth=2.5)
        ax.scatter(some["value"], place, **{"s": 45, "zorder": 3, "label": kind} | dict(look))
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.locator_params(axis="x", nbins=6)


def lines(
    panels: Mapping[str, Curves], title: str, origin: str, xlabel: str, ylabel: str, log: str = ""
) -> Figure:
    """Draws curves, one panel per group; of repeated ones the median, over the middle 90 %.

    Args:
        panels: Panel title to name to x of shape (points,) and y, of shape (points,), or (repeats,
            points) where it was measured several times.
        title: Title over the whole figure.
        origin: Where the data came from; "computed" where no data went in.
        xlabel: Label of all horizontal axes.
        ylabel: Label of the first vertical axis.
        log: Axes that are logarithmic: "", "x", "y" or "xy".

    Returns:
        The figure; a name keeps its colour and dash through the panels.
    """
    size = (6.5 + 2 * len(panels), 4)
    fig, axes = new_figure(title, origin, ncols=len(panels), size=size, squeeze=False)
    names = list(dict.fromkeys(name for group in panels.values() for name in group))
    for ax, (heading, group) in zip(axes.flat, panels.items(), strict=True):
        for name, (x, y) in group.items():
            number, repeats = names.index(name), np.atleast_2d(y)
            ax.plot(x, np.median(repeats, axis=0), label=name, lw=2, **dash(number))
            low, high = np.percentile(repeats, [5, 95], axis=0)
            ax.fill_between(x, low, high, color=PALETTE[number], alpha=0.15, lw=0)
        if not log and np.asarray(x).dtype.kind == "i":
            ax.locator_params("x", integer=True)
        ax.set(title=heading, xlabel=xlabel, **{f"{axis}scale": "log" for axis in log})
    axes[0, 0].set_ylabel(ylabel)
    if len(names) > 1:
        axes[0, -1].legend(*axes[0, 0].get_legend_handles_labels(), **BESIDE)
    return fig


def differences(
    rows: pd.DataFrame, looks: Looks, title: str, origin: str, xlabel: str, legend: str = ""
) -> Figure:
    """Makes a figure of `interval_rows` to both sides of zero."""
    fig, ax = new_figure(title, origin, size=(9.5, 1.7 + 0.36 * len(rows)))
    ax.axvline(0, color="black", linewidth=1)
    interval_rows(ax, rows, looks)
    ax.set_xlabel(xlabel)
    ax.legend(title=legend, **BESIDE)
    return fig


def show(fig: Figure, alt: str) -> None:
    """Displays a figure once in a notebook, with a text for those who cannot see it.

    Args:
        fig: The figure; it is closed afterwards.
        alt: What a reader should take from the figure, in one or two sentences.

    Raises:
        ValueError: If the text is empty.
    """
    from IPython.display import display

    if not alt.strip():
        raise ValueError(f"A figure needs an alt text that says what it shows. Received: {alt!r}")
    display(fig, metadata={"image/png": {"alt": alt}})
    plt.close(fig)


def show_table(table: pd.DataFrame, caption: str, origin: str, formats: dict | None = None) -> Any:
    """Returns a captioned table for the end of a notebook cell.

    Args:
        table: What to show.
        caption: One sentence over the table, with sample sizes where they matter.
        origin: Where the data came from, such as `Source.note`.
        formats: Format string per column, such as `{"accuracy": "{:.1%}"}`.

    Returns:
        A pandas Styler.
    """
    css = [{"selector": "caption", "props": "caption-side: top; text-align: left; color: inherit"}]
    styled = table.style.format(formats, na_rep="–").set_caption(f"{caption} ({origin})")
    # The name makes the same bytes of it each time the notebook is executed.
    return styled.set_table_styles(css).set_uuid("t")
