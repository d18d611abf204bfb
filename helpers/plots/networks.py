"""Figures of notebooks 03 and 04: how networks are built, and how they learn."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.plots.style import BESIDE, NEUTRAL, PALETTE, dots, new_figure

KIND_COLOURS = {"input": NEUTRAL, "convolution": PALETTE[5], "dense": PALETTE[4]}
PAPER_RATE = 2e-4


def architectures(blocks: pd.DataFrame, origin: str) -> Figure:
    """Draws networks side by side, top to bottom, one box per block.

    A box is as wide as its maps are (on a logarithmic scale) and as high as it has layers.

    Args:
        blocks: Rows with `network`, `kind` ("input", "convolution" or "dense"), `layers` (with
            weights), `side` (px; 1 for vectors), `channels` and `parameters`, input first.
        origin: What the sizes were counted on.

    Returns:
        The figure.
    """
    groups = dict(list(blocks.groupby("network", sort=False)))
    count = len(groups)
    title = f"{count} architectures: side x side x channels, layers with weights, parameters"
    fig, axes = new_figure(title, origin, ncols=count, size=(2.9 * count, 7.0), squeeze=False)
    for ax, (name, rows) in zip(axes.flat, groups.items(), strict=True):
        _draw_blocks(ax, rows, np.log2(blocks["side"].max()) + 1)
        layers, parameters = rows["layers"].sum(), rows["parameters"].sum()
        ax.set_title(f"{name}\n{layers} layers, {in_millions(parameters)}", fontsize=11)
    return fig


def _draw_blocks(ax: Axes, rows: pd.DataFrame, widest: float) -> None:
    top = 0.0
    for row in rows.itertuples():
        height = 0.75 + 0.35 * row.layers**0.5
        width = 0.45 + 0.55 * (np.log2(row.side) + 1) / widest
        look = {"facecolor": KIND_COLOURS[row.kind], "edgecolor": NEUTRAL, "linewidth": 0.8}
        ax.add_patch(Rectangle((-width / 2, top - height), width, height, alpha=0.45, **look))
        ax.text(0, top - height / 2, _label(row), ha="center", va="center", fontsize=8)
        top -= height + 0.18
    ax.set(xlim=(-0.55, 0.55), ylim=(top, 0.1))
    ax.set_axis_off()


def _label(row) -> str:
    if row.kind == "dense":
        return f"{row.channels}\n{row.layers} dense, {in_millions(row.parameters)}"
    size = f"{row.side} x {row.side} x {row.channels}"
    if row.kind == "input":
        return f"image {size}"
    return f"{size}\n{row.layers} conv, {in_millions(row.parameters)}"


def in_millions(number: float) -> str:
    """Writes a number of parameters for people.

    Example:
        >>> in_millions(14_714_688), in_millions(23_456), in_millions(514)
        ('14.7 M', '23 k', '514')
    """
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number / 1e3:.0f} k"


def training_curves(histories: Mapping[str, pd.DataFrame], title: str, origin: str) -> Figure:
    """Draws loss and accuracy against the epoch, one column per network.

    Args:
        histories: For each network its history as from `trainer.train`; rows of several stages
            may follow each other, with a column `stage`.
        title: Title of the figure.
        origin: Where the images came from, and the weights.

    Returns:
        The figure: solid the training part, dashed the validation part, a ring at the epoch that
        was kept, a dotted line where a new stage begins.
    """
    grid = {"nrows": 2, "ncols": len(histories), "sharey": "row", "squeeze": False}
    fig, axes = new_figure(title, origin, size=(max(8.0, 2.9 * len(histories)), 5.6), **grid)
    for (upper, lower), (name, history) in zip(axes.T, histories.items(), strict=True):
        _curve(upper, history, "loss")
        _curve(lower, history, "accuracy")
        upper.set_title(name, fontsize=11)
        lower.set_xlabel("epoch")
    losses = pd.concat(list(histories.values()))[["loss", "val_loss"]].melt()["value"]
    # A top that one wild epoch cannot flatten the rest with.
    top = 1.05 * min(losses.max(), 2.5 * losses.median())
    axes[0, 0].set(ylabel="loss (cross-entropy)", ylim=(0, top))
    axes[1, 0].set_ylabel("accuracy")
    axes[1, 0].yaxis.set_major_formatter("{x:.0%}")
    fig.legend(*axes[1, 0].get_legend_handles_labels(), fontsize=9, loc="outside right upper")
    return fig


def _curve(ax: Axes, history: pd.DataFrame, measure: str) -> None:
    """Draws one measure of both parts, the epoch that was kept, and where stages begin."""
    epochs, held_out = np.arange(1, len(history) + 1), history[f"val_{measure}"].to_numpy()
    ax.plot(epochs, history[measure], ".-", color=PALETTE[0], label="training")
    ax.plot(epochs, held_out, ".--", color=PALETTE[1], label="validation")
    kept = np.flatnonzero(history["best"])[-1:]
    ring = {"s": 90, "facecolors": "none", "edgecolors": "black", "zorder": 3}
    ax.scatter(epochs[kept], held_out[kept], label="kept", **ring)
    ax.locator_params("x", integer=True, nbins=6)
    stages = history["stage"].to_numpy() if "stage" in history else epochs * 0
    for begin in np.flatnonzero(np.diff(stages)):
        ax.axvline(begin + 1.5, color=NEUTRAL, linestyle=":", linewidth=1.2)


def rate_comparison(table: pd.DataFrame, origin: str) -> Figure:
    """Draws how well each optimizer did at each learning rate.

    Args:
        table: Rows with `optimizer`, `learning_rate`, `loss` (training, last epoch) and
            `val_accuracy` (of the epoch that was kept); one per training, so several per point
            where it was repeated.
        origin: Where the images came from.

    Returns:
        The figure: left what was fitted, right what held for other subjects; means, with bars
        from the lowest to the highest where a training was repeated.
    """
    title, size = "Optimizers and learning rates", (10.0, 4.2)
    fig, (left, right) = new_figure(title, origin, ncols=2, size=size, sharex=True)
    for number, (optimizer, rows) in enumerate(table.groupby("optimizer", sort=False)):
        for ax, column in ((left, "loss"), (right, "val_accuracy")):
            at = rows.groupby("learning_rate")[column].agg(["mean", "min", "max"])
            ax.plot(at["mean"], label=optimizer, **dots(number))
            ax.vlines(at.index, at["min"], at["max"], color=PALETTE[number], alpha=0.6)
    rates = sorted({*table["learning_rate"], PAPER_RATE})
    for ax in (left, right):
        ax.axvline(PAPER_RATE, color=NEUTRAL, linestyle=":", label=f"the paper's {PAPER_RATE:g}")
        ax.set(xscale="log", xlabel="learning rate", xlim=(rates[0] / 2, 2 * rates[-1]))
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
    left.set(ylabel="training loss, last epoch", ylim=(0, 1.05 * min(table["loss"].max(), 2.0)))
    right.set_ylabel("accuracy, validation part, best epoch")
    right.yaxis.set_major_formatter("{x:.0%}")
    right.legend(**BESIDE)
    return fig
