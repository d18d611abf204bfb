"""The table of judged cells: checked before it is scored, so that no score hides a fault."""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.bootstrap import Sample

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
