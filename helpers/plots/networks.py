"""Figures of notebooks 03 and 04: how networks are built, and how they learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from helpers.plots.style import NEUTRAL, PALETTE, new_figure

KIND_COLOURS = {"input": NEUTRAL, "convolution": PALETTE[5], "dense": PALETTE[4]}
MARKERS = "osD^vPX"
LOSSES = ("loss", "val_loss")


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
    networks = blocks["network"].unique()
    fig, axes = new_figure(
        f"{len(networks)} architectures: side x side x channels, layers with weights, parameters",
        origin, ncols=len(networks), size=(2.9 * len(networks), 7.0), squeeze=False,
    )  # fmt: skip
    widest = np.log2(blocks["side"].max()) + 1
    for ax, name in zip(axes.flat, networks, strict=True):
        rows = blocks[blocks["network"] == name]
        _draw_blocks(ax, rows, widest)
        layers, parameters = rows["layers"].sum(), rows["parameters"].sum()
        ax.set_title(f"{name}\n{layers} layers, {in_millions(parameters)}", fontsize=11)
    return fig


def _draw_blocks(ax: Axes, rows: pd.DataFrame, widest: float) -> None:
    heights = 0.75 + 0.35 * np.sqrt(rows["layers"].to_numpy(float))
    tops = np.concatenate([[0.0], np.cumsum(heights + 0.18)])
    for top, height, row in zip(tops, heights, rows.itertuples(), strict=False):
        width = 0.45 + 0.55 * (np.log2(row.side) + 1) / widest
        box = Rectangle(
            (-width / 2, -top - height), width, height,
            facecolor=KIND_COLOURS[row.kind], alpha=0.45, edgecolor=NEUTRAL, linewidth=0.8,
        )  # fmt: skip
        ax.add_patch(box)
        ax.text(0, -top - height / 2, _label(row), ha="center", va="center", fontsize=8)
    ax.set(xlim=(-0.55, 0.55), ylim=(-tops[-1], 0.1))
    ax.set_axis_off()


def _label(row) -> str:
    size = f"{row.side} x {row.side} x {row.channels}" if row.kind != "dense" else f"{row.channels}"
    if row.kind == "input":
        return f"image {size}"
    count = f"{row.layers} {'conv' if row.kind == 'convolution' else 'dense'}"
    return f"{size}\n{count}, {in_millions(row.parameters)}"


def in_millions(number: float) -> str:
    """Writes a number of parameters for people.

    Example:
        >>> in_millions(14_714_688), in_millions(23_456), in_millions(514)
        ('14.7 M', '23 k', '514')
    """
    if number < 1000:
        return f"{number:.0f}"
    return f"{number / 1e6:.1f} M" if number >= 1e5 else f"{number / 1e3:.0f} k"


def training_curves(histories: dict[str, pd.DataFrame], title: str, origin: str) -> Figure:
    """Draws loss and accuracy against the epoch, one column per network.

    Args:
        histories: For each network its history as from `training.train`; rows of several stages
            may follow each other, with a column `stage`.
        title: Title of the figure.
        origin: Where the images came from, and the weights.

    Returns:
        The figure: solid the training part, dashed the validation part, a ring at the epoch that
        was kept, a dotted line where a new stage begins.
    """
    fig, axes = new_figure(
        title, origin, nrows=2, ncols=len(histories), sharey="row", squeeze=False,
        size=(max(8.0, 2.9 * len(histories)), 5.6),
    )  # fmt: skip
    for (upper, lower), (name, history) in zip(axes.T, histories.items(), strict=True):
        epochs = np.arange(1, len(history) + 1)
        for ax, measure in ((upper, "loss"), (lower, "accuracy")):
            _curve(ax, epochs, history, measure)
            _mark_stages(ax, history)
        upper.set_title(name, fontsize=11)
        lower.set_xlabel("epoch")
    axes[0, 0].set_ylabel("loss (cross-entropy)")
    axes[1, 0].set_ylabel("accuracy")
    axes[1, 0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0, 0].set_ylim(0, _highest(histories))
    handles, labels = axes[1, 0].get_legend_handles_labels()
    fig.legend(handles, labels, fontsize=9, loc="outside right upper")
    return fig


def _curve(ax: Axes, epochs: np.ndarray, history: pd.DataFrame, measure: str) -> None:
    ax.plot(epochs, history[measure], color=PALETTE[0], marker=".", label="training")
    held_out = history[f"val_{measure}"]
    ax.plot(epochs, held_out, color=PALETTE[1], marker=".", linestyle="--", label="validation")
    kept = history["best"].to_numpy(bool)
    ring = {"s": 90, "facecolors": "none", "edgecolors": "black", "zorder": 3}
    ax.scatter(epochs[kept][-1:], held_out[kept][-1:], label="kept", **ring)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))


def _mark_stages(ax: Axes, history: pd.DataFrame) -> None:
    stages = history["stage"].to_numpy() if "stage" in history else np.array([])
    for begin in np.flatnonzero(stages[1:] != stages[:-1]):
        ax.axvline(begin + 1.5, color=NEUTRAL, linestyle=":", linewidth=1.2)


def _highest(histories: dict[str, pd.DataFrame]) -> float:
    """A top for the losses that one wild epoch cannot flatten the rest with."""
    losses = pd.concat([history[part] for history in histories.values() for part in LOSSES])
    return float(min(losses.max(), 2.5 * losses.median())) * 1.05


def rate_comparison(table: pd.DataFrame, origin: str, paper_rate: float = 2e-4) -> Figure:
    """Draws how well each optimizer did at each learning rate.

    Args:
        table: Rows with `optimizer`, `learning_rate`, `loss` (training, last epoch) and
            `val_accuracy` (of the epoch that was kept); one per training, so several per point
            where it was repeated.
        origin: Where the images came from.
        paper_rate: The paper's rate, drawn as a line.

    Returns:
        The figure: left what was fitted, right what held for other subjects; means, with bars
        from the lowest to the highest where a training was repeated.
    """
    fig, (left, right) = new_figure(
        "Optimizers and learning rates", origin, ncols=2, size=(10.0, 4.2), sharex=True
    )
    looks = zip(table["optimizer"].unique(), PALETTE, MARKERS, strict=False)
    for optimizer, colour, marker in looks:
        rows = table[table["optimizer"] == optimizer].groupby("learning_rate")
        style = {"color": colour, "marker": marker, "label": optimizer}
        for ax, column in ((left, "loss"), (right, "val_accuracy")):
            at = rows[column].agg(["mean", "min", "max"])
            ax.plot(at.index, at["mean"], **style)
            ax.vlines(at.index, at["min"], at["max"], color=colour, alpha=0.6)
    for ax in (left, right):
        ax.axvline(paper_rate, color=NEUTRAL, linestyle=":", label=f"the paper's {paper_rate:g}")
        ax.set(xscale="log", xlabel="learning rate")
        rates = sorted({*table["learning_rate"], paper_rate})
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
    left.set_ylabel("training loss, last epoch")
    left.set_ylim(0, min(table["loss"].max(), 2.0) * 1.05)
    right.set_ylabel("accuracy, validation part, best epoch")
    right.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig


def epoch_choice(history: pd.DataFrame, origin: str) -> Figure:
    """Draws validation and test accuracy against the epoch, and which epoch each would choose.

    Args:
        history: As from `training.train` with `watch_test=True`.
        origin: Where the images came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure("Which epoch is kept, and by whose score?", origin, size=(9.0, 4.0))
    epochs = history["epoch"]
    looks = (("val", "validation part", PALETTE[1], "s"), ("test", "test part", PALETTE[2], "o"))
    for part, name, colour, marker in looks:
        scores = history[f"{part}_accuracy"]
        ax.plot(epochs, scores, color=colour, marker=marker, markersize=4, label=name)
        best = history.sort_values([f"{part}_accuracy", f"{part}_loss"], ascending=[False, True])
        chosen = int(best["epoch"].iloc[0])
        ax.axvline(chosen, color=colour, linestyle="--", label=f"chosen by the {name}: {chosen}")
    ax.set(xlabel="epoch", ylabel="accuracy")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    ax.legend(fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return fig
