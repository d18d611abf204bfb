"""The commands of the project: `nox -s series`, `nox -s tests`, and others: `nox -l` lists them.

All of them share one environment, `.nox/series`, made from the lock in requirements.txt. It is
made on first use, and again only when the lock or pyproject.toml changes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["tests"]

ROOT = Path(__file__).resolve().parent
HOME = ROOT / ".nox" / "series"
PYTHON = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SUPPORTED = ("3.13", "3.12", "3.11")


@nox.session(venv_backend="none")
def series(session: nox.Session) -> None:
    """Runs all notebooks in order: `nox -s series -- workshop` (smoke, workshop, paper)."""
    _prepare(session, gpu=True)
    profile, *only = session.posargs or ["smoke"]
    _run(session, "-m", "helpers", "series", profile, *only)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Checks style and types, then runs the tests and every notebook in the smoke profile."""
    _prepare(session)
    small = {"CNMC_PROFILE": "smoke", "CNMC_DATA": None}
    notebooks = ["--nbmake", "--nbmake-timeout=900", "notebooks"]
    checks = [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        # Two at a time, a file each, which keeps what its tests share in one process.
        ["pytest", "-n2", "--dist=loadfile", "tests", "helpers", *notebooks, *session.posargs],
    ]
    # All of them are run: a line that is too long should not hide whether the tests pass.
    failed = [check for check in checks if not _passes(session, "-m", *check, **small)]
    if failed:
        session.error("These failed: " + ", ".join(" ".join(check[:2]) for check in failed))


@nox.session(venv_backend="none")
def exercises(session: nox.Session) -> None:
    """Writes the student notebooks in notebooks/exercises anew, from those above."""
    _prepare(session)
    _run(session, str(ROOT / "notebooks" / "exercises" / "generate.py"))


