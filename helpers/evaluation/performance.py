"""The table of judged cells: checked before it is scored, so that no score hides a fault.

From judged cells to scores that can be believed: tables in, tables out, no network needed.

A predictions table has a row per cell with `label` ("ALL" or "HEM"), `linked_subject` (who it is
from) and `probability` (of ALL), as from `training.train` or `training.predict`. The scores are in
`helpers.evaluation.metrics`, the draws in `helpers.evaluation.metrics`, tests between models in `helpers.evaluation.comparisons`,
the operating point in `helpers.evaluation.performance`; what is meant for use is offered here.

The operating point: above which probability a cell is called ALL.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from helpers.evaluation import metrics
from helpers.evaluation.metrics import Sample

CLASSES = ("HEM", "ALL")
NEEDED = ("label", "linked_subject", "probability")


def only_part(predictions: pd.DataFrame, part: str) -> pd.DataFrame:
    """Returns the rows of one part of the split; all of them if the table has no `split`.

    Args:
        predictions: Judged cells.
        part: Such as "test".

    Raises:
        ValueError: If the table has parts, but not this one.
    """
    if "split" not in predictions:
        return predictions
    rows = predictions[predictions["split"] == part]
    if rows.empty:
        raise ValueError(
            "One part is scored at a time; name one that is there, or drop the column `split`. "
            f"Received: part={part!r} of {sorted(map(str, predictions['split'].unique()))}"
        )
    return rows


def check(predictions: pd.DataFrame) -> pd.DataFrame:
    """Returns the judged cells, numbered anew, if every one can be scored.

    Args:
        predictions: Rows with `label`, `linked_subject` and `probability`; other columns are kept.

    Returns:
        The same rows, with the probability as 64-bit numbers.

    Raises:
        ValueError: If a column is missing, there is no row, or a value is not what it should be.
    """
    missing = [name for name in NEEDED if name not in predictions]
    if missing:
        raise ValueError(
            f"Judged cells have the columns {', '.join(NEEDED)}, as from training.predict. "
            f"Received: no {' and no '.join(missing)} among {', '.join(map(str, predictions))}"
        )
    if predictions.empty:
        raise ValueError("Scores need at least one judged cell. Received: an empty table")
    numbers = pd.to_numeric(predictions["probability"], errors="coerce").to_numpy(float)
    faults = {
        "whose probability is no number from 0 to 1 (did the training diverge?)": ~(
            (numbers >= 0) & (numbers <= 1)
        ),
        f"whose label is not {' or '.join(CLASSES)} (unlabelled ones can be judged, not scored)": (
            ~predictions["label"].isin(CLASSES).to_numpy()
        ),
        "without a linked subject": predictions["linked_subject"].isna().to_numpy(),
        "judged twice (the same path)": _repeated(predictions),
    }
    for fault, rows in faults.items():
        if rows.any():
            raise ValueError(
                f"Every cell has a probability of ALL from 0 to 1, a label and a subject, and is "
                f"there once. Received: {rows.sum():,} of {len(rows):,} rows {fault}"
            )
    return predictions.assign(probability=numbers).reset_index(drop=True)


def _repeated(predictions: pd.DataFrame) -> np.ndarray:
    if "path" not in predictions:
        return np.zeros(len(predictions), bool)
    return predictions["path"].duplicated().to_numpy()


def sample(predictions: pd.DataFrame) -> Sample:
    """Turns checked cells into arrays; subjects are numbered in the order of their names."""
    subject = pd.factorize(predictions["linked_subject"].astype(str), sort=True)[0]
    is_all = (predictions["label"] == "ALL").to_numpy(bool)
    return Sample(predictions["probability"].to_numpy(float), is_all, subject)


DRAWS = 2_000


def scores(
    predictions: pd.DataFrame, threshold: float = 0.5, part: str = "test"
) -> dict[str, float]:
    """Scores judged cells without intervals.

    Args:
        predictions: As in `evaluate`.
        threshold: As in `evaluate`.
        part: As in `evaluate`.

    Returns:
        The value of every score of `metrics.NAMES`, NaN where it is not defined.
    """
    cells = sample(check(only_part(predictions, part)))
    return dict(zip(metrics.NAMES, metrics.score(cells, threshold).tolist(), strict=True))


def right(predictions: pd.DataFrame, threshold: float = 0.5) -> pd.Series:
    """Tells for each judged cell whether it is called right: ALL above the threshold, else HEM."""
    return (predictions["probability"] > threshold) == (predictions["label"] == "ALL")


def verdict(low: float, high: float, above: str = "helps", below: str = "harms") -> str:
    """Says in words what the interval of a difference shows.

    Args:
        low: Lower end of the interval.
        high: Upper end.
        above: The words for an interval above 0.
        below: The words for one below 0.

    Returns:
        One of these two, "not shown" if the interval holds 0, "no interval" if there is none.

    Example:
        >>> verdict(0.01, 0.2), verdict(-0.1, 0.2), verdict(float("nan"), float("nan"))
        ('helps', 'not shown', 'no interval')
    """
    if np.isnan([low, high]).any():
        return "no interval"
    return above if low > 0 else below if high < 0 else "not shown"


def evaluate(
    predictions: pd.DataFrame,
    threshold: float = 0.5,
    draws: int = DRAWS,
    seed: int = 0,
    part: str = "test",
) -> pd.DataFrame:
    """Scores judged cells, each score with its 95 % intervals over subjects and over cells.

    The interval over subjects is the one to report: patients vary, and cells of one patient are
    alike. The one over cells is usually too narrow and stands there to show that. With few
    subjects even the first is somewhat too narrow.

    Args:
        predictions: Rows with `label`, `linked_subject` and `probability` (of ALL, 0 to 1).
        threshold: A cell is called ALL above it; choose it on other cells, `choose_threshold`.
        draws: Bootstrap draws.
        seed: Decides the draws: the same seed, the same table.
        part: If the table has a column `split`, only this part of it is scored.

    Returns:
        One row per score, named by the index `metric` (`metrics.LABELS` has them in words), with
        `value`, `low` and `high` (over subjects), `cell_low` and `cell_high`, `cells`, `subjects`.
        A score that is not defined is missing; so is an interval over fewer than three subjects
        of a class.

    Raises:
        ValueError: If a column is missing, or a probability, label or subject is not one.

    Example:
        >>> cells = pd.DataFrame({"label": ["ALL", "ALL", "HEM", "HEM"],
        ...     "linked_subject": list("abcd"), "probability": [0.9, 0.4, 0.2, 0.1]})
        >>> table = evaluate(cells, draws=100)
        >>> float(table.loc["accuracy", "value"]), int(table.loc["accuracy", "subjects"])
        (0.75, 4)
    """
    cells = sample(check(only_part(predictions, part)))
    subjects = metrics.interval(metrics.over_subjects(cells, threshold, draws, seed))
    singly = metrics.interval(metrics.over_cells(cells, threshold, draws, seed))
    columns = ["value", "low", "high", "cell_low", "cell_high"]
    values = [metrics.score(cells, threshold), *subjects, *singly]
    index = pd.Index(metrics.NAMES, name="metric")
    table = pd.DataFrame(dict(zip(columns, values, strict=True)), index=index)
    table.loc[table["value"].isna(), columns] = np.nan
    return table.assign(cells=len(cells.is_all), subjects=cells.subjects)


def evaluate_models(
    models: Mapping[str, pd.DataFrame],
    thresholds: Mapping[str, float] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    part: str = "test",
) -> pd.DataFrame:
    """Scores several models, as `evaluate` does one.

    Args:
        models: The predictions of each model, by its name.
        thresholds: Of each model; 0.5 where not given.
        draws: As in `evaluate`.
        seed: As in `evaluate`.
        part: As in `evaluate`.

    Returns:
        The tables of `evaluate` under each other, with `model` and `metric` as the index.
    """
    chosen = thresholds or {}
    tables = {
        name: evaluate(predictions, chosen.get(name, 0.5), draws, seed, part)
        for name, predictions in models.items()
    }
    return pd.concat(tables, names=["model"])


def in_words(table: pd.DataFrame, metric: str = "weighted_f1") -> str:
    """Says a score with its interval and sample size in one line.

    Args:
        table: As from `evaluate`.
        metric: One of `metrics.NAMES`.

    Returns:
        Such as 'weighted F1 0.871 (95 % interval over subjects 0.80 to 0.92; 210 cells of 9
        subjects)'.
    """
    row = table.loc[metric]
    size = f"{row['cells']:,.0f} cells of {row['subjects']:.0f} subjects"
    if np.isnan(row["value"]):
        return f"{metrics.LABELS[metric]} not defined ({size})"
    value = f"{row['value']:,.0f}" if metric in metrics.COUNTS else f"{row['value']:.3f}"
    reach = "no interval: fewer than three subjects of a class"
    if not np.isnan(row["low"]):
        reach = f"95 % interval over subjects {_reach(row['low'], row['high'], metric, ' to ')}"
    return f"{metrics.LABELS[metric]} {value} ({reach}; {size})"


def for_display(table: pd.DataFrame, names: tuple[str, ...] = metrics.NAMES) -> pd.DataFrame:
    """Turns scores into text for a table to look at.

    Args:
        table: As from `evaluate` or `evaluate_models`.
        names: The scores to show, in order.

    Returns:
        One row per score (and model), with `score`, its `value`, and both intervals as text.
    """
    rows = []
    for key, row in table.iterrows():
        model, metric = key if isinstance(key, tuple) else ("", key)
        count = metric in metrics.COUNTS
        value = "–" if np.isnan(row["value"]) else f"{row['value']:{',.0f' if count else '.3f'}}"
        over = [_reach(row[f"{way}low"], row[f"{way}high"], metric) for way in ("", "cell_")]
        rows.append((model, metric, metrics.LABELS[metric], value, *over))
    columns = ["model", "metric", "score", "value", "95 % over subjects", "95 % over cells"]
    shown = pd.DataFrame(rows, columns=columns)
    order = {name: place for place, name in enumerate(names)}
    shown = shown[shown["metric"].isin(order)].sort_values(
        "metric", key=lambda column: column.map(order), kind="stable"
    )
    extra = ["metric"] if isinstance(table.index, pd.MultiIndex) else ["metric", "model"]
    return shown.drop(columns=extra).reset_index(drop=True)


def _reach(low: float, high: float, metric: str, between: str = " – ") -> str:
    if np.isnan(low):
        return "–"
    form = ",.0f" if metric in metrics.COUNTS else ".2f"
    return f"{low:{form}}{between}{high:{form}}"


def by_subject(
    predictions: pd.DataFrame, threshold: float = 0.5, part: str = "test"
) -> pd.DataFrame:
    """Counts for every subject how many of its cells are called right.

    Args:
        predictions: As in `evaluate`.
        threshold: As in `evaluate`.
        part: As in `evaluate`.

    Returns:
        One row per linked subject and class, the worst first: `linked_subject`, `label`, `cells`,
        `accuracy`, and `probability` (mean, of ALL).
    """
    cells = check(only_part(predictions, part))
    groups = cells.assign(right=right(cells, threshold)).groupby(
        ["linked_subject", "label"], as_index=False
    )
    table = groups.agg(
        cells=("right", "size"), accuracy=("right", "mean"), probability=("probability", "mean")
    )
    return table.sort_values("accuracy", kind="stable", ignore_index=True)


def reliability(predictions: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Compares what was said with what came true, in bins of the probability of ALL.

    Args:
        predictions: As in `evaluate`.
        part: As in `evaluate`.

    Returns:
        One row per bin that has cells: `bin`, `cells`, `said` (mean probability), `true` (share of
        ALL). The calibration error is the mean gap between the two, weighted by cells.
    """
    cells = check(only_part(predictions, part))
    bins = metrics.bin_of(cells["probability"].to_numpy())
    groups = cells.assign(bin=bins, is_all=cells["label"] == "ALL").groupby("bin", as_index=False)
    return groups.agg(
        cells=("is_all", "size"), said=("probability", "mean"), true=("is_all", "mean")
    )


