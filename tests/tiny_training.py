"""A network and a table small enough to train in a test; run as a script, it trains once.

`python tiny_training.py TABLE.csv '{"epochs": 3}' [EPOCHS]` trains in a process of its own, which
is killed in the middle of the epoch that follows so many complete ones.
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from PIL import Image

from helpers import feed
from helpers.models import registry
from helpers.settings import Profile
from helpers.training import autoencoder, callbacks, trainer

PROFILE = Profile("tiny", 32, (4, 4), 48, (2, 2, 8), 48, 3, 0.05, batch_size=8)


def build_tiny(image_size: int, *, normalise: bool = True, dropout: float = 0.3):
    """One convolution, with all that has state: batch normalisation and dropout."""
    layers = keras.layers
    first = keras.Input((image_size, image_size, 3))
    x = layers.Rescaling(1 / 255)(first)
    x = layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = layers.BatchNormalization()(x) if normalise else x
    x = layers.Flatten()(layers.MaxPooling2D(4)(x))
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(2, activation="softmax")(x)
    return keras.Model(first, x, name="tiny")


def register_tiny() -> None:
    registry.MODELS["tiny"] = registry.ModelSpec(build_tiny)


def make_table(folder: Path, count: int = 48) -> pd.DataFrame:
    """Noise pictures, ALL brighter than HEM, of eight subjects in three parts."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for n in range(count):
        label, part = ("ALL", "HEM")[n % 2], ("train", "train", "validation", "test")[n // 2 % 4]
        path = folder / f"{n}.bmp"
        light = 60 if label == "ALL" else 0
        Image.fromarray((rng.integers(0, 190, (450, 450, 3)) + light).astype("uint8")).save(path)
        subject = f"{part[:2]}{label}"
        rows.append((str(path), label, subject, subject, n, 1, "", part))
    names = ["path", "label", "subject", "linked_subject", "image", "cell", "fold", "split"]
    return pd.DataFrame(rows, columns=names)


def kill_after(epochs: int) -> None:
    """Lets the process be killed in the middle of the epoch that follows so many complete ones."""
    begin, serve = feed.Batches.start_epoch, feed.Batches.__getitem__

    def start_epoch(batches, epoch, logs=None):
        batches.epoch = epoch
        begin(batches, epoch)

    def get_batch(batches, number):
        if batches.epoch == epochs and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return serve(batches, number)

    feed.Batches.start_epoch, feed.Batches.__getitem__ = start_epoch, get_batch


def main() -> None:
    register_tiny()
    callbacks.EVERY = 0.0  # these epochs are short
    table, arguments = pd.read_csv(sys.argv[1], dtype={"fold": str}), json.loads(sys.argv[2])
    if len(sys.argv) > 3:
        kill_after(int(sys.argv[3]))
    train = autoencoder.pretrain if arguments.pop("unlabelled", False) else trainer.train
    train("tiny", table, PROFILE, report=print_now, **arguments)


def print_now(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
