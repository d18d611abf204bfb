"""Helpers of the notebook series: one room per step, in the order the data flows."""

import os
from typing import TYPE_CHECKING

from helpers import settings

if TYPE_CHECKING:
    import pandas as pd

    from helpers.data.cnmc import Source

# Else TensorFlow's start-up notes fill the first cells of a notebook with red.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever a shell or a ~/.keras/keras.json says
settings.pin()

__version__ = "0.1.0"


def start() -> tuple[settings.Profile, "Source", "pd.DataFrame"]:
    """Returns what every notebook begins with: the profile, the images, and their split.

    Returns:
        The profile in force (`CNMC_PROFILE`); where the images are (`CNMC_DATA`, else stand-in
        cells, which are drawn on the first call); and the leak-free table of
        `split_files.prepare`, with `path`, `label`, `linked_subject` and `split` per image.

    Raises:
        ValueError: If there are too few images or subjects of a class for the series.
    """
    from helpers.data import split_files, splits
    from helpers.standin import cohort

    profile = settings.active()
    source = cohort.find_or_draw(profile)
    split = split_files.prepare(source, profile)
    train = split.loc[split["split"] == "train", "label"]
    splits.check_classes(split, 6, "images in the training part", train)  # as 00 and 01 show
    return profile, source, split
