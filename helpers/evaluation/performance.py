"""From judged cells to scores that can be believed: tables in, tables out, no network needed.

A predictions table has a row per cell with `label` ("ALL" or "HEM"), `linked_subject` (who it is
from) and `probability` (of ALL), as from `trainer.train` or `trainer.predict`. It is checked before
it is scored, so that no score hides a fault.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.cnmc import CLASSES
from helpers.evaluation import metrics

NEEDED = ("label", "linked_subject", "probability")


def evaluate(predictions: pd.DataFrame, threshold: float = 0.5, draws: int = 2_000) -> pd.DataFrame:
    """Scores judged cells, each score with its 95 % intervals over subjects and over cells.

    The interval over subjects is the one to report: patients vary, and cells of one patient are
    alike. The one over cells is usually too narrow and stands there to show that. With few
    subjects even the first is somewhat too narrow.

    Args:
        predictions: Rows with `label`, `linked_subject` and `probability` (of ALL, 0 to 1). Where
            there is a column `split`, only its part "test" is scored.
        threshold: A cell is called ALL above it; choose it on other cells, `choose_threshold`.
        draws: Bootstrap draws; they are the same each time.

    Returns:
        One row per score, named by the index `metric` (`metrics.LABELS` has them in words), with
        `value`, `low` and `high` (over subjects), `cell_low` and `cell_high`, `cells`, `subjects`.
        A score that is not defined is missing; so is every interval over subjects if the cells of
        a class are of fewer than three.

    Raises:
        ValueError: If a column is missing, or a probability, label or subject is not one.

    Example:
        >>> cells = pd.DataFrame({"label": ["ALL", "ALL", "HEM", "HEM"],
        ...     "linked_subject": list("abcd"), "probability": [0.9, 0.4, 0.2, 0.1]})
        >>> table = evaluate(cells, draws=100)
        >>> float(table.loc["accuracy", "value"]), int(table.loc["accuracy", "subjects"])
        (0.75, 4)
    """
    cells = sample(check(only_part(predictions)))
    table = pd.DataFrame(index=pd.Index(metrics.NAMES, name="metric"))
    table["value"] = metrics.score(cells, threshold)
    for way, draw in (("", metrics.over_subjects), ("cell_", metrics.over_cells)):
        table[f"{way}low"], table[f"{way}high"] = metrics.interval(draw(cells, threshold, draws))
    table.loc[table["value"].isna()] = np.nan
    return table.assign(cells=len(cells.is_all), subjects=cells.subjects)


def evaluate_models(models: Mapping[str, pd.DataFrame], **options: Any) -> pd.DataFrame:
    """Scores several models, as `evaluate` does one.

    Args:
        models: The predictions of each model, by its name.
        options: As in `evaluate`, the same for all.

    Returns:
        The tables of `evaluate` under each other, with `model` and `metric` as the index.
    """
    tables = {name: evaluate(predictions, **options) for name, predictions in models.items()}
    return pd.concat(tables, names=["model"])


def scores(
    predictions: pd.DataFrame, threshold: float = 0.5, part: str = "test"
) -> dict[str, float]:
    """Scores judged cells without intervals.

    Args:
        predictions: As in `evaluate`.
        threshold: As in `evaluate`.
        part: The part that is scored where there is a column `split`.

    Returns:
        The value of every score of `metrics.NAMES`, NaN where it is not defined.
    """
    cells = sample(check(only_part(predictions, part)))
    return dict(zip(metrics.NAMES, metrics.score(cells, threshold).tolist(), strict=True))


def only_part(predictions: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """Returns the rows of one part of the split; all of them if the table has no `split`."""
    if "split" not in predictions:
        return predictions
    rows = predictions[predictions["split"] == part]
    if rows.empty:
        there = sorted(map(str, predictions["split"].unique()))
        raise ValueError(f"Name one part, or drop `split`. Received: {part=} of {there}")
    return rows


def check(predictions: pd.DataFrame, needed: tuple[str, ...] = NEEDED) -> pd.DataFrame:
    """Returns the judged cells, numbered anew and in 64 bits, if every one can be scored."""
    missing = [name for name in needed if name not in predictions]
    if missing:
        told = f"no {' and no '.join(missing)} among {', '.join(map(str, predictions))}"
        raise ValueError(f"Judged cells have the columns {', '.join(needed)}. Received: {told}")
    if predictions.empty:
        raise ValueError("Scores need at least one judged cell. Received: an empty table")
    numbers = pd.to_numeric(predictions["probability"], errors="coerce").astype(float)
    paths = predictions.get("path", pd.Series(range(len(predictions))))
    unlabelled = ~predictions["label"].isin(CLASSES)
    faults = {
        "whose probability is no such number (did the training diverge?)": ~numbers.between(0, 1),
        "whose label is neither (such can be judged, not scored)": unlabelled,
        "without a linked subject": predictions["linked_subject"].isna(),
        "judged twice (the same path)": paths.duplicated(),
    }
    for fault, rows in faults.items():
        if rows.any():
            told = "A cell has a probability of 0 to 1, a label HEM or ALL, a subject, and one row."
            raise ValueError(f"{told} Received: {rows.sum():,} of {len(rows):,} rows {fault}")
    return predictions.assign(probability=numbers).reset_index(drop=True)


def sample(predictions: pd.DataFrame) -> metrics.Sample:
    """Turns checked cells into arrays; subjects are numbered in the order of their names."""
    subject, names = pd.factorize(predictions["linked_subject"].astype(str), sort=True)
    is_all = (predictions["label"] == "ALL").to_numpy(bool)
    return metrics.Sample(predictions["probability"].to_numpy(float), is_all, subject, len(names))


def right(predictions: pd.DataFrame, threshold: float = 0.5) -> pd.Series:
    """Tells for each judged cell whether it is called right: ALL above the threshold, else HEM."""
    return (predictions["probability"].astype(float) > threshold) == (predictions["label"] == "ALL")


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
    if low > 0:
        return above
    return below if high < 0 else "not shown"


def in_words(table: pd.DataFrame, metric: str = "weighted_f1") -> str:
    """Says a score with its interval and sample size in one line.

    Args:
        table: As from `evaluate`.
        metric: One of `metrics.NAMES`.

    Returns:
        Such as 'weighted F1 0.871 (95 % interval over subjects 0.80 to 0.92; 210 cells of 9
        subjects)'.
    """
    row, shown = table.loc[metric], for_display(table, (metric,)).iloc[0]
    size = f"{count(row['cells'], 'cell')} of {count(row['subjects'], 'subject')}"
    if np.isnan(row["value"]):
        return f"{shown['score']} not defined ({size})"
    reach = f"95 % interval over subjects {shown['95 % over subjects'].replace(' – ', ' to ')}"
    if np.isnan(row["low"]):
        few = table["low"].isna().all()  # and not only of this score
        reach = "no interval: fewer than three subjects of a class" if few else "no interval"
    elif np.isclose(row["low"], row["high"]):
        reach = "no interval: all draws are alike"
    return f"{shown['score']} {shown['value']} ({reach}; {size})"


def count(number: float, noun: str) -> str:
    """Counts things in words.

    Example:
        >>> count(1, "cell"), count(1200, "cell")
        ('1 cell', '1,200 cells')
    """
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def for_display(table: pd.DataFrame, names: tuple[str, ...] = metrics.NAMES) -> pd.DataFrame:
    """Turns scores into text for a table to look at.

    Args:
        table: As from `evaluate` or `evaluate_models`.
        names: The scores to show, in order.

    Returns:
        One row per score (and model), with `score`, its `value`, and both intervals as text.
    """
    rows = table.reset_index().set_index("metric").loc[list(names)].reset_index()
    shown = rows.filter(["model"]).assign(score=rows["metric"].map(metrics.LABELS))
    shown["value"] = _in_digits(rows, 3, "value")
    shown["95 % over subjects"] = _in_digits(rows, 2, "low", "high")
    shown["95 % over cells"] = _in_digits(rows, 2, "cell_low", "cell_high")
    return shown


def _in_digits(rows: pd.DataFrame, decimals: int, *columns: str) -> list[str]:
    """Writes scores with so many decimals, counts of cells with none, what is missing as a dash."""
    texts = []
    for metric, *values in rows[["metric", *columns]].itertuples(index=False):
        digits = 0 if metric in metrics.COUNTS else decimals
        is_alike = len(values) > 1 and np.isclose(*values)  # an interval without width is none
        known = [f"{v:,.{digits}f}" for v in values if not (is_alike or np.isnan(v))]
        texts.append(" – ".join(known) or "–")
    return texts


def by_subject(predictions: pd.DataFrame, threshold: float = 0.5) -> pd.DataFrame:
    """Counts for every subject how many of its cells are called right.

    Args:
        predictions: As in `evaluate`.
        threshold: As in `evaluate`.

    Returns:
        One row per linked subject and class, the worst first: `linked_subject`, `label`, `cells`,
        `accuracy`, and `probability` (mean, of ALL).
    """
    cells = check(only_part(predictions))
    cells["right"] = right(cells, threshold)
    table = cells.groupby(["linked_subject", "label"], as_index=False).agg(
        cells=("right", "size"), accuracy=("right", "mean"), probability=("probability", "mean")
    )
    return table.sort_values("accuracy", kind="stable", ignore_index=True)


def reliability(predictions: pd.DataFrame) -> pd.DataFrame:
    """Compares what was said with what came true, in bins of the probability of ALL.

    Args:
        predictions: As in `evaluate`.

    Returns:
        One row per bin that has cells: `bin`, `cells`, `said` (mean probability), `true` (share of
        ALL). The calibration error is the mean gap between the two, weighted by cells.
    """
    cells = check(only_part(predictions))
    cells["bin"] = metrics.bin_of(cells["probability"].to_numpy())
    cells["is_all"] = cells["label"] == "ALL"
    return cells.groupby("bin", as_index=False).agg(
        cells=("is_all", "size"), said=("probability", "mean"), true=("is_all", "mean")
    )


def choose_threshold(predictions: pd.DataFrame, sensitivity: float | None = None) -> float:
    """Chooses the operating point, on cells that are not those it is judged on.

    Args:
        predictions: As in `evaluate`. Where there is a column `split`, its part "validation"
            decides: a threshold tuned on the test labels makes the test score too good.
        sensitivity: The share of the ALL cells to be found, by the highest threshold that does;
            None: the highest balanced accuracy, which is the point of Youden.

    Returns:
        A threshold half-way between two probabilities that occur; of equally good ones the one
        nearest to 0.5.

    Raises:
        ValueError: If there is no validation part, a class is missing, or a sensitivity is none.
    """
    from sklearn.metrics import roc_curve

    if sensitivity is not None and not 0 < sensitivity <= 1:
        raise ValueError(f"A sensitivity is above 0, up to 1. Received: {sensitivity=}")
    cells = sample(check(only_part(predictions, "validation")))
    if len(set(cells.is_all)) < 2:
        told = "A threshold needs cells of both classes. Received:"
        raise ValueError(f"{told} {cells.is_all.sum()} ALL and {(~cells.is_all).sum()} HEM cells")
    false, true, _ = roc_curve(cells.is_all, cells.probability, drop_intermediate=False)
    steps = np.array([1, *np.unique(cells.probability)[::-1], 0])  # from none called ALL to all
    cuts = (steps[1:] + steps[:-1]) / 2
    cuts[-1] = cuts[-1] or -1e-9  # where a probability is 0, all are called ALL only below it
    if sensitivity is not None:
        return float(cuts[true >= sensitivity].max())
    balanced = (true + 1 - false) / 2
    best = cuts[np.isclose(balanced, balanced.max())]
    return float(best[np.argmin(np.abs(best - 0.5))])
