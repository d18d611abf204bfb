"""Figures of notebooks 06 and 07 and of the report: how good, how sure, and what a change did."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from helpers.plots import style
from helpers.plots.style import BESIDE, CLASS_LOOKS, NEUTRAL, PALETTE, new_figure, panel_grid

Tables = Mapping[str, pd.DataFrame]
Found = Mapping[str, Mapping[str, float]]
SUBJECTS, CELLS = PALETTE[0], PALETTE[4]
DOTS = {"score, over subjects": {"color": SUBJECTS}}
BOTH = {"accuracy": "accuracy", "weighted_f1": "weighted F1"}
VERDICTS = {
    "helps": {"color": PALETTE[2], "marker": "^"},
    "harms": {"color": PALETTE[1], "marker": "v"},
    "not shown": {"color": NEUTRAL, "marker": "o"},
}


def size_of(table: pd.DataFrame) -> str:
    """Says on how many cells of how many subjects a table of scores rests."""
    ends = [(table[name].min(), table[name].max()) for name in ("cells", "subjects")]
    many = [f"{low:,}" if low == high else f"{low:,} to {high:,}" for low, high in ends]
    return f"{many[0]} cells of {many[1]} unseen subjects"


def forest(table: pd.DataFrame, origin: str, labels: Mapping[str, str] = BOTH) -> Figure:
    """Draws scores of all models with their intervals, over subjects beside those over cells.

    Args:
        table: As from `performance.evaluate_models`.
        origin: Where the data came from.
        labels: The scores, one panel each, and the labels of their axes.

    Returns:
        The figure.
    """
    models = table.index.get_level_values("model").unique()
    size = (4.6 * len(labels) + 1, 1.6 + 0.45 * len(models))
    title = f"95 % intervals on {size_of(table)}"
    fig, axes = new_figure(title, origin, ncols=len(labels), size=size, sharey=True, squeeze=False)
    for ax, (score, label) in zip(axes[0], labels.items(), strict=True):
        rows = table.xs(score, level="metric").loc[models].reset_index(names="name")
        look = {"color": CELLS, "linewidth": 1.5, "label": "over cells"}
        style.interval_rows(ax, rows.assign(kind="score, over subjects"), DOTS, shift=-0.12)
        ax.hlines(rows.index + 0.16, rows["cell_low"], rows["cell_high"], **look)
        ax.set_xlabel(label)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    return fig


def confusion(found: Found, origin: str) -> Figure:
    """Draws the four counts of each model, with their share of the true class.

    Args:
        found: The scores of each model, as from `performance.scores`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    title = "True class against call"
    fig, axes = panel_grid(len(found), title, origin, columns=4, side=(2.6, 2.6))
    for ax, (name, one) in zip(axes.flat, found.items(), strict=False):
        counts = np.array([[one["tn"], one["fp"]], [one["fn"], one["tp"]]])
        share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (row, column), part in np.ndenumerate(share):
            look = {"color": "white" if part > 0.6 else "black", "ha": "center", "va": "center"}
            ax.text(column, row, f"{counts[row, column]:,.0f}\n{part:.0%}", fontsize=11, **look)
        names = {"xticklabels": ["HEM", "ALL"], "yticklabels": ["HEM", "ALL"]}
        ax.set(xlabel="called", ylabel="is", xticks=[0, 1], yticks=[0, 1], **names)
        ax.set_title(name, fontsize=10)
        ax.grid(visible=False)
    return fig


