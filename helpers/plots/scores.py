"""Figures of notebook 06 and of the report: how good the models are, and how sure that is.

More figures of notebook 06: comparing, choosing, paying, and looking at the mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.evaluation import metrics, performance
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
        table: As from `performance.evaluate_models`.
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
    return dict(performance.evaluate(predictions, threshold, draws=1, part=part)["value"])


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
        rows, found = performance.only_part(predictions, "test"), bare_scores(predictions)
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
        found, table = bare_scores(predictions), performance.reliability(predictions)
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
        name: performance.by_subject(predictions, (thresholds or {}).get(name, 0.5))
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


MARKERS = ("o", "s", "^", "D", "v", "P", "X")


def differences(table: pd.DataFrame, origin: str, metric: str = "weighted F1") -> Figure:
    """Draws the difference of each pair of models with its interval over subjects.

    Args:
        table: As from `evaluation.compare`.
        origin: Where the data came from.
        metric: What was compared, in words.

    Returns:
        The figure. Pairs whose difference survives the correction are filled.
    """
    size = (9.5, 1.6 + 0.34 * len(table))
    cells, subjects = table["cells"].iloc[0], table["subjects"].iloc[0]
    title = f"Pairs of models on the same {cells:,} cells of {subjects} subjects"
    fig, ax = new_figure(title, origin, size=size)
    place = np.arange(len(table))
    clear = (table["p_subjects_holm"] < 0.05).to_numpy()
    ax.axvline(0, color=NEUTRAL, linewidth=1)
    ax.hlines(place, table["low"], table["high"], color=PALETTE[0], linewidth=2)
    for rows, face, label in ((clear, PALETTE[0], "p < 0.05 after Holm"), (~clear, "white", "not")):
        style = {"facecolor": face, "edgecolor": PALETTE[0], "zorder": 3, "label": label}
        ax.scatter(table["difference"][rows], place[rows], s=40, **style)
    ax.set(yticks=place, ylim=(len(table) - 0.5, -0.5), xlabel=f"difference in {metric}")
    ax.set_yticklabels([f"{row.first} – {row.second}" for row in table.itertuples()], fontsize=9)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, title="over subjects")
    return fig


def operating_point(
    validation: pd.DataFrame, test: pd.DataFrame, thresholds: dict[str, float], origin: str
) -> Figure:
    """Draws sensitivity and specificity against the threshold, where it is chosen and judged.

    Args:
        validation: Judged cells of the validation part, which chose the thresholds.
        test: Judged cells of the test part.
        thresholds: Thresholds by what they are for.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, axes = new_figure(
        "Chosen on the left, judged on the right", origin, ncols=2, size=(11, 4.2), sharey=True
    )
    cuts = np.linspace(0, 1, 201)
    for ax, rows, part in zip(axes, (validation, test), ("validation", "test"), strict=True):
        sick, p = (rows["label"] == "ALL").to_numpy(), rows["probability"].to_numpy()
        above = p[:, None] > cuts
        ax.plot(cuts, above[sick].mean(axis=0), color=PALETTE[1], label="sensitivity")
        ax.plot(cuts, 1 - above[~sick].mean(axis=0), "--", color=PALETTE[0], label="specificity")
        for number, (name, cut) in enumerate(thresholds.items()):
            style = {"color": NEUTRAL, "linestyle": ("-", ":", "-.")[number % 3]}
            ax.axvline(cut, **style, label=f"{name}: {cut:.2f}")
        people = rows["linked_subject"].nunique()
        ax.set_title(f"{part}: {len(rows):,} cells of {people} subjects", fontsize=11)
        ax.set(xlabel="called ALL above this probability", xlim=(-0.02, 1.02))
    axes[0].set_ylabel("share of the cells of a class")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=9)
    return fig


def cost(table: pd.DataFrame, origin: str, machine: str) -> Figure:
    """Draws what each network cost to train against what it scored.

    Args:
        table: One row per network: `model`, `seconds` of training, `parameters`, and `value`,
            `low`, `high` of its score.
        origin: Where the data came from.
        machine: On what it was trained.

    Returns:
        The figure.
    """
    fig, ax = new_figure(f"What accuracy costs ({machine})", origin, size=(9.5, 4.2))
    for number, row in enumerate(table.itertuples()):
        colour, marker = PALETTE[number % 7], MARKERS[number % 7]
        if not np.isnan(row.low):
            ax.vlines(row.seconds, row.low, row.high, color=colour, linewidth=1.5)
        label = f"{row.model}: {row.parameters / 1e6:.1f} M weights"
        ax.scatter(row.seconds, row.value, s=70, color=colour, marker=marker, label=label, zorder=3)
    ax.set(xlabel="seconds of training", ylabel="accuracy, 95 % over subjects")
    ax.set_xlim(0, 1.08 * table["seconds"].max())
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return fig


def published(table: pd.DataFrame, origin: str = "as published, real C-NMC 2019 images") -> Figure:
    """Draws published scores, one panel per protocol, which do not compare with each other.

    Args:
        table: As from `published.published_results`.
        origin: Where the numbers came from.

    Returns:
        The figure.
    """
    groups = dict(list(table.groupby("protocol", sort=False)))
    works = [list(dict.fromkeys(rows["work"])) for rows in groups.values()]
    ratios = [len(names) + 0.5 for names in works]
    fig, axes = new_figure(
        "Three protocols, three questions: do not rank across the panels", origin,
        nrows=len(groups), size=(9.5, 1.6 + 0.36 * sum(ratios)), sharex=True, squeeze=False,
        gridspec_kw={"height_ratios": ratios},
    )  # fmt: skip
    scores = list(dict.fromkeys(table["score"]))
    for ax, (protocol, rows), names in zip(axes[:, 0], groups.items(), works, strict=True):
        for number, score in enumerate(scores):
            some = rows[rows["score"] == score]
            style = {"color": PALETTE[number], "marker": MARKERS[number], "label": score}
            ax.scatter(some["value"], [names.index(work) for work in some["work"]], s=50, **style)
        ax.set(yticks=range(len(names)), ylim=(len(names) - 0.5, -0.5))
        ax.set_yticklabels(names, fontsize=9)
        ax.set_title(protocol, fontsize=10, loc="left")
    axes[-1, 0].set_xlabel("score")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right upper", fontsize=9)
    return fig


def mistakes(
    images: np.ndarray, maps: np.ndarray, titles: list[str], title: str, origin: str
) -> Figure:
    """Draws cells, and below each the places that spoke for the call.

    Args:
        images: Shape (n, side, side, 3), 0 to 255.
        maps: Of Grad-CAM, shape (n, side, side), 0 to 1.
        titles: One per cell.
        title: Over all.
        origin: Where the images came from.

    Returns:
        The figure.
    """
    count = len(images)
    size = (max(5.0, 1.9 * count), 4.4)
    fig, axes = new_figure(title, origin, nrows=2, ncols=count, size=size, squeeze=False)
    for (above, below), image, heat, text in zip(axes.T, images, maps, titles, strict=True):
        bright = np.clip(np.asarray(image) * 1.6, 0, 255).astype(np.uint8)
        above.imshow(bright)
        above.set_title(text, fontsize=9)
        below.imshow(bright)
        shown = below.imshow(heat, cmap="viridis", alpha=0.55, vmin=0, vmax=1)
        for ax in (above, below):
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    axes[0, 0].set_ylabel("cell, brightened", fontsize=9)
    axes[1, 0].set_ylabel("spoke for the call", fontsize=9)
    fig.colorbar(shown, ax=axes[1, :], label="Grad-CAM", shrink=0.9, pad=0.01)
    return fig
