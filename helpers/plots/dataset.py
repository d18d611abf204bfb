"""Figures of the data set and its splits (notebook 01)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.plots.style import CLASS_COLOURS, NEUTRAL, PALETTE, dots, new_figure

PART_COLOURS = {"train": "#999999", "validation": "#E69F00", "test": "#000000"}
WAYS = (dots(3), dots(2))


def subject_sizes(table: pd.DataFrame, origin: str) -> Figure:
    """Draws how many images each subject has, class by class, the largest first.

    Args:
        table: One row per image, with `subject` and `label`.
        origin: Where the data came from.

    Returns:
        The figure, with one panel per class.
    """
    fig, axes = new_figure("Images per subject", origin, ncols=2, size=(11, 3.6), sharey=True)
    for ax, label in zip(axes, CLASS_COLOURS, strict=True):
        sizes = table.loc[table["label"] == label, "subject"].value_counts()
        ax.bar(np.arange(len(sizes)), sizes, color=CLASS_COLOURS[label])
        ax.axhline(sizes.median(), color="black", linestyle="--", linewidth=1)
        ax.text(len(sizes) - 0.5, sizes.median(), "median", ha="right", va="bottom", fontsize=9)
        ax.set(title=f"{label}: {sizes.sum():,} images of {len(sizes)} subjects", xlabel="subject")
        named = slice(None, None, 1 + len(sizes) // 40)  # of more, not every name has room
        ax.set_xticks(np.arange(len(sizes))[named], sizes.index[named], rotation=90, fontsize=7)
        ax.grid(visible=False, axis="x")
    axes[0].set_ylabel("images")
    return fig


def sides(splits: Mapping[str, pd.DataFrame], origin: str) -> Figure:
    """Draws on which sides each subject's images are, one panel per split.

    Args:
        splits: Title to split table (`split`, `linked_subject`).
        origin: Where the data came from.

    Returns:
        The figure: a bar per subject, its images shared out over the parts.
    """
    title, size = "Where the images of each subject go", (11, 2.4 * len(splits) + 0.6)
    fig, axes = new_figure(title, origin, nrows=len(splits), size=size, squeeze=False)
    for ax, (title, table) in zip(axes.flat, splits.items(), strict=True):
        share = pd.crosstab(table["linked_subject"], table["split"], normalize="index")
        share = share[[part for part in PART_COLOURS if part in share]]
        share = share.sort_values(list(share), ascending=False)
        share.plot.bar(ax=ax, stacked=True, width=0.85, color=PART_COLOURS, legend=False)
        both = int(((share > 0).sum(axis="columns") > 1).sum())
        ax.set_title(f"{title}: {both} of {len(share)} subjects on more than one side")
        ax.set(ylabel="share of images", xlabel="", xticks=[])
        ax.grid(visible=False)
    ax.set_xlabel("linked subject, sorted by where its images are")
    ax.legend(loc="lower left", fontsize=9, framealpha=1)
    return fig


def leak_gap(summary: pd.DataFrame, published: pd.DataFrame, repeats: int, origin: str) -> Figure:
    """Draws each rule's score under each way of splitting, beside the gap published by others.

    Args:
        summary: Rows with `rule`, `split`, `mean`, `low` and `high`.
        published: Rows with `network`, `side` of its images, and its score on `random` images and
            on `disjoint` subjects.
        repeats: On how many splits the summary rests.
        origin: Where the scores of the left panel came from.

    Returns:
        The figure; the right panel says that it is about the real images.
    """
    corner, title = f"left: {origin}; right: as published", "The same rules, two ways to split"
    fig, (left, right) = new_figure(title, corner, ncols=2, size=(11, 4.2), sharey=True)
    _rule_scores(left, summary)
    left.set_title(f"here: mean and middle 95 % of {repeats} splits", fontsize=11)
    place = range(len(published))
    right.vlines(place, published["random"], published["disjoint"], color=NEUTRAL, zorder=1)
    texts = {"random": "random images", "disjoint": "other subjects (preliminary test)"}
    for (column, text), look in zip(texts.items(), WAYS, strict=True):
        right.scatter(place, published[column], s=50, label=text, **look)
    names = published["network"] + "\n" + published["side"].astype(str) + " px"
    right.set_xticks(place, names, fontsize=8, rotation=45, ha="right")
    right.set_title("published: real C-NMC 2019 images", fontsize=11)
    right.legend(fontsize=9, loc="lower left")
    return fig


def _rule_scores(ax: Axes, summary: pd.DataFrame) -> None:
    """Draws mean and range of every rule, the ways of splitting side by side."""
    rules = summary["rule"].unique()
    for number, (way, rows) in enumerate(summary.groupby("split", sort=False)):
        ordered, look = rows.set_index("rule").loc[rules], WAYS[number]
        reach = [ordered["mean"] - ordered["low"], ordered["high"] - ordered["mean"]]
        place = np.arange(len(rules)) + (-0.11, 0.11)[number]
        ax.errorbar(place, ordered["mean"], reach, linestyle="none", capsize=4, label=way, **look)
    ax.set_xticks(range(len(rules)), rules, fontsize=9)
    ax.set(ylabel="weighted F1 on the test part", xlim=(-0.5, len(rules) - 0.5))
    ax.legend(fontsize=9, loc="upper left")


def near_distances(near: pd.DataFrame, origin: str) -> Figure:
    """Draws how alike the reported pairs are, identical pairs apart.

    Args:
        near: Pairs with `distance`, `identical`, `subject` and `subject_twin`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, ax = new_figure("Pairs that look alike", origin, size=(8, 3.2))
    same, twin = near["subject"] == near["subject_twin"], near["identical"]
    kinds = {"identical": twin, "same subject": ~twin & same, "two subjects": ~twin & ~same}
    values = [near.loc[rows, "distance"] for rows in kinds.values()]
    labels = [f"{kind} (n={rows.sum():,})" for kind, rows in kinds.items()]
    bins = np.linspace(0, max(near["distance"].max(), 0.01), 21)
    ax.hist(values, bins, label=labels, stacked=True, color=("black", PALETTE[2], PALETTE[3]))
    ax.set(xlabel="share of hash bits that differ", ylabel="pairs of images")
    ax.legend(fontsize=9)
    return fig
