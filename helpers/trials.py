"""Many small trainings, a few at a time: what a comparison over seeds is made of."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from helpers.profiles import work_dir

if TYPE_CHECKING:
    from helpers.training import Run

Key = TypeVar("Key", bound=Hashable)
SMALL = 64  # px: up to here a network leaves most of a CPU idle, and building it takes longest
MOST = 4  # processes; each takes about 1 GB of memory


def train_all(
    jobs: Mapping[Key, Mapping[str, Any]], workers: int | None = None, *, labels: bool = True
) -> dict[Key, Run]:
    """Trains, or loads, one network per job.

    Args:
        jobs: The arguments of `training.train` per job, all by name.
        workers: Processes that train at the same time. From two on, each computes in one thread:
            networks this small gain nothing from a second, and threads of several processes wait
            for each other. Any number of them gives the same bits; one, which trains here and in
            all threads, gives others, as sums are then rounded in another order. By default one
            per processor, up to four; one where images are large or a GPU is there.
        labels: Whether jobs are for `training.train`; False: for `pretraining.pretrain`.

    Returns:
        The run of each job, in their order.

    Raises:
        ValueError: If the arguments of a job cannot work; as in `training.train`.
    """
    count = _default_workers(jobs) if workers is None else workers
    if count > 1:
        from joblib import Parallel, delayed

        calls = [delayed(_elsewhere)(str(work_dir()), dict(job), labels) for job in jobs.values()]
        with warnings.catch_warnings():  # A process that has grown is replaced: no news, either.
            warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
            return dict(zip(jobs, Parallel(n_jobs=count)(calls), strict=True))
    make = _maker(labels)
    return {key: make(**job) for key, job in jobs.items()}


def _default_workers(jobs: Mapping[Any, Mapping[str, Any]]) -> int:
    from helpers.accelerators import choose_accelerator

    sides = [job.get("image_size") or job["profile"].image_size for job in jobs.values()]
    if max(sides) > SMALL or choose_accelerator().kind == "GPU":
        return 1
    return min(os.cpu_count() or 1, len(jobs), MOST)


def _elsewhere(work: str, job: dict[str, Any], labels: bool) -> Run:
    # What the libraries say while they start is no news; an error comes back as an exception.
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    make = _maker(labels)
    if not gc.get_freeze_count():
        gc.freeze()  # the libraries need not be looked through before each training
    os.environ["CNMC_WORK"] = work
    return make(**job)


def _maker(labels: bool) -> Callable[..., Run]:
    from helpers import pretraining, training

    return training.train if labels else pretraining.pretrain