def curves(models: Tables, found: Found, origin: str) -> Figure:
    """Draws ROC and precision-recall curves, with a dot where each model's threshold is.

    Args:
        models: Judged cells by name; of parts, the test part is drawn.
        found: The scores of each model, as from `performance.scores`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    fig, (roc, pr) = new_figure("All thresholds at once", origin, ncols=2, size=(11.5, 4.6))
    for number, (name, rows) in enumerate(models.items()):
        rows, one = rows[rows["split"] == "test"] if "split" in rows else rows, found[name]
        truth, p = rows["label"] == "ALL", rows["probability"]
        look = style.dash(number)
        false, true, _ = roc_curve(truth, p)
        precision, recall, _ = precision_recall_curve(truth, p)
        roc.plot(false, true, label=f"{name}: {one['roc_auc']:.2f}, {one['pr_auc']:.2f}", **look)
        pr.plot(recall, precision, **look, drawstyle="steps-post")
        dot = {"color": look["color"], "zorder": 3}
        roc.scatter(1 - one["specificity"], one["sensitivity"], **dot)
        pr.scatter(one["sensitivity"], one["precision"], **dot)
    roc.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1)
    pr.axhline(truth.mean(), color=NEUTRAL, linewidth=1)
    roc.set(xlabel="HEM cells called ALL (1 - specificity)", ylabel="ALL cells found (sensitivity)")
    pr.set(xlabel="ALL cells found (sensitivity)", ylabel="ALL calls right (precision)")
    pr.set_ylim(-0.02, 1.02)
    fig.legend(loc="outside right upper", title="ROC-AUC, PR-AUC", fontsize=9, title_fontsize=9)
    return fig


def reliability(tables: Tables, found: Found, origin: str) -> Figure:
    """Draws what each model said against what was true, with how many cells it said it of.

    Args:
        tables: The bins of each model, as from `performance.reliability`.
        found: The scores of each model, as from `performance.scores`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    title, grid = "Is 80 % right in 80 % of the cells?", {"sharex": True, "sharey": True}
    fig, axes = panel_grid(len(tables), title, origin, columns=3, side=(3.5, 3.1), **grid)
    for ax, (name, table) in zip(axes.flat, tables.items(), strict=False):
        bars = {"color": CELLS, "alpha": 0.35, "label": "share of the cells"}
        ax.bar((table["bin"] + 0.5) / 10, table["cells"] / table["cells"].sum(), 0.1, **bars)
        ax.plot([0, 1], [0, 1], color=NEUTRAL, linewidth=1, label="calibrated")
        ax.plot(table["said"], table["true"], "o-", color=SUBJECTS, label="share that is ALL")
        text = f"{name}: ECE {found[name]['ece']:.2f}, Brier {found[name]['brier']:.2f}"
        ax.set_title(text, fontsize=10)
    for ax in axes[:, 0]:
        ax.set_ylabel("share")
    for ax in axes.flat[max(0, len(tables) - 3) : len(tables)]:
        ax.set_xlabel("said: probability of ALL")
        ax.tick_params(labelbottom=True)
    place = {"loc": "outside lower left", "ncols": 3}
    if len(tables) == 1:
        place = {"loc": "outside right center"}
    fig.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=9, **place)
    return fig


def subject_strip(tables: Tables, origin: str) -> Figure:
    """Draws every subject's share of right calls, a dot each, larger for more cells.

    Args:
        tables: The subjects of each model, as from `performance.by_subject`.
        origin: Where the data came from.

    Returns:
        The figure.
    """
    title = f"One dot per subject ({len(next(iter(tables.values())))} subjects)"
    fig, ax = new_figure(title, origin, size=(9.5, 1.6 + 0.5 * len(tables)))
    people = pd.concat(tables, names=["model"]).reset_index("model")
    for label, shift in (("ALL", -0.15), ("HEM", 0.15)):
        rows, look = people[people["label"] == label], {"alpha": 0.6, **CLASS_LOOKS[label]}
        place = rows["model"].map(list(tables).index) + shift
        ax.scatter(rows["accuracy"], place, s=12 + 2 * rows["cells"].clip(upper=200), **look)
        ax.scatter([], [], s=40, label=label, **look)
    ax.set_yticks(range(len(tables)), tables)
    ax.set(xlabel="share of the subject's cells called right", xlim=(-0.03, 1.03))
    ax.set_ylim(len(tables) - 0.5, -0.5)
    ax.legend(**BESIDE)
    return fig


