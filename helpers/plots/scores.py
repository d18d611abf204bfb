"""Figures of notebook 06 and of the report: how good the models are, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers import evaluation, metrics
from helpers.plots.style import CLASS_COLOURS, CLASS_MARKERS, NEUTRAL, PALETTE, new_figure

Models = Mapping[str, pd.DataFrame]
SUBJECTS, CELLS = PALETTE[0], PALETTE[4]
LINES = ("-", "--", "-.", ":")


def size_of(table: pd.DataFrame) -> str:
    """Says on how many cells of how many subjects a table of scores rests."""
    cells, subjects = (np.unique(table[name]) for name in ("cells", "subjects"))
    many = [f"{found.min():,}" + f" to {found.max():,}" * (len(found) > 1)
            for found in (cells, subjects)]  # fmt: skip
    return f"{many[0]} cells of {many[1]} unseen subjects"


def forest(
    table: pd.DataFrame, origin: str, names: tuple[str, ...] = ("accuracy", "weighted_f1")
) -> Figure:
    """Draws scores of all models with their intervals, over subjects beside those over cells.

    Args:
        table: As from `evaluation.evaluate_models`.
        origin: Where the data came from.
        names: The scores, one panel each.

    Returns:
        The figure.
    """
    models = table.index.get_level_values("model").unique()
    size = (4.6 * len(names) + 1, 1.6 + 0.45 * len(models))
    title = f"95 % intervals on {size_of(table)}"
    fig, axes = new_figure(title, origin, ncols=len(names), size=size, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        rows = table.xs(name, level="metric").loc[models]
        _interval_rows(ax, rows)
        ax.set(xlabel=metrics.LABELS[name], yticks=range(len(models)))
        ax.set_yticklabels(models)
        ax.xaxis.set_major_locator(MaxNLocator(5))
    axes[0, 0].set_ylim(len(models) - 0.4, -0.6)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=9)
    return fig


def _interval_rows(ax: Axes, rows: pd.DataFrame) -> None:
    place = np.arange(len(rows))
    ways = (("", -0.12, SUBJECTS, 3.0, "over subjects"), ("cell_", 0.16, CELLS, 1.5, "over cells"))
    for way, shift, colour, width, label in ways:
        style = {"color": colour, "linewidth": width, "label": label}
        ax.hlines(place + shift, rows[f"{way}low"], rows[f"{way}high"], **style)
    ax.scatter(rows["value"], place - 0.12, color=SUBJECTS, zorder=3, s=36, label="score")


def confusion(models: Models, origin: str, thresholds: Mapping[str, float] | None = None) -> Figure:
    """Draws the four counts of each model, with their share of the true class.

    Args:
        models: Test predictions by name.
        origin: Where the data came from.
        thresholds: Of each model; 0.5 where not given.

    Returns:
        The figure.
    """
    columns = min(4, len(models))
    rows = -(-len(models) // columns)
    size = (2.6 * columns + 0.6, 2.6 * rows + 0.8)
    fig, axes = new_figure(
        "True class against call", origin, nrows=rows, ncols=columns, size=size, squeeze=False
    )
    for ax, (name, predictions) in zip(axes.flat, models.items(), strict=False):
        threshold = (thresholds or {}).get(name, 0.5)
        _draw_counts(ax, bare_scores(predictions, threshold))
        ax.set_title(name, fontsize=10)
    for ax in axes.flat[len(models) :]:
        ax.set_axis_off()
    return fig


def bare_scores(
    predictions: pd.DataFrame, threshold: float = 0.5, part: str = "test"
) -> dict[str, float]:
    """Returns the scores of one part without intervals, by name."""
    return dict(evaluation.evaluate(predictions, threshold, draws=1, part=part)["value"])


def _draw_counts(ax: Axes, found: Mapping[str, float]) -> None:
    counts = np.array([[found["tn"], found["fp"]], [found["fn"], found["tp"]]])
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.6 else "black"
        text = f"{count:,.0f}\n{share[row, column]:.0%}"
        ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    ax.set(xticks=[0, 1], yticks=[0, 1], xlabel="called", ylabel="is")
    ax.set_xticklabels(["HEM", "ALL"])
    ax.set_yticklabels(["HEM", "ALL"])
    ax.grid(False)


def curves(models: Models, origin: str) -> Figure:
    """Draws the ROC and the precision-recall curve of each model, a dot at the threshold 0.5.

    Args:
        models: Test predictions by name, of both classes.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    fig, (roc, pr) = new_figure("All thresholds at once", origin, ncols=2, size=(11.5, 4.6))
    for number, (name, predictions) in enumerate(models.items()):
        rows, found = evaluation.only_part(predictions, "test"), bare_scores(predictions)
        truth, p = rows["label"] == "ALL", rows["probability"]
        style = {"color": PALETTE[number % 7], "linestyle": LINES[number % 4]}
        false, true, _ = roc_curve(truth, p)
        precision, recall, _ = precision_recall_curve(truth, p)
        areas = f"{name}: {found['roc_auc']:.2f}, {found['pr_auc']:.2f}"
        roc.plot(false, true, label=areas, **style)
        pr.plot(recall, precision, **style, drawstyle="steps-post")
        roc.scatter(1 - found["specificity"], found["sensitivity"], color=style["color"], zorder=3)
        pr.scatter(found["sensitivity"], found["precision"], color=style["color"], zorder=3)
    roc.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1)
    pr.axhline(truth.mean(), color=NEUTRAL, linewidth=1)
    roc.set(xlabel="HEM cells called ALL (1 - specificity)", ylabel="ALL cells found (sensitivity)")
    pr.set(xlabel="ALL cells found (sensitivity)", ylabel="ALL calls right (precision)")
    pr.set_ylim(-0.02, 1.02)
    fig.legend(loc="outside right upper", title="ROC-AUC, PR-AUC", fontsize=9, title_fontsize=9)
    return fig


