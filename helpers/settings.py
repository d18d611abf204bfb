"""The three settings everything can run in, and the folders it works with.

Two environment variables are the only switches of the whole series:

* `CNMC_PROFILE`: `smoke`, `workshop` (default) or `paper`;
* `CNMC_DATA`: the folder of the real C-NMC 2019 images; unset, stand-in cells are drawn.

A third, `CNMC_WORK`, moves everything that is generated (default: the project's `data/` folder).
A fourth, `CNMC_CLUSTER`, names a Dask scheduler whose workers train: see `recipes.train_all`.
A fifth, `CNMC_PLAIN=1`, computes as Keras does by itself: see `training/hardware`.
A relative folder counts from where a command starts, or from the project where a notebook does;
`pin` writes it out in full on `import helpers`, so that it is the same one in every process.
`~` and `$HOME` are filled in where no shell has done so.
"""

from __future__ import annotations  # so that `doctor` can tell an older Python what it is

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Profile:
    """One complete setting of the series, from the number of images to the number of epochs.

    Args:
        name: Name of the profile, as in `CNMC_PROFILE`.
        image_size: Side of the square image that the networks see, in px.
        subjects: Number of drawn stand-in subjects, as (ALL, HEM).
        images: Number of drawn stand-in images in the training part.
        preliminary: Subjects of ALL, of HEM, and images of the drawn preliminary part.
        train_total: Training images after augmentation, originals included (paper: 20,000).
        epochs: Passes over the augmented training images (paper: 100).
        learning_rate: Step size of the optimizer (paper: SGD at 2e-4).
        batch_size: Images per optimizer step (paper: 30).
        repeats: Repeated splits or seeds where a spread is shown.
        schedule: How the learning rate goes on, "constant" (paper) or "cosine".
        transfer: Optimizer and learning rate of the transfer networks (paper: SGD at 2e-4). Adam
            takes features of any scale, which a short training with SGD does not.
        colour_jitter: Standard deviation of a random factor on each colour of a training image
            (paper: 0). From a few dozen subjects a network otherwise learns to know each of them
            by the stain, instead of the disease by the chromatin.
        turn: Whether each training image is turned anew in each epoch (paper: no).
        dropout: Of the proposed network (paper: 0.5 is our reading). A few epochs are too few for
            a network of which half is missing.
    """

    name: str
    image_size: int
    subjects: tuple[int, int]
    images: int
    preliminary: tuple[int, int, int]
    train_total: int
    epochs: int
    learning_rate: float
    batch_size: int = 30
    repeats: int = 20
    schedule: str = "constant"
    transfer: tuple[str, float] = ("sgd", 2e-4)
    colour_jitter: float = 0.0
    turn: bool = False
    dropout: float = 0.5


_SHORT: Any = {"schedule": "cosine", "transfer": ("adam", 1e-3), "colour_jitter": 0.15}
_SHORT |= {"turn": True, "dropout": 0.2}
PROFILES = {
    "smoke": Profile("smoke", 32, (8, 6), 160, (4, 4, 40), 180, 2, 1e-2, repeats=5, **_SHORT),
    "workshop": Profile("workshop", 64, (90, 60), 1_200, (26, 18, 352), 1_000, 8, 1e-2, **_SHORT),
    "paper": Profile("paper", 224, (47, 26), 10_661, (13, 15, 1_867), 20_000, 100, 2e-4),
}


def active(name: str | None = None) -> Profile:
    """Returns the profile in force.

    Args:
        name: A profile name; by default the one in `CNMC_PROFILE`, else `workshop`.

    Returns:
        The profile.

    Raises:
        ValueError: If there is no profile of that name.

    Example:
        >>> active("paper").batch_size
        30
    """
    name = name or _told("CNMC_PROFILE") or "workshop"
    if name not in PROFILES:
        raise ValueError(f"CNMC_PROFILE names a profile: {', '.join(PROFILES)}. Received: {name!r}")
    return PROFILES[name]


