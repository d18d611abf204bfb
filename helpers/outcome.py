"""What a training leaves behind: its judgements, its facts, its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers import callbacks, cnmc, models, runs, transfer
from helpers.accelerators import Accelerator
from helpers.batches import Batches

POSITIVE = cnmc.CLASSES.index("ALL")


def score(
    model: keras.Model, data: Mapping[str, Batches], parts: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Lets the trained network judge the validation and the test part.

    Returns:
        Their rows with `probability` of ALL.
    """
    ask = transfer.as_function(model)
    judged = []
    for part in ("validation", "test"):
        answers = np.concatenate([ask(batch).numpy() for batch, _ in data[part]])
        judged.append(parts[part].assign(probability=answers[:, POSITIVE]))
    return pd.concat(judged, ignore_index=True)


def summarise(
    model: keras.Model,
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    settings: Mapping[str, Any],
    accelerator: Accelerator,
) -> dict[str, Any]:
    """Says how well the network does, and everything that must be said beside it."""
    right = (predictions["probability"] > 0.5) == (predictions["label"] == "ALL")
    best = int(history.loc[history["best"], "epoch"].iloc[0])
    metrics = {
        "accuracy": right.groupby(predictions["split"]).mean().to_dict(),
        "best_epoch": best,
        "epochs": len(history),
        "parameters": model.count_params(),
        "trained_parameters": sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        "accelerator": accelerator.note,
        "weights_note": models.weights_note(model),
        "settings": dict(settings),
    }
    return metrics | {"note": _note(metrics, settings)}


def _note(metrics: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    chosen = {"last": "as the last", "test": "on test (optimistic: a demonstration)"}
    how = chosen.get(settings["select_on"], f"on {settings['select_on']}")
    said = [
        settings["model"],
        f"{settings['image_size']} px",
        f"{settings['optimizer']} at {settings['learning_rate']:g}",
        f"epoch {metrics['best_epoch']} of {metrics['epochs']}",
        f"chosen {how}",
        f"seed {settings['seed']}",
        metrics["weights_note"],
    ]
    return ", ".join(said)


def save(
    folder: Path,
    model: keras.Model,
    history: pd.DataFrame,
    predictions: pd.DataFrame,
    metrics: Mapping[str, Any],
) -> None:
    """Writes the four files of a run, and drops the state that only resuming needs."""
    runs.write_atomic(folder / "model.keras", model.save)
    history.to_csv(folder / "history.csv", index=False)
    predictions.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    callbacks.discard_state(folder)
    for path in folder.glob("features-*.npy"):
        path.unlink()
