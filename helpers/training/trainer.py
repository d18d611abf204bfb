"""Training as one outline: settings, accelerator, build, compile, fit, score, save."""

import gc
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import pandas as pd

from helpers import feed, runs
from helpers.data import cnmc
from helpers.data.splits import PARTS, check_split
from helpers.feed import Batches
from helpers.models import registry
from helpers.settings import Profile, work_dir
from helpers.training import hardware, loop
from helpers.training.hardware import Accelerator
from helpers.training.loop import Settings


@dataclass(frozen=True)
class Run:
    """A finished training, as it lies in its folder.

    Args:
        folder: Holds `model.keras`, `history.csv`, `predictions.csv` and `metrics.json`.
        history: One row per epoch.
        predictions: The validation and test rows of the table, with `probability` of ALL.
        metrics: Accuracy per part, best epoch, seconds, parameters, and how it was trained.
        is_loaded: Whether it was finished before it was asked for, here or elsewhere.
    """

    folder: Path
    history: pd.DataFrame
    predictions: pd.DataFrame
    metrics: dict[str, Any]
    is_loaded: bool = False

    @property
    def provenance(self) -> str:
        """Whether it was trained now or before, here or elsewhere; how long that took, on what."""
        took = f"{self.metrics['seconds']:,.0f} s on {self.metrics['accelerator']}"
        how = "loaded, not trained now: that took" if self.is_loaded else "trained in"
        return f"{how} {took}"

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


