"""Figures of notebook 05: what the layers of a network see, and where it looks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots.style import NEUTRAL, PALETTE, new_figure

REGION_COLOURS = {"nucleus": PALETTE[0], "edge": PALETTE[4], "background": NEUTRAL}


def activation_grid(
    answers: np.ndarray, layer: str, origin: str, *, most: int = 32, dead: np.ndarray | None = None
) -> Figure:
    """Draws the channels of one layer for one image, the loudest first, dead ones marked.

    Args:
        answers: Shape (height, width, channels), or (channels,) for a dense layer.
        layer: Name of the layer.
        origin: Where the image came from.
        most: Channels drawn at most; the title says how many there are.
        dead: For each channel whether it is dead over many images. Without it, channels are
            marked that are silent on this image: at zero or constant.

    Returns:
        The figure.
    """
    maps = answers if answers.ndim == 3 else answers[None, None, :]
    silent = np.ptp(maps, axis=(0, 1)) == 0 if maps.size > maps.shape[2] else maps[0, 0] <= 0
    word, marked = ("silent", silent) if dead is None else ("dead", dead)
    order = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:most]
    columns = min(8, len(order))
    rows = -(-len(order) // columns)
    fig, axes = new_figure(
        f"{layer}: {len(order)} of {maps.shape[2]} channels, {maps.shape[0]} x {maps.shape[1]} px; "
        f"{np.sum(marked)} of all {word}",
        origin, nrows=rows, ncols=columns, size=(9.0, 0.6 + 1.15 * rows), squeeze=False,
    )  # fmt: skip
    image = None
    for ax, channel in zip(axes.flat, order, strict=False):
        image = _draw_map(ax, maps[..., channel], float(np.abs(maps[..., order]).max()))
        ax.set_title(f"{channel}{' ' + word if marked[channel] else ''}", fontsize=7, pad=2)
        if marked[channel]:
            _cross_out(ax)
    for ax in axes.flat[len(order) :]:
        ax.set_axis_off()
    fig.colorbar(image, ax=axes, label="activation", shrink=0.9, pad=0.01)
    return fig


def _draw_map(ax: Axes, values: np.ndarray, top: float):
    low = -top if values.min() < 0 else 0.0
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    return ax.imshow(values, cmap="viridis", vmin=low, vmax=top or 1.0)


def _cross_out(ax: Axes) -> None:
    line = {"color": PALETTE[3], "linewidth": 1.2, "transform": ax.transAxes}
    ax.plot([0, 1], [0, 1], **line)
    ax.plot([0, 1], [1, 0], **line)


def filter_grid(filters: np.ndarray, origin: str) -> Figure:
    """Draws the kernels of a first convolution as little colour images, grey where they are 0.

    Args:
        filters: Shape (height, width, 3, filters).
        origin: What network they are from.

    Returns:
        The figure.
    """
    count = min(filters.shape[-1], 32)
    rows = -(-count // 8)
    fig, axes = new_figure(
        f"First layer: {count} of {filters.shape[-1]} filters, each scaled to its largest weight",
        origin, nrows=rows, ncols=8, size=(9.0, 0.7 + 1.05 * rows), squeeze=False,
    )  # fmt: skip
    for number, ax in enumerate(axes.flat):
        ax.set_axis_off()
        if number < count:
            kernel = filters[..., number]
            ax.imshow(0.5 + 0.5 * kernel / max(np.abs(kernel).max(), 1e-12))
            ax.set_title(f"{number}: {np.abs(kernel).max():.2f}", fontsize=7, pad=2)
    return fig


def silence_by_depth(zeros: pd.DataFrame, dead: pd.DataFrame, origin: str) -> Figure:
    """Draws the share of zeros and of dead channels against depth, for several networks.

    Args:
        zeros: Rows with `network`, `subject`, `depth`, `zeros` (mean of a subject's images).
        dead: Rows with `network`, `depth`, `dead`.
        origin: Where the images came from.

    Returns:
        The figure: left the subjects as points and their mean as a line, right the dead channels.
    """
    subjects = zeros["subject"].nunique()
    fig, (left, right) = new_figure(
        f"Activations at zero against depth ({subjects} unseen subjects)",
        origin, ncols=2, size=(10.0, 4.2), sharex=True, sharey=True,
    )  # fmt: skip
    looks = zip(zeros["network"].unique(), PALETTE, "os^D", (-0.12, 0.12, 0.0, 0.24), strict=False)
    for network, colour, marker, shift in looks:
        rows, gone = zeros.query("network == @network"), dead.query("network == @network")
        left.scatter(rows["depth"] + shift, rows["zeros"], s=10, alpha=0.35, color=colour, lw=0)
        mean = rows.groupby("depth")["zeros"].mean()
        style = {"color": colour, "marker": marker, "label": network, "markersize": 5}
        left.plot(mean.index, mean, **style)
        right.plot(gone["depth"], gone["dead"], **style)
    left.set(xlabel="rectified layer, 1 = first", ylabel="share", ylim=(-0.02, 1.02))
    left.set_title("activations at zero: each point one subject, line = mean", fontsize=10)
    right.set(xlabel="rectified layer, 1 = first")
    right.set_title("dead channels: at zero on every image", fontsize=10)
    left.legend(loc="lower right", fontsize=9)
    return fig


def cam_grid(
    images: np.ndarray, maps: dict[str, np.ndarray], titles: list[str], origin: str
) -> Figure:
    """Draws images over their Grad-CAM maps, one row per network.

    Args:
        images: Shape (n, side, side, 3), 0 to 255; drawn brightened.
        maps: For each network its maps, shape (n, side, side).
        titles: One per image.
        origin: Where the images came from.

    Returns:
        The figure.
    """
    rows, columns = 1 + len(maps), len(images)
    fig, axes = new_figure(
        "Grad-CAM: which places spoke for ALL",
        origin, nrows=rows, ncols=columns, size=(1.5 * columns + 1, 1.5 * rows + 0.8),
        squeeze=False,
    )  # fmt: skip
    heat = None
    for column, image in enumerate(images):
        axes[0, column].imshow(_brightened(image))
        axes[0, column].set_title(titles[column], fontsize=8)
        for row, one in enumerate(maps.values(), 1):
            axes[row, column].imshow(_brightened(image).mean(axis=-1), cmap="gray", vmin=0, vmax=1)
            heat = axes[row, column].imshow(one[column], cmap="inferno", alpha=0.6, vmin=0, vmax=1)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    for row, name in enumerate(["image", *maps]):
        axes[row, 0].set_ylabel(name, fontsize=9)
    fig.colorbar(heat, ax=axes[1:], label="share of maximum", pad=0.01)
    return fig


def _brightened(image: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(image, float) * 2.0 / 255, 0, 1)


def attention_bars(shares: pd.DataFrame, origin: str) -> Figure:
    """Draws which share of the maps lies on nucleus, edge and background.

    Args:
        shares: Rows with `network`, `region`, `subject` and `ratio` (attention over area).
        origin: Where the images came from.

    Returns:
        The figure: each point a subject, bars their mean; 1 is what a blind map would get.
    """
    count = shares["subject"].nunique()
    fig, ax = new_figure(
        f"Attention per area: where Grad-CAM is denser than chance ({count} subjects)",
        origin, size=(9.0, 4.0),
    )  # fmt: skip
    common = {
        "data": shares, "x": "network", "y": "ratio", "hue": "region", "ax": ax,
        "palette": REGION_COLOURS, "hue_order": list(REGION_COLOURS),
    }  # fmt: skip
    sns.barplot(**common, errorbar=None, alpha=0.55)
    sns.stripplot(**common, dodge=True, size=4, legend=False, edgecolor="white", linewidth=0.4)
    ax.axhline(1.0, color="black", linestyle="--", linewidth=1, label="a blind map")
    ax.set(xlabel="", ylabel="share of the map / share of the image")
    ax.legend(title="", fontsize=9)
    return fig


def sanity_curve(table: pd.DataFrame, origin: str) -> Figure:
    """Draws how Grad-CAM changes as ever more layers lose what they learned.

    Args:
        table: As from `gradcam.sanity`.
        origin: Where the images came from.

    Returns:
        The figure.
    """
    images = table["image"].nunique()
    fig, ax = new_figure(
        f"Sanity check: maps after shuffling the weights ({images} images)",
        origin, size=(8.0, 3.8),
    )  # fmt: skip
    jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(table))
    ax.scatter(table["shuffled"] + jitter, table["similarity"], s=12, alpha=0.5, color=PALETTE[5])
    middle = table.groupby("shuffled")["similarity"].median()
    ax.plot(middle.index, middle, color=PALETTE[0], marker="o", label="median")
    ax.axhline(0, color=NEUTRAL, linewidth=1, linestyle="--")
    ax.set(xlabel="layers shuffled, from the output down", ylabel="rank correlation with the map")
    ax.set(ylim=(-1.05, 1.05))
    ax.legend(fontsize=9)
    return fig


def journey(image: np.ndarray, answers: dict[str, np.ndarray], verdict: str, origin: str) -> Figure:
    """Draws one cell's way through a network: the loudest channels of each stop, side by side.

    Args:
        image: Shape (side, side, 3), 0 to 255.
        answers: For each stop in order its answers to that image, (height, width, channels).
        verdict: What the network said in the end.
        origin: Where the image came from.

    Returns:
        The poster.
    """
    stops = 1 + len(answers)
    fig, axes = new_figure(
        f"The journey of a cell through the network: {verdict}\n(each layer on a colour scale "
        "of its own, from 0 up)",
        origin, nrows=5, ncols=stops, size=(1.45 * stops, 7.6), squeeze=False,
    )  # fmt: skip
    for ax in axes.flat:
        ax.set_axis_off()
    axes[2, 0].imshow(_brightened(image))
    axes[1, 0].text(0.5, 0.0, f"the cell\n{image.shape[0]} x {image.shape[1]} x 3", fontsize=8,
                    ha="center", va="bottom", transform=axes[1, 0].transAxes)  # fmt: skip
    for column, (name, maps) in enumerate(answers.items(), 1):
        order = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:5]
        for ax, channel in zip(axes[:, column], order, strict=False):
            ax.imshow(maps[..., channel], cmap="viridis", vmin=0, vmax=maps.max() or 1)
        zeros = float((maps <= 0).mean())
        size = " x ".join(map(str, maps.shape))
        axes[0, column].set_title(f"{name}\n{size}\n{zeros:.0%} at zero", fontsize=8)
    return fig
