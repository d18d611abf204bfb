"""Real nuclei beside drawn ones: a grid of both, and the quartiles of their outline and chromatin.

    python benchmarks/real_against_drawn.py FOLDER PICTURE.png [SEED]

FOLDER holds real C-NMC 2019 images; all of its training part is measured, and some 300 nuclei of
the `workshop` profile are drawn and measured in the same way.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib.figure import Figure
from scipy import ndimage
from skimage.measure import regionprops

from helpers import settings
from helpers.data import cnmc, image_files
from helpers.plots.style import CLASS_COLOURS, brighten
from helpers.standin.cohort import plan_cells
from helpers.standin.nucleus import draw_nucleus

COLUMNS, DRAWN, RIM = 10, 300, 20  # pictures a row, nuclei to draw, px of bright rim left out
SHIFTS = (12, 25)  # px, of the autocorrelation of the chromatin
LABELS = ("ALL", "HEM")


def main(folder: str, picture: str, seed: str = "7") -> None:
    real = cnmc.index(folder)
    cells = plan_cells(settings.active("workshop"), int(seed))
    cells = cells[:: max(1, len(cells) // DRAWN)]
    images = {"real": Parallel(2)(delayed(image_files.read_image)(p) for p in real["path"])}
    images["drawn"] = Parallel(2)(delayed(draw)(cell) for cell in cells)
    labels = {"real": list(real["label"]), "drawn": [cell.label for cell in cells]}
    rows = [
        {"label": label, "cells": kind, **measured}
        for kind, all_of in images.items()
        for label, measured in zip(
            labels[kind], Parallel(2)(delayed(measure)(image) for image in all_of), strict=True
        )
    ]
    table = pd.DataFrame(rows)
    groups = table.groupby(["label", "cells"])
    print(groups.size().to_string())
    for label, rows in groups.quantile([0.25, 0.5, 0.75]).groupby(level="label"):
        print(f"\n{label}\n{rows.droplevel('label').T.round(3).to_string()}")
    compose(images, labels, table).savefig(picture, dpi=110)
    print(f"written: {picture}")


def draw(cell) -> np.ndarray:
    return draw_nucleus(np.random.default_rng(cell.key), cell.label, cell.style)


def measure(image: np.ndarray) -> dict[str, float]:
    mask = image_files.nucleus_mask(image)
    shape = regionprops(mask.astype(np.uint8))[0]
    found = {"area [1,000 px]": shape.area / 1000, "solidity": shape.solidity}
    found["circularity"] = 4 * np.pi * shape.area / shape.perimeter**2
    found["eccentricity"] = shape.eccentricity
    inside = ndimage.distance_transform_edt(mask) > RIM
    grey = np.where(inside, image.mean(axis=2), np.nan)
    grey -= np.nanmean(grey)
    for shift in SHIFTS:
        pairs = [(grey[:, :-shift], grey[:, shift:]), (grey[:-shift], grey[shift:])]
        products = np.concatenate([(one * other).ravel() for one, other in pairs])
        found[f"autocorrelation at {shift} px"] = np.nanmean(products) / np.nanmean(grey**2)
    return found


def compose(images: dict[str, list], labels: dict[str, list], table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(14, 11), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(4 * 14 / COLUMNS, 3.6))
    grid = above.subplots(4, COLUMNS)
    kinds = [(label, kind) for label in LABELS for kind in ("real", "drawn")]
    for axes, (label, kind) in zip(grid, kinds, strict=True):
        own = [i for i, other in zip(images[kind], labels[kind], strict=True) if other == label]
        for ax, at in zip(axes, np.linspace(0, len(own) - 1, COLUMNS).astype(int), strict=True):
            ax.imshow(brighten(own[at])[60:390, 60:390])
        for ax in axes:
            ax.axis("off")
        axes[0].set_title(f"{label}, {kind}", fontsize=12, loc="left")
    names = list(table.columns[2:])
    for ax, name in zip(below.subplots(2, 3).flat, names, strict=True):
        for height, (label, kind) in enumerate(reversed(kinds)):
            rows = table[(table["label"] == label) & (table["cells"] == kind)]
            low, middle, high = rows[name].quantile([0.25, 0.5, 0.75])
            look = {"color": CLASS_COLOURS[label], "marker": "o" if kind == "real" else "s"}
            ax.errorbar(middle, height, xerr=[[middle - low], [high - middle]], capsize=4, **look)
        ax.set_yticks(range(4), [f"{label}, {kind}" for label, kind in reversed(kinds)])
        ax.set(xlabel=f"{name}: quartiles", ylim=(-0.5, 3.5))
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
