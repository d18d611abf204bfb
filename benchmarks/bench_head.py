"""A new head on a frozen VGG16: features computed once against a fit of the frozen network."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import replace

import machine
import pandas as pd

from helpers import accelerators, fitting, models, pipelines, profiles, splits, synthetic, training

SIDE, EPOCHS, BATCH = 64, 10, 30
PROFILE = replace(profiles.active("smoke"), image_size=SIDE, images=1_000, batch_size=BATCH)


def main() -> None:
    accelerator = accelerators.choose_accelerator()
    print(f"{machine.describe('tensorflow', 'keras')}; {accelerator.note}")
    with tempfile.TemporaryDirectory() as work:
        os.environ["CNMC_WORK"] = work
        split = splits.prepare(synthetic.find_or_draw(PROFILE), PROFILE)
        run = training.train("vgg16", split, PROFILE, stage="head", epochs=1, seed=2)  # warms up
        shutil.rmtree(f"{work}/pixels")  # so that ours decodes the images, too
        ours = clock(lambda: training.train("vgg16", split, PROFILE, stage="head", epochs=EPOCHS))
        naive = clock(lambda: fit_frozen(split))
    print(f"VGG16, {run.weights_note}; {SIDE} px, batch {BATCH}, {EPOCHS} epochs")
    print(f"{split['split'].value_counts().to_dict()} images; decoding and validation included")
    print("| way | seconds | times faster |\n|---|---|---|")
    print(f"| `fit` of the frozen network, images kept in memory | {naive:.1f} | 1.0 |")
    print(f"| `training.train(stage='head')` | {ours:.1f} | {naive / ours:.1f} |")


def clock(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def fit_frozen(split: pd.DataFrame) -> None:
    """As tutorials do it: freeze, compile, fit."""
    model = models.build("vgg16", SIDE, seed=1)
    models.set_trainable(model, "head")
    model.compile(fitting.OPTIMIZERS["sgd"](1e-2), "sparse_categorical_crossentropy")
    data = {
        part: pipelines.make_dataset(split[split["split"] == part], SIDE, batch_size=BATCH)
        for part in ("train", "validation")
    }
    model.fit(data["train"], validation_data=data["validation"], epochs=EPOCHS, verbose=0)


if __name__ == "__main__":
    main()
