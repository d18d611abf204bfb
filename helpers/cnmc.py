"""The C-NMC 2019 data set: find it, index it, verify it, fetch it; one row per image.

The steps are in modules of their own, in the order the data flows: `names` tells what a path says,
`listing` finds the images, `images` reads them, `verify` compares a copy with the published set,
`fetch` gets one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.fetch import PROVENANCE, fetch
from helpers.images import ImageError, add_digests, read_image, to_bmp
from helpers.listing import PARTS, existing_folder, index
from helpers.names import CLASSES
from helpers.verify import Report, listing_digest, verify

__all__ = [
    "CLASSES",
    "MARKER",
    "PARTS",
    "PROVENANCE",
    "ImageError",
    "Report",
    "Source",
    "add_digests",
    "check_classes",
    "fetch",
    "index",
    "listing_digest",
    "locate",
    "read_image",
    "to_bmp",
    "verify",
]

MARKER = "synthetic.json"  # lies in the root of a tree of drawn stand-in cells


@dataclass(frozen=True)
class Source:
    """A folder of images and what kind of images they are.

    Args:
        root: Folder of the images.
        is_synthetic: Whether they are drawn stand-ins.
    """

    root: Path
    is_synthetic: bool

    @property
    def note(self) -> str:
        """The origin of the data, as every figure and table states it."""
        return "synthetic stand-in cells, drawn" if self.is_synthetic else "C-NMC 2019"


def locate(root: str | Path) -> Source:
    """Returns the source in a folder; stand-ins are known by the marker that lies with them.

    Args:
        root: Folder that holds a copy of C-NMC 2019, at any depth, or drawn stand-ins.

    Returns:
        The source, with its absolute path.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    folder = existing_folder(root)
    return Source(folder, is_synthetic=(folder / MARKER).is_file())


def check_classes(table: pd.DataFrame) -> None:
    """Raises unless there are images of both classes.

    Args:
        table: One row per image, with `label`.

    Raises:
        ValueError: If a class has no image; the message counts what there is.
    """
    counts = table["label"].value_counts()
    if not set(CLASSES) <= set(counts.index):
        raise ValueError(
            f"Expected images of both classes, {' and '.join(CLASSES)}: is a folder `all` or `hem` "
            f"missing? Received: {counts.to_dict()}"
        )
