"""Figures of the data set and its splits (notebook 01)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.data import image_files
from helpers.plots.style import CLASS_COLOURS, NEUTRAL, new_figure

PART_COLOURS = {"train": "#999999", "validation": "#E69F00", "test": "#000000"}
WAY_COLOURS = ("#CC79A7", "#009E73")
WAY_MARKERS = ("^", "o")


def cell_grid(
    table: pd.DataFrame, title: str, origin: str, *, columns: int = 6, reveal: bool = True
) -> Figure:
    """Shows the images of a table, as they are.

    Args:
        table: One row per image, with `path`, `label` and `subject`; shown in table order.
        title: Title over the whole figure.
        origin: Where the data came from, such as `Source.note`.
        columns: Images in a row, at least 1.
        reveal: Whether class and subject stand over each image; numbers otherwise.

    Returns:
        The figure.
    """
    columns = min(columns, len(table))
    lines = -(-len(table) // columns)
    size = (1.6 * columns, 1.8 * lines + 0.6)
    fig, axes = new_figure(title, origin, nrows=lines, ncols=columns, size=size, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for number, (ax, row) in enumerate(zip(axes.flat, table.itertuples(), strict=False), start=1):
        ax.imshow(image_files.read_image(row.path))
        text = f"{row.label} · subject {row.subject}" if reveal else f"{number}"
        ax.set_title(text, fontsize=9, color=CLASS_COLOURS[row.label] if reveal else "black")
    return fig


def subject_sizes(table: pd.DataFrame, origin: str) -> Figure:
    """Draws how many images each subject has, class by class, the largest first.

    Args:
        table: One row per image, with `subject` and `label`.
        origin: Where the data came from.

    Returns:
        The figure, with one panel per class.
    """
    fig, axes = new_figure(
        "Images per subject", origin, ncols=2, size=(11, 3.6), sharey=True, squeeze=False
    )
    for ax, label in zip(axes.flat, CLASS_COLOURS, strict=True):
        sizes = table.loc[table["label"] == label, "subject"].value_counts()
        ax.bar(np.arange(len(sizes)), sizes, color=CLASS_COLOURS[label])
        ax.axhline(sizes.median(), color="black", linestyle="--", linewidth=1)
        ax.text(len(sizes) - 0.5, sizes.median(), "median", ha="right", va="bottom", fontsize=9)
        ax.set(title=f"{label}: {sizes.sum():,} images of {len(sizes)} subjects", xlabel="subject")
        ax.set_xticks(np.arange(len(sizes)), sizes.index, rotation=90, fontsize=7)
        ax.grid(visible=False, axis="x")
    axes[0, 0].set_ylabel("images")
    return fig


def area_by_class(table: pd.DataFrame, area: np.ndarray, origin: str) -> Figure:
    """Draws the distribution of nucleus area in both classes.

    Args:
        table: One row per image, with `label`.
        area: Area of each nucleus in px, as from `quick.nucleus_area`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure("Nucleus area by class", origin, size=(8, 3.4))
    bins = np.histogram_bin_edges(area / 1e3, bins=30)
    for label, line in zip(CLASS_COLOURS, ("-", "--"), strict=True):
        values = area[table["label"].to_numpy() == label] / 1e3
        style = {"histtype": "step", "linewidth": 2, "linestyle": line, "density": True}
        ax.hist(
            values, bins, color=CLASS_COLOURS[label], label=f"{label} (n={len(values):,})", **style
        )
    ax.set(xlabel="area [1,000 px]", ylabel="density [1 / 1,000 px]")
    ax.legend()
    return fig


def sides(splits: dict[str, pd.DataFrame], origin: str) -> Figure:
    """Draws on which sides each subject's images are, one panel per split.

    Args:
        splits: Title to split table (`split`, `linked_subject`).
        origin: Where the data came from.

    Returns:
        The figure: a bar per subject, its images shared out over the parts.
    """
    fig, axes = new_figure(
        "Where the images of each subject go",
        origin,
        nrows=len(splits),
        size=(11, 2.4 * len(splits) + 0.6),
        squeeze=False,
    )
    for ax, (title, table) in zip(axes.flat, splits.items(), strict=True):
        share = pd.crosstab(table["linked_subject"], table["split"], normalize="index")
        share = share.reindex(columns=[p for p in PART_COLOURS if p in share])
        share = share.sort_values(list(share.columns), ascending=False)
        _stack(ax, share)
        both = int(((share > 0).sum(axis="columns") > 1).sum())
        ax.set(title=f"{title}: {both} of {len(share)} subjects on more than one side")
        ax.set(ylabel="share of images", xlim=(-0.6, len(share) - 0.4))
    axes[-1, 0].set_xlabel("linked subject, sorted by where its images are")
    axes[-1, 0].legend(loc="lower left", fontsize=9, framealpha=1)
    return fig


