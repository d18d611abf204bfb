"""Indexing and hashing a tree of images against plain parallel reading of the same files."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from machine import describe

from helpers.data import cnmc, image_files

WORKERS = max(4, os.cpu_count() or 1)
ROUNDS = 3


def main(images: int = 2_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = make_tree(Path(folder), images)
        size = sum(path.stat().st_size for path in paths)
        print(f"{images:,} files, {size / 1e9:.2f} GB, {WORKERS} threads; {describe('pandas')}")
        for state in ("cold", "warm") if hasattr(os, "posix_fadvise") else ("warm",):
            report(state, size, measure(Path(folder), paths, state == "cold"))


def make_tree(root: Path, images: int) -> list[Path]:
    """Writes images of random pixels in the layout of the training set."""
    rng = np.random.default_rng(0)
    paths = []
    for n in range(images):
        label, subject = (("all", n % 47 + 1), ("hem", f"H{n % 26 + 1}"))[n % 3 == 0]
        path = root / f"fold_{n % 3}" / label / f"UID_{subject}_{n}_1_{label}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_files.to_bmp(rng.integers(0, 255, (450, 450, 3), dtype=np.uint8)))
        paths.append(path)
    os.sync() if hasattr(os, "sync") else None
    return paths


def measure(root: Path, paths: list[Path], cold: bool) -> dict[str, list[float]]:
    """Times every way in turn, several rounds, so that a busy moment hits all of them."""
    ways: dict[str, Callable] = {
        "peer: plain parallel reading": lambda: read_all(paths),
        "cnmc.index": lambda: cnmc.index(root),
        "cnmc.index + image_files.add_digests": lambda: image_files.add_digests(cnmc.index(root)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            forget(paths) if cold else read_all(paths)
            began = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - began)
    return times


def read_all(paths: list[Path]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(read_one, paths):
            pass


def read_one(path: Path) -> int:
    return len(path.read_bytes())


def forget(paths: list[Path]) -> None:
    """Asks the system to drop the files from its cache, so that they come from the disk."""
    for path in paths:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def report(state: str, size: int, times: dict[str, list[float]]) -> None:
    head = f"{state} cache, median of {ROUNDS}"
    print(f"\n{head:36s}{'seconds':>9s}{'MB/s':>9s}{'of peer':>9s}")
    peer = float(np.median(next(iter(times.values()))))
    for name, seconds in times.items():
        middle = float(np.median(seconds))
        rate = f"{size / middle / 1e6:9.0f}{peer / middle:9.0%}" if name != "cnmc.index" else ""
        print(f"{name:36s}{middle:9.2f}{rate}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
