"""How the series trains each of its five networks; notebooks 03 to 07 share these runs.

Networks without a pretrained base (the proposed one, AlexNet) learn all their layers at once, as
in the paper. The transfer networks are trained in two stages: first a new head on the frozen base,
then the last block(s) with it, at a tenth of the rate, so that large steps of a fresh head do not
shake what the base has learned (Yosinski et al. 2014; the Keras guide to transfer learning).

And many small trainings, a few at a time: what a comparison over seeds is made of.
"""

import gc
import os
import warnings
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from helpers.augment import augmentation
from helpers.data import cnmc, duplicates, image_files, split_files, splits
from helpers.models import registry
from helpers.settings import Profile, work_dir
from helpers.training import hardware, trainer
from helpers.training.loop import Settings
from helpers.training.trainer import Run

Key = TypeVar("Key", bound=Hashable)
FINE_TUNING = 0.1  # of the head's learning rate
# Options of the small sister of the proposed network: one convolution per block, few filters.
SISTER = {"filters": (8, 16, 32, 64, 96, 128), "convs_per_block": (1,) * 6, "dropout": 0.2}
SMALL = 64  # px: up to here a network leaves most of a CPU idle, and building it takes longest
MOST = 4  # processes; each takes about 1 GB of memory


def train_recipe(name: str, table: pd.DataFrame, profile: Profile, **told: Any) -> Run:
    """Trains one of the five networks as the series does, or loads it if that was done before.

    Args:
        name: A network of `registry.MODELS`.
        table: Rows with `path`, `label` and `split`, as from `augmentation.prepare`.
        profile: The profile in force.
        **told: As in `trainer.train`, for every stage, such as `seed` or `report`. A
            `learning_rate` is that of the head; the last blocks follow at a tenth of it.

    Returns:
        The run of the last stage; its `weights_note` belongs beside every score.

    Raises:
        ValueError: If the table or an argument cannot work.
    """
    return train_stages(name, table, profile, **told)[-1]


def train_stages(name: str, table: pd.DataFrame, profile: Profile, **told: Any) -> list[Run]:
    """Does what `train_recipe` does, and returns the runs of all stages in their order.

    Args:
        name: A network of `registry.MODELS`.
        table: As in `train_recipe`.
        profile: The profile in force.
        **told: As in `train_recipe`.

    Returns:
        One run (all layers), or two (the head, then the last blocks with it).

    Raises:
        ValueError: If the table or an argument cannot work.
    """
    if name not in registry.MODELS or registry.MODELS[name].published is None:
        return [trainer.train(name, table, profile, **told)]
    if {"stage", "start_from"} & set(told):
        raise ValueError(
            f"The stages of {name} are decided here; for one of your own call trainer.train. "
            f"Received: {', '.join(told)}"
        )
    optimizer, rate = profile.transfer
    told = {"optimizer": optimizer, "learning_rate": rate, **told}
    head = trainer.train(name, table, profile, stage="head", **told)
    told["learning_rate"] = FINE_TUNING * head.metrics["settings"]["learning_rate"]
    return [head, trainer.train(name, table, profile, stage="last", start_from=head, **told)]


def gather_table(
    data: Path | str,
    profile: Profile,
    seed: int = 1,
    report: Callable[[str], Any] | None = None,
) -> pd.DataFrame:
    """Makes the table to train on from a folder of images.

    Args:
        data: Folder in the layout of C-NMC 2019, which is split by subject; or the folder of a
            split with `train` and `test`, as from `split_files.split_folders`, which stays as it
            is, but for a tenth of the training images, whose subjects become the validation part.
        profile: Gives the number of images, and of augmented ones.
        seed: Decides what is drawn.
        report: Takes a line, such as `print`, where not all images take part.

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
        source = cnmc.locate(folder)
        split, found = split_files.prepare(source, profile, seed), len(cnmc.index(source.root))
        if report and found > profile.images:
            report(
                f"{len(split):,} of {found:,} images take part, as the profile {profile.name} "
                "says: choose the profile paper, or train on the folder of a split, for all"
            )
    return augmentation.prepare(split, profile, seed)


def _read_parts(folder: Path, seed: int) -> pd.DataFrame:
    parts = {part: cnmc.index(folder / part) for part in ("train", "test")}
    table = pd.concat([rows.assign(split=part) for part, rows in parts.items()], ignore_index=True)
    table = duplicates.link_subjects(image_files.add_digests(table))
    is_train = table["split"] == "train"
    drawn = splits.split_by_subject(table[is_train].drop(columns="split"), 0.9, 0, seed)
    held_out = drawn.assign(split=drawn["split"].replace("test", "validation"))
    return pd.concat([held_out, table[~is_train]], ignore_index=True)


def train_all(
    jobs: Mapping[Key, Mapping[str, Any]],
    workers: int | None = None,
    train: Callable[..., Run] = trainer.train,
) -> dict[Key, Run]:
    """Trains, or loads, one network per job.

    Args:
        jobs: The arguments of `train` per job, all by name; all are looked at before any trains.
        workers: Processes that train at the same time. From two on, each computes in one thread:
            networks this small gain nothing from a second, and threads of several processes wait
            for each other. Any number of them gives the same bits; one, which trains here and in
            all threads, gives others, as sums are then rounded in another order. By default one
            per processor, up to four; one where images are large or a GPU is there.
        train: What carries out a job: `trainer.train` or `autoencoder.pretrain`.

    Returns:
        The run of each job, in their order.

    Raises:
        ValueError: If the arguments of a job cannot work; as in `trainer.train`.
    """
    for job in jobs.values():
        no_settings = ("table", "report", "allow_leaks")
        Settings.choose(**{key: told for key, told in job.items() if key not in no_settings})
    count = _default_workers(jobs) if workers is None else workers
    if count == 1:
        return {key: train(**job) for key, job in jobs.items()}
    from joblib import Parallel, delayed

    calls = [delayed(_elsewhere)(train, str(work_dir()), dict(job)) for job in jobs.values()]
    with warnings.catch_warnings():  # A process that has grown is replaced: no news, either.
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        return dict(zip(jobs, Parallel(n_jobs=count)(calls), strict=True))


def _default_workers(jobs: Mapping[Any, Mapping[str, Any]]) -> int:
    sides = [job.get("image_size") or job["profile"].image_size for job in jobs.values()]
    if max(sides) > SMALL or hardware.choose_accelerator().kind == "GPU":
        return 1
    return min(os.cpu_count() or 1, len(jobs), MOST)


def _elsewhere(train: Callable[..., Run], work: str, job: dict[str, Any]) -> Run:
    # What the libraries say while they start is no news; an error comes back as an exception.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    if not gc.get_freeze_count():
        gc.freeze()  # the libraries need not be looked through before each training
    os.environ["CNMC_WORK"] = work
    return train(**job)