def _stack(ax: Axes, share: pd.DataFrame) -> None:
    """Draws stacked bars in the order of the columns."""
    bottom = np.zeros(len(share))
    for part in share.columns:
        style = {"color": PART_COLOURS[part], "label": part, "width": 0.85}
        ax.bar(np.arange(len(share)), share[part], bottom=bottom, **style)
        bottom += share[part].to_numpy()
    ax.set_xticks([])
    ax.grid(visible=False)


def twins(pairs: pd.DataFrame, title: str, origin: str, *, most: int = 5) -> Figure:
    """Shows pairs of images above each other, with their file names.

    Args:
        pairs: As from `splits.find_duplicates` or `splits.near_duplicates`.
        title: Title over the whole figure.
        origin: Where the data came from.
        most: Pairs to show at most, the first ones.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no pairs.
    """
    if not len(pairs):
        raise ValueError(
            f"There are no pairs to show; look first whether there are. Received: {pairs}"
        )
    shown = pairs.head(most)
    size = (2.1 * max(len(shown), 2), 4.8)
    fig, axes = new_figure(title, origin, nrows=2, ncols=len(shown), size=size, squeeze=False)
    for (upper, lower), row in zip(axes.T, shown.itertuples(), strict=True):
        for ax, path in ((upper, row.path), (lower, row.path_twin)):
            ax.imshow(image_files.read_image(path))
            ax.set_title(Path(path).stem, fontsize=8)
            ax.axis("off")
    return fig


def leak_gap(summary: pd.DataFrame, published: pd.DataFrame, origin: str) -> Figure:
    """Draws each rule's score under each way of splitting, beside the gap published by others.

    Args:
        summary: As from `quick.summarise`.
        published: As from `quick.published_gap`.
        origin: Where the scores of the left panel came from.

    Returns:
        The figure; the right panel says that it is about the real images.
    """
    corner = f"left: {origin}; right: as published"
    fig, (left, right) = new_figure(
        "The same rules, two ways to split", corner, ncols=2, size=(11, 4.2), sharey=True
    )
    _scores(left, summary)
    for number, row in enumerate(published.itertuples()):
        right.plot([number] * 2, [row.random, row.disjoint], color=NEUTRAL, zorder=1)
    for colour, marker, column, text in zip(
        WAY_COLOURS,
        WAY_MARKERS,
        ("random", "disjoint"),
        ("random images", "other subjects (preliminary test)"),
        strict=True,
    ):
        style = {"color": colour, "marker": marker, "label": text}
        right.scatter(range(len(published)), published[column], s=50, **style)
    names = [f"{row.network}\n{row.side} px" for row in published.itertuples()]
    right.set_xticks(range(len(names)), names, fontsize=8, rotation=45, ha="right")
    right.set_title("published: real C-NMC 2019 images", fontsize=11)
    right.legend(fontsize=9, loc="lower left")
    return fig


def _scores(ax: Axes, summary: pd.DataFrame) -> None:
    """Draws mean and range of every rule, the ways of splitting side by side."""
    rules, ways = list(dict.fromkeys(summary["rule"])), list(dict.fromkeys(summary["split"]))
    for number, way in enumerate(ways):
        rows = summary[summary["split"] == way].set_index("rule").loc[rules]
        place = np.arange(len(rules)) + 0.22 * (number - (len(ways) - 1) / 2)
        reach = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        style = {"color": WAY_COLOURS[number], "marker": WAY_MARKERS[number]}
        ax.errorbar(
            place, rows["mean"], yerr=reach, linestyle="none", capsize=4, label=way, **style
        )
    ax.set_xticks(range(len(rules)), rules, fontsize=9)
    ax.set(ylabel="weighted F1 on the test part", xlim=(-0.5, len(rules) - 0.5))
    repeats = int(summary["repeats"].min())
    ax.set_title(f"here: mean and middle 95 % of {repeats} splits", fontsize=11)
    ax.legend(fontsize=9, loc="upper left")


def near_distances(near: pd.DataFrame, origin: str) -> Figure:
    """Draws how alike the reported pairs are, identical pairs apart.

    Args:
        near: As from `splits.near_duplicates`, of a table with digests.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure("Pairs that look alike", origin, size=(8, 3.2))
    same = near["subject"] == near["subject_twin"]
    kinds = {
        "identical": near["identical"],
        "same subject": ~near["identical"] & same,
        "two subjects": ~near["identical"] & ~same,
    }
    values = [near.loc[rows, "distance"] for rows in kinds.values()]
    labels = [f"{kind} (n={rows.sum():,})" for kind, rows in kinds.items()]
    ax.hist(
        values,
        bins=np.linspace(0, max(near["distance"].max(), 0.01), 21),
        label=labels,
        stacked=True,
        color=["black", WAY_COLOURS[1], WAY_COLOURS[0]],
    )
    ax.set(xlabel="share of hash bits that differ", ylabel="pairs of images")
    ax.legend(fontsize=9)
    return fig
