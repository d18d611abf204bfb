"""How the series trains each of its five networks; notebooks 03 to 07 share these runs.

Networks without a pretrained base (the proposed one, AlexNet) learn all their layers at once, as
in the paper. The transfer networks are trained in two stages: first a new head on the frozen base,
then the last block(s) with it, at a tenth of the rate, so that large steps of a fresh head do not
shake what the base has learned (Yosinski et al. 2014; the Keras guide to transfer learning).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from helpers import augmentation, cnmc, models, splits, training
from helpers.profiles import Profile
from helpers.training import Run

FINE_TUNING = 0.1  # of the head's learning rate


def train_recipe(
    name: str,
    table: pd.DataFrame,
    profile: Profile,
    report: Callable[[str], Any] | None = None,
    seed: int = 1,
    **options: Any,
) -> Run:
    """Trains one of the five networks as the series does, or loads it if that was done before.

    Args:
        name: A network of `models.MODELS`.
        table: Rows with `path`, `label` and `split`, as from `augmentation.prepare`.
        profile: The profile in force.
        report: Takes one line per epoch, such as `print`.
        seed: Decides first weights, order of the images and dropout.
        **options: Further arguments of `training.train`, for every stage.

    Returns:
        The run of the last stage; its `weights_note` belongs beside every score.

    Raises:
        ValueError: If there is no network of that name.
    """
    return train_stages(name, table, profile, report, seed, **options)[-1]


def train_stages(
    name: str,
    table: pd.DataFrame,
    profile: Profile,
    report: Callable[[str], Any] | None = None,
    seed: int = 1,
    **options: Any,
) -> list[Run]:
    """Does what `train_recipe` does, and returns the runs of all stages in their order.

    Args:
        name: A network of `models.MODELS`.
        table: Rows with `path`, `label` and `split`, as from `augmentation.prepare`.
        profile: The profile in force.
        report: Takes one line per epoch, such as `print`.
        seed: Decides first weights, order of the images and dropout.
        **options: Further arguments of `training.train`, for every stage.

    Returns:
        One run (all layers), or two (the head, then the last blocks with it).

    Raises:
        ValueError: If there is no network of that name.
    """
    common: dict[str, Any] = {"seed": seed, "report": report, **options}
    if not _is_transfer(name):
        return [training.train(name, table, profile, **common)]
    common["optimizer"], rate = profile.transfer
    head = training.train(name, table, profile, stage="head", learning_rate=rate, **common)
    slowly: dict[str, Any] = {
        "stage": "last",
        "start_from": head,
        "learning_rate": FINE_TUNING * rate,
    }
    return [head, training.train(name, table, profile, **slowly, **common)]


def _is_transfer(name: str) -> bool:
    return name in models.MODELS and models.MODELS[name].published is not None


def gather_table(data: Path | str, profile: Profile, seed: int = 1) -> pd.DataFrame:
    """Makes the table to train on from a folder of images.

    Args:
        data: Folder in the layout of C-NMC 2019, which is split by subject; or the folder of a
            split with `train` and `test`, as from `splits.split_folders`, which stays as it is, but
            for a tenth of the training images, whose subjects become the validation part.
        profile: Gives the number of images, and of augmented ones.
        seed: Decides what is drawn.

    Returns:
        The table with `split` and the augmented rows.

    Raises:
        FileNotFoundError: If there are no such images.
        ValueError: If a class has too few subjects.
    """
    folder = Path(data).expanduser().resolve()
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        split = _read_parts(folder, seed)
    else:
        split = splits.prepare(cnmc.locate(folder), profile, seed)
    return augmentation.prepare(split, profile, seed)


def _read_parts(folder: Path, seed: int) -> pd.DataFrame:
    parts = {part: cnmc.index(folder / part) for part in ("train", "test")}
    table = pd.concat([rows.assign(split=part) for part, rows in parts.items()], ignore_index=True)
    table = splits.link_subjects(cnmc.add_digests(table))
    is_train = table["split"] == "train"
    drawn = splits.split_by_subject(table[is_train].drop(columns="split"), 0.9, 0, seed)
    held_out = drawn.assign(split=drawn["split"].replace("test", "validation"))
    return pd.concat([held_out, table[~is_train]], ignore_index=True)