@dataclass
class Classification:
    """A training that tells the classes apart, step by step.

    Args:
        settings: All that it was told.
        parts: The rows of each part.
        accelerator: What it runs on.
        start: Folder of the run to start from, if any.
        report: Takes one line per epoch, such as `print`.
    """

    settings: Settings
    parts: Mapping[str, pd.DataFrame]
    accelerator: Accelerator
    start: Path | None = None
    report: Callable[[str], Any] | None = None

    version = 3  # raise it whenever the same settings train another result
    loss = "sparse_categorical_crossentropy"
    metrics: ClassVar[list[str]] = ["accuracy"]
    batches = Batches
    answer = "probability"  # of ALL: what it says of an image

    @staticmethod
    def divide(table: pd.DataFrame, allow_leaks: bool) -> dict[str, pd.DataFrame]:
        """Returns the rows of each part, if both classes can be learnt and nothing leaks."""
        if not allow_leaks:
            check_split(table)
        parts = {part: table[table["split"] == part].reset_index(drop=True) for part in PARTS}
        counts = parts["train"]["label"].value_counts().to_dict()
        if not set(cnmc.CLASSES) <= set(counts):
            told = "The training part needs images of both classes: see the labels, or split anew."
            raise ValueError(f"{told} Received: {counts}")
        empty = [part for part in PARTS if parts[part].empty]
        if empty:
            told = "Every part needs images, 'validation' to choose the epoch, 'test' for the end."
            raise ValueError(f"{told} Split again. Received: no image in {' and '.join(empty)}")
        return parts

    def describe(self) -> dict[str, Any]:
        """Names everything that determines the result, besides the images."""
        settings = self.settings
        told = {**asdict(settings), "task": type(self).__name__}
        told["version"] = (self.version, feed.VERSION)
        told["first_weights"] = registry.find_weights(settings.model, settings.weights).key
        told["builder"] = inspect.getsource(registry.MODELS[settings.model].builder)
        libraries = {name: version(name) for name in ("keras", "numpy", "tensorflow")}
        return told | {"numerics": self.accelerator.numerics, "versions": libraries}

    def build(self) -> keras.Model:
        """Builds the network, with the weights to start from, and frees what its stage trains."""
        settings = self.settings
        how = {"weights": settings.weights, "seed": settings.seed, **settings.options}
        model = registry.build(settings.model, settings.image_size, **how)
        if self.start:
            loop.take_weights(model, self.start)
        registry.set_trainable(model, settings.stage)
        if self.accelerator.is_one_cpu:
            hardware.use_fast_kernels(model)
        return model

    def prepare(self, network: keras.Model, folder: Path) -> tuple[keras.Model, dict[str, Batches]]:
        """Returns what is trained and its batches per part.

        For stage "all" that is the network and images. For the others it is what follows the
        frozen base, and the base's features: those of each augmented image are its own.
        """
        if self.settings.stage == "all":
            # A second model over the same layers is compiled, so that the network itself stays as
            # it is saved: without the optimizer, at half the size on disk.
            learner = keras.Model(network.input, network.output)
            changes = {"jitter": self.settings.colour_jitter, "turn": self.settings.turn}
            return learner, self.serve(self.keep_images(), **changes)
        base, learner = loop.divide(network)
        how = self.settings, folder, self.report
        return learner, self.serve(loop.keep_features(base, self.keep_images(), *how))

    def keep_images(self) -> dict[str, feed.Pixels]:
        """Decodes the images of each part."""
        how = self.settings.image_size, self.report
        return {part: feed.keep_images(rows, *how) for part, rows in self.parts.items()}

    def serve(self, entries: Mapping[str, Any], **changes: Any) -> dict[str, Batches]:
        """Makes batches of each part; only those of the training part are shuffled and changed."""
        data = {}
        for part, rows in self.parts.items():
            told = {"seed": self.settings.seed, **changes} if part == "train" else {}
            data[part] = self.batches(entries[part], rows, self.settings.batch_size, **told)
        return data

    def compile(self, model: keras.Model) -> None:
        """Compiles with the loss, the optimizer, and what the accelerator can do."""
        optimizer = loop.OPTIMIZERS[self.settings.optimizer](self.settings.learning_rate)
        if self.accelerator.devices == 1:
            hardware.keep_on_one_device(optimizer)
        if self.accelerator.is_one_cpu:
            hardware.use_fast_steps(optimizer)
        xla = self.accelerator.xla
        model.compile(optimizer, self.loss, metrics=self.metrics, jit_compile=xla)
        # Now, so that a resumed state has its place, and the first step need not be drawn up twice.
        model.optimizer.build(model.trainable_variables)
        if self.metrics:
            model.compute_metrics(None, np.zeros(1, np.int32), np.full((1, 2), 0.5, np.float32))
            model.reset_metrics()

    def held_out(self) -> pd.DataFrame:
        """Returns the rows that nothing is learnt from."""
        rows = [rows for part, rows in self.parts.items() if part != "train"]
        return pd.concat(rows, ignore_index=True)

    def predict(self, model: keras.Model, data: Mapping[str, Batches]) -> pd.DataFrame:
        """Returns the rows that nothing was learnt from, with the answers to them."""
        batches = (batch for part in data if part != "train" for batch in data[part])
        return self.held_out().assign(**{self.answer: self.ask(model, batches)})

    def ask(self, model: keras.Model, batches: Iterable[tuple]) -> np.ndarray:
        """Returns the answer to each entry, in their order."""
        return loop.probabilities(model, (entries for entries, _ in batches))[0]

    def score(self, predictions: pd.DataFrame) -> dict[str, Any]:
        """Says in one number how well each part is predicted."""
        right = (predictions["probability"] > 0.5) == (predictions["label"] == "ALL")
        return {"accuracy": right.groupby(predictions["split"]).mean().to_dict()}

    def summarise(self, model: keras.Model, history: pd.DataFrame) -> dict[str, Any]:
        """Says of a trained network everything that must be said beside its scores."""
        told, epochs, weights = self.settings, len(history), model.first_weights.note
        if self.start and told.stage == "all":  # else they are the base's, as in that run
            before = json.loads((self.start / "metrics.json").read_text())["weights_note"]
            weights = f"weights of run {told.start_from} ({before})"
        best = int(history.loc[history["best"], "epoch"].iloc[0])
        chosen = {"last": "as the last", "test": "on test (optimistic: a demonstration)"}
        epoch = f"epoch {best} of {epochs}, chosen {chosen.get(told.select_on, 'on validation')}"
        note = f"{told.model}, {told.image_size} px, {told.optimizer} at {told.learning_rate:g}"
        found = {"best_epoch": best, "epochs": epochs, "parameters": model.count_params()}
        notes = {"accelerator": self.accelerator.note, "weights_note": weights}
        notes["note"] = f"{note}, {epoch}, seed {told.seed}, {weights}"
        return {**found, **notes, "settings": asdict(told)}

    def models(self, network: keras.Model, learner: keras.Model) -> dict[str, keras.Model]:
        """Names the models that are saved."""
        return {"model": network}


