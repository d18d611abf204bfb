"""First weights without labels: an auto-encoder whose encoder is a network's convolution part.

It learns to draw each cell again from what the last convolution keeps of it. No label is needed
for that, so every cell may take part, except those of test subjects. The paper proposes it for
'weight matrix initialization' (section VI); the idea goes back to Hinton & Salakhutdinov 2006 and,
for convolutions, to Masci et al. 2011.

It draws not the whole image, but how it differs from the mean image. All nuclei lie in the middle,
dark on black, and an auto-encoder that must first learn that learns little else in a short
training.
"""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd

from helpers.data import cnmc
from helpers.feed import Batches
from helpers.settings import Profile
from helpers.training import loop, trainer

RATE = 1e-3  # of Adam: a squared error of small values moves too slowly under the paper's SGD
FIXED: dict[str, Any] = {"optimizer": "adam", "schedule": "constant", "select_on": "last"}
FIXED |= {"colour_jitter": 0.0, "weights": None}
_HEADS = (keras.layers.Flatten, keras.layers.GlobalAveragePooling2D)


def pretrain(name: str, table: pd.DataFrame, profile: Profile, **told: Any) -> trainer.Run:
    """Trains an auto-encoder, or loads it if that was done before; labels are not looked at.

    Args:
        name: A network of `registry.MODELS`.
        table: Rows with `path` and `split`: "train" rows are learnt from, "validation" rows only
            measured. Leave the test rows out.
        profile: Gives image size, batch size and epochs where not told here.
        **told: As in `trainer.train`: `seed`, `epochs`, `image_size`, `learning_rate` (of Adam),
            `turn`, `report`, and options of the network.

    Returns:
        A run whose network has a learned convolution part and a fresh head: what `trainer.train`
        takes as `start_from`. Its history has `loss` and `val_loss` (mean squared error, images
        from 0 to 1), its predictions are the validation rows with their `error`.

    Raises:
        ValueError: If there are test rows, or a part is missing; as in `trainer.train`.
    """
    table = table.drop(columns="label", errors="ignore")
    told = {"learning_rate": RATE, "turn": False, **told}
    return trainer.train(name, table, profile, task=Reconstruction, **FIXED, **told)


class _Mirror(Batches):
    """Batches of images that are to be drawn again: each is its own answer, from 0 to 1."""

    def __post_init__(self) -> None:
        self.rows = self.rows.assign(label=cnmc.CLASSES[0])  # wanted, but never handed out
        super().__post_init__()

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        images, _ = super().__getitem__(number)
        return images, images / 255


class Reconstruction(trainer.Classification):
    """A training that draws each image again, from 0 to 1."""

    loss = "mse"
    metrics: ClassVar[list[str]] = []
    batches = _Mirror
    answer = "error"

    @staticmethod
    def divide(table: pd.DataFrame, allow_leaks: bool) -> dict[str, pd.DataFrame]:
        """Returns the rows of both parts, if there are no others."""
        counts = table["split"].value_counts().to_dict()
        if set(counts) != {"train", "validation"}:
            told = "Expected 'train' and 'validation'; test cells would leak: leave those rows out."
            raise ValueError(f"{told} Received: {counts}")
        return {part: rows.reset_index(drop=True) for part, rows in table.groupby("split")}

    def prepare(self, network: keras.Model, folder: Path) -> tuple[keras.Model, dict[str, Batches]]:
        """Returns the auto-encoder of the network, at its start, and its batches per part."""
        data = self.serve(self.keep_images(), turn=self.settings.turn)
        model = build(network, self.settings.seed)
        # It draws the mean image until it has learnt, and measures deviations from it.
        model.layers[-1].adapt(answers for _, answers in data["train"])
        return model, data

    def ask(self, model: keras.Model, batches: Any) -> np.ndarray:
        """Returns the mean squared error of each image."""
        redraw = loop.as_function(model)
        errors = [np.square(redraw(x).numpy() - y).mean(axis=(1, 2, 3)) for x, y in batches]
        return np.concatenate(errors)

    def score(self, predictions: pd.DataFrame) -> dict[str, Any]:
        """Says how well it draws, and what its encoder is to whoever starts from it."""
        note = f"encoder of an auto-encoder, {self.settings.epochs} epochs without labels"
        return {"error": float(predictions["error"].mean()), "weights_note": note}

    def models(self, network: keras.Model, learner: keras.Model) -> dict[str, keras.Model]:
        """Names the models that are saved; a new one over the same layers has no optimizer."""
        whole = keras.Model(learner.inputs, learner.outputs, name="autoencoder")
        return {"model": network, "autoencoder": whole}


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
        advice = "An encoder ends where the head begins: with Flatten or GlobalAveragePooling2D."
        raise ValueError(f"{advice} Received: {network.name!r}, which has neither")
    return keras.Model(network.inputs, heads[0].input, name="encoder")


def build(network: keras.Model, seed: int = 0) -> keras.Model:
    """Builds the auto-encoder: the network's convolutions, and one convolution per step back up.

    Args:
        network: As in `encoder_of`; what the auto-encoder learns, the network knows.
        seed: Decides the first weights of the decoder.

    Returns:
        A model from raw images (0 to 255) to the same images from about 0 to 1. Its last layer
        gives each pixel the mean and the spread that it has among the images, once it has been
        adapted to them; the convolution before it starts at zero. Nothing in the decoder can fall
        silent: cells are dark, and with ReLU and sigmoid it settled for black.
    """
    encoder = encoder_of(network)
    answer = encoder.output
    how = {"padding": "same", "activation": "leaky_relu"}
    for number, (side, channels) in enumerate(_steps_up(encoder)):
        answer = _enlarge(answer, side)
        start = keras.initializers.HeNormal(seed + number)
        answer = keras.layers.Conv2D(channels, 3, **how, kernel_initializer=start)(answer)
    last = keras.layers.Conv2D(3, 3, padding="same", kernel_initializer="zeros", dtype="float32")
    usual = keras.layers.Normalization((1, 2, 3), invert=True, name="usual_image", dtype="float32")
    return keras.Model(network.inputs, usual(last(answer)), name="autoencoder")


def _steps_up(encoder: keras.Model) -> list[tuple[int, int]]:
    """Returns the sides that the encoder left behind, with their channels, smallest first."""
    shapes = [layer.output.shape for layer in encoder.layers]
    steps = [(before[1], before[-1]) for before, after in pairwise(shapes) if after[1] < before[1]]
    return [(side, max(channels, 8)) for side, channels in reversed(steps)]


def _enlarge(answer: Any, side: int) -> Any:
    """Repeats pixels until the side is reached, and crops what is too much."""
    answer = keras.layers.UpSampling2D(math.ceil(side / answer.shape[1]))(answer)
    extra = answer.shape[1] - side
    half = (extra // 2, extra - extra // 2)
    return keras.layers.Cropping2D((half, half))(answer) if extra else answer


def redraw(run: trainer.Run, images: np.ndarray) -> np.ndarray:
    """Lets the auto-encoder of a run draw images again.

    Args:
        run: As from `pretrain`.
        images: Raw images, 0 to 255, of shape (n, side, side, 3).

    Returns:
        What it makes of them, 0 to 255, of the same shape.
    """
    model = keras.saving.load_model(run.folder / "autoencoder.keras", compile=False, safe_mode=True)
    with loop.on_device(*images.shape[:2]):
        return np.asarray(model.predict_on_batch(images)) * 255
