"""Figures of notebook 07: what was changed, and whether it helped."""

import pandas as pd
from matplotlib.figure import Figure

from helpers.plots import style
from helpers.plots.style import BESIDE, NEUTRAL, PALETTE, new_figure

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
    looks = {kind: VERDICTS[kind] for kind in VERDICTS if kind in set(rows["kind"])}
    title = f"Against {baseline}: what each change did"
    xlabel = f"difference in ROC-AUC, 95 % interval (draws of subjects: {rows['seeds'].max()})"
    return style.differences(rows, looks, title, origin, xlabel)


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
    place = parts.index.map(str)
    ax.bar(place, parts["ensemble"], 0.5, color=PALETTE[0], label="error of the ensemble")
    look = {"color": PALETTE[5], "hatch": "//", "edgecolor": "white", "bottom": parts["ensemble"]}
    ax.bar(place, parts["spread"], 0.5, label="spread of the members", **look)
    ax.plot(place, parts["members"], "k_", ms=40, mew=2, label="mean error of the members")
    ax.set(xlabel="draw of subjects", ylabel="mean squared error (Brier)")
    ax.set_xlim(-0.8, max(len(parts) - 0.2, 2.8))
    ax.legend(markerscale=0.4, **BESIDE)
    return fig
