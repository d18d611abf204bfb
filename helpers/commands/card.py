"""A model card per run: what the network is, what it was shown, how well it does, what it is not.

After Mitchell and others 2019, 'Model Cards for Model Reporting', doi 10.1145/3287560.3287596.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.evaluation import metrics, performance

SHOWN = tuple(name for name in metrics.NAMES if name not in metrics.COUNTS)
NOT_FOR_DIAGNOSIS = (
    "Teaching material. **Not for diagnosis**, nor for any decision about a person: no clinical "
    "validation was done, and the images show single cut-out nuclei, not patients."
)
LIMITS = (
    "All images come from one laboratory, one stain and one camera; elsewhere anything may happen.",
    "Labels are per patient: every cell of a patient with ALL counts as ALL, whatever it is.",
    "Age, sex and subtype of the patients are not published, so no one can tell for whom it fails.",
    "Few subjects: the interval over subjects says how little that is, and is itself rough.",
    "The probabilities are only as good as the calibration error says.",
)


def write_card(
    name: str,
    scores: pd.DataFrame,
    origin: str,
    *,
    training: Mapping[str, Any] | None = None,
    split: pd.DataFrame | None = None,
    threshold: float = 0.5,
    scored_on: str = "the test part, whose subjects the network had not seen",
) -> str:
    """Writes the card of one network in Markdown.

    Args:
        name: Name of the network.
        scores: As from `performance.evaluate`.
        origin: Where the images came from, such as `Source.note`.
        training: The metrics of the run, as `Run.metrics`; None: the training is not known.
        split: The split table of the run, if it is at hand.
        threshold: A cell was called ALL above it.
        scored_on: What was scored, in words.

    Returns:
        The text.
    """
    parts = {
        f"Model card: {name}": NOT_FOR_DIAGNOSIS,
        "Intended use": "To learn how such networks are trained and judged: cell images in, a "
        "probability of ALL (acute lymphoblastic leukaemia) per cell out.",
        "Data": f"{origin[:1].upper()}{origin[1:]}.{_shares(split)}",
        "Training": _training(training),
        "Results": _results(scores, threshold, scored_on),
        "Limits": _bullets(LIMITS + _own_limits(origin, training)),
    }
    marks = ["#"] + ["##"] * len(parts)
    return (
        "\n\n".join(
            f"{m} {head}\n\n{text}" for m, (head, text) in zip(marks, parts.items(), strict=False)
        )
        + "\n"
    )


def _shares(split: pd.DataFrame | None) -> str:
    """Says who was in which part."""
    if split is None:
        return " Which images the network was trained on is not recorded beside it."
    from helpers.data import splits

    report = splits.describe_split(split)
    leaks = splits.find_leaks(split)
    clean = "No linked subject and no image is in two parts."
    if len(leaks):
        clean = f"**{len(leaks)} subjects or images are in two parts**, so the scores are too good."
    lines: list[tuple[str, ...]] = [
        (part, f"{row.images:,}", f"{row.ALL:,}", f"{row.HEM:,}", f"{row.subjects:,}")
        for part, row in zip(report.index, report.itertuples(), strict=True)
    ]
    head = ("part", "images", "ALL", "HEM", "linked subjects")
    return f" {clean}\n\n{_table(head, lines)}"


def _training(training: Mapping[str, Any] | None) -> str:
    if training is None:
        return "Not known: no record of a run lies beside the file."
    named = {
        "run": training.get("note"),
        "first weights": training.get("weights_note"),
        "weights": f"{training['parameters']:,}" if "parameters" in training else None,
        "machine": training.get("accelerator"),
        "seconds": training.get("seconds"),
    }
    return _bullets(tuple(f"{key}: {value}" for key, value in named.items() if value is not None))


def _results(scores: pd.DataFrame, threshold: float, scored_on: str) -> str:
    row = scores.iloc[0]
    shown = performance.for_display(scores, SHOWN)
    lines = list(shown.itertuples(index=False, name=None))
    return (
        f"On {scored_on}: {row['cells']:,.0f} cells of {row['subjects']:,.0f} subjects. A cell is "
        f"called ALL above a probability of {threshold:.3g}.\n\n"
        f"{_table(tuple(shown.columns), lines)}\n\n"
        "The interval over subjects is the one to quote; over cells it ignores that cells of one "
        "patient are alike."
    )


def _own_limits(origin: str, training: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Adds what is wrong with this very run."""
    found = []
    if "synthetic" in origin:
        found.append("The cells are drawn: nothing here says anything about real ones.")
    settings = (training or {}).get("settings", {})
    if settings.get("select_on") == "test":
        found.append("The epoch was chosen on the test part, so the scores are too good.")
    return tuple(found)


def _table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    rows = [head, ("---",) * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _bullets(lines: tuple[str, ...]) -> str:
    return "\n".join(f"- {line}" for line in lines)
