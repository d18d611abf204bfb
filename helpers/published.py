"""What others reported on C-NMC 2019, each number with the protocol it was measured by."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

DATA = Path(__file__).resolve().parent.parent / "data"
TEST_IMAGES = 2_120  # of the paper: a fifth of 10,600
MODELS = {
    "AlexNet": "alexnet",
    "VGG16": "vgg16",
    "ResNet50": "resnet50",
    "InceptionV3": "inception_v3",
    "Proposed Model": "proposed_cnn",
}


def paper_table() -> pd.DataFrame:
    """Reads Table 2 of the paper, as printed.

    Returns:
        One row per network: `architecture`, `model` (its name in `models.MODELS`) and `printed`
        (accuracy in per cent on 2,120 images of a random split, as text: its decimals count).
    """
    table = pd.read_csv(DATA / "paper_results.csv", dtype=str)
    table = table.rename(columns={"accuracy_percent": "printed"})
    return table.assign(model=table["architecture"].map(MODELS))


def published_results() -> pd.DataFrame:
    """Reads published scores on C-NMC 2019, protocol by protocol.

    Returns:
        One row per score: `protocol`, `work`, `source`, `score` (which one it is), `value` (0 to 1)
        and `remark`.
    """
    return pd.read_csv(DATA / "published_results.csv", keep_default_na=False)


def whole_number(printed: str, total: int = TEST_IMAGES) -> pd.Series:
    """Asks whether a printed percentage can be a whole number of images out of a total.

    Args:
        printed: A percentage as printed, such as "84.8".
        total: Number of images it is of.

    Returns:
        `images` (the whole number nearest to it), `percent` (what that would be), `rounded` and
        `cut` (whether some whole number gives the printed one when rounded, or when cut off).

    Example:
        >>> bool(whole_number("93.02").rounded), bool(whole_number("81.62").rounded)
        (True, False)
    """
    step = 10 ** len(printed.partition(".")[2])
    wanted = round(float(printed) * step)
    nearest = round(wanted * total / (100 * step))
    around = [100 * step * k for k in range(max(nearest - 1, 0), nearest + 2)]
    return pd.Series(
        {
            "images": nearest,
            "percent": 100 * nearest / total,
            # In whole numbers, with half a step rounded up: no binary fraction can play tricks.
            "rounded": any((2 * k + total) // (2 * total) == wanted for k in around),
            "cut": any(k // total == wanted for k in around),
        }
    )
