"""Any saved network, any folder of images: what it says of each cell, and whether it may be scored.

A score on images that the network was trained on says nothing. A network of the series lies in its
run folder, beside the list of its validation and test images: of a folder that holds some of
them, only the test images are scored. Of any other network nobody knows here what it has seen.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from helpers import cnmc, listing, quiet, runs, splits

if TYPE_CHECKING:
    import keras

UNSEEN = "the images of the run's test part, whose subjects the network had not seen"
UNKNOWN = "all labelled images; whether the network was trained on them is not known here"
PRELIMINARY = "the official preliminary test set, whose subjects are not in the training set"


def open_model(path: str | Path) -> keras.Model:
    """Loads a saved network that tells cells apart, in safe mode: code in the file is refused.

    Args:
        path: A `.keras` file.

    Returns:
        The network, which takes raw square images and gives two probabilities, of HEM and ALL.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such network.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"The model is a .keras file that exists. Received: {str(path)!r}")
    if file.suffix != ".keras":
        raise ValueError(f"The model is a file that ends in .keras. Received: {str(path)!r}")
    with quiet.start_up():
        import keras

    model = keras.saving.load_model(file, compile=False, safe_mode=True)
    given, found = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    side = given[1] if isinstance(given, tuple) and len(given) > 1 else None
    if side is None or given != (None, side, side, 3) or found != (None, len(cnmc.CLASSES)):
        raise ValueError(
            "The network takes square colour images and gives the probabilities of "
            f"{' and '.join(cnmc.CLASSES)}. Received: input {given}, output {found}"
        )
    return model


def find_cells(data: str | Path, part: str | None = None) -> tuple[pd.DataFrame, str]:
    """Lists the labelled images of a folder, each with its linked subject.

    Args:
        data: Folder of a copy of C-NMC 2019, or one of its shape.
        part: "training" or "preliminary"; by default the preliminary set where there is one.

    Returns:
        One row per image, and the part that was taken.

    Raises:
        FileNotFoundError: If there are no such images.
        ValueError: If the part has no labels.
    """
    if part not in (None, *listing.PARTS[:2]):
        raise ValueError(
            "Only training and preliminary images have labels to score against; for the final "
            f"ones use `predict`. Received: part={part!r}"
        )
    found = Counter(place.part for place in listing.find_files(data)[0].values())
    chosen = part or ("preliminary" if found["preliminary"] else "training")
    table = cnmc.index(data, chosen)
    return splits.link_subjects(cnmc.add_digests(table)), chosen


def find_images(data: str | Path) -> pd.DataFrame:
    """Lists all images under a folder, whatever their names: nothing but `path` and `file`."""
    paths = sorted(listing.find_files(data)[0], key=_natural)
    if not paths:
        raise FileNotFoundError(
            f"Expected images ({', '.join(listing.SUFFIXES)}) under this folder. "
            f"Received: {str(data)!r}"
        )
    return pd.DataFrame({"path": paths, "file": [PurePath(path).name for path in paths]})


def _natural(path: str) -> list[str | int]:
    from helpers.duplicates import natural_key

    return natural_key(path)


def keep_unseen(table: pd.DataFrame, model: str | Path, part: str) -> tuple[pd.DataFrame, str]:
    """Keeps the images that may be scored, as far as is known.

    Args:
        table: As from `find_cells`.
        model: File of the network; its run folder, if it is in one, tells its test images.
        part: As from `find_cells`.

    Returns:
        The rows to score, and in words what they are.
    """
    known = _read_run(Path(model).expanduser().parent)[1]
    if known is not None:
        parts = dict(zip(known["path"].map(_name), known["split"], strict=True))
        side = table["path"].map(_name).map(parts)
        if (side == "test").any():
            return table[side == "test"].reset_index(drop=True), UNSEEN
    return table, PRELIMINARY if part == "preliminary" else UNKNOWN


def _name(path: str) -> str:
    return PurePath(path).name.lower()


def _read_run(folder: Path) -> tuple[dict[str, Any] | None, pd.DataFrame | None]:
    """Reads what a run keeps beside its network: its metrics, and its judged images."""
    if not (folder / runs.MANIFEST).is_file():
        return None, None
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics, pd.read_csv(folder / "predictions.csv")


def read_training(model: str | Path) -> dict[str, Any] | None:
    """Returns how a network was trained, if it lies in a run folder."""
    return _read_run(Path(model).expanduser().parent)[0]


def judge(model: str | Path, table: pd.DataFrame) -> pd.DataFrame:
    """Lets a saved network judge images.

    Args:
        model: A `.keras` file.
        table: Rows with `path`.

    Returns:
        The rows with `probability` of ALL.

    Raises:
        FloatingPointError: If the network answers with something that is no number.
    """
    network = open_model(model)
    from helpers import training

    judged = training.predict(network, table)
    if not np.isfinite(judged["probability"]).all():
        raise FloatingPointError(
            "The network answers with something that is no number; its training diverged. "
            f"Received: {(~np.isfinite(judged['probability'])).sum():,} of {len(judged):,} cells"
        )
    return judged
