"""Says whether this machine is ready for the series, and what to do where it is not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import psutil

from helpers import settings

GB = 1e9
MEMORY_NEEDED, DISK_NEEDED = 3 * GB, 5 * GB  # a notebook in the workshop profile; all generated
IMAGE_SUFFIXES = (".bmp", ".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is ok, warn or fail; `advice` helps unless it is ok."""

    topic: str
    state: str
    found: str
    advice: str = ""


def examine(devices: bool = False) -> Iterator[Finding]:
    """Looks at everything the series needs, the quick things first.

    Args:
        devices: Whether to ask TensorFlow as well what it can compute on: it takes some seconds
            to start.

    Yields:
        One finding after the other.
    """
    yield _python()
    yield _library("tensorflow")
    yield _library("keras")
    yield _processor()
    yield _gpu()
    yield _memory()
    yield _disk()
    yield _profile()
    yield _data()
    if devices and util.find_spec("tensorflow"):
        yield _devices()


def _python() -> Finding:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    advice = "Use Python 3.11, 3.12 or 3.13: TensorFlow has wheels for these."
    return Finding("Python", "ok" if fits else "fail", platform.python_version(), advice)


def _library(name: str) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name))
    except metadata.PackageNotFoundError:
        advice = "Install the libraries: pip install -r requirements.txt"
        return Finding(name, "fail", "not installed", advice)


def _processor() -> Finding:
    from helpers.training.hardware import cpu_has_bfloat16

    speed = "with bfloat16" if cpu_has_bfloat16() else "without bfloat16: float32 is used"
    return Finding("processor", "ok", f"{os.cpu_count()} logical cores, {speed}")


def _gpu() -> Finding:
    names = _nvidia_names()
    if not names:
        return Finding("GPU", "ok", "no NVIDIA GPU: smoke and workshop run on the processor")
    if not any(library.name.startswith("nvidia-cudnn") for library in metadata.distributions()):
        advice = 'Install the GPU libraries (Linux): pip install -e ".[gpu]"'
        return Finding("GPU", "warn", ", ".join(names), advice)
    return Finding("GPU", "ok", ", ".join(names))


def _nvidia_names() -> list[str]:
    """Asks the driver, in well under a second; TensorFlow would take ten."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return asked.stdout.split("\n")[:-1] if asked.returncode == 0 else []


def _memory() -> Finding:
    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    state = "ok" if free >= MEMORY_NEEDED else "warn"
    advice = f"Close other programs: a notebook needs up to {MEMORY_NEEDED / GB:.0f} GB."
    return Finding("memory", state, f"{free / GB:.1f} GB free of {total / GB:.1f} GB", advice)


def _disk() -> Finding:
    folder = settings.work_dir()
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= DISK_NEEDED else "warn"
    advice = f"Free {DISK_NEEDED / GB:.0f} GB, or set CNMC_WORK to a folder on another disk."
    return Finding("disk", state, f"{free / GB:.1f} GB free for {folder}", advice)


def _profile() -> Finding:
    try:
        return Finding("profile", "ok", settings.active().name)
    except ValueError as error:
        return Finding("profile", "fail", os.environ["CNMC_PROFILE"], str(error))


def _data() -> Finding:
    try:
        folder = settings.data_dir()
    except FileNotFoundError as error:
        return Finding("images", "fail", os.environ["CNMC_DATA"], str(error))
    if folder is None:
        return Finding("images", "ok", "drawn stand-in cells; set CNMC_DATA for the real ones")
    count = _count_images(folder)
    advice = "Name the folder of the C-NMC 2019 images, or: python -m helpers fetch FOLDER"
    return Finding("images", "ok" if count else "fail", f"{count:,} images in {folder}", advice)


def _count_images(folder: Path) -> int:
    names = (name for _, _, files in os.walk(folder) for name in files)
    return sum(name.lower().endswith(IMAGE_SUFFIXES) for name in names)


def _devices() -> Finding:
    import tensorflow as tf

    names = [device.name.split(":", 1)[1] for device in tf.config.list_physical_devices()]
    blind = bool(_nvidia_names()) and not tf.config.list_physical_devices("GPU")
    advice = 'TensorFlow does not see the GPU. On Linux: pip install -e ".[gpu]"'
    return Finding("devices", "warn" if blind else "ok", ", ".join(names), advice)
