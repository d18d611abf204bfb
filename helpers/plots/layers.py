"""Figures of what the layers of a network see, and where it looks (notebooks 05, 06)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.plots.style import NEUTRAL, PALETTE, Arrays, brighten, dots, image_grid, new_figure

REGION_COLOURS = {"nucleus": PALETTE[0], "edge": PALETTE[4], "background": NEUTRAL}
CAM_TITLE = "Grad-CAM: which places spoke for ALL"


def activation_grid(answers: np.ndarray, layer: str, origin: str) -> Figure:
    """Draws the loudest channels of one layer for one image, silent ones crossed out.

    Args:
        answers: Shape (height, width, channels), or (channels,) for a dense layer.
        layer: Name of the layer.
        origin: Where the image came from.

    Returns:
        The figure, each channel on a scale of its own, from the lowest to the highest value over
        it. A channel is silent that is constant, in a dense layer one that is at zero.
    """
    maps = answers if answers.ndim == 3 else answers[None, None, :]
    silent = np.ptp(maps, axis=(0, 1)) == 0 if maps.size > maps.shape[2] else maps[0, 0] <= 0
    order = loudest(maps)
    shown = np.moveaxis(maps[..., order], -1, 0)
    height, width, count = maps.shape
    title = f"{layer}: the loudest {len(order)} of {count} channels, {height} x {width} px; "
    title += f"{silent.sum()} of all silent"
    ranges = [f"{n}: {maps[..., n].min():.2g} to {maps[..., n].max():.2g}" for n in order]
    titles = [f"{n} silent" if silent[n] else span for n, span in zip(order, ranges, strict=True)]
    fig, axes = image_grid(shown, title, origin, columns=4, side=2.3, titles=titles)
    for ax, channel in zip(axes.flat, order, strict=False):
        for ends in ((0, 1), (1, 0)) if silent[channel] else ():
            ax.plot((0, 1), ends, transform=ax.transAxes, color=PALETTE[3], linewidth=1.2)
    return fig


def loudest(maps: np.ndarray, most: int = 8) -> np.ndarray:
    """Returns the channels with the highest activations, from the highest down."""
    return np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:most]


def silence_by_depth(zeros: pd.DataFrame, dead: pd.DataFrame, origin: str) -> Figure:
    """Draws the share of zeros and of dead channels against depth, for several networks.

    Args:
        zeros: Rows with `network`, `subject`, `depth`, `zeros` (mean of a subject's images).
        dead: Rows with `network`, `depth`, `dead`.
        origin: Where the images came from.

    Returns:
        The figure: left the subjects as points and their mean as a line, right the dead channels.
    """
    title = f"Activations at zero against depth ({zeros['subject'].nunique()} unseen subjects)"
    fig, (left, right) = new_figure(title, origin, (10, 4.2), ncols=2, sharex=True, sharey=True)
    for number, (network, rows) in enumerate(zeros.groupby("network", sort=False)):
        gone, shift = dead[dead["network"] == network], (-0.12, 0.12, 0.0, 0.24)[number]
        left.scatter(rows["depth"] + shift, rows["zeros"], 10, PALETTE[number], alpha=0.35, lw=0)
        look = dots(number) | {"markersize": 5}
        left.plot(rows.groupby("depth")["zeros"].mean(), label=network, **look)
        right.plot(gone["depth"], gone["dead"], **look)
    left.set(xlabel="rectified layer, 1 = first", ylabel="share", ylim=(-0.02, 1.02))
    left.set_title("activations at zero: each point one subject, line = mean", fontsize=10)
    right.set(xlabel="rectified layer, 1 = first")
    right.set_title("dead channels: at zero on every image", fontsize=10)
    left.legend(loc="lower right", fontsize=9)
    return fig


def cam_grid(
    images: np.ndarray, maps: Arrays, titles: Sequence[str], origin: str, title: str = CAM_TITLE
) -> Figure:
    """Draws images over their Grad-CAM maps with the outline of the cell, one row per network.

    Args:
        images: Shape (n, side, side, 3), 0 to 255; drawn brightened.
        maps: For each network its maps, shape (n, side, side), 0 to 1.
        titles: One per image.
        origin: Where the images came from.
        title: Title over the whole figure.

    Returns:
        The figure.
    """
    grey = [brighten(image).mean(axis=-1) for image in images]
    fig, axes = image_grid(
        [*images, *grey * len(maps)], title, origin, columns=len(images), titles=titles,
        rows=("image", *maps), side=2.1, bright=True, cmap="gray", vmin=0, vmax=255,
    )  # fmt: skip
    heats = np.concatenate(list(maps.values()))
    for ax, heat, cell in zip(axes[1:].flat, heats, grey * len(maps), strict=True):
        shown = ax.imshow(heat, cmap="inferno", alpha=0.7, vmin=0, vmax=1)
        ax.contour(cell, [20], colors="white", linewidths=1)
    fig.colorbar(shown, ax=axes, label="share of maximum", pad=0.01)
    return fig


def attention_bars(shares: pd.DataFrame, origin: str) -> Figure:
    """Draws which share of the maps lies on nucleus, edge and background.

    Args:
        shares: Rows with `network`, `region`, `subject` and `ratio` (attention over area).
        origin: Where the images came from.

    Returns:
        The figure: each point a subject, bars their mean; 1 is what a blind map would get.
    """
    count = shares["subject"].nunique()
    title = f"Attention per area: where Grad-CAM is denser than chance ({count} subjects)"
    fig, ax = new_figure(title, origin)
    common = {"data": shares, "x": "network", "y": "ratio", "hue": "region", "ax": ax}
    common |= {"palette": REGION_COLOURS, "hue_order": REGION_COLOURS}
    sns.barplot(**common, errorbar=None, alpha=0.55)
    sns.stripplot(**common, dodge=True, size=4, legend=False, edgecolor="white", linewidth=0.4)
    ax.axhline(1.0, color="black", linestyle="--", linewidth=1, label="a blind map")
    ax.set(xlabel="", ylabel="share of the map / share of the image")
    ax.legend(title="", fontsize=9)
    return fig


def journey(image: np.ndarray, answers: Arrays, verdict: str, origin: str) -> Figure:
    """Draws one cell's way through a network: the loudest channel of each stop, row by row.

    Args:
        image: Shape (side, side, 3), 0 to 255.
        answers: For each stop in order its answers to that image, (height, width, channels).
        verdict: What the network said in the end.
        origin: Where the image came from.

    Returns:
        The poster, each channel on a scale of its own, from 0 up.
    """
    pictures, titles = [brighten(image)], ["the cell\n" + " x ".join(map(str, image.shape))]
    for name, maps in answers.items():
        pictures.append(maps[..., loudest(maps, 1)[0]])
        size = " x ".join(map(str, maps.shape))
        titles.append(f"{name}: {size}\n{(maps <= 0).mean():.0%} at zero")
    title = f"The journey of a cell through the network: {verdict}"
    return image_grid(pictures, title, origin, columns=4, titles=titles, side=2.3, vmin=0)[0]