def reliability(models: Models, origin: str) -> Figure:
    """Draws what each model said against what was true, with how many cells it said it of.

    Args:
        models: Test predictions by name.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    fig, axes = new_figure(
        "Is 80 % right in 80 % of the cells?",
        origin, nrows=rows, ncols=columns, squeeze=False,
        size=(max(6.0, 3.5 * columns), 3.1 * rows + 0.6),
        sharex=True, sharey=True,
    )  # fmt: skip
    for ax, (name, predictions) in zip(axes.flat, models.items(), strict=False):
        found, table = bare_scores(predictions), evaluation.reliability(predictions)
        ax.bar((table["bin"] + 0.5) / 10, table["cells"] / table["cells"].sum(), 0.1,
               color=CELLS, alpha=0.35, label="share of the cells")  # fmt: skip
        ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, label="calibrated")
        ax.plot(table["said"], table["true"], "o-", color=SUBJECTS, label="share that is ALL")
        text = f"{name}: ECE {found['ece']:.2f}, Brier {found['brier']:.2f}"
        ax.set_title(text, fontsize=10)
    for ax in axes[:, 0]:
        ax.set_ylabel("share")
    for ax in axes.flat[len(models) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(0, len(models) - columns) : len(models)]:
        ax.set_xlabel("said: probability of ALL")
        ax.tick_params(labelbottom=True)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place = "outside lower left" if columns > 1 else "outside right center"
    fig.legend(handles, labels, loc=place, fontsize=9, ncols=columns)
    return fig


def subject_strip(
    models: Models, origin: str, thresholds: Mapping[str, float] | None = None
) -> Figure:
    """Draws every subject's share of right calls, a dot each, larger for more cells.

    Args:
        models: Test predictions by name.
        origin: Where the data came from.
        thresholds: Of each model; 0.5 where not given.

    Returns:
        The figure.
    """
    tables = {
        name: evaluation.by_subject(predictions, (thresholds or {}).get(name, 0.5))
        for name, predictions in models.items()
    }
    size = (9.5, 1.6 + 0.5 * len(models))
    title = f"One dot per subject ({len(next(iter(tables.values())))} unseen subjects)"
    fig, ax = new_figure(title, origin, size=size)
    for number, table in enumerate(tables.values()):
        for label, shift in (("ALL", -0.15), ("HEM", 0.15)):
            rows = table[table["label"] == label]
            style = {"color": CLASS_COLOURS[label], "marker": CLASS_MARKERS[label], "alpha": 0.6}
            ax.scatter(rows["accuracy"], np.full(len(rows), number + shift), label=label,
                       s=12 + 2 * rows["cells"].clip(upper=200), **style)  # fmt: skip
    ax.set(xlabel="share of the subject's cells called right", yticks=range(len(tables)))
    ax.set_yticklabels(tables)
    ax.set(xlim=(-0.03, 1.03), ylim=(len(tables) - 0.5, -0.5))
    handles, labels = ax.get_legend_handles_labels()
    legend = ax.legend(handles[:2], labels[:2], loc="center left", bbox_to_anchor=(1, 0.5))
    for handle in legend.legend_handles:
        handle.set_sizes([40])
    return fig
