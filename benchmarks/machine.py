"""What a benchmark ran on, in one line for the head of its table, and the memory it took."""

from __future__ import annotations

import os
import platform
import resource
from importlib.metadata import version
from pathlib import Path

from helpers.training.hardware import BFLOAT16_FLAGS


def describe(*packages: str) -> str:
    """Names processor, cores, bfloat16 instructions, and the versions of Python and packages."""
    name, flags = "", set()
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.is_file() else []:
        key, _, value = line.partition(":")
        name = name or (value.strip() if key.strip() == "model name" else "")
        flags |= BFLOAT16_FLAGS & set(value.split()) if key.strip() == "flags" else set()
    bits = ", ".join(sorted(flags)) or "no bfloat16"
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    processor = name or platform.processor() or platform.machine()
    return (
        f"{platform.system()}, {processor}, {os.cpu_count()} cores, {bits}; "
        f"Python {platform.python_version()}, {versions}"
    )


def peak_memory() -> float:
    """Returns the most memory that this process has held, in MB.

    `ru_maxrss` of a process begins at what its parent held when it was started, so it is taken
    only where the system keeps no such mark of the process itself.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
