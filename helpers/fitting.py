"""The steps of a training up to its end, in the order in which `training.train` takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import batches, callbacks, cnmc, kernels, models, pixels, transfer
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


def build(settings: Mapping[str, Any], start: Path | None, accelerator: Accelerator) -> keras.Model:
    """Builds the network, with the weights to start from, and frees what its stage trains."""
    model = models.build(
        settings["model"],
        settings["image_size"],
        weights=settings["weights"],
        seed=settings["seed"],
        **settings["options"],
    )
    if start is not None:
        _take_weights(model, start / "model.keras")
    models.set_trainable(model, settings["stage"])
    if accelerator.is_one_cpu:
        kernels.use_fast_kernels(model)
    return model


def _take_weights(model: keras.Model, saved: Path) -> None:
    """Unpacks the weights first: read inside the archive, they take five times as long."""
    with TemporaryDirectory() as folder, ZipFile(saved) as archive:
        model.load_weights(archive.extract("model.weights.h5", folder))


def prepare(
    model: keras.Model,
    settings: Mapping[str, Any],
    parts: Mapping[str, pd.DataFrame],
    folder: Path,
    report: Callable[[str], Any] | None,
) -> tuple[keras.Model, dict[str, Batches]]:
    """Returns what is trained and its batches per part.

    For stage "all" that is the network and images. For the others it is what follows the frozen
    base, and the base's features: those of each augmented image are its own.
    """
    # A second model over the same layers is compiled, so that the network itself stays as it is
    # saved: without the optimizer, at half the size on disk.
    base, learner = None, keras.Model(model.input, model.output)
    if settings["stage"] != "all":
        base, learner = transfer.divide(model)
        ask = transfer.as_function(base)
    data = {}
    for part, rows in parts.items():
        entries = pixels.keep_images(rows, settings["image_size"], report)
        is_train = part == "train"
        jitter = settings["colour_jitter"] if is_train else 0.0
        turn = settings["turn"] and is_train and not base
        if base:
            gains = batches.draw_gains(len(rows), jitter, settings["seed"])
            found = transfer.features(ask, entries, gains)
            shape, jitter = (len(rows), *learner.input_shape[1:]), 0.0
            entries = batches.keep(folder / f"features-{part}.npy", found, shape, report)
        seed = settings["seed"] if is_train else None
        data[part] = Batches(entries, rows, settings["batch_size"], seed, jitter, turn)
    return learner, data


def compile_model(
    model: keras.Model, settings: Mapping[str, Any], accelerator: Accelerator
) -> None:
    """Compiles with cross-entropy, the optimizer and what the accelerator can do."""
    optimizer = OPTIMIZERS[settings["optimizer"]](settings["learning_rate"])
    model.compile(
        optimizer=suit(optimizer, accelerator),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=accelerator.xla,
    )
    # Now, so that a resumed state has its place, and the first step need not be drawn up twice.
    model.optimizer.build(model.trainable_variables)
    labels, answers = np.zeros(1, np.int32), np.full((1, len(cnmc.CLASSES)), 0.5, np.float32)
    model.compute_metrics(None, labels, answers)
    model.reset_metrics()


def suit(
    optimizer: keras.optimizers.Optimizer, accelerator: Accelerator
) -> keras.optimizers.Optimizer:
    """Lets an optimizer compute as is best on an accelerator; call before `compile`."""
    if accelerator.devices == 1:
        kernels.keep_on_one_device(optimizer)
    if accelerator.is_one_cpu:
        kernels.use_fast_steps(optimizer)
    return optimizer


def fit(
    model: keras.Model,
    data: Mapping[str, Batches],
    settings: Mapping[str, Any],
    parts: Mapping[str, pd.DataFrame],
    folder: Path,
    report: Callable[[str], Any] | None,
) -> pd.DataFrame:
    """Trains from the last epoch that was kept on, and gives the model its best epoch's weights.

    Returns:
        The history: one row per epoch.
    """
    judge = {"validation": "val"}.get(settings["select_on"], settings["select_on"])
    checkpoint = callbacks.Checkpoint(folder, judge, settings["patience"])
    done = checkpoint.resume(model)
    with callbacks.clear_memory_error(settings):
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
