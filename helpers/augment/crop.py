"""What a crop cuts: measured for every image, the nucleus apart from debris that hangs on it."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from scipy import ndimage

from helpers.data.image_files import SIDE, map_images, nucleus_mask

SIDES = (256, 300, 320, 350, 380, 400, 420, 440)
BLACK = 8  # levels of 255; the background is 0, but a JPEG copy has some noise around the edge
BODY, FRINGE = 0.4, 12
_FAR = np.abs(np.arange(SIDE) - (SIDE - 1) / 2) + 0.5  # px from the middle, to a pixel's far edge
# For each pixel the side of the central square that keeps it; and of one that is turned, which
# keeps for sure only the circle inside it.
_SQUARE, _TURNED = 2 * np.maximum(_FAR[:, None], _FAR), 2 * np.hypot(_FAR[:, None], _FAR)


def find_nucleus(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tells the compact body of a nucleus from the thin things that hang on it.

    The body is where a disc fits that has 0.4 times the radius of the largest disc that fits at
    all, and 12 px around it (a morphological opening): tails of cytoplasm and rims of red cells
    are too thin for that. A whole red cell is not, and counts as nucleus: errors are on the safe
    side.

    Args:
        image: A uint8 array of shape (h, w, 3), black outside the cell.

    Returns:
        Two boolean arrays of shape (h, w), nucleus and debris; no pixel is in both.
    """
    cell = nucleus_mask(image, above=BLACK)
    nucleus = np.zeros_like(cell)
    if cell.any():
        rows, columns = ndimage.find_objects(cell.astype(np.int8))[0]
        inside = np.pad(cell[rows, columns], 1)
        depth = ndimage.distance_transform_edt(inside)
        core = depth >= BODY * depth.max()
        near = ndimage.distance_transform_edt(~core) < BODY * depth.max() + FRINGE
        nucleus[rows, columns] = (inside & near)[1:-1, 1:-1]
    return nucleus, cell & ~nucleus


def survey(table: pd.DataFrame, sides: Sequence[int] = SIDES) -> pd.DataFrame:
    """Measures for every image what each central crop would cut off.

    Args:
        table: One row per image, with `path`.
        sides: Sides of the crops, even numbers of px up to 450.

    Returns:
        One row per image and crop `side`: the columns of the table; `nucleus` and `debris` in px;
        `nucleus_cut` and `debris_cut`, what the crop cuts of them; `turned_cut`, what it could cut
        of the nucleus if the image were turned first; and, the same for each crop, the smallest
        side that keeps the nucleus (`nucleus_side`), also however it is turned (`turned_side`).

    Raises:
        ValueError: If a side is not an even number from 2 to 450.
    """
    if not len(sides) or any(side % 2 or not 2 <= side <= SIDE for side in sides):
        raise ValueError(f"Sides of crops are even, from 2 to {SIDE} px. Received: {list(sides)}")
    found = map_images(partial(_measure, sides=sides), table["path"])
    repeated = table.iloc[np.repeat(np.arange(len(table)), len(sides))].reset_index(drop=True)
    return pd.concat([repeated, pd.concat(found, ignore_index=True)], axis="columns")


def _measure(image: np.ndarray, sides: Sequence[int]) -> pd.DataFrame:
    """Measures one image: a row per crop."""
    nucleus, debris = find_nucleus(image)
    far = {"nucleus": _SQUARE[nucleus], "debris": _SQUARE[debris], "turned": _TURNED[nucleus]}
    cut = {f"{name}_cut": np.less.outer(sides, of).sum(axis=1) for name, of in far.items()}
    rows = pd.DataFrame({"side": sides, **cut, "nucleus": nucleus.sum(), "debris": debris.sum()})
    ends = {name: int(np.ceil(far[name].max(initial=0))) for name in ("nucleus", "turned")}
    return rows.assign(nucleus_side=ends["nucleus"], turned_side=ends["turned"])


def summarise(measured: pd.DataFrame) -> pd.DataFrame:
    """Counts for each crop how many images lose something, and how much the worst one loses.

    Args:
        measured: As from `survey`.

    Returns:
        One row per `side`: `images`; those that lose anything (`cut`), debris alone
        (`debris only`), some nucleus (`nucleus`), or could lose some nucleus if turned first
        (`nucleus if turned`); and the largest share of a nucleus that is cut (`worst`).
    """
    hit = measured["nucleus_cut"] > 0
    found = measured[["side"]].assign(images=1, cut=hit | (measured["debris_cut"] > 0))
    found["debris only"], found["nucleus"] = found["cut"] & ~hit, hit
    found["nucleus if turned"] = measured["turned_cut"] > 0
    counts = found.groupby("side").sum()
    worst = measured["nucleus_cut"] / measured["nucleus"].clip(lower=1)
    return counts.assign(worst=worst.groupby(measured["side"]).max())
