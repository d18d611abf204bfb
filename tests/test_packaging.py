"""Holds the files that describe the project to each other."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUNTIME = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = {
    name: [Requirement(line) for line in lines]
    for name, lines in PROJECT["optional-dependencies"].items()
}
LOCK = (ROOT / "requirements.txt").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOX = (ROOT / "noxfile.py").read_text(encoding="utf-8")
# In pieces, so that this file does not find itself.
HOSTS = re.compile(
    "|".join(["py" + r"pi\.org", "python" + r"hosted\.org", r"registry\.n" + "pmjs"])
)
HOMES = re.compile(r"/(?:home|Users)/\w+/|/ro" + r"ot/|[A-Z]:\\+Users\\")


def ranges(requirements: list[Requirement]) -> dict[str, str]:
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def locked() -> list[str]:
    """The lock's entries: what is pinned, its marker and hashes."""
    text = "\n".join(line for line in LOCK.splitlines() if not line.lstrip().startswith("#"))
    return re.findall(r"^(?:[^\n]*\\\n)*[^\n]+$", text, flags=re.MULTILINE)


def pins() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", LOCK, flags=re.MULTILINE):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = (ROOT / name for name in names.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


class TestRanges:
    @pytest.mark.parametrize("requirement", RUNTIME, ids=lambda r: r.name)
    def test_when_a_library_is_required_then_its_range_has_both_ends(self, requirement):
        assert {s.operator for s in requirement.specifier} == {">=", "<"}

    def test_when_a_library_is_required_then_a_comment_gives_the_reason(self):
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        lines = re.findall(r'^    "[A-Za-z].*[<>]=?.*$', text, flags=re.MULTILINE)
        assert len(lines) == len(RUNTIME) + len(EXTRAS["dev"])
        assert [line for line in lines if "#" not in line] == []

    def test_when_conda_is_used_then_the_ranges_are_the_same(self):
        text = (ROOT / "environment.yml").read_text(encoding="utf-8")
        lines = re.findall(r"^ +- ([A-Za-z][\w-]*[<>]=.*)$", text, flags=re.MULTILINE)
        assert ranges([Requirement(line) for line in lines]) == ranges(RUNTIME)

    def test_when_a_gpu_is_used_then_the_range_of_tensorflow_is_the_same(self):
        assert ranges(EXTRAS["gpu"])["tensorflow"] == ranges(RUNTIME)["tensorflow"]

    @pytest.mark.parametrize("requirement", RUNTIME, ids=lambda r: r.name)
    def test_when_the_tests_run_then_they_run_on_versions_in_range(self, requirement):
        assert requirement.specifier.contains(metadata.version(requirement.name))


class TestLock:
    @pytest.mark.parametrize("requirement", RUNTIME + EXTRAS["dev"], ids=lambda r: r.name)
    def test_when_a_library_is_required_then_the_lock_has_versions_in_range(self, requirement):
        versions = pins().get(canonicalize_name(requirement.name), [])
        assert versions
        assert all(requirement.specifier.contains(version) for version in versions)

    def test_when_an_entry_is_locked_then_it_has_hashes(self):
        assert len(locked()) > 100
        assert [e for e in locked() if "==" not in e or "--hash=sha256:" not in e] == []

    def test_when_the_lock_is_read_then_it_names_no_index_and_no_folder(self):
        assert not re.search(r"://|^ *-(?!-hash)|^--|@ ", LOCK, flags=re.MULTILINE)

    def test_when_a_laptop_installs_the_lock_then_nothing_is_from_nvidia(self):
        assert [name for name in pins() if name.startswith("nvidia")] == []


class TestCommands:
    def test_when_the_readme_names_a_session_then_nox_has_it(self):
        functions = [n for n in ast.parse(NOX).body if isinstance(n, ast.FunctionDef)]
        sessions = {f.name for f in functions if f.decorator_list}
        named = set(re.findall(r"nox -s (\w+)", README))
        assert {"series", "tests"} <= named <= sessions

    def test_when_the_readme_names_a_command_then_helpers_has_it(self):
        from helpers.__main__ import app

        commands = {command.callback.__name__ for command in app.registered_commands}
        named = set(re.findall(r"python -m helpers ([a-z]+)", README))
        assert "doctor" in named <= commands

    def test_when_ci_runs_then_it_is_the_command_of_the_readme(self):
        script = ROOT / ".ci" / "run"
        assert '"$tool/bin/nox" -s tests' in script.read_text(encoding="utf-8")
        assert os.name == "nt" or os.access(script, os.X_OK)


class TestSource:
    def test_when_helpers_is_imported_then_nothing_heavy_is(self):
        heavy = "{'tensorflow', 'keras', 'pandas', 'numpy', 'matplotlib'}"
        code = f"import sys, helpers; print({heavy} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.strip() == "set()"

    def test_when_helpers_imports_a_library_then_it_is_a_dependency(self):
        owners = metadata.packages_distributions()
        known = ranges(RUNTIME + EXTRAS["cluster"])
        missing = {
            name
            for name in imported(ROOT / "helpers")
            if not {canonicalize_name(owner) for owner in owners.get(name, [])} & set(known)
        }
        # Of one family with a dependency, and released with it.
        assert missing - {"IPython", "jupyter_client"} == set()

    def test_when_a_file_is_tracked_then_it_names_no_place_of_one_machine(self):
        places = re.compile(f"{HOMES.pattern}|{re.escape(str(ROOT))}/|{HOSTS.pattern}")
        found = {p.name: places.findall(p.read_text("utf-8", "ignore")) for p in tracked()}
        assert {name: hits for name, hits in found.items() if hits} == {}

    def test_when_a_file_is_tracked_then_it_is_small(self):
        assert [p.name for p in tracked() if p.stat().st_size > 2e6] == []


def imported(folder: Path) -> set[str]:
    """Third-party libraries that the modules of a folder import anywhere."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"helpers"}
