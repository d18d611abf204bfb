"""Figures of notebook 07: what was changed, and whether it helped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.evaluation import metrics
from helpers.plots.style import CLASS_COLOURS, NEUTRAL, PALETTE, new_figure

VERDICTS = {"helps": (PALETTE[2], "^"), "harms": (PALETTE[1], "v"), "not shown": (NEUTRAL, "o")}
LINES = ("-", "--", "-.", ":")
BESIDE = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "fontsize": 9}
BRIGHTEN = 2.0  # nuclei are dark on screen; figures say so


def effects(
    comparison: pd.DataFrame, baseline: str, origin: str, metric: str = "roc_auc"
) -> Figure:
    """Draws the difference that each variant made, with its interval and verdict.

    Args:
        comparison: As from `studies.compare`, or several of them as from `studies.adjust`.
        baseline: What the variants are compared with, in words.
        origin: Where the data came from.
        metric: What was compared, one of `metrics.NAMES`.

    Returns:
        The figure.
    """
    rows = comparison.dropna(subset=["difference"])
    title = f"Against {baseline}: what each change did"
    fig, ax = new_figure(title, origin, size=(9, 1.7 + 0.38 * len(rows)))
    for place, row in enumerate(rows.itertuples()):
        colour, marker = VERDICTS[row.verdict]
        if not np.isnan(row.low):
            ax.plot([row.low, row.high], [place, place], color=colour, lw=2.5)
        ax.plot(row.difference, place, marker, color=colour, ms=9)
    ax.axvline(0, color="black", lw=1)
    words = f"difference in {metrics.LABELS[metric]}, 95 % interval ({_draws(rows['seeds'].max())})"
    ax.set(xlabel=words, yticks=range(len(rows)))
    ax.set_yticklabels([_name(index) for index in rows.index])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    _mark_verdicts(ax, rows["verdict"].unique())
    return fig


def _draws(count: int) -> str:
    return f"{count} draw of subjects" if count == 1 else f"{count} draws of subjects"


def _name(index: str | tuple[str, ...]) -> str:
    return index if isinstance(index, str) else ": ".join(index)


def _mark_verdicts(ax: Axes, verdicts: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, label=verdict)
        for verdict, (colour, marker) in VERDICTS.items()
        if verdict in verdicts
    ]
    ax.legend(handles=handles, **BESIDE)


def error_parts(parts: pd.DataFrame, origin: str) -> Figure:
    """Draws for each draw how the spread of opinions turns members' errors into the ensemble's.

    Args:
        parts: One row per draw, as from `ensembles.ambiguity`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    title = "An ensemble's error is its members' error less their spread"
    fig, ax = new_figure(title, origin, size=(8, 3.8))
    place = np.arange(len(parts))
    ax.bar(place, parts["ensemble"], 0.5, color=PALETTE[0], label="error of the ensemble")
    ax.bar(
        place,
        parts["spread"],
        0.5,
        bottom=parts["ensemble"],
        color=PALETTE[5],
        hatch="//",
        edgecolor="white",
        label="spread of the members",
    )
    ax.plot(place, parts["members"], "k_", ms=40, mew=2, label="mean error of the members")
    ax.set(xticks=place, xlabel="draw of subjects", ylabel="mean squared error (Brier)")
    ax.set_xticklabels([str(name) for name in parts.index])
    ax.set_xlim(-0.8, max(len(parts) - 0.2, 2.8))
    ax.legend(markerscale=0.4, **BESIDE)
    return fig


