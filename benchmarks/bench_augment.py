"""Augmenting 450 px cells against Augmentor's own `sample()`: same operations, same files."""

from __future__ import annotations

import contextlib
import io
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from helpers import settings
from helpers.augment import augmentation
from helpers.augment.augmentation import augment
from helpers.data import cnmc
from helpers.standin import cohort

ROUNDS = 3


def main(images: int = 120, drawn: int = 1_500) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "cells", Path(folder) / "out"
        table = make_folders(Path(folder), root, images)
        ways = {
            "peer: Augmentor sample(), threads": lambda: sample(root, out, drawn, True),
            "peer: Augmentor sample(), one thread": lambda: sample(root, out, drawn, False),
            "augment, one process": lambda: ours(table, out, drawn, 1),
            "augment, a process per core": lambda: ours(table, out, drawn, os.cpu_count()),
        }
        report(measure(ways, out), images, drawn)


def make_folders(folder: Path, root: Path, images: int) -> pd.DataFrame:
    """Draws cells into one folder per class, the only layout that Augmentor scans."""
    world = replace(settings.active("smoke"), subjects=(6, 4), images=images)
    drawn = cnmc.index(cohort.draw(folder / "drawn", world).root)
    for row in drawn.itertuples():
        place = root / row.label.lower() / Path(row.path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, place)
    return cnmc.index(root)


def sample(root: Path, out: Path, drawn: int, threads: bool) -> None:
    from Augmentor import Pipeline

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipeline = Pipeline(str(root), str(out))
        for operation in augmentation.rotations_and_flips():
            pipeline.add_operation(operation)
        pipeline.sample(drawn, multi_threaded=threads)


def ours(table: pd.DataFrame, out: Path, drawn: int, workers: int | None) -> None:
    augment(table, out, len(table) + drawn, workers=workers)


def measure(ways: dict[str, Callable], out: Path) -> dict[str, list[tuple[float, float]]]:
    """Times every way in turn, several rounds, so that a busy moment hits all of them.

    Returns:
        Seconds of wall clock and of processor time, worker processes and their start included.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            wall, cpu = time.perf_counter(), processor_time()
            work()
            times[name].append((time.perf_counter() - wall, processor_time() - cpu))
            shutil.rmtree(out)
    return times


def processor_time() -> float:
    """Returns the seconds that this process and its finished workers have computed."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def report(times: dict[str, list[tuple[float, float]]], images: int, drawn: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("Augmentor", "pillow", "joblib"))
    print(f"{drawn} images of 450 px drawn from {images} BMP files, any angle and two mirrorings;")
    print(f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, 8-bit colours;")
    print(f"Python {platform.python_version()}, {packages}; median of {ROUNDS}")
    middle = {
        name: [statistics.median(column) for column in zip(*rounds, strict=True)]
        for name, rounds in times.items()
    }
    peer = next(iter(middle.values()))
    print(f"{'':38s}{'images/s':>10s}{'ratio':>8s}{'CPU ms/image':>15s}{'ratio':>8s}")
    for name, (wall, cpu) in middle.items():
        rates = f"{drawn / wall:10.0f}{peer[0] / wall:7.2f}x"
        print(f"{name:38s}{rates}{1000 * cpu / drawn:15.1f}{peer[1] / cpu:7.2f}x")


if __name__ == "__main__":
    main()
