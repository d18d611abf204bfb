"""First weights without labels: an auto-encoder whose encoder is a network's convolution part.

It learns to draw each cell again from what the last convolution keeps of it. No label is needed
for that, so every cell may take part, except those of test subjects. The paper proposes it for
'weight matrix initialization' (section VI); the idea goes back to Hinton & Salakhutdinov 2006 and,
for convolutions, to Masci et al. 2011.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers import (
    autoencoder,
    batches,
    cnmc,
    fitting,
    kernels,
    models,
    networks,
    pipelines,
    pixels,
    runs,
    training,
)
from helpers.accelerators import choose_accelerator
from helpers.profiles import Profile, work_dir

RATE = 1e-3  # of Adam: a squared error of small values moves too slowly under the paper's SGD
_CODE = (autoencoder, models, networks, pipelines, kernels, fitting, pixels, batches)


class _Mirror(batches.Batches):
    """Batches of images that are to be drawn again: each is its own answer, from 0 to 1."""

    def __init__(
        self, entries: pixels.Pixels, rows: pd.DataFrame, batch_size: int, seed: int | None = None
    ):
        # The base wants labels; these are never handed out.
        super().__init__(entries, rows.assign(label=cnmc.CLASSES[0]), batch_size, seed)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        images, _ = super().__getitem__(number)
        return images, images / 255


def pretrain(
    name: str,
    table: pd.DataFrame,
    profile: Profile,
    *,
    seed: int = 1,
    epochs: int | None = None,
    image_size: int | None = None,
    learning_rate: float = RATE,
    report: Callable[[str], Any] | None = None,
    **options: Any,
) -> training.Run:
    """Trains an auto-encoder, or loads it if that was done before; labels are not looked at.

    Args:
        name: A network of `models.MODELS`.
        table: Rows with `path` and `split`: "train" rows are learnt from, "validation" rows only
            measured. Leave the test rows out.
        profile: Gives image size, batch size and epochs where not given here.
        seed: Decides first weights and order of the images.
        epochs: Passes over the images.
        image_size: Side of the images in px.
        learning_rate: Of Adam.
        report: Takes one line per epoch, such as `print`.
        **options: Further options of the network, as in `models.build`.

    Returns:
        A run whose network has a learned convolution part and a fresh head: what `training.train`
        takes as `start_from`. Its history has `loss` and `val_loss` (mean squared error, images
        from 0 to 1), its predictions are the validation rows with their `error`.

    Raises:
        ValueError: If there are test rows, or a part is missing.
    """
    parts = _check_table(table)
    settings = {
        "model": name,
        "options": options,
        "image_size": profile.image_size if image_size is None else image_size,
        "batch_size": profile.batch_size,
        "epochs": profile.epochs if epochs is None else epochs,
        "learning_rate": learning_rate,
        "weights": None,
        "stage": "all",
        "seed": seed,
    }
    accelerator = choose_accelerator()

    def make(folder: Path) -> None:
        began = time.monotonic()
        fitting.fix_seeds(seed)
        data = _read(parts, settings)
        with accelerator.scope():
            network = fitting.build(settings, None, accelerator)
            model = autoencoder.build(network, seed)
            autoencoder.begin_at_mean(model, (images for _, images in data["train"]))
            # A second model over the same layers learns, so that no file holds an optimizer.
            learner = keras.Model(model.inputs, model.outputs)
            optimizer = fitting.suit(keras.optimizers.Adam(learning_rate), accelerator)
            learner.compile(optimizer, "mse", jit_compile=accelerator.xla)
        history = _fit(learner, data, settings, report)
        errors = _errors(learner, data["validation"], parts["validation"])
        for name, whole in (("model", network), ("autoencoder", model)):
            runs.write_atomic(folder / f"{name}.keras", whole.save)
        history.to_csv(folder / "history.csv", index=False)
        errors.to_csv(folder / "predictions.csv", index=False)
        _note(folder, settings, time.monotonic() - began)

    description = {
        **settings,
        "kind": "autoencoder",
        "data": runs.table_digest(table.drop(columns="label", errors="ignore")),
        "numerics": accelerator.numerics,
        "versions": {package: version(package) for package in ("keras", "numpy", "tensorflow")},
        "code": [runs.file_digest(Path(str(module.__file__))) for module in _CODE],
        "this": runs.file_digest(Path(__file__)),
    }
    with fitting.quiet_tensorflow():
        folder = runs.make_once(work_dir() / "runs", description, make)
    return _load(folder, parts)


def _check_table(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    counts = table["split"].value_counts().to_dict()
    if "test" in counts or not {"train", "validation"} <= set(counts):
        raise ValueError(
            "An auto-encoder learns from the rows of 'train' and is measured on 'validation'; "
            "cells of test subjects would leak what they look like, so leave those rows out. "
            f"Received: {counts}"
        )
    return {
        part: table[table["split"] == part].reset_index(drop=True)
        for part in ("train", "validation")
    }


def _read(parts: dict[str, pd.DataFrame], settings: dict[str, Any]) -> dict[str, _Mirror]:
    data = {}
    for part, rows in parts.items():
        seed = settings["seed"] if part == "train" else None
        entries = pixels.keep_images(rows, settings["image_size"])
        data[part] = _Mirror(entries, rows, settings["batch_size"], seed)
    return data


def _fit(
    model: keras.Model,
    data: dict[str, _Mirror],
    settings: dict[str, Any],
    report: Callable[[str], Any] | None,
) -> pd.DataFrame:
    def tell(epoch: int, logs: dict[str, float]) -> None:
        if report:
            report(f"epoch {epoch + 1:>3} of {settings['epochs']}: error {logs['val_loss']:.5f}")

    order = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: data["train"].start_epoch(epoch), on_epoch_end=tell
    )
    found = model.fit(
        data["train"],
        epochs=settings["epochs"],
        validation_data=data["validation"],
        callbacks=[order],
        shuffle=False,  # The batches come shuffled.
        verbose=0,
    )
    history = pd.DataFrame(found.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    return history


def _errors(model: keras.Model, data: _Mirror, rows: pd.DataFrame) -> pd.DataFrame:
    pairs = (data[number] for number in range(len(data)))
    found = [np.square(model.predict_on_batch(x) - y).mean(axis=(1, 2, 3)) for x, y in pairs]
    return rows.assign(error=np.concatenate(found))


def _note(folder: Path, settings: dict[str, Any], seconds: float) -> None:
    start = f"encoder of an auto-encoder, {settings['epochs']} epochs without labels"
    metrics = {
        "weights_note": start,
        "note": f"{settings['model']}, {settings['image_size']} px, {start}",
        "seconds": round(seconds, 1),
        "settings": settings,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))


def _load(folder: Path, parts: dict[str, pd.DataFrame]) -> training.Run:
    stored = pd.read_csv(folder / "predictions.csv")
    history = pd.read_csv(folder / "history.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    errors = parts["validation"].assign(error=stored["error"])
    return training.Run(folder, history, errors, metrics)


def redraw(run: training.Run, images: np.ndarray) -> np.ndarray:
    """Lets the auto-encoder of a run draw images again.

    Args:
        run: As from `pretrain`.
        images: Raw images, 0 to 255, of shape (n, side, side, 3).

    Returns:
        What it makes of them, 0 to 255, of the same shape.
    """
    model = keras.saving.load_model(run.folder / "autoencoder.keras", compile=False, safe_mode=True)
    with fitting.quiet_tensorflow():
        return np.asarray(model.predict_on_batch(images)) * 255
