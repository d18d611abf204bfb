"""What is looked at before a training begins: it should fail in a second, not after an hour."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import pandas as pd

from helpers import callbacks, cnmc, fitting, models
from helpers.leaks import PARTS, check_split


def check_settings(settings: Mapping[str, Any], start_from: Mapping[str, Any] | None) -> None:
    """Refuses settings that cannot work.

    Args:
        settings: As `training.train` gathers them.
        start_from: The settings of the run to start from, if any.

    Raises:
        ValueError: With what may be chosen, and what was received.
    """
    known: dict[str, Iterable[str]] = {
        "model": models.MODELS,
        "optimizer": fitting.OPTIMIZERS,
        "select_on": (*PARTS[1:], "last"),
        "stage": models.STAGES,
    }
    for name, choices in known.items():
        if settings[name] not in choices:
            raise ValueError(
                f"Choose {name} of {', '.join(choices)}. Received: {name}={settings[name]!r}"
            )
    for name in ("epochs", "learning_rate", "batch_size", "image_size"):
        if not settings[name] > 0:
            raise ValueError(f"{name} must be above 0. Received: {name}={settings[name]!r}")
    if settings["patience"] is not None and settings["patience"] < 1:
        raise ValueError(
            f"patience is at least 1 epoch, or None. Received: patience={settings['patience']!r}"
        )
    if settings["patience"] is not None and settings["select_on"] == "last":
        raise ValueError(
            "Patience waits for a better epoch, so a part must judge the epochs: leave patience "
            f"out, or let 'validation' judge. Received: patience={settings['patience']!r}, "
            "select_on='last'"
        )
    if start_from and start_from["model"] != settings["model"]:
        raise ValueError(
            f"A run starts from a run of the same network, here {settings['model']}. "
            f"Received: start_from={start_from['model']}"
        )
    if not 0 <= settings["colour_jitter"] < 0.5:
        raise ValueError(
            "colour_jitter is a share of the brightness, from 0 to below 0.5. "
            f"Received: colour_jitter={settings['colour_jitter']!r}"
        )
    callbacks.rate_schedule(settings["schedule"], 1.0, 1)
    if settings["tensorboard"] and not find_spec("tensorboard"):
        raise ValueError(
            "Logs for TensorBoard need its package: pip install tensorboard. "
            "Received: tensorboard=True"
        )


def check_table(table: pd.DataFrame, allow_leaks: bool) -> dict[str, pd.DataFrame]:
    """Returns the rows of each part, if both classes can be learnt and nothing leaks.

    Args:
        table: Rows with `path`, `label` and `split`.
        allow_leaks: Accepts subjects on both sides of the split.

    Raises:
        ValueError: If a class or a part is empty, or a subject is on two sides.
    """
    if not allow_leaks:
        check_split(table)
    parts = {part: table[table["split"] == part].reset_index(drop=True) for part in PARTS}
    counts = parts["train"]["label"].value_counts().to_dict()
    if not set(cnmc.CLASSES) <= set(counts):
        raise ValueError(
            f"The training part needs images of both classes, {' and '.join(cnmc.CLASSES)}: look "
            f"at the labels, or split again with another seed. Received: {counts}"
        )
    empty = [part for part in PARTS if parts[part].empty]
    if empty:
        raise ValueError(
            "Every part needs images: 'validation' chooses the epoch, 'test' is scored once. "
            f"Split again with other ratios. Received: no image in {' and '.join(empty)}"
        )
    return parts
