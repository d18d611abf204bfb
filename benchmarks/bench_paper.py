"""The paper's own setting from the first drawn cell to the end of an epoch: what each step takes.

A tiny network stands in for the proposed one, so that one epoch says how fast images come, not how
fast they are learnt. `python benchmarks/bench_paper.py 0.02` does a fiftieth of it, to try it out.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import keras
import machine
import pandas as pd
import psutil

from helpers import feed, runs, settings
from helpers.augment import augmentation
from helpers.data import split_files
from helpers.data.image_files import SIDE
from helpers.models import registry
from helpers.standin import cohort
from helpers.training import hardware, loop, trainer

AIM = 2_000  # images/s on two cores, so that no GPU waits for them
ROUNDS = 2  # the better of them counts
FEWEST = 8  # subjects of a class: fewer cannot be split


def main(share: float = 1.0) -> None:
    os.environ.pop("CNMC_DATA", None)
    profile = shrink(settings.active("paper"), share)
    accelerator = hardware.choose_accelerator()
    print(f"{machine.describe('tensorflow', 'keras')}; {accelerator.note}")
    print(f"paper profile, {share:g} of it, {profile.image_size} px, batch {profile.batch_size}")
    room = settings.work_dir()  # not where temporary files go: that may be memory
    pixels = profile.image_size**2 * 3
    needed = (profile.images + profile.train_total) * (SIDE**2 * 3 + pixels)
    runs.check_disk(room, needed, "The paper's setting on drawn cells")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=room) as work:
        os.environ["CNMC_WORK"] = work
        print("\n| step | images | minutes | images/s | disk, GB | peak memory, GB |")
        print("|---|---|---|---|---|---|")
        serve(carry_out(profile, Path(work)), profile)


def shrink(profile: settings.Profile, share: float) -> settings.Profile:
    """Takes a share of the subjects, the images and what is drawn from them; and one epoch."""
    subjects = tuple(max(FEWEST, round(share * count)) for count in profile.subjects)
    *people, tests = (round(share * count) for count in profile.preliminary)
    people = [max(FEWEST, count) for count in people]
    preliminary = (*people, max(8 * sum(people), tests))
    images = max(8 * sum(subjects), round(share * profile.images))
    total = max(images, round(share * profile.train_total))
    sizes = {"subjects": subjects, "images": images, "preliminary": preliminary}
    return replace(profile, **sizes, train_total=total, epochs=1)


def carry_out(profile: settings.Profile, work: Path) -> pd.DataFrame:
    """Goes all the way, a line for each step."""
    images = profile.images + profile.preliminary[-1]
    source = step("draw", work, lambda: cohort.find_or_draw(profile), images)
    split = step("split", work, lambda: split_files.prepare(source, profile), profile.images)
    more = profile.train_total - (split["split"] == "train").sum()
    table = step("augment", work, lambda: augmentation.prepare(split, profile), more)
    size = profile.image_size
    step(f"decode to {size} px", work, lambda: feed.keep_images(table, size), len(table))
    registry.MODELS["tiny"] = registry.ModelSpec(build_tiny)
    train = table["split"].value_counts()["train"]
    step("one epoch", work, lambda: trainer.train("tiny", table, profile, epochs=1), train)
    return table[table["split"] == "train"].reset_index(drop=True)


def build_tiny(image_size: int) -> keras.Model:
    """Looks at every pixel, and computes next to nothing."""
    first = keras.Input((image_size, image_size, 3))
    x = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(first))
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(first, x, name="tiny")


def step(name: str, work: Path, job: Callable, images: int):
    """Does a step, and prints what it took and left on the disk."""
    before, began = disk(work), time.perf_counter()
    with watch() as peak:
        result = job()
    seconds = time.perf_counter() - began
    left, memory = (disk(work) - before) / 1e9, max(peak) / 1e9
    rate = f"{seconds / 60:.1f} | {images / seconds:,.0f}"
    print(f"| {name} | {images:,} | {rate} | {left:.2f} | {memory:.2f} |", flush=True)
    return result


def disk(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextmanager
def watch() -> Iterator[list[int]]:
    """Looks twice a second at the memory of this process and all it has started.

    Pages of files count for nothing, as the system takes them back when it needs the room.
    """
    seen, over = [used()], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            seen.append(used())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()
        seen.append(used())


def used() -> int:
    this, total = psutil.Process(), 0
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.Error):  # it has ended meanwhile
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total


def serve(train: pd.DataFrame, profile: settings.Profile) -> None:
    """Reads whole epochs: without a network that would take them, and through Keras' `fit`."""
    kept = feed.keep_images(train, profile.image_size)
    told = kept, train, profile.batch_size, 1
    plain = feed.Batches(*told)
    tiny = build_tiny(profile.image_size)
    tiny.compile("sgd", "sparse_categorical_crossentropy")
    ways = {
        "as the paper trains": lambda: read(plain),
        "colours changed": lambda: read(feed.Batches(*told, jitter=0.15)),
        "colours changed, turned": lambda: read(feed.Batches(*told, jitter=0.15, turn=True)),
        "as the paper, through `fit`, tiny network": lambda: tiny.fit(plain, verbose=0),
    }
    print("\n| batches from the kept pixels, one thread | images/s | of the aim |\n|---|---|---|")
    for way, work in ways.items():
        with loop.on_device(profile.batch_size, profile.image_size):
            rate = len(train) / min(clock(work) for _ in range(ROUNDS))
        print(f"| {way} | {rate:,.0f} | {rate / AIM:.0%} of {AIM:,} |", flush=True)


def read(data: feed.Batches) -> None:
    for number in range(len(data)):
        data[number]


def clock(work: Callable) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
