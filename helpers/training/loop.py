"""Training on a frozen base: the base judges each image once, not in every epoch.

The steps of a training up to its end, in the order in which `training.train` takes them.

What a training leaves behind: its judgements, its facts, its files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import feed, runs
from helpers.data import cnmc
from helpers.feed import Batches
from helpers.models import registry
from helpers.training import callbacks, hardware
from helpers.training.hardware import Accelerator

if TYPE_CHECKING:
    from helpers.feed import Pixels

# Dropout is drawn anew in each epoch: it belongs to what is trained.
_RANDOM = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divides a network where its frozen layers end: a base, and the rest that is trained.

    Args:
        model: A flat network whose first layers are frozen.

    Returns:
        The frozen base and the rest. Both have the layers of the network itself: what the rest
        learns, the network knows.

    Raises:
        ValueError: If the network has no frozen base, or nothing to train.
    """
    layers = model.layers
    trained = [n for n, layer in enumerate(layers) if layer.trainable_weights]
    cut = _last_cut(layers, trained[0]) if trained else 0
    if not any(layer.weights for layer in layers[:cut]):
        raise ValueError(
            "Features can be computed once for a network with a frozen base and something to train "
            f"after it. Received: {len(trained)} trainable of {len(layers)} layers"
        )
    features = layers[cut - 1].output
    return keras.Model(model.input, features), keras.Model(features, model.output)


def _last_cut(layers: list[keras.layers.Layer], trained: int) -> int:
    """Counts the layers before the last place where one tensor alone reaches the trained ones."""
    while trained and isinstance(layers[trained - 1], _RANDOM):
        trained -= 1
    for cut in range(trained, 0, -1):
        made = {id(tensor) for layer in layers[:cut] for tensor in _flat(layer.output)}
        used = {id(tensor) for layer in layers[cut:] for tensor in _flat(layer.input)}
        if made & used == {id(tensor) for tensor in _flat(layers[cut - 1].output)}:
            return cut
    return 0


def _flat(tensors: object) -> list[object]:
    return keras.tree.flatten(tensors)


def features(
    ask: Callable[[np.ndarray], tf.Tensor],
    images: Pixels | np.ndarray,
    gains: np.ndarray,
    batch_size: int = 100,
) -> Iterator[np.ndarray]:
    """Passes images through a base, some at a time.

    Args:
        ask: The frozen part of a network, as from `as_function`.
        images: What it takes, of any number: as a file, no more than a batch is in memory.
        gains: Factors on the colours of each image, as from `batches.draw_gains`.
        batch_size: Images at a time.
    """
    for begin in range(0, len(images), batch_size):
        chosen = slice(begin, begin + batch_size)
        yield ask(images[chosen] * gains[chosen]).numpy()


def as_function(model: keras.Model) -> Callable[[np.ndarray], tf.Tensor]:
    """Returns the answers of a network as a function of a batch, whatever the size of the batch.

    `Model.predict` does the same, but draws up its graph anew for a last, smaller batch.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    return tf.function(
        lambda batch: model(batch, training=False), input_signature=signature, autograph=False
    )


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
    model = registry.build(
        settings["model"],
        settings["image_size"],
        weights=settings["weights"],
        seed=settings["seed"],
        **settings["options"],
    )
    if start is not None:
        _take_weights(model, start / "model.keras")
    registry.set_trainable(model, settings["stage"])
    if accelerator.is_one_cpu:
        hardware.use_fast_kernels(model)
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
        base, learner = divide(model)
        ask = as_function(base)
    data = {}
    for part, rows in parts.items():
        entries = feed.keep_images(rows, settings["image_size"], report)
        is_train = part == "train"
        jitter = settings["colour_jitter"] if is_train else 0.0
        turn = settings["turn"] and is_train and not base
        if base:
            gains = feed.draw_gains(len(rows), jitter, settings["seed"])
            found = features(ask, entries, gains)
            shape, jitter = (len(rows), *learner.input_shape[1:]), 0.0
            entries = feed.keep(folder / f"features-{part}.npy", found, shape, report)
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
        hardware.keep_on_one_device(optimizer)
    if accelerator.is_one_cpu:
        hardware.use_fast_steps(optimizer)
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


POSITIVE = cnmc.CLASSES.index("ALL")


def score(
    model: keras.Model, data: Mapping[str, Batches], parts: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Lets the trained network judge the validation and the test part.

    Returns:
        Their rows with `probability` of ALL.
    """
    ask = as_function(model)
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
        "weights_note": registry.weights_note(model),
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


def save_images(folder: Path, table: pd.DataFrame, start: Path | None = None) -> None:
    """Keeps which images the run knows, by content, and those that the run it started from knew."""
    origin = table["source"].fillna(table["path"]) if "source" in table else table["path"]
    known = table.reindex(columns=["pixels", "label", "subject", "linked_subject", "split"])
    known.insert(0, "sha256", runs.image_digests(table))
    known["drawn"] = [cnmc.is_drawn(path) for path in origin]
    if start:
        before = pd.read_csv(start / "images.csv", dtype={"subject": str, "linked_subject": str})
        known = pd.concat([known, before[before["split"] != "test"]])
    known.drop_duplicates(["sha256", "split"]).to_csv(folder / "images.csv", index=False)