def train(
    name: str,
    table: pd.DataFrame,
    profile: Profile,
    *,
    start_from: Run | None = None,
    allow_leaks: bool = False,
    report: Callable[[str], Any] | None = None,
    task: type[Classification] = Classification,
    **told: Any,
) -> Run:
    """Trains a network, or loads the run if it was trained before with all the same.

    An interrupted training resumes after the last epoch that was kept, which loses few seconds
    besides an epoch, and ends with the same bits.

    Args:
        name: A network of `registry.MODELS`.
        table: Rows with `path`, `label` and `split`; augmented rows belong to "train".
        profile: Gives the settings that are not told here.
        start_from: A run of the same network whose weights to start from: for stage "last", a run
            of stage "head", followed at a lower rate.
        allow_leaks: Accepts subjects on both sides of the split, to show what they do.
        report: Takes one line per epoch, such as `print`; or one that says that the run
            was loaded.
        task: What is learnt; `autoencoder.Reconstruction` is another.
        **told: Settings, as `loop.Settings` explains them; others are options of the network.

    Returns:
        The run, with the network of the best epoch.

    Raises:
        ValueError: If the table or an argument cannot work; the message says why.
        FloatingPointError: If the loss becomes no number.
        MemoryError: If the device has too little memory for the batch.
        OSError: If the disk has no room for the images as the network takes them.
    """
    start = start_from.folder if start_from else None
    settings = Settings.choose(name, profile, start_from=start and start.name, **told)
    if start_from and start_from.metrics["settings"]["model"] != name:
        wrong = f"A run starts from a run of the same network, here {name}. Received:"
        raise ValueError(f"{wrong} start_from={start_from.metrics['settings']['model']}")
    parts = task.divide(table, allow_leaks)
    job = task(settings, parts, hardware.choose_accelerator(), start, report)

    is_loaded = True

    def make(folder: Path) -> None:
        nonlocal is_loaded
        is_loaded = False
        gc.collect()  # a network and its graphs hold each other: the last training's go now
        began = time.monotonic()
        network, learner, data = assemble(job, folder)
        history = loop.fit(learner, data, settings, folder, report)
        predictions = job.predict(learner, data)
        for batches in data.values():
            del batches.entries  # TensorFlow holds the rest; Windows deletes no file in use
        metrics = job.summarise(network, history) | job.score(predictions)
        metrics["seconds"] = round(time.monotonic() - began, 1)
        for what, model in job.models(network, learner).items():
            runs.write_atomic(folder / f"{what}.keras", model.save)
        history.to_csv(folder / "history.csv", index=False)
        predictions.to_csv(folder / "predictions.csv", index=False)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=1))
        loop.save_images(folder, known, start)
        for leftover in (*folder.glob("*.npz"), *folder.glob("*.npy")):
            leftover.unlink()

    with loop.on_device(settings.batch_size, settings.image_size):
        known = cnmc.mark_drawn(table)
        description = job.describe() | {"data": runs.table_digest(known)}
        folder = runs.make_once(work_dir() / "runs", description, make)
    run = _load(folder, job, is_loaded)
    if report and is_loaded:
        report(run.provenance)
    return run


def assemble(job: Classification, folder: Path) -> tuple[keras.Model, keras.Model, dict]:
    """Builds and compiles a job from its seed: the network, what is fitted, batches per part."""
    loop.fix_seeds(job.settings.seed)
    with job.accelerator.scope():
        network = job.build()
        learner, data = job.prepare(network, folder)
        job.compile(learner)
    return network, learner, data


def _load(folder: Path, job: Classification, is_loaded: bool) -> Run:
    """Reads a run; the rows are the caller's, whose files may have moved since."""
    answers = pd.read_csv(folder / "predictions.csv")[job.answer]
    predictions = job.held_out().assign(**{job.answer: answers})
    metrics = json.loads((folder / "metrics.json").read_text())
    return Run(folder, pd.read_csv(folder / "history.csv"), predictions, metrics, is_loaded)


def predict(
    model: keras.Model, table: pd.DataFrame, batch_size: int = 100, views: int = 1
) -> pd.DataFrame:
    """Lets a network judge images, however many: only one batch is in memory at a time.

    Args:
        model: Takes raw images, gives the probabilities of `cnmc.CLASSES`.
        table: Rows with `path`; labels are not looked at.
        batch_size: Images at a time.
        views: 8 shows each image in all eight positions of a square (test-time augmentation).

    Returns:
        The table's rows with `probability` of ALL; of several views one row per image and view,
        with `view` from 0, the image as it is.
    """
    size = model.input_shape[1]
    images = feed.stream_images(table, size, batch_size)
    with loop.on_device(batch_size, size):
        judged = loop.probabilities(model, images, views)
    if views == 1:
        return table.assign(probability=judged[0])
    by_view = [table.assign(view=n, probability=seen) for n, seen in enumerate(judged)]
    return pd.concat(by_view, ignore_index=True)
