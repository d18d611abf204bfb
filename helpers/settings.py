"""The three settings everything can run in, and the folders it works with.

Two environment variables are the only switches of the whole series:

* `CNMC_PROFILE`: `smoke`, `workshop` (default) or `paper`;
* `CNMC_DATA`: the folder of the real C-NMC 2019 images; unset, stand-in cells are drawn.

A third, `CNMC_WORK`, moves everything that is generated (default: the project's `data/` folder).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Profile:
    """One complete setting of the series, from the number of images to the number of epochs.

    Args:
        name: Name of the profile, as in `CNMC_PROFILE`.
        image_size: Side of the square image that the networks see, in px.
        subjects: Number of drawn stand-in subjects, as (ALL, HEM).
        images: Number of drawn stand-in images in total.
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
    """

    name: str
    image_size: int
    subjects: tuple[int, int]
    images: int
    train_total: int
    epochs: int
    learning_rate: float
    batch_size: int = 30
    repeats: int = 20
    schedule: str = "constant"
    transfer: tuple[str, float] = ("sgd", 2e-4)
    colour_jitter: float = 0.0


_SHORT: Any = {"schedule": "cosine", "transfer": ("adam", 1e-3), "colour_jitter": 0.15}
PROFILES = {
    "smoke": Profile("smoke", 32, (8, 6), 160, 180, 2, 5e-3, repeats=5, **_SHORT),
    "workshop": Profile("workshop", 64, (28, 18), 1_000, 1_000, 8, 5e-3, **_SHORT),
    "paper": Profile("paper", 224, (47, 26), 10_661, 20_000, 100, 2e-4),
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
    name = name or os.environ.get("CNMC_PROFILE") or "workshop"
    if name not in PROFILES:
        raise ValueError(f"CNMC_PROFILE names a profile: {', '.join(PROFILES)}. Received: {name!r}")
    return PROFILES[name]


def data_dir() -> Path | None:
    """Returns the folder of the real images named by `CNMC_DATA`, or None when it is unset.

    Raises:
        FileNotFoundError: If the variable names a folder that does not exist.
    """
    named = os.environ.get("CNMC_DATA")
    if not named:
        return None
    folder = Path(named).expanduser().resolve()
    if not folder.is_dir():
        raise FileNotFoundError(
            "CNMC_DATA names the folder that holds the C-NMC 2019 images; unset it to work on "
            f"drawn stand-in cells. Received: {named!r}, which is no folder"
        )
    return folder


def work_dir() -> Path:
    """Returns the folder for everything generated: `CNMC_WORK`, else the project's `data/`.

    The folder is created. An installed copy without a project around it uses `./data`.
    """
    project = Path(__file__).resolve().parent.parent
    default = project / "data" if (project / "pyproject.toml").exists() else Path("data")
    folder = Path(os.environ.get("CNMC_WORK") or default).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def start_up() -> Iterator[None]:
    """Mutes what libraries in C++ write straight to stderr while TensorFlow is imported.

    Python's own exceptions pass through as ever.

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
