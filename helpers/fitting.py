"""The steps of a training, in the order in which `training.train` takes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import batches, callbacks, cnmc, kernels, models, pipelines, runs, transfer
from helpers.accelerators import Accelerator
from helpers.batches import Batches

# The paper says 'SGD' alone; momentum 0.9 with Nesterov's look-ahead is our reading of it.
OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "sgd_momentum": partial(keras.optimizers.SGD, momentum=0.9),
    "sgd_plain": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
}
POSITIVE = cnmc.CLASSES.index("ALL")


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Spares notebooks TensorFlow's hints on speed, such as one for each further network."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def fix_seeds(seed: int) -> None:
    """Makes the process repeat itself bit by bit; costs next to nothing on a CPU."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def build(settings: Mapping[str, Any], start: keras.Model | None) -> keras.Model:
    """Builds the network, with the weights to start from, and frees what its stage trains."""
    model = models.build(
        settings["model"],
        settings["image_size"],
        weights=settings["weights"],
        seed=settings["seed"],
        **settings["options"],
    )
    if start is not None:
        model.set_weights(start.get_weights())
    models.set_trainable(model, settings["stage"])
    return model


def prepare(
    model: keras.Model,
    settings: Mapping[str, Any],
    parts: Mapping[str, pd.DataFrame],
    folder: Path,
) -> tuple[keras.Model, dict[str, Batches]]:
    """Returns what is trained and its batches per part.

    That is the network and images; for stage "head" its head and the features of the frozen
    base, of each augmented image its own.
    """
    base, learner = transfer.divide(model) if settings["stage"] == "head" else (None, model)
    shape = learner.input_shape[1:]
    data = {}
    for part, rows in parts.items():
        path = folder / f"batches-{part}.npy"
        images = _read_images(rows, settings)
        inputs = transfer.features(base, images) if base else images
        batches.keep(path, inputs, (len(rows), *shape))
        seed = settings["seed"] if part == "train" else None
        data[part] = Batches(path, rows, settings["batch_size"], seed)
    return learner, data


def _read_images(rows: pd.DataFrame, settings: Mapping[str, Any]) -> tf.data.Dataset:
    unlabelled = rows.drop(columns="label")
    side, size = settings["image_size"], settings["batch_size"]
    return pipelines.make_dataset(unlabelled, side, batch_size=size, cache=False)


def compile_model(
    model: keras.Model, settings: Mapping[str, Any], accelerator: Accelerator
) -> None:
    """Compiles with cross-entropy, the optimizer and what the accelerator can do."""
    if accelerator.kind == "CPU" and accelerator.devices == 1:
        kernels.use_fast_kernels(model)
    model.compile(
        optimizer=OPTIMIZERS[settings["optimizer"]](settings["learning_rate"]),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=accelerator.xla,
    )
    model.optimizer.build(model.trainable_variables)  # Now, so that a resumed state has its place.


def fit(
    model: keras.Model,
    data: Mapping[str, Batches],
    settings: Mapping[str, Any],
    parts: Mapping[str, pd.DataFrame],
    folder: Path,
    report: Callable[[str], Any] | None,
) -> pd.DataFrame:
    """Trains from the last complete epoch on, and gives the model its best epoch's weights.

    Returns:
        The history: one row per epoch.
    """
    judge = "test" if settings["select_on"] == "test" else "val"
    checkpoint = callbacks.Checkpoint(folder, judge, settings["patience"])
    done = checkpoint.resume(model)
    with _clear_memory_error(settings):
        model.fit(
            data["train"],
            initial_epoch=settings["epochs"] if checkpoint.is_over else done,
            epochs=settings["epochs"],
            validation_data=data["validation"],
            class_weight=_balance(parts["train"]) if settings["class_weights"] else None,
            callbacks=[*_followers(data, settings, folder, report), checkpoint],
            shuffle=False,  # The batches come shuffled.
            verbose=0,
        )
    return checkpoint.restore_best(model)


@contextmanager
def _clear_memory_error(settings: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            "The device has too little memory for a step. Train with a smaller batch or image, "
            "or close what else uses the device. Received: "
            f"batch_size={settings['batch_size']}, image_size={settings['image_size']}"
        ) from error


def _balance(rows: pd.DataFrame) -> dict[int, float]:
    """Weighs each class by the inverse of its share, so that the mean weight stays 1."""
    counts = rows["label"].value_counts()
    return {n: len(rows) / (2 * int(counts[label])) for n, label in enumerate(cnmc.CLASSES)}


def _followers(
    data: Mapping[str, Batches],
    settings: Mapping[str, Any],
    folder: Path,
    report: Callable[[str], Any] | None,
) -> list[keras.callbacks.Callback]:
    rate = callbacks.rate_schedule(
        settings["schedule"], settings["learning_rate"], settings["epochs"]
    )
    followers = [
        keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: data["train"].start_epoch(epoch)
        ),
        keras.callbacks.LearningRateScheduler(rate),
        callbacks.StopOnNan(),
    ]
    if settings["watch_test"]:
        followers.append(callbacks.WatchTest(data["test"]))
    if settings["tensorboard"]:
        followers.append(keras.callbacks.TensorBoard(folder / "tensorboard"))
    if report:
        followers.append(callbacks.Progress(report, settings["epochs"]))
    return followers


def score(
    model: keras.Model, data: Mapping[str, Batches], parts: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Lets the trained network judge the validation and the test part.

    Returns:
        Their rows with `probability` of ALL.
    """
    judged = [
        parts[part].assign(probability=model.predict(data[part], verbose=0)[:, POSITIVE])
        for part in ("validation", "test")
    ]
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
    warning = " (optimistic: a demonstration)" if settings["select_on"] == "test" else ""
    said = [
        settings["model"],
        f"{settings['image_size']} px",
        f"{settings['optimizer']} at {settings['learning_rate']:g}",
        f"epoch {metrics['best_epoch']} of {metrics['epochs']}",
        f"chosen on {settings['select_on']}{warning}",
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
    runs.write_atomic(folder / "model.keras", _without_optimizer(model).save)
    history.to_csv(folder / "history.csv", index=False)
    predictions.to_csv(folder / "predictions.csv", index=False)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
    callbacks.discard_state(folder)
    for path in folder.glob("batches-*.npy"):
        path.unlink()


def _without_optimizer(model: keras.Model) -> keras.Model:
    """A copy that predicts the same, at half the size on disk."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    return copy