AIMS = ("balanced_accuracy", "weighted_f1", "accuracy", "f1", "mcc")


def choose_threshold(
    predictions: pd.DataFrame,
    aim: str = "balanced_accuracy",
    sensitivity: float | None = None,
    part: str = "validation",
) -> float:
    """Chooses the operating point, on cells that are not those it is judged on.

    Args:
        predictions: As in `evaluate`, of the validation part.
        aim: What is to be highest: one of `AIMS`; balanced accuracy amounts to Youden's index.
        sensitivity: Or: the highest threshold that finds at least this share of the ALL cells.
        part: If the table has a column `split`, this part of it decides; "test" is refused.

    Returns:
        A threshold half-way between two probabilities that occur; of equally good ones the one
        nearest to 0.5.

    Raises:
        ValueError: If the test part is asked for, a class is missing, or an argument is unknown.
    """
    _check_choice(part, aim, sensitivity)
    cells = sample(check(only_part(predictions, part)))
    if cells.is_all.all() or not cells.is_all.any():
        raise ValueError(
            "A threshold is chosen between two classes; take cells of both. Received: "
            f"{cells.is_all.sum()} ALL and {(~cells.is_all).sum()} HEM cells"
        )
    scores, level = metrics.levels(cells.probability)
    lowest, highest = scores[0] / 2 or -1e-9, (scores[-1] + 1) / 2  # all are called ALL, or none
    cuts = np.concatenate([[lowest], (scores[1:] + scores[:-1]) / 2, [highest]])
    found = _calls_at_each_cut(cells, level, len(scores))
    if sensitivity is not None:
        return float(cuts[found["sensitivity"] >= sensitivity].max())
    best = cuts[np.isclose(found[aim], np.nanmax(found[aim]))]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _calls_at_each_cut(cells: Sample, level: np.ndarray, levels: int) -> dict[str, np.ndarray]:
    """Scores the calls for a threshold below each level, and for one above all."""
    counts = [np.bincount(level[k], minlength=levels) for k in (cells.is_all, ~cells.is_all)]
    tp, fp = (np.append(n[::-1].cumsum()[::-1], 0) for n in counts)
    return metrics.of_calls(tp, counts[1].sum() - fp, fp, counts[0].sum() - tp)


def _check_choice(part: str, aim: str, sensitivity: float | None) -> None:
    if part == "test":
        raise ValueError(
            "A threshold tuned on the test labels makes the test score too good; choose it on "
            "the validation part. Received: part='test'"
        )
    if aim not in AIMS or not (sensitivity is None or 0 < sensitivity <= 1):
        raise ValueError(
            f"`aim` is one of {', '.join(AIMS)}, a sensitivity is above 0 and at most 1. Received: "
            f"aim={aim!r}, sensitivity={sensitivity!r}"
        )