def data_dir() -> Path | None:
    """Returns the folder of the real images named by `CNMC_DATA`, or None when it is unset.

    Raises:
        FileNotFoundError: If the variable names a folder that does not exist.
    """
    folder = _folder("CNMC_DATA")
    if folder and not folder.is_dir():
        advice = "CNMC_DATA names the folder of the images, best by an absolute path; unset it"
        raise FileNotFoundError(f"{advice} for stand-ins. Received: {str(folder)!r}, no folder")
    return folder


def work_dir() -> Path:
    """Returns the folder for everything generated: `CNMC_WORK`, else the project's `data/`.

    The folder is created. An installed copy without a project around it uses `./data`.

    Raises:
        PermissionError: If the folder cannot be made.
    """
    default = (PROJECT if (PROJECT / "pyproject.toml").exists() else Path.cwd()) / "data"
    folder = _folder("CNMC_WORK") or default
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"Set CNMC_WORK to a folder of yours. Received: {error}") from error
    return folder


def cluster() -> str:
    """Returns the scheduler's address that `CNMC_CLUSTER` names, or "" where it is unset."""
    return _told("CNMC_CLUSTER")


def is_plain() -> bool:
    """Says whether `CNMC_PLAIN` asks for what Keras computes by itself."""
    if (value := _told("CNMC_PLAIN")) not in ("", "0", "1"):
        raise ValueError(f"CNMC_PLAIN is 1 for yes, 0 or unset for no. Received: {value!r}")
    return value == "1"


def pin() -> None:
    """Writes out in full the folders that the variables name: processes start in other folders."""
    for name in ("CNMC_DATA", "CNMC_WORK"):
        with suppress(ValueError, OSError):  # raised again where the folder is asked for
            if folder := _folder(name):
                os.environ[name] = str(folder)


def _folder(name: str) -> Path | None:
    told = os.path.expanduser(os.path.expandvars(_told(name)))
    if re.search(r"^~|\$[\w{]", told):
        raise ValueError(f"{name} holds a name that is unknown: write it out. Received: {told!r}")
    here = PROJECT if Path.cwd().is_relative_to(PROJECT / "notebooks") else Path.cwd()
    return (here / told).resolve() if told else None


def expand(path: str | Path) -> Path:
    """Fills in `~`, as `Path.expanduser` does; that of nobody stays, and so is nowhere."""
    return Path(os.path.expanduser(path))


def _told(name: str) -> str:
    """Returns a variable, or "" where it is unset."""
    value = os.environ.get(name, "")
    if value != value.strip().strip("\"'`“”„«»‘’‚\ufeff\u200b"):  # the last two are invisible
        raise ValueError(f"{name} holds quotes or blanks around its value. Received: {value!r}")
    return value


def processors() -> int:
    """Returns how many processors may be used here: of an affinity, of a container's share."""
    from joblib import cpu_count

    return cpu_count()


@contextmanager
def start_up() -> Iterator[None]:
    """Mutes what libraries in C++ write straight to stderr while TensorFlow is imported.

    Python's own exceptions pass through as ever. Afterwards Keras is as the series needs it.

    Example:
        >>> with start_up():
        ...     noise = os.write(2, b"oneDNN custom operations are on")
    """
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
    pin_keras()


def mute() -> None:
    """Mutes a worker process from its start: what fails in it comes back as an exception."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def pin_keras() -> None:
    """Gives Keras, once imported, what every result rests on, whatever the user's set-up says."""
    if keras := sys.modules.get("keras"):
        keras.config.set_floatx("float32")
        keras.config.set_image_data_format("channels_last")
        keras.config.set_epsilon(1e-7)
        # Else KERAS_MAX_EPOCHS and the like end a training early, and it is kept as a whole one.
        keras.config.set_max_epochs(None)
        keras.config.set_max_steps_per_epoch(None)
