"""How fast stand-in cells are drawn on one core, against the plain way of making such a texture."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from helpers import settings
from helpers.data.image_files import SIDE, to_bmp
from helpers.standin.cohort import plan_cells
from helpers.standin.nucleus import draw_nucleus


def main(images: int = 120) -> None:
    cells = plan_cells(settings.active("workshop"), 2019)[:: 1000 // images]
    drawn = [draw_nucleus(np.random.default_rng(c.key), c.label, c.style) for c in cells[:20]]
    steps = {
        "draw_nucleus (all of it)": (draw_one, cells),
        "peer: 8 filtered noise fields, texture only": (filter_noise, cells),
        "to_bmp": (to_bmp, drawn * (images // 20)),
    }
    print(f"{'one core, ' + str(SIDE) + ' px':46s}{'images/s':>10s}{'CPU ms':>9s}")
    for name, (work, items) in steps.items():
        rate, cost = measure(work, items)
        print(f"{name:46s}{rate:10.1f}{cost:9.1f}")


def draw_one(cell) -> np.ndarray:
    return draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)


def filter_noise(cell) -> list[np.ndarray]:
    """Eight smooth fields by Gaussian filtering of full-size noise, as most would write it."""
    rng = np.random.default_rng(cell.key)
    widths = (10, 14, 35, 4, 14, 14, 14, 30)
    return [ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), w) for w in widths]


def measure(work: Callable, items: list) -> tuple[float, float]:
    """Returns images per second of wall clock and milliseconds of processor time per image."""
    work(items[0])
    wall, cpu = time.perf_counter(), time.process_time()
    for item in items:
        work(item)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return len(items) / wall, 1000 * cpu / len(items)


if __name__ == "__main__":
    main()
