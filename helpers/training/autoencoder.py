"""An auto-encoder whose encoder is a network's convolution part.

It draws each image again from what the last convolution keeps of it: not the whole of it, but how
it differs from the mean image. All nuclei lie in the middle, dark on black, and an auto-encoder
that must first learn that learns little else in a short training. `helpers.training.autoencoder` trains it.

First weights without labels: an auto-encoder whose encoder is a network's convolution part.

It learns to draw each cell again from what the last convolution keeps of it. No label is needed
for that, so every cell may take part, except those of test subjects. The paper proposes it for
'weight matrix initialization' (section VI); the idea goes back to Hinton & Salakhutdinov 2006 and,
for convolutions, to Masci et al. 2011.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers import feed, runs
from helpers.data import cnmc
from helpers.settings import Profile, work_dir
from helpers.training import loop, trainer
from helpers.training.hardware import choose_accelerator

_HEADS = (keras.layers.Flatten, keras.layers.GlobalAveragePooling2D)
_USUAL = "usual_image"


def encoder_of(network: keras.Model) -> keras.Model:
    """Returns the convolution part of a network, with the very layers of the network.

    Args:
        network: A flat network whose head begins with flattening or global average pooling.

    Returns:
        The model from the raw image to the input of the head.

    Raises:
        ValueError: If the network has no such head.
    """
    heads = [layer for layer in network.layers if isinstance(layer, _HEADS)]
    if not heads:
        raise ValueError(
            "An encoder ends where the network's head begins: with Flatten or "
            f"GlobalAveragePooling2D. Received: {network.name!r}, which has neither"
        )
    return keras.Model(network.inputs, heads[0].input, name="encoder")


def build(network: keras.Model, seed: int = 0) -> keras.Model:
    """Builds the auto-encoder: the network's convolutions, and one convolution per step back up.

    Args:
        network: As in `encoder_of`; what the auto-encoder learns, the network knows.
        seed: Decides the first weights of the decoder.

    Returns:
        A model from raw images (0 to 255) to the same images from about 0 to 1; see
        `begin_at_mean`. Nothing in the decoder can fall silent: cells are dark, and with ReLU and
        sigmoid it settled for black.
    """
    encoder = encoder_of(network)
    answer = encoder.output
    for number, (side, channels) in enumerate(_steps_up(encoder)):
        answer = _enlarge(answer, side)
        start = keras.initializers.HeNormal(seed + number)
        answer = keras.layers.Conv2D(
            channels, 3, padding="same", activation="leaky_relu", kernel_initializer=start
        )(answer)
    exact = {"dtype": "float32"}
    last = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", **exact)
    usual = keras.layers.Normalization(axis=(1, 2, 3), invert=True, name=_USUAL, **exact)
    return keras.Model(network.inputs, usual(last(answer)), name="autoencoder")


def begin_at_mean(model: keras.Model, images: Iterable[np.ndarray]) -> None:
    """Lets an untrained auto-encoder draw the mean image, and measure deviations from it.

    The last layer gives each pixel the mean and the spread that it has among the images, as
    `keras.layers.Normalization` learns them; the convolution before it starts at zero.

    Args:
        model: As from `build`; call before `compile`.
        images: Batches of training images, from 0 to 1.
    """
    model.get_layer(_USUAL).adapt(images)


def _steps_up(encoder: keras.Model) -> list[tuple[int, int]]:
    """Returns the sides that the encoder left behind, with their channels, smallest first."""
    shapes = [layer.output.shape for layer in encoder.layers]
    steps = [(before[1], before[-1]) for before, after in pairwise(shapes) if after[1] < before[1]]
    return [(side, max(channels, 8)) for side, channels in reversed(steps)]


def _enlarge(answer: Any, side: int) -> Any:
    """Repeats pixels until the side is reached, and crops what is too much."""
    factor = math.ceil(side / answer.shape[1])
    answer = keras.layers.UpSampling2D(factor)(answer)
    extra = answer.shape[1] - side
    half = (extra // 2, extra - extra // 2)
    return keras.layers.Cropping2D((half, half))(answer) if extra else answer


RATE = 1e-3  # of Adam: a squared error of small values moves too slowly under the paper's SGD
VERSION = 1  # raise it whenever the same settings train another result


class _Mirror(feed.Batches):
    """Batches of images that are to be drawn again: each is its own answer, from 0 to 1."""

    def __init__(
        self, entries: feed.Pixels, rows: pd.DataFrame, batch_size: int, seed: int | None = None
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
) -> trainer.Run:
    """Trains an auto-encoder, or loads it if that was done before; labels are not looked at.

    Args:
        name: A network of `registry.MODELS`.
        table: Rows with `path` and `split`: "train" rows are learnt from, "validation" rows only
            measured. Leave the test rows out.
        profile: Gives image size, batch size and epochs where not given here.
        seed: Decides first weights and order of the images.
        epochs: Passes over the images.
        image_size: Side of the images in px.
        learning_rate: Of Adam.
        report: Takes one line per epoch, such as `print`.
        **options: Further options of the network, as in `registry.build`.

    Returns:
        A run whose network has a learned convolution part and a fresh head: what `trainer.train`
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
        loop.fix_seeds(seed)
        data = _read(parts, settings)
        with accelerator.scope():
            network = loop.build(settings, None, accelerator)
            model = build(network, seed)
            begin_at_mean(model, (images for _, images in data["train"]))
            # A second model over the same layers learns, so that no file holds an optimizer.
            learner = keras.Model(model.inputs, model.outputs)
            optimizer = loop.suit(keras.optimizers.Adam(learning_rate), accelerator)
            learner.compile(optimizer, "mse", jit_compile=accelerator.xla)
        history = _fit(learner, data, settings, report)
        errors = _errors(learner, data["validation"], parts["validation"])
        for name, whole in (("model", network), ("autoencoder", model)):
            runs.write_atomic(folder / f"{name}.keras", whole.save)
        history.to_csv(folder / "history.csv", index=False)
        errors.to_csv(folder / "predictions.csv", index=False)
        loop.save_images(folder, table)
        _note(folder, settings, time.monotonic() - began)

    description = {
        **settings,
        "kind": "autoencoder",
        "data": runs.table_digest(table.drop(columns="label", errors="ignore")),
        "numerics": accelerator.numerics,
        "versions": {package: version(package) for package in ("keras", "numpy", "tensorflow")},
        "version": VERSION,
    }
    with loop.quiet_tensorflow():
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
        entries = feed.keep_images(rows, settings["image_size"])
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


def _load(folder: Path, parts: dict[str, pd.DataFrame]) -> trainer.Run:
    stored = pd.read_csv(folder / "predictions.csv")
    history = pd.read_csv(folder / "history.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    errors = parts["validation"].assign(error=stored["error"])
    return trainer.Run(folder, history, errors, metrics)


def redraw(run: trainer.Run, images: np.ndarray) -> np.ndarray:
    """Lets the auto-encoder of a run draw images again.

    Args:
        run: As from `pretrain`.
        images: Raw images, 0 to 255, of shape (n, side, side, 3).

    Returns:
        What it makes of them, 0 to 255, of the same shape.
    """
    model = keras.saving.load_model(run.folder / "autoencoder.keras", compile=False, safe_mode=True)
    with loop.quiet_tensorflow():
        return np.asarray(model.predict_on_batch(images)) * 255
