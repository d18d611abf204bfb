"""What is looked at before a training begins: it should fail in a second, not after an hour.

Training as one outline: accelerator, data, model, compile, callbacks, fit, evaluate, save.
"""

from __future__ import annotations

import gc
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers import feed, runs
from helpers.data import cnmc
from helpers.data.splits import PARTS, check_split
from helpers.models import registry
from helpers.settings import Profile, work_dir
from helpers.training import callbacks, loop
from helpers.training.hardware import Accelerator, choose_accelerator


def check_settings(settings: Mapping[str, Any], start_from: Mapping[str, Any] | None) -> None:
    """Refuses settings that cannot work.

    Args:
        settings: As `training.train` gathers them.
        start_from: The settings of the run to start from, if any.

    Raises:
        ValueError: With what may be chosen, and what was received.
    """
    known: dict[str, Iterable[str]] = {
        "model": registry.MODELS,
        "optimizer": loop.OPTIMIZERS,
        "select_on": (*PARTS[1:], "last"),
        "stage": registry.STAGES,
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


VERSION = 1  # raise it whenever the same settings train another result: runs are then made anew


@dataclass(frozen=True)
class Run:
    """A finished training, as it lies in its folder.

    Args:
        folder: Holds `model.keras`, `history.csv`, `predictions.csv` and `metrics.json`.
        history: One row per epoch.
        predictions: The validation and test rows of the table, with `probability` of ALL.
        metrics: Accuracy per part, best epoch, seconds, parameters, and how it was trained.
    """

    folder: Path
    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict[str, Any]

    @property
    def weights_note(self) -> str:
        """Where the first weights came from; belongs beside every score of the run."""
        return self.metrics["weights_note"]

    @property
    def note(self) -> str:
        """The run in one line."""
        return self.metrics["note"]

    @property
    def is_random_start(self) -> bool:
        """Whether the first weights were random, so that nothing was transferred."""
        return self.weights_note.startswith("random")

    def load_model(self) -> keras.Model:
        """Loads the trained network in safe mode: a model file that carries code is refused."""
        return keras.saving.load_model(self.folder / "model.keras", compile=False, safe_mode=True)


def train(
    name: str,
    table: pd.DataFrame,
    profile: Profile,
    *,
    seed: int = 1,
    optimizer: str = "sgd",
    learning_rate: float | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    schedule: str | None = None,
    colour_jitter: float | None = None,
    turn: bool = False,
    patience: int | None = None,
    class_weights: bool = False,
    select_on: str = "validation",
    stage: str = "all",
    start_from: Run | None = None,
    weights: str = "auto",
    watch_test: bool = False,
    allow_leaks: bool = False,
    tensorboard: bool = False,
    devices: list[str] | None = None,
    report: Callable[[str], Any] | None = None,
    **options: Any,
) -> Run:
    """Trains a network, or loads the run if it was trained before with all the same.

    An interrupted training resumes after the last epoch that was kept, which loses few seconds
    besides an epoch, and ends with the same bits.

    Args:
        name: A network of `registry.MODELS`.
        table: Rows with `path`, `label` and `split`; augmented rows belong to "train".
        profile: Gives image size, batch size, epochs and learning rate where not given here.
        seed: Decides first weights, order of the images and dropout.
        optimizer: A name of `loop.OPTIMIZERS`; "sgd" has Nesterov momentum 0.9.
        learning_rate: Step size (paper: 2e-4).
        epochs: Passes over the training part (paper: 100).
        image_size: Side of the images in px.
        schedule: "constant" (paper) or "cosine"; see `callbacks.rate_schedule`.
        colour_jitter: How much the colours of each training image are changed, anew in each
            epoch; see `feed.draw_gains` (paper: 0).
        turn: Whether each training image is put into one of the eight `positions` of a square, anew
            in each epoch (paper: no, its augmented copies lie turned on disk). The features of a
            frozen base stay those of the image as it lies in its file.
        patience: Stops after so many epochs without a better one; None: never (paper).
        class_weights: Whether both classes weigh the same in the loss, whatever their numbers.
        select_on: The part that chooses the best epoch; or "last", where no part is large enough
            to choose well and a falling rate has come to rest at the end. "test" is the
            paper's likely protocol, there only to show its bias; the run's note says so.
        stage: "all" trains every layer; "head" the new head on a frozen base, whose features are
            computed once; "last" the head and the last block(s).
        start_from: A run of the same network whose weights to start from: for "last", a run of
            stage "head", followed at a lower rate.
        weights: First weights, as in `registry.build`.
        watch_test: Also scores the test part after each epoch; nothing is chosen by it.
        allow_leaks: Accepts subjects on both sides of the split, to show what they do.
        tensorboard: Whether to write logs for TensorBoard to the run folder.
        devices: As in `choose_accelerator`.
        report: Takes one line per epoch, such as `print`.
        **options: Further options of the network, as in `registry.build`.

    Returns:
        The run, with the network of the best epoch.

    Raises:
        ValueError: If the table or an argument cannot work; the message says why.
        FloatingPointError: If the loss becomes no number.
        MemoryError: If the device has too little memory for the batch.
    """
    settings = {
        "model": name,
        "options": options,
        "image_size": profile.image_size if image_size is None else image_size,
        "batch_size": profile.batch_size,
        "epochs": profile.epochs if epochs is None else epochs,
        "learning_rate": profile.learning_rate if learning_rate is None else learning_rate,
        "optimizer": optimizer,
        "schedule": profile.schedule if schedule is None else schedule,
        "colour_jitter": profile.colour_jitter if colour_jitter is None else colour_jitter,
        "turn": turn,
        "patience": patience,
        "class_weights": class_weights,
        "select_on": select_on,
        "stage": stage,
        "start_from": start_from and start_from.folder.name,
        "weights": weights,
        "watch_test": watch_test or select_on == "test",
        "tensorboard": tensorboard,
        "seed": seed,
    }
    check_settings(settings, start_from.metrics["settings"] if start_from else None)
    parts = check_table(table, allow_leaks)
    accelerator = choose_accelerator(devices)

    def make(folder: Path) -> None:
        gc.collect()  # a network and its graphs hold each other: the last training's go now
        began = time.monotonic()
        loop.fix_seeds(seed)
        with accelerator.scope():
            model = loop.build(settings, start_from.folder if start_from else None, accelerator)
            learner, data = loop.prepare(model, settings, parts, folder, report)
            loop.compile_model(learner, settings, accelerator)
        history = loop.fit(learner, data, settings, parts, folder, report)
        predictions = loop.score(learner, data, parts)
        metrics = loop.summarise(model, history, predictions, settings, accelerator)
        metrics["seconds"] = round(time.monotonic() - began, 1)
        loop.save(folder, model, history, predictions, metrics)
        loop.save_images(folder, table, start_from.folder if start_from else None)

    description = _describe(settings, table, accelerator)
    with loop.quiet_tensorflow():
        folder = runs.make_once(work_dir() / "runs", description, make)
    return _load(folder, parts)


def _describe(
    settings: Mapping[str, Any], table: pd.DataFrame, accelerator: Accelerator
) -> dict[str, Any]:
    """Names everything that determines the result; the code that trains belongs to it."""
    return {
        **settings,
        "first_weights": registry.weights_key(settings["model"], settings["weights"]),
        "data": runs.table_digest(table),
        "numerics": accelerator.numerics,
        "versions": {name: version(name) for name in ("keras", "numpy", "tensorflow")},
        "version": VERSION,
        "builder": inspect.getsource(registry.MODELS[settings["model"]].builder),
    }


def _load(folder: Path, parts: Mapping[str, pd.DataFrame]) -> Run:
    """Reads a run; the rows are the caller's, whose files may have moved since."""
    rows = pd.concat([parts["validation"], parts["test"]], ignore_index=True)
    stored = pd.read_csv(folder / "predictions.csv")
    history = pd.read_csv(folder / "history.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    return Run(folder, history, rows.assign(probability=stored["probability"]), metrics)


def predict(
    model: keras.Model,
    table: pd.DataFrame,
    size: int | None = None,
    batch_size: int = 100,
    views: int = 1,
) -> pd.DataFrame:
    """Lets a network judge images, however many: only one batch is in memory at a time.

    Args:
        model: Takes raw images, gives the probabilities of `cnmc.CLASSES`.
        table: Rows with `path`; labels are not looked at.
        size: Side of the images in px; by default what the model takes.
        batch_size: Images at a time.
        views: 8 shows each image in all eight positions of a square (test-time augmentation).

    Returns:
        The table's rows with `probability` of ALL; of several views one row per image and view,
        with `view` from 0, the image as it is.
    """
    ask = loop.as_function(model)
    found = []
    with loop.quiet_tensorflow():
        for batch in feed.stream_images(table, size or model.input_shape[1], batch_size):
            seen = [feed.turn(batch.numpy(), view) for view in range(views)]
            found.append([ask(images).numpy()[:, loop.POSITIVE] for images in seen])
    judged = np.concatenate(found, axis=1)
    if views == 1:
        return table.assign(probability=judged[0])
    by_view = [table.assign(view=n, probability=seen) for n, seen in enumerate(judged)]
    return pd.concat(by_view, ignore_index=True)
