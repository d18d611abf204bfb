"""Figures of notebook 07: what was changed, and whether it helped."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.plots import image_grid, interval_rows, new_figure
from helpers.plots.style import BESIDE, CLASS_COLOURS, LINES, MARKERS, NEUTRAL, PALETTE

VERDICTS = {
    "helps": {"color": PALETTE[2], "marker": "^"},
    "harms": {"color": PALETTE[1], "marker": "v"},
    "not shown": {"color": NEUTRAL, "marker": "o"},
    "no interval": {"color": NEUTRAL, "marker": "D"},
}


def effects(comparison: pd.DataFrame, baseline: str, origin: str) -> Figure:
    """Draws the difference in ROC-AUC that each variant made, with its interval and verdict.

    Args:
        comparison: As from `comparisons.compare_draws`, or several of them, indexed by question
            and variant.
        baseline: What the variants are compared with, in words.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    rows = comparison.dropna(subset=["difference"])
    names = [name if isinstance(name, str) else ": ".join(name) for name in rows.index]
    rows = rows.assign(name=names, value=rows["difference"], kind=rows["verdict"])
    title = f"Against {baseline}: what each change did"
    fig, ax = new_figure(title, origin, size=(9, 1.7 + 0.38 * len(rows)))
    ax.axvline(0, color="black", lw=1)
    interval_rows(
        ax, rows, {kind: VERDICTS[kind] for kind in VERDICTS if kind in set(rows["kind"])}
    )
    ax.set_xlabel(f"difference in ROC-AUC, 95 % interval ({_draws(rows['seeds'].max())})")
    ax.legend(**BESIDE)
    return fig


def _draws(count: int) -> str:
    return f"{count} draw of subjects" if count == 1 else f"{count} draws of subjects"


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
    place, names = np.arange(len(parts)), [f"{name}" for name in parts.index]
    ax.bar(place, parts["ensemble"], 0.5, color=PALETTE[0], label="error of the ensemble")
    look = {"color": PALETTE[5], "hatch": "//", "edgecolor": "white", "bottom": parts["ensemble"]}
    ax.bar(place, parts["spread"], 0.5, label="spread of the members", **look)
    ax.plot(place, parts["members"], "k_", ms=40, mew=2, label="mean error of the members")
    ax.set_xticks(place, names)
    ax.set(xlabel="draw of subjects", ylabel="mean squared error (Brier)")
    ax.set_xlim(-0.8, max(len(parts) - 0.2, 2.8))
    ax.legend(markerscale=0.4, **BESIDE)
    return fig


def views(
    images: Iterable[np.ndarray], probability: Sequence[float], label: str, origin: str
) -> Figure:
    """Draws the eight views of one cell, each with what the network says of it.

    Args:
        images: The views, 0 to 255, of shape (8, h, w, 3).
        probability: Of ALL, per view.
        label: The true class.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    apart = max(probability) - min(probability)
    title = f"One {label} cell, eight views: probabilities {apart:.0%} apart (shown brighter)"
    titles = [f"ALL: {said:.0%}" for said in probability]
    colours = [CLASS_COLOURS["ALL" if said > 0.5 else "HEM"] for said in probability]
    fig, _ = image_grid(
        images, title, origin, columns=4, side=2, titles=titles, colours=colours, bright=True
    )
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
    look = {"palette": PALETTE[: histories["variant"].nunique()], "linewidth": 2}
    by = {"x": "epoch", "y": column, "hue": "variant", "style": "variant"}
    sns.lineplot(histories, **by, ax=ax, errorbar=("pi", 100), **look)
    ax.set(xlabel="epoch", ylabel=ylabel)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(**BESIDE)
    return fig


def label_efficiency(scores: pd.DataFrame, origin: str) -> Figure:
    """Draws the ROC-AUC against the share of training subjects whose labels were used.

    Args:
        scores: One row per `start`, `share` and `seed`, with `roc_auc`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    title = f"How many labelled subjects does it take? ({_draws(scores['seed'].nunique())})"
    fig, ax = new_figure(title, origin, size=(8.5, 4))
    for number, (name, rows) in enumerate(scores.groupby("start", sort=False)):
        mean = rows.groupby("share")["roc_auc"].mean()
        shift = 1 + 0.04 * (2 * number - 1)  # side by side, on an axis of ratios
        look = {"color": PALETTE[number], "marker": MARKERS[number]}
        line = {"linestyle": LINES[number], "ms": 9, "lw": 2, "label": f"{name} (mean)"}
        ax.plot(rows["share"] * shift, rows["roc_auc"], linestyle="none", alpha=0.4, **look)
        ax.plot(mean.index * shift, mean, **look, **line)
    shares = sorted(scores["share"].unique())
    ax.set(xscale="log", xlabel="share of the training subjects (%)", ylabel="ROC-AUC")
    ax.minorticks_off()
    ax.set_xticks(shares, [f"{100 * share:.0f}" for share in shares])
    ax.legend(**BESIDE)
    return fig


def moving_out(scores: pd.DataFrame, origin: str) -> Figure:
    """Draws how each variant fares at home and in the new laboratory, seed by seed.

    Args:
        scores: One row per `variant`, `place` ("home" or "new lab") and `seed`, with `roc_auc`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    groups = dict(list(scores.groupby("variant", sort=False)))
    title = "The same cells, at home and in a new laboratory"
    grid = {"ncols": len(groups), "sharey": True, "squeeze": False}
    fig, axes = new_figure(title, origin, size=(2.3 * len(groups) + 0.6, 3.8), **grid)
    for ax, (name, rows), colour in zip(axes[0], groups.items(), PALETTE, strict=False):
        wide = rows.pivot_table("roc_auc", "place", "seed", sort=False)
        ax.plot(wide, "o-", color=colour, alpha=0.35)
        ax.plot(wide.mean(axis=1), "k_", ms=30, mew=3)
        ax.set_title(name, fontsize=11)
        ax.margins(x=0.4)
    axes[0, 0].set_ylabel("ROC-AUC (bar: mean)")
    return fig
