"""Says whether this machine is ready for the series, and what to do where it is not.

It starts with the standard library alone, so that it can say which libraries are missing.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

from helpers import settings

GB = 1e9
MEMORY_NEEDED, DISK_NEEDED = 3 * GB, 5 * GB  # a notebook in the workshop profile; all generated
IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


class Finding(NamedTuple):
    """One thing looked at: `state` is ok, warn or fail; `advice` helps unless it is ok."""

    topic: str
    state: str
    found: str
    advice: str = ""


def tell(say: Callable[[str], Any] = print, devices: bool = False) -> int:
    """Says what `examine` finds, line by line, and returns the exit status."""
    failed = 0
    for topic, state, found, advice in examine(devices):
        say(f"{state:<5} {topic:<11} {found}")
        if state != "ok":
            say(f"{'':17} {advice}")
        failed |= state == "fail"
    return int(failed)


def examine(devices: bool = False) -> Iterator[Finding]:
    """Yields one finding after the other; `devices` asks TensorFlow, too, which takes seconds."""
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "Use Python 3.11, 3.12 or 3.13: TensorFlow has wheels for these."
    yield Finding("Python", "ok" if fits else "fail", platform.python_version(), advice)
    yield _libraries()
    yield Finding("processor", "ok", f"{os.cpu_count()} logical cores")
    yield _gpu()
    if util.find_spec("psutil"):
        yield _memory()
    yield from (_disk(), _profile(), _images())
    if devices and util.find_spec("tensorflow"):
        yield _devices()


def _libraries() -> Finding:
    """Compares what is installed with what the project says it needs."""
    text = PROJECT.read_text(encoding="utf-8").split("dependencies = [")[1].split("\n]")[0]
    names = re.findall(r'^    "([\w-]+)', text, flags=re.MULTILINE)
    there = {name: list(metadata.distributions(name=name)) for name in names}
    missing = ", ".join(name for name, found in there.items() if not found)
    if missing:
        advice = "Install the libraries: pip install -r requirements.txt"
        return Finding("libraries", "fail", f"not installed: {missing}", advice)
    versions = ", ".join(f"{name} {there[name][0].version}" for name in ("tensorflow", "keras"))
    return Finding("libraries", "ok", f"{versions} and the others")


def _gpu() -> Finding:
    names = _nvidia_names()
    if not names:
        return Finding("GPU", "ok", "no NVIDIA GPU: smoke and workshop run on the processor")
    ready = any(library.name.startswith("nvidia-cudnn") for library in metadata.distributions())
    advice = 'Install the GPU libraries (Linux): pip install -e ".[gpu]"'
    return Finding("GPU", "ok" if ready else "warn", ", ".join(names), advice)


def _nvidia_names() -> list[str]:
    """Asks the driver, in well under a second; TensorFlow would take ten."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return asked.stdout.splitlines() if asked.returncode == 0 else []


def _memory() -> Finding:
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    state = "ok" if free >= MEMORY_NEEDED else "warn"
    advice = f"Close other programs: a notebook needs up to {MEMORY_NEEDED / GB:.0f} GB."
    return Finding("memory", state, f"{free / GB:.1f} GB free of {total / GB:.1f} GB", advice)


def _disk() -> Finding:
    try:
        folder = settings.work_dir()
    except OSError as error:
        return Finding("disk", "fail", str(error), "Set CNMC_WORK to a folder you may write to.")
    free = shutil.disk_usage(folder).free
    advice = f"Free {DISK_NEEDED / GB:.0f} GB, or set CNMC_WORK to a folder on another disk."
    state = "ok" if free >= DISK_NEEDED else "warn"
    return Finding("disk", state, f"{free / GB:.1f} GB free for {folder}", advice)


def _profile() -> Finding:
    try:
        return Finding("profile", "ok", settings.active().name)
    except ValueError as error:
        return Finding("profile", "fail", os.environ["CNMC_PROFILE"], str(error))


def _images() -> Finding:
    try:
        folder = settings.data_dir()
    except (OSError, ValueError) as error:
        return Finding("images", "fail", os.environ["CNMC_DATA"], str(error))
    if folder is None:
        return Finding("images", "ok", "drawn stand-in cells; set CNMC_DATA for the real ones")
    found = (Path(name).suffix.lower() for _, _, names in os.walk(folder) for name in names)
    count = sum(suffix in IMAGE_SUFFIXES for suffix in found)
    advice = "Name the folder of the C-NMC 2019 images, or: python -m helpers fetch FOLDER"
    return Finding("images", "ok" if count else "fail", f"{count:,} images in {folder}", advice)


def _devices() -> Finding:
    import tensorflow as tf

    from helpers.training import hardware

    blind = bool(_nvidia_names()) and not tf.config.list_physical_devices("GPU")
    advice = 'TensorFlow does not see the GPU. On Linux: pip install -e ".[gpu]"'
    found = hardware.choose_accelerator().note
    return Finding("devices", "warn" if blind else "ok", found, advice)
