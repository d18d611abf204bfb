"""Images from files against the same batches in memory; and predicting any number of images.

Fitting takes turns between the ways, epoch by epoch, in one process and with one network; the best
epoch of each counts. Predicting runs in processes of their own, whose peak memory is read.
"""

import os
import subprocess
import sys
import tempfile
import time

import keras
import machine
import numpy as np
import pandas as pd

from helpers import feed, settings
from helpers.data import cnmc
from helpers.models import registry
from helpers.standin import cohort
from helpers.training import hardware, loop, trainer

SIDE, IMAGES, BATCH, TURNS = 64, 600, 30, 6
COUNTS, SMALL, LARGE = (1_000, 10_000), 32, 128


class Held(keras.utils.PyDataset):
    """Batches in memory, as they come out of other ones."""

    def __init__(self, ready: feed.Batches):
        super().__init__()
        self.ready = [ready[number] for number in range(len(ready))]

    def __len__(self) -> int:
        return len(self.ready)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self.ready[number]


class Files:
    """Images that are decoded whenever they are asked for."""

    def __init__(self, rows: pd.DataFrame):
        self.rows = rows

    def __getitem__(self, chosen: np.ndarray) -> np.ndarray:
        return feed.read_images(self.rows.iloc[chosen], SIDE)


def main() -> None:
    accelerator = hardware.choose_accelerator()
    print(f"{machine.describe('tensorflow', 'keras')}; {accelerator.note}")
    with tempfile.TemporaryDirectory() as work:
        os.environ["CNMC_WORK"] = work
        paths = draw()
        fit(pd.concat([paths] * (1 + IMAGES // len(paths)), ignore_index=True)[:IMAGES])
        judge(pd.concat([paths] * 4, ignore_index=True))
        print(f"\nproposed network, {SMALL} px, `trainer.predict` from 450 px BMP files")
        print("| images | images/s | peak memory, MB |\n|---|---|---|")
        for count in COUNTS:
            rate, peak = measure(count)
            print(f"| {count:,} | {rate:.0f} | {peak:.0f} |", flush=True)


def draw() -> pd.DataFrame:
    source = cohort.find_or_draw(settings.active("smoke"))
    return cnmc.index(source.root)[["path", "label"]]


def fit(rows: pd.DataFrame) -> None:
    model = registry.build("proposed_cnn", SIDE, weights=None)
    hardware.use_fast_kernels(model)
    model.compile("sgd", "sparse_categorical_crossentropy")
    kept = feed.Batches(feed.keep_images(rows, SIDE), rows, BATCH, seed=1)
    ways = {
        "batches in memory": Held(kept),
        "from the file of pixels, as `trainer.train`": kept,
        "from 450 px BMP files, decoded in each epoch": feed.Batches(Files(rows), rows, BATCH),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(1 + TURNS):  # The first turn builds the graphs.
        for way, data in ways.items():
            began = time.perf_counter()
            with loop.on_device(BATCH, SIDE):
                model.fit(data, shuffle=False, verbose=0)
            times[way].append(time.perf_counter() - began)
    print(f"proposed network, {SIDE} px, batch {BATCH}, {IMAGES} images, best of {TURNS} epochs")
    print("| way | images/s | of in memory |\n|---|---|---|")
    best = {way: min(seconds[1:]) for way, seconds in times.items()}
    for way, seconds in best.items():
        share = best["batches in memory"] / seconds
        print(f"| {way} | {IMAGES / seconds:.1f} | {share:.1%} |", flush=True)


def judge(rows: pd.DataFrame) -> None:
    model = registry.build("proposed_cnn", LARGE, weights=None)
    hardware.use_fast_kernels(model)
    held = [batch.astype(np.float32) for batch in feed.stream_images(rows, LARGE)]
    ask = loop.as_function(model)
    ways = {
        "batches in memory": lambda: [ask(batch).numpy() for batch in held],
        "`trainer.predict`, from 450 px BMP files": lambda: trainer.predict(model, rows),
    }
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(TURNS):
        for way, work in ways.items():
            began = time.perf_counter()
            with loop.on_device(100, LARGE):
                work()
            best[way] = min(best[way], time.perf_counter() - began)
    print(f"\nproposed network, {LARGE} px, judging {len(rows)} images, best of {TURNS}")
    print("| way | images/s | of in memory |\n|---|---|---|")
    for way, seconds in best.items():
        share = best["batches in memory"] / seconds
        print(f"| {way} | {len(rows) / seconds:.1f} | {share:.1%} |", flush=True)


def measure(count: int) -> tuple[float, float]:
    command = [sys.executable, __file__, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rate, peak = done.stdout.split()[-2:]
    return float(rate), float(peak)


def predict(count: int) -> None:
    hardware.choose_accelerator()
    paths = draw()
    table = pd.concat([paths] * (1 + count // len(paths)), ignore_index=True)[:count]
    model = registry.build("proposed_cnn", SMALL, weights=None)
    hardware.use_fast_kernels(model)
    trainer.predict(model, table[:200])
    began = time.perf_counter()
    judged = trainer.predict(model, table)
    seconds = time.perf_counter() - began
    assert judged["probability"].between(0, 1).all()
    peak = machine.peak_memory()
    print(count / seconds, peak)


if __name__ == "__main__":
    predict(int(sys.argv[1])) if len(sys.argv) > 1 else main()
