"""What a training can be told, and the functions that its steps are made of."""

import inspect
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils import compute_class_weight

from helpers import feed, runs
from helpers.data import cnmc, image_files
from helpers.feed import Batches, Pixels
from helpers.models import registry
from helpers.settings import Profile, pin_keras
from helpers.training import callbacks

# The paper says 'SGD' alone; momentum 0.9 with Nesterov's look-ahead is our reading of it.
OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    "sgd_plain": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "rmsprop": keras.optimizers.RMSprop,
}
Ask = Callable[[np.ndarray], tf.Tensor]  # from a batch to the answers of a network


@dataclass(frozen=True)
class Settings:
    """All that a training can be told; it determines the result, together with the images.

    The seven that follow the model are the profile's where they are not told.

    Args:
        model: A network of `registry.MODELS`.
        image_size: Side of the images in px.
        batch_size: Images per step (paper: 30).
        epochs: Passes over the training part (paper: 100).
        learning_rate: Step size (paper: 2e-4).
        schedule: "constant" (paper) or "cosine"; see `rate_at`.
        colour_jitter: How much the colours of each training image are changed, anew in each
            epoch; see `feed.draw_gains` (paper: 0).
        optimizer: A name of `OPTIMIZERS`; "sgd" has Nesterov momentum 0.9.
        turn: Whether each training image is put into one of the eight positions of a square, anew
            in each epoch (paper: no, its augmented copies lie turned on disk). The features of a
            frozen base stay those of the image as it lies in its file.
        class_weights: Whether both classes weigh the same in the loss, whatever their numbers.
        select_on: The part that chooses the best epoch; or "last", where no part is large enough
            to choose well and a falling rate has come to rest at the end. "test" is the
            paper's likely protocol, there only to show its bias; the run's note says so.
        stage: "all" trains every layer; "head" the new head on a frozen base, whose features are
            computed once; "last" the head and the last block(s).
        start_from: Name of the run that it starts from, if any.
        weights: First weights, as in `registry.build`.
        watch_test: Also scores the test part after each epoch; nothing is chosen by it.
        seed: Decides first weights, order of the images and dropout.
        options: Options of the network, as in `registry.build`.

    Raises:
        ValueError: If one cannot work, with what may be chosen and what was received.
    """

    model: str
    image_size: int
    batch_size: int
    epochs: int
    learning_rate: float
    schedule: str
    colour_jitter: float
    turn: bool
    optimizer: str = "sgd"
    class_weights: bool = False
    select_on: str = "validation"
    stage: str = "all"
    start_from: str | None = None
    weights: str | None = "auto"
    watch_test: bool = False
    seed: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def choose(cls, name: str, profile: Profile, **told: Any) -> "Settings":
        """Sorts what was told into settings and options of the network; the profile has the rest.

        Of the profile's own settings, None stands for what the profile says.
        """
        own = {field.name for field in fields(cls)}
        options = {key: told.pop(key) for key in [*told] if key not in own}
        if name == "proposed_cnn":
            options = {"dropout": profile.dropout} | options
        shared = own & {field.name for field in fields(profile)}
        usual = {key: getattr(profile, key) for key in shared if told.get(key) is None}
        return cls(model=name, options=options, **told | usual)

    def __post_init__(self) -> None:
        choices: dict[str, Iterable[str]] = {"model": registry.MODELS, "optimizer": OPTIMIZERS}
        choices |= {"schedule": ("constant", "cosine"), "stage": registry.STAGES}
        choices |= {"select_on": ("validation", "test", "last")}
        for name, known in choices.items():
            self._expect(name, getattr(self, name) in known, f"one of {', '.join(known)}")
        for name in ("image_size", "batch_size", "epochs", "learning_rate"):
            self._expect(name, getattr(self, name) > 0, "above 0")
        self._expect("seed", 0 <= self.seed < 2**32, "from 0 to below 2 ** 32")
        self._expect("colour_jitter", 0 <= self.colour_jitter < 0.5, "a share, 0 to below 0.5")
        network = inspect.signature(registry.MODELS[self.model].builder)
        try:
            network.bind(self.image_size, **self.options)
        except TypeError as error:
            told = f"What is no setting of `loop.Settings` is an option of {self.model}{network}."
            raise ValueError(f"{told} Received: {error}") from error

    def _expect(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{name} must be {what}. Received: {name}={getattr(self, name)!r}")

    def rate_at(self, epoch: int) -> float:
        """Returns the learning rate of an epoch, from 0; of nothing else, so a fit can be resumed.

        "cosine" falls along half a cosine to nearly zero (Loshchilov & Hutter 2017, without
        restarts).
        """
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@contextmanager
def on_device(batch_size: int, image_size: int) -> Iterator[None]:
    """Spares notebooks TensorFlow's hints on speed, and says what to do where memory runs out."""
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        told = "The device has too little memory: take smaller batches or images, or free some."
        raise MemoryError(f"{told} Received: {batch_size=}, {image_size=}") from error
    finally:
        logger.setLevel(level)


def fix_seeds(seed: int) -> None:
    """Makes the process repeat itself bit by bit; costs next to nothing on a CPU."""
    pin_keras()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def take_weights(model: keras.Model, run: Path) -> None:
    """Gives a network the weights of a run of the same network."""
    # Unpacked first: read inside the archive, they take five times as long.
    with TemporaryDirectory() as folder, ZipFile(run / "model.keras") as archive:
        model.load_weights(archive.extract("model.weights.h5", folder))


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divides a network where its frozen layers end: a base, and the rest that is trained.

    The base is as long as it can be: it ends before the first layer that is trained, and before
    the dropout in front of it, which is drawn anew in each epoch.

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
    end = trained[0] if trained else 0
    while end and isinstance(layers[end - 1], keras.layers.Dropout):
        end -= 1
    while any(layer.weights for layer in layers[:end]):
        features = layers[end - 1].output
        try:
            return keras.Model(model.input, features), keras.Model(features, model.output)
        except ValueError:  # Another branch leads past this layer: the base ends earlier.
            end -= 1
    told = "Features can be computed once for a network with a frozen base and something to train"
    raise ValueError(f"{told} after it. Received: {len(trained)} trainable of {len(layers)} layers")


def features(
    ask: Ask, images: Pixels | np.ndarray, gains: np.ndarray, batch_size: int = 100
) -> Iterator[np.ndarray]:
    """Passes images through a base, some at a time.

    Args:
        ask: The frozen part of a network, as from `as_function`.
        images: What it takes, of any number: as a file, no more than a batch is in memory.
        gains: Factors on the colours of each image, as from `feed.draw_gains`.
        batch_size: Images at a time.
    """
    for begin in range(0, len(images), batch_size):
        chosen = slice(begin, begin + batch_size)
        yield ask(images[chosen] * gains[chosen]).numpy()


def keep_features(
    base: keras.Model, images: Mapping[str, Pixels], settings: Settings, folder: Path, report: Any
) -> dict[str, np.ndarray]:
    """Keeps what a frozen base says to the images of each part, in the folder of the run."""
    kept, ask = {}, as_function(base)
    for part, pixels in images.items():
        path, shape = folder / f"features-{part}.npy", (len(pixels), *base.output_shape[1:])
        if not path.exists():
            runs.check_disk(folder, 4 * math.prod(shape), "What the frozen base says")
            jitter = settings.colour_jitter if part == "train" else 0.0
            gains = feed.draw_gains(len(pixels), jitter, settings.seed)
            found = feed.tell(features(ask, pixels, gains), len(pixels), report)
            runs.write_atomic(path, partial(_write, batches=found, shape=shape))
        kept[part] = np.load(path, mmap_mode="r")
    return kept


def _write(path: Path, batches: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    stored, done = np.lib.format.open_memmap(path, "w+", np.float32, shape), 0
    for batch in batches:
        stored[done : done + len(batch)] = batch
        done += len(batch)


def as_function(model: keras.Model) -> Ask:
    """Returns the answers of a network as a function of a batch, whatever the size of the batch.

    `Model.predict` does the same, but draws up its graph anew for a last, smaller batch.
    """
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]
    return tf.function(lambda batch: model(batch, training=False), signature, autograph=False)


def probabilities(model: keras.Model, batches: Iterable[np.ndarray], views: int = 1) -> np.ndarray:
    """Asks a network for the probability of ALL of each image, in each of so many positions."""
    ask, found = as_function(model), []
    for images in batches:
        seen = [feed.turn(images, n) for n in range(views)] if views > 1 else [images]
        answers = np.stack([ask(view.astype(np.float32)).numpy() for view in seen])
        _check_answers(answers)
        found.append(answers[..., cnmc.CLASSES.index("ALL")])
    return np.concatenate(found, axis=1)


def _check_answers(answers: np.ndarray) -> None:
    """Refuses answers that are no probabilities of the two classes, such as logits."""
    one = answers.reshape(-1, answers.shape[-1])[0]
    if not np.isfinite(answers).all():
        raise FloatingPointError(f"The network answers with what is no number. Received: {one}")
    if len(one) != 2 or answers.min() < 0 or np.abs(answers.sum(axis=-1) - 1).max() > 0.01:
        told = "Expected a network whose two outputs are probabilities and sum to 1:"
        raise ValueError(f"{told} end it in a softmax. Received: outputs such as {one}")


def fit(
    model: keras.Model, data: Mapping[str, Batches], settings: Settings, folder: Path, report: Any
) -> pd.DataFrame:
    """Trains on from the last epoch that was kept; the model ends as in its best epoch.

    Returns:
        The history: one row per epoch.
    """
    judge = "val" if settings.select_on == "validation" else settings.select_on
    checkpoint = callbacks.Checkpoint(folder, judge)

    def watch(epoch: int, logs: dict[str, float]) -> None:
        found = model.evaluate(data["test"], verbose=0, return_dict=True)
        logs.update({f"test_{name}": value for name, value in found.items()})

    followers = [callbacks.StopOnNan(), keras.callbacks.LearningRateScheduler(settings.rate_at)]
    followers.append(keras.callbacks.LambdaCallback(on_epoch_begin=data["train"].start_epoch))
    if settings.watch_test or settings.select_on == "test":
        followers.append(keras.callbacks.LambdaCallback(on_epoch_end=watch))
    if report:
        followers.append(callbacks.Progress(report))
    labels = data["train"].labels
    balance = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    weights = dict(enumerate(balance)) if settings.class_weights else None
    how: dict[str, Any] = {"validation_data": data["validation"], "class_weight": weights}
    how |= {"initial_epoch": checkpoint.resume(model), "callbacks": [*followers, checkpoint]}
    # The batches come shuffled.
    model.fit(data["train"], epochs=settings.epochs, shuffle=False, verbose=0, **how)
    return checkpoint.restore_best(model)


def save_images(folder: Path, table: pd.DataFrame, start: Path | None = None) -> None:
    """Keeps which images the run knows, by content, and those that the run it started from knew."""
    table = table if "pixels" in table else image_files.add_digests(table)
    known = table.reindex(columns=["pixels", "source", *runs.TOLD])
    own = known.pop("source").isna()  # a copy is no other cell
    known.loc[own, "area"] = image_files.nucleus_area(table[own])
    known.insert(0, "sha256", runs.image_digests(table))
    if start:
        before = pd.read_csv(start / "images.csv", dtype={"subject": str, "linked_subject": str})
        told = json.loads((start / "metrics.json").read_text())["settings"]
        if told["select_on"] == "test":  # then its epoch was chosen on them
            before["split"] = before["split"].replace("test", "validation")
        known = pd.concat([known, before[before["split"] != "test"]])
    known.drop_duplicates(["sha256", "split"]).to_csv(folder / "images.csv", index=False)
