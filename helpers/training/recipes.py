"""How the series trains each of its five networks; notebooks 03 to 07 share these runs.

Networks without a pretrained base (the proposed one, AlexNet) learn all their layers at once, as
in the paper. The transfer networks are trained in two stages: first a new head on the frozen base,
then the last block(s) with it, at a tenth of the rate, so that large steps of a fresh head do not
shake what the base has learned (Yosinski et al. 2014; the Keras guide to transfer learning).

And many trainings, a few at a time, here or on several machines: what a comparison over seeds is
made of.
"""

import gc
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import tensorflow as tf

from helpers.augment import augmentation
from helpers.data import cnmc, duplicates, image_files, split_files, splits
from helpers.models import registry
from helpers.settings import Profile, cluster, expand, mute, processors, work_dir
from helpers.training import hardware, trainer
from helpers.training.loop import Settings
from helpers.training.trainer import Run

Jobs = Mapping[Any, Mapping[str, Any]]  # the arguments of each training, by its name
FINE_TUNING = 0.1  # of the head's learning rate
ALEXNET = 3e-3  # the largest rate: with two normalisations only, larger steps end in no number
# Options of the small sister of the proposed network: one convolution per block, few filters.
SISTER = {"filters": (8, 16, 32, 64, 96, 128), "convs_per_block": (1,) * 6, "dropout": 0.2}
SMALL = 64  # px: up to here a network leaves most of a CPU idle, and building it takes longest
LITTLE = 10_000_000  # pixels of all epochs: so few are learnt sooner than processes start
MOST = 4  # processes; each takes about 1 GB of memory
PATIENCE = 10.0  # s until a cluster must have answered, with a worker


def learners(profile: Profile) -> tuple[list[str], str]:
    """Chooses the networks to train: in a short profile, none that lacks its pretrained weights.

    Args:
        profile: The profile in force.

    Returns:
        Names of `registry.MODELS`, and a sentence on those left out: "" where all are trained.
    """
    is_short = profile.name != "paper"
    published = [name for name, spec in registry.MODELS.items() if spec.published and is_short]
    missing = [name for name in published if not registry.find_weights(name).pretrained]
    names = [name for name in registry.MODELS if name not in missing]
    reason = f"no pretrained weights here, and the {profile.name} profile is too short without"
    return names, f"Not trained: {' and '.join(missing)} ({reason})." if missing else ""


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
    if name == "alexnet" and told.get("learning_rate") is None:
        told["learning_rate"] = min(profile.learning_rate, ALEXNET)
    if name not in registry.MODELS or registry.MODELS[name].published is None:
        return [trainer.train(name, table, profile, **told)]
    if {"stage", "start_from"} & set(told):
        raise ValueError(f"For a stage of your own call trainer.train. Received: {', '.join(told)}")
    usual: dict[str, Any] = dict(zip(("optimizer", "learning_rate"), profile.transfer, strict=True))
    told = usual | {key: value for key, value in told.items() if value is not None}
    head = trainer.train(name, table, profile, stage="head", **told)
    told["learning_rate"] = FINE_TUNING * head.metrics["settings"]["learning_rate"]
    return [head, trainer.train(name, table, profile, stage="last", start_from=head, **told)]


def gather_table(
    data: Path | str, profile: Profile, seed: int = 1, report: Callable[[str], Any] | None = None
) -> pd.DataFrame:
    """Makes the table to train on from a folder of images.

    Args:
        data: Folder in the layout of C-NMC 2019, which is split by subject; or the folder of a
            split with `train` and `test`, as from `split_files.split_folders`, which stays as it
            is; without `validation`, that part becomes a tenth of the training images, by subject.
        profile: Gives the number of images, and of augmented ones.
        seed: Decides what is drawn.
        report: Takes a line, such as `print`, where not all images take part.

    Returns:
        The table with `split` and the augmented rows.

    Raises:
        FileNotFoundError: If there are no such images.
        ValueError: If a class has too few subjects, or `train` is not as its `train.csv` says.
    """
    folder = expand(data).resolve()
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        split = _read_parts(folder, seed)
    else:
        split = split_files.prepare(cnmc.locate(folder), profile, seed, report)
    return augmentation.prepare(split, profile, seed)


def _read_parts(folder: Path, seed: int) -> pd.DataFrame:
    """Copies among the training images stay with those that they were drawn from, or go."""
    there = [part for part in splits.PARTS if (folder / part).is_dir()]
    others = {path.name for path in folder.glob("[!._]*/")} - set(there)
    if others:
        warnings.warn(f"Left out, as no part of a split: {', '.join(others)}", stacklevel=3)
    parts = [_read_part(folder, part).assign(split=part) for part in there]
    table = duplicates.link_subjects(image_files.add_digests(pd.concat(parts, ignore_index=True)))
    if "validation" in there:
        return table
    is_train = table["split"] == "train"
    drawn = splits.split_by_subject(table[is_train].drop(columns="split"), 0.9, 0, seed)
    drawn["split"] = drawn["split"].replace("test", "validation")
    if "source" in drawn:
        drawn = drawn[(drawn["split"] == "train") | drawn["source"].isna()]
    return pd.concat([drawn, table[~is_train]], ignore_index=True)


