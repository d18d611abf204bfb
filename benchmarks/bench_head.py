"""A new head on a frozen VGG16: features computed once against a fit of the frozen network."""

import os
import shutil
import tempfile
import time
from dataclasses import replace

import machine
import pandas as pd

from helpers import feed, settings
from helpers.data import split_files
from helpers.models import registry
from helpers.standin import cohort
from helpers.training import hardware, loop, trainer

SIDE, EPOCHS, BATCH = 64, 10, 30
PROFILE = replace(settings.active("smoke"), image_size=SIDE, images=1_000, batch_size=BATCH)


def main() -> None:
    accelerator = hardware.choose_accelerator()
    print(f"{machine.describe('tensorflow', 'keras')}; {accelerator.note}")
    with tempfile.TemporaryDirectory() as work:
        os.environ["CNMC_WORK"] = work
        split = split_files.prepare(cohort.find_or_draw(PROFILE), PROFILE)
        run = trainer.train("vgg16", split, PROFILE, stage="head", epochs=1, seed=2)  # warms up
        shutil.rmtree(f"{work}/pixels")  # so that ours decodes the images, too
        ours = clock(lambda: trainer.train("vgg16", split, PROFILE, stage="head", epochs=EPOCHS))
        naive = clock(lambda: fit_frozen(split))
    print(f"VGG16, {run.weights_note}; {SIDE} px, batch {BATCH}, {EPOCHS} epochs")
    print(f"{split['split'].value_counts().to_dict()} images; decoding and validation included")
    print("| way | seconds | times faster |\n|---|---|---|")
    print(f"| `fit` of the frozen network, images kept in memory | {naive:.1f} | 1.0 |")
    print(f"| `trainer.train(stage='head')` | {ours:.1f} | {naive / ours:.1f} |")


def clock(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fit_frozen(split: pd.DataFrame) -> None:
    """As tutorials do it: freeze, compile, fit."""
    model = registry.build("vgg16", SIDE, seed=1)
    registry.set_trainable(model, "head")
    model.compile(loop.OPTIMIZERS["sgd"](1e-2), "sparse_categorical_crossentropy")
    data = {}
    for part in ("train", "validation"):
        rows = split[split["split"] == part]
        data[part] = feed.Batches(feed.read_images(rows, SIDE), rows, BATCH)
    model.fit(data["train"], validation_data=data["validation"], epochs=EPOCHS, verbose=0)


if __name__ == "__main__":
    main()
