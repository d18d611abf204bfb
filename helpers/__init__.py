"""Helpers of the notebook series: one room per step, in the order the data flows."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from helpers.data.cnmc import Source
    from helpers.settings import Profile

# Else TensorFlow's start-up notes fill the first cells of a notebook with red.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"


def start() -> tuple["Profile", "Source", "pd.DataFrame"]:
    """Returns what every notebook begins with: the profile, the images, and their split.

    Returns:
        The profile in force (`CNMC_PROFILE`); where the images are (`CNMC_DATA`, else stand-in
        cells, which are drawn on the first call); and the leak-free table of
        `split_files.prepare`, with `path`, `label`, `linked_subject` and `split` per image.
    """
    from helpers import settings
    from helpers.data import split_files
    from helpers.standin import cohort

    profile = settings.active()
    source = cohort.find_or_draw(profile)
    return profile, source, split_files.prepare(source, profile)