def views(images: np.ndarray, probability: Sequence[float], label: str, origin: str) -> Figure:
    """Draws the eight views of one cell, each with what the network says of it.

    Args:
        images: The views, 0 to 255, of shape (8, h, w, 3).
        probability: Of ALL, per view.
        label: The true class.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    spread = max(probability) - min(probability)
    title = f"One {label} cell, eight views: probabilities {spread:.0%} apart (shown brighter)"
    fig, axes = new_figure(title, origin, nrows=2, ncols=4, size=(8, 4.6))
    for ax, image, said in zip(axes.flat, images, probability, strict=True):
        _picture(ax, image)
        ax.set_title(f"ALL: {said:.0%}", fontsize=10, color=_colour_of(said))
    return fig


def _colour_of(probability: float) -> str:
    return CLASS_COLOURS["ALL" if probability > 0.5 else "HEM"]


def _picture(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(np.clip(np.asarray(image, float) * BRIGHTEN / 255, 0, 1))
    ax.set(xticks=[], yticks=[])
    for side in ax.spines.values():
        side.set_visible(False)


def gallery(rows: Mapping[str, Sequence[np.ndarray]], title: str, origin: str) -> Figure:
    """Draws the same cells once per row, each row treated in another way.

    Args:
        rows: The images of each row, 0 to 255, by the name of the treatment.
        title: What the figure shows.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    columns = max(len(images) for images in rows.values())
    size = (1.35 * columns + 1.6, 1.3 * len(rows) + 0.9)
    fig, axes = new_figure(
        f"{title} (shown brighter)",
        origin,
        nrows=len(rows),
        ncols=columns,
        size=size,
        squeeze=False,
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax, image in zip(line, images, strict=True):
            _picture(ax, image)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return fig


def learning_curves(
    histories: pd.DataFrame, column: str, ylabel: str, title: str, origin: str
) -> Figure:
    """Draws a line per variant, the mean over seeds, in a band from the lowest to the highest.

    Args:
        histories: One row per `variant`, `seed` and `epoch`, with the column.
        column: What to draw, such as `val_loss`.
        ylabel: The same in words, with its unit.
        title: What the figure shows.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure(title, origin, size=(8.5, 4))
    for number, (name, rows) in enumerate(histories.groupby("variant", sort=False)):
        epochs = rows.groupby("epoch")[column].agg(["mean", "min", "max"])
        colour, line = PALETTE[number], LINES[number % len(LINES)]
        ax.plot(epochs.index, epochs["mean"], line, color=colour, lw=2, label=name)
        ax.fill_between(epochs.index, epochs["min"], epochs["max"], color=colour, alpha=0.15)
    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(**BESIDE)
    return fig


def label_efficiency(scores: pd.DataFrame, origin: str, metric: str = "roc_auc") -> Figure:
    """Draws the score against the share of training subjects whose labels were used.

    Args:
        scores: One row per `start`, `share` and `seed`, with the metric.
        origin: Where the data came from.
        metric: What to draw, one of `metrics.NAMES`.

    Returns:
        The figure.
    """
    title = f"How many labelled subjects does it take? ({_draws(scores['seed'].nunique())})"
    fig, ax = new_figure(title, origin, size=(8.5, 4))
    for number, (name, rows) in enumerate(scores.groupby("start", sort=False)):
        mean = rows.groupby("share")[metric].mean()
        shift = 1 + 0.04 * (2 * number - 1)  # side by side, on an axis of ratios
        marker = "os^D"[number]
        ax.plot(rows["share"] * shift, rows[metric], marker, color=PALETTE[number], alpha=0.4)
        ax.plot(mean.index * shift, mean, LINES[number], marker=marker, color=PALETTE[number],
                ms=9, lw=2, label=f"{name} (mean)")  # fmt: skip
    shares = sorted(scores["share"].unique())
    ax.set(xscale="log", xlabel="share of the training subjects (%)", ylabel=metrics.LABELS[metric])
    ax.minorticks_off()
    ax.set_xticks(shares, [f"{share:.0%}".rstrip("%") for share in shares])
    ax.legend(**BESIDE)
    return fig


def moving_out(scores: pd.DataFrame, origin: str, metric: str = "roc_auc") -> Figure:
    """Draws how each variant fares at home and in the new laboratory, seed by seed.

    Args:
        scores: One row per `variant`, `place` ("home" or "new lab") and `seed`, with the metric.
        origin: Where the data came from.
        metric: What to draw, one of `metrics.NAMES`.

    Returns:
        The figure.
    """
    names = scores["variant"].unique()
    places = list(scores["place"].unique())
    fig, axes = new_figure(
        "The same cells, at home and in a new laboratory", origin,
        ncols=len(names), size=(2.3 * len(names) + 0.6, 3.8), sharey=True, squeeze=False,
    )  # fmt: skip
    for number, (ax, name) in enumerate(zip(axes[0], names, strict=True)):
        wide = scores[scores["variant"] == name].pivot_table(metric, "place", "seed").loc[places]
        ax.plot(places, wide, "o-", color=PALETTE[number], alpha=0.35)
        ax.plot(places, wide.mean(axis=1), "k_", ms=30, mew=3)
        ax.set_title(name, fontsize=11)
        ax.margins(x=0.4)
    axes[0, 0].set_ylabel(f"{metrics.LABELS[metric]} (bar: mean)")
    return fig
