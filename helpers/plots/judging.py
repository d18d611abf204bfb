"""More figures of notebook 06: comparing, choosing, paying, and looking at the mistakes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.plots.style import NEUTRAL, PALETTE, new_figure

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