def differences(table: pd.DataFrame, origin: str) -> Figure:
    """Draws the difference in weighted F1 of each pair of models with its interval over subjects.

    Args:
        table: As from `comparisons.compare_models`.
        origin: Where the data came from.

    Returns:
        The figure. Pairs whose difference survives the correction are filled.
    """
    cells, subjects = table["cells"].iloc[0], table["subjects"].iloc[0]
    title = f"Pairs of models on the same {cells:,} cells of {subjects} subjects"
    clear, not_clear = "p < 0.05 after Holm", "not"
    rows = table.assign(name=table["first"] + " – " + table["second"], value=table["difference"])
    rows["kind"] = np.where(rows["p_subjects_holm"] < 0.05, clear, not_clear)
    looks = {clear: {"color": PALETTE[0]}, not_clear: {"color": PALETTE[0], "facecolor": "white"}}
    xlabel = "difference in weighted F1"
    return style.differences(rows, looks, title, origin, xlabel, legend="over subjects")


def operating_point(
    validation: pd.DataFrame, test: pd.DataFrame, thresholds: Mapping[str, float], origin: str
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
    title = "Chosen on the left, judged on the right"
    fig, axes = new_figure(title, origin, ncols=2, size=(11, 4.2), sharey=True)
    cuts = np.linspace(0, 1, 201)
    for ax, rows, part in zip(axes, (validation, test), ("validation", "test"), strict=True):
        sick, p = (rows["label"] == "ALL").to_numpy(), rows["probability"].to_numpy()
        above = p[:, None] > cuts
        ax.plot(cuts, above[sick].mean(axis=0), color=PALETTE[1], label="sensitivity")
        ax.plot(cuts, 1 - above[~sick].mean(axis=0), "--", color=PALETTE[0], label="specificity")
        for (name, cut), line in zip(thresholds.items(), ("-", ":", "-."), strict=False):
            ax.axvline(cut, color=NEUTRAL, linestyle=line, label=f"{name}: {cut:.2f}")
        people = rows["linked_subject"].nunique()
        ax.set_title(f"{part}: {len(rows):,} cells of {people} subjects", fontsize=11)
        ax.set(xlabel="called ALL above this probability", xlim=(-0.02, 1.02))
    axes[0].set_ylabel("share of the cells of a class")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
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
        look, label = style.dots(number), f"{row.model}: {row.parameters / 1e6:.1f} M weights"
        ax.vlines(row.seconds, row.low, row.high, color=look["color"], linewidth=1.5)
        ax.scatter(row.seconds, row.value, s=70, label=label, zorder=3, **look)
    ax.set(xlabel="seconds of training", ylabel="accuracy, 95 % over subjects")
    ax.set_xlim(0, 1.08 * table["seconds"].max())
    ax.legend(**BESIDE)
    return fig


def published(table: pd.DataFrame, origin: str) -> Figure:
    """Draws published scores, one panel per protocol, which do not compare with each other.

    Args:
        table: One row per score: `protocol`, `work`, `score` (which one it is), `value`, and `low`
            and `high` where it has an interval.
        origin: Where the scores and the images came from.

    Returns:
        The figure.
    """
    groups = dict(list(table.groupby("protocol", sort=False)))
    ratios = [rows["work"].nunique() + 0.5 for rows in groups.values()]
    title = "Three protocols, three questions: do not rank across the panels"
    grid = {"nrows": len(groups), "height_ratios": ratios, "sharex": True, "squeeze": False}
    size = (9.5, 1.6 + 0.36 * sum(ratios))
    fig, axes = new_figure(title, origin, size=size, **grid)
    looks = {name: style.dots(number) for number, name in enumerate(table["score"].unique())}
    for ax, (protocol, rows) in zip(axes[:, 0], groups.items(), strict=True):
        style.interval_rows(ax, rows.rename(columns={"work": "name", "score": "kind"}), looks)
        ax.set_title(protocol, fontsize=10, loc="left")
    axes[-1, 0].set_xlabel("score")
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", fontsize=9)
    return fig


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
