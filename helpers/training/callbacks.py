"""What happens after each step and epoch of a fit: check, keep, report."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from helpers import runs

STATE = "state.npz"
EVERY = 5.0  # s at least between two states that are kept: shorter epochs are sooner done again


class StopOnNan(keras.callbacks.Callback):
    """Stops as soon as the loss is no number; unlike `TerminateOnNaN`, says what to do."""

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the loss after each step."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            raise FloatingPointError(
                f"The loss became {loss} in batch {batch + 1}: steps are too long, or images hold "
                f"no numbers. Try a tenth of the learning rate. Received: learning_rate={rate:g}"
            )


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
    """

    def __init__(self, folder: Path, judge: str = "val"):
        super().__init__()
        self.folder = folder
        self.judge = judge
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

    def resume(self, model: keras.Model) -> int:
        """Puts a compiled model into the state kept last; returns how many epochs are done."""
        if (self.folder / STATE).exists():
            with np.load(self.folder / STATE) as stored:
                history, *arrays = stored.values()
            self.history = json.loads(history.tobytes())
            self.best = arrays[: len(model.weights)]
            for variable, value in zip(_state(model), arrays[len(self.best) :], strict=True):
                variable.assign(value)
        return len(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Takes down the epoch, and now and then writes everything."""
        scores = {name: float(value) for name, value in logs.items()}
        self.history.append({"epoch": epoch + 1, **scores})
        if self.best_epoch == epoch:
            self.best = self.model.get_weights()
        if time.monotonic() - self.kept >= EVERY:
            history = np.frombuffer(json.dumps(self.history).encode(), np.uint8)
            arrays = [history, *self.best, *_state(self.model)]
            runs.write_atomic(self.folder / STATE, lambda partial: np.savez(partial, *arrays))
            self.kept = time.monotonic()

    def restore_best(self, model: keras.Model) -> pd.DataFrame:
        """Gives the model the weights of its best epoch.

        Returns:
            The history, one row per epoch: `epoch` (from 1), loss and metrics of both parts, and
            whether it is the `best`.
        """
        model.set_weights(self.best)
        table = pd.DataFrame(self.history)
        return table.assign(best=table["epoch"] == self.best_epoch + 1)


def _state(model: keras.Model) -> list[Any]:
    return [*model.variables, *model.optimizer.variables]


class Progress(keras.callbacks.Callback):
    """Reports one line per epoch, with the time left; at most some twenty lines per fit.

    Args:
        report: Takes the line, such as `print`.
    """

    def __init__(self, report: Callable[[str], Any]):
        super().__init__()
        self.report = report
        self.seconds: list[float] = []  # of each epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self.began = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Reports the epoch; by the median, the slow first one soon stops to count."""
        self.seconds.append(time.monotonic() - self.began)
        done, epochs = epoch + 1, self.params["epochs"]
        if len(self.seconds) == 1 or done % math.ceil(epochs / 20) == 0 or done == epochs:
            left = as_duration(np.median(self.seconds) * (epochs - done))
            said = f"{_scores(logs)}; held out: {_scores(logs, 'val_')}"
            self.report(f"epoch {done:>3} of {epochs}: {said}, {left} left")


def _scores(logs: dict[str, float], part: str = "") -> str:
    loss, accuracy = logs[f"{part}loss"], logs.get(f"{part}accuracy")
    return f"error {loss:.5f}" if accuracy is None else f"loss {loss:.3f}, accuracy {accuracy:.1%}"


def as_duration(seconds: float) -> str:
    """Writes a time for people.

    Example:
        >>> as_duration(41), as_duration(754), as_duration(9000)
        ('41 s', '13 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
