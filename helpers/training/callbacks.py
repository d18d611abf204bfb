"""What happens at the end of each epoch of a fit: check, keep, report, stop."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from helpers import runs

STATE, BEST = "state.npz", "best.npz"
EVERY = 5.0  # s at least between two states that are kept: shorter epochs are sooner done again


class StopOnNan(keras.callbacks.Callback):
    """Stops with an error as soon as the loss is no number any more."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss after each step."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise FloatingPointError(
                f"The loss became {loss} in batch {batch + 1}: the steps are too long, or the "
                "images hold values that are no numbers. Try a learning rate ten times smaller. "
                f"Received: learning_rate={rate:g}"
            )


@contextmanager
def clear_memory_error(settings: Mapping[str, Any]) -> Iterator[None]:
    """Says what to do where a device runs out of memory; `settings` as of `training.train`."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            "The device has too little memory for a step. Train with a smaller batch or image, "
            "or close what else uses the device. Received: "
            f"batch_size={settings['batch_size']}, image_size={settings['image_size']}"
        ) from error


class Checkpoint(keras.callbacks.Callback):
    """Keeps the whole state of a fit after an epoch, and the weights of its best epoch.

    State is every variable of model and optimizer, dropout's random state included, so that a
    fit that is killed and resumed ends with the very same bits as one left in peace.
    (`keras.callbacks.BackupAndRestore` does not keep the best epoch so far.)

    Args:
        folder: Where the state is written, atomically.
        judge: Part of the data whose accuracy decides the best epoch, "val" or "test"; a tie
            is decided by the lower loss, then by the earlier epoch. "last": no part does, the
            last epoch counts as the best.
        patience: Epochs without a better one after which the fit stops; None: never.
    """

    def __init__(self, folder: Path, judge: str = "val", patience: int | None = None):
        super().__init__()
        self.folder = folder
        self.judge = judge
        self.patience = patience
        self.history: list[dict[str, float]] = []
        self.best: list[np.ndarray] = []
        self.kept = time.monotonic()

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch so far, from 0; -1 before the first."""
        if self.judge == "last":
            return len(self.history) - 1
        accuracy, loss = f"{self.judge}_accuracy", f"{self.judge}_loss"
        ranks = [(-row[accuracy], row[loss], n) for n, row in enumerate(self.history)]
        return min(ranks)[2] if ranks else -1

    @property
    def is_over(self) -> bool:
        """Whether `patience` has run out."""
        waited = len(self.history) - 1 - self.best_epoch
        return self.patience is not None and waited >= self.patience

    def resume(self, model: keras.Model) -> int:
        """Puts a compiled model into the state that was kept last, if any.

        Returns:
            How many epochs are done.
        """
        self.kept = time.monotonic()
        if (self.folder / STATE).exists():
            history, *values = runs.load_arrays(self.folder / STATE)
            self.history = json.loads(history.tobytes())
            self.best = runs.load_arrays(self.folder / BEST)
            for variable, value in zip(_state(model), values, strict=True):
                variable.assign(value)
        return len(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Takes down the epoch, and now and then writes everything."""
        self.history.append({name: float(value) for name, value in (logs or {}).items()})
        if self.best_epoch == epoch:
            self.best = self.model.get_weights()
        if time.monotonic() - self.kept >= EVERY:
            self._keep()
        self.model.stop_training = self.is_over

    def _keep(self) -> None:
        """Writes the best weights before the state: killed between, epochs are done again."""
        runs.save_arrays(self.folder / BEST, self.best)
        history = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
        state = [keras.ops.convert_to_numpy(variable) for variable in _state(self.model)]
        runs.save_arrays(self.folder / STATE, [history, *state])
        self.kept = time.monotonic()

    def restore_best(self, model: keras.Model) -> pd.DataFrame:
        """Gives the model the weights of its best epoch and returns the history.

        Returns:
            One row per epoch: `epoch` (from 1), loss and accuracy of both parts, and `best`.
        """
        model.set_weights(self.best)
        table = pd.DataFrame(self.history)
        table.insert(0, "epoch", np.arange(1, len(table) + 1))
        return table.assign(best=table["epoch"] == self.best_epoch + 1)


def discard_state(folder: Path) -> None:
    """Deletes what `Checkpoint` kept, once the result is saved."""
    for name in (STATE, BEST):
        (folder / name).unlink(missing_ok=True)


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


class WatchTest(keras.callbacks.Callback):
    """Adds the test part's loss and accuracy to each epoch's record; must come first.

    For demonstrations of what choosing by the test part does; nothing else may look at it.
    """

    def __init__(self, batches: Any):
        super().__init__()
        self.batches = batches

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Scores the test part."""
        found = self.model.evaluate(self.batches, verbose=0, return_dict=True)
        if logs is not None:
            logs.update({f"test_{name}": value for name, value in found.items()})


class Progress(keras.callbacks.Callback):
    """Reports one line per epoch, with the time left; at most some twenty lines per fit.

    Args:
        report: Takes the line, such as `print`.
        epochs: Epochs of the whole fit.
    """

    def __init__(self, report: Callable[[str], Any], epochs: int):
        super().__init__()
        self.report = report
        self.epochs = epochs
        self.done = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock; the second epoch is the first without the cost of a start."""
        if self.done in (0, 1):
            self.began, self.first = time.monotonic(), epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Reports the epoch."""
        self.done += 1
        seconds = (time.monotonic() - self.began) / (epoch + 1 - self.first)
        every = max(1, math.ceil(self.epochs / 20))
        if self.done == 1 or (epoch + 1) % every == 0 or epoch + 1 == self.epochs:
            left = as_duration(seconds * (self.epochs - epoch - 1))
            self.report(
                f"epoch {epoch + 1:>3} of {self.epochs}: {_scores(logs or {})}, {left} left"
            )


def _scores(logs: dict[str, float]) -> str:
    return (
        f"loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.1%}; "
        f"held out: loss {logs['val_loss']:.3f}, accuracy {logs['val_accuracy']:.1%}"
    )


def as_duration(seconds: float) -> str:
    """Writes a time for people.

    Example:
        >>> as_duration(41), as_duration(754), as_duration(9000)
        ('41 s', '13 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def rate_schedule(name: str, rate: float, epochs: int) -> Callable[[int], float]:
    """Returns the learning rate as a function of the epoch alone, so that a fit can be resumed.

    Args:
        name: "constant" (paper), or "cosine": falls along half a cosine to nearly zero
            (Loshchilov & Hutter 2017, without restarts).
        rate: The rate of the first epoch.
        epochs: Epochs of the whole fit.

    Raises:
        ValueError: If there is no schedule of that name.

    Example:
        >>> [round(rate_schedule("cosine", 0.1, 4)(epoch), 3) for epoch in range(4)]
        [0.1, 0.085, 0.05, 0.015]
    """
    schedules = {
        "constant": lambda epoch: rate,
        "cosine": lambda epoch: rate * (1 + math.cos(math.pi * epoch / epochs)) / 2,
    }
    if name not in schedules:
        raise ValueError(f"Choose a schedule of {', '.join(schedules)}. Received: {name!r}")
    return schedules[name]