def _read_part(folder: Path, part: str) -> pd.DataFrame:
    """Lists the images of a part; those that were augmented as `train.csv` says, if that holds."""
    if part != "train" or not (folder / "train.csv").is_file():
        return cnmc.index(folder / part)
    kinds, table = dict.fromkeys(("subject", "fold", "source"), str), pd.DataFrame()
    with suppress(ValueError):  # of what is no table, no image is listed
        table = pd.read_csv(folder / "train.csv", dtype=kinds).fillna({"fold": ""})
    here = "train/" + cnmc.list_images(folder / "train")["file"]
    more = here.value_counts().sub(table.get("path", here[:0]).value_counts(), fill_value=0)
    wrong = sorted(map(str, more.index[more != 0]))
    wrong = wrong or [row.path for row in table.itertuples() if not _is_as_named(row)]
    if wrong:
        advice = "train.csv lists the images in the folder train: augment the split anew. Received:"
        raise ValueError(f"{advice} {folder}, where {len(wrong):,} differ, such as {wrong[0]}")
    return table.assign(**{name: f"{folder}/" + table[name] for name in ("path", "source")})


def _is_as_named(row: Any) -> bool:
    """Whether an image, or what it was drawn from, has the label and subject of its name."""
    cell = cnmc.parse_name(Path(row.path).stem.partition(augmentation.COPY)[0])
    return cell is None or cell[:2] == (row.label, row.subject)


def train_all(
    jobs: Jobs, workers: int | None = None, train: Callable[..., Run] = trainer.train
) -> dict[Any, Run]:
    """Trains, or loads, one network per job.

    Args:
        jobs: The arguments of `train` per job, all by name; all are looked at before any trains.
        workers: Processes that train at the same time. From two on, each computes in one thread:
            networks this small gain nothing from a second, and threads of several processes wait
            for each other. Any number of them gives the same bits; one, which trains here and in
            all threads, gives others, as sums are then rounded in another order. By default one
            per processor, up to four; one where images are large, there is little to learn, or a
            GPU is there. Where `CNMC_CLUSTER` names a scheduler, the default is all its workers:
            each trains one network at a time, in one thread, in the work folder of this process.
        train: What carries out a job: `trainer.train` or `autoencoder.pretrain`.

    Returns:
        The run of each job, in their order.

    Raises:
        ValueError: If the arguments of a job cannot work; as in `trainer.train`.
        ConnectionError: If the cluster does not answer.
        RuntimeError: If a worker of the cluster does not see the work folder.
    """
    no_settings = ("table", "report", "allow_leaks")
    sides, pixels = [0], 0
    for job in jobs.values():
        told = Settings.choose(**{key: job[key] for key in job if key not in no_settings})
        sides.append(told.image_size)
        pixels += len(job["table"]) * told.epochs * told.image_size**2
    if workers is None and (address := cluster()):
        return _train_afar(address, jobs, train)
    if workers is None:
        is_gpu = hardware.choose_accelerator().kind == "GPU"
        is_alone = is_gpu or max(sides) > SMALL or pixels < LITTLE
        workers = 1 if is_alone else min(processors(), len(jobs), MOST)
    if workers == 1:
        return {key: train(**job) for key, job in jobs.items()}
    return _train_beside(workers, jobs, train)


def _train_beside(workers: int, jobs: Jobs, train: Callable) -> dict[Any, Run]:
    from joblib import Parallel, delayed

    calls = [delayed(_elsewhere)(train, str(work_dir()), dict(job)) for job in jobs.values()]
    # TensorFlow speaks while `train` is unpickled, and so before anything here could mute it.
    # What waits for more than 10 s gives its memory back.
    team = Parallel(workers, "loky", initializer=mute, idle_worker_timeout=10)
    with warnings.catch_warnings():  # A process that has grown is replaced: no news, either.
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        return dict(zip(jobs, team(calls), strict=True))


def _elsewhere(train: Callable[..., Run], work: str, job: dict[str, Any]) -> Run:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    os.environ["CNMC_WORK"] = work
    return train(**job)


def _train_afar(address: str, jobs: Jobs, train: Callable) -> dict[Any, Run]:
    # Not by joblib, which waits for ever where a worker cannot read a job or each one dies of it.
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings(action="ignore", category=UserWarning))
        mark = stack.enter_context(TemporaryDirectory(prefix=".cluster-", dir=work_dir()))
        try:
            from distributed import Client

            client = stack.enter_context(Client(address, timeout=PATIENCE, set_as_default=False))
            client.wait_for_workers(1, timeout=PATIENCE)
        except Exception as error:  # of any kind, where something else answers
            told = f"{address!r}: {error}"
        else:
            calls = client.map(_join, [*jobs.values()], train=train, mark=Path(mark), pure=False)
            return dict(zip(jobs, client.gather(calls), strict=True))
    gc.collect()  # ends a client that failed: later, it may wait for ever for one that begins
    advice = "CNMC_CLUSTER names a Dask scheduler with workers, such as tcp://10.0.0.5:8786"
    raise ConnectionError(f"{advice}; it needs `pip install distributed`. Received: {told}")


def _join(job: dict[str, Any], train: Callable[..., Run], mark: Path) -> Run:
    """Trains on a worker of a cluster, if it shares the work folder and does nothing beside."""
    from distributed import get_worker

    worker, is_there = get_worker(), mark.is_dir()
    if not is_there or worker.state.nthreads > 1:
        advice = "A worker shares the folder CNMC_WORK, and trains one network: --nthreads 1"
        found = f"--nthreads {worker.state.nthreads}, {'' if is_there else 'not '}{mark.parent}"
        raise RuntimeError(f"{advice}. Received: {worker.address} with {found}")
    return _elsewhere(train, str(mark.parent), job)