@nox.session(venv_backend="none")
def lab(session: nox.Session) -> None:
    """Opens the notebooks in JupyterLab."""
    _prepare(session, gpu=True)
    _run(session, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/notebooks", *session.posargs)


@nox.session(venv_backend="none")
def site(session: nox.Session) -> None:
    """Builds the web edition; then open `site/index.html`, or copy the folder to any server."""
    _prepare(session)
    _run(session, str(ROOT / "docs" / "build.py"), str(ROOT / "site"))


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Runs the benchmarks, all or those named: `nox -s bench -- draw`."""
    _prepare(session, gpu=True)
    scripts = sorted((ROOT / "benchmarks").glob("bench_*.py"))
    wanted = [s for s in scripts if not session.posargs or s.stem[6:] in session.posargs]
    if not wanted:
        names = ", ".join(script.stem[6:] for script in scripts)
        session.error(f"No such benchmark. Choose from {names}. Received: {session.posargs}")
    for script in wanted:
        _run(session, str(script))


@nox.session(venv_backend="none")
def lessons(session: nox.Session) -> None:
    """Repeats the workshop on three other worlds, or those named: `nox -s lessons -- 7 8 9`."""
    _prepare(session, gpu=True)
    _run(session, str(ROOT / "benchmarks" / "lessons.py"), *session.posargs)


@nox.session(venv_backend="venv")
def kit(session: nox.Session) -> None:
    """Fills a folder for a class without a network: `nox -s kit -- FOLDER` (dist/kit)."""
    _prepare(session)
    folder = Path(session.posargs[0] if session.posargs else ROOT / "dist" / "kit").resolve()
    _run(session, str(ROOT / "docs" / "kit.py"), str(folder), CNMC_DATA=None)
    # By the pip of the session, as the environment may have none; for the Python of the latter.
    pip = ["python", "-m", "pip", "--python", str(PYTHON), "download", "-q", "--only-binary=:all:"]
    session.run(*pip, "--dest", str(folder / "wheels"), "-r", "requirements.txt")


@nox.session(venv_backend="none")
def address(session: nox.Session) -> None:
    """Writes the repository's address, from pyproject.toml, wherever else it stands."""
    _prepare(session)
    _run(session, str(ROOT / "docs" / "address.py"), *session.posargs)


@nox.session(venv_backend="venv")
def lock(session: nox.Session) -> None:
    """Writes requirements.txt anew: the newest versions within pyproject.toml's ranges."""
    session.install("uv")
    options = ["--universal", "--generate-hashes", "--no-header", "--upgrade", "--quiet"]
    # Without the extra `gpu`: no laptop should download NVIDIA's libraries.
    files = ["--extra", "dev", "pyproject.toml", "-o", "requirements.txt"]
    told = {"UV_CUSTOM_COMPILE_COMMAND": "nox -s lock"}
    session.run("uv", "pip", "compile", *options, *files, *session.posargs, env=told)


def _prepare(session: nox.Session, gpu: bool = False) -> None:
    """Makes the shared environment, unless the one that is there fits the lock."""
    gpu = gpu and sys.platform == "linux" and shutil.which("nvidia-smi") is not None
    stamp = HOME / f".installed{'-gpu' if gpu else ''}"
    wanted = _fingerprint()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    session.log(f"Installing the libraries into {HOME.relative_to(ROOT)}: some minutes, once.")
    shutil.rmtree(HOME, ignore_errors=True)
    _make_environment(session)
    _install(session, "-r", "requirements.txt")
    # setuptools comes with the lock, so nothing is downloaded that has no hash.
    _install(session, "--no-deps", "--no-build-isolation", "-e", ".")
    if gpu:
        _install(session, "--no-build-isolation", "-e", ".[gpu]")
    (HOME / ".installed").write_text(wanted)
    stamp.write_text(wanted)


def _fingerprint() -> str:
    """Digests what the environment depends on, and where it is, as it cannot be moved."""
    files = [(ROOT / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    return hashlib.sha256(b"".join([str(ROOT).encode(), *files])).hexdigest()


def _make_environment(session: nox.Session) -> None:
    if shutil.which("uv"):
        wanted = f">={SUPPORTED[-1]},<3.14"
        session.run("uv", "venv", "--quiet", "--python", wanted, str(HOME), external=True)
    else:
        session.run(*_find_python(session), "-m", "venv", str(HOME), external=True)


def _find_python(session: nox.Session) -> list[str]:
    """Finds a Python that TensorFlow has wheels for: this one, else one beside it."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" in SUPPORTED:
        return [sys.executable]
    launcher = ["py"] if os.name == "nt" else []
    for version in SUPPORTED:
        command = [*launcher, f"-{version}"] if launcher else [f"python{version}"]
        asked = [*command, "--version"]
        if shutil.which(command[0]) and not subprocess.run(asked, capture_output=True).returncode:
            return command
    session.error(
        f"TensorFlow needs Python {SUPPORTED[-1]} to {SUPPORTED[0]}: install one of them, then run "
        f"the command again. Received: Python {sys.version.split()[0]}"
    )


def _install(session: nox.Session, *args: str) -> None:
    if shutil.which("uv"):
        command = ["uv", "pip", "install", "--quiet", "--python", str(PYTHON)]
    else:
        command = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    session.run(*command, *args, external=True)


def _run(session: nox.Session, *args: str, **env: str | None) -> None:
    """Runs the environment's own Python, whose Jupyter kernel is the one that notebooks get."""
    path = os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")])
    quiet = {"TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3")}
    # A kernel called python3 that the user once registered must not win over this one.
    kernel = {"JUPYTER_PREFER_ENV_PATH": "1", "JUPYTER_PATH": None}
    place = {"VIRTUAL_ENV": str(HOME), "PATH": path, "PYTHONPATH": None, "PYTHONHOME": None}
    session.run(str(PYTHON), *args, external=True, env={**quiet, **kernel, **place, **env})


def _passes(session: nox.Session, *args: str, **env: str | None) -> bool:
    try:
        _run(session, *args, **env)
    except CommandFailed:
        return False
    return True
