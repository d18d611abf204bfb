"""Holds `helpers/` to its plan: few rooms, small modules, imports that point one way."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HELPERS = Path(__file__).resolve().parent.parent / "helpers"
MAP = (HELPERS / "README.md").read_text(encoding="utf-8")
# In the order the data flows: a module imports from its own room and from those before it.
ROOMS = (
    "settings", "runs", "data", "standin", "augment", "feed", "models", "training", "looking",
    "evaluation", "plots", "commands",
)  # fmt: skip
MOST_LINES, MOST_MODULES, MOST_ENTRIES, MOST_OF_ONE = 5_000, 45, 14, 220
MOST_OF_CHECKS = 400
REACH = {"training.trainer": 14, "data.split_files": 6, "commands.report": 22}


def sources() -> dict[str, str]:
    """Every module by its name below `helpers`, with its text; folders' own files by the folder."""
    names = {}
    for path in sorted(HELPERS.rglob("*.py")):
        parts = path.relative_to(HELPERS).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        names[name] = path.read_text(encoding="utf-8")
    return names


def code_lines(text: str) -> int:
    """Counts lines that are no blank, comment or docstring."""
    told: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            told |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(1 for n, line in lines if n not in told and line.strip()[:1] not in ("", "#"))


# The checks of the exercises stand beside the house: they use it, and nothing in it uses them.
CHECKS = {name: text for name, text in sources().items() if name.split(".")[0] == "checks"}
SOURCES = {name: text for name, text in sources().items() if name not in CHECKS}
LINES = {name: code_lines(text) for name, text in SOURCES.items()}


@cache
def imports(name: str) -> frozenset[str]:
    """The modules of ours that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(SOURCES[name])):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "helpers":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}".removeprefix("helpers.")
                home = node.module.removeprefix("helpers").removeprefix(".")
                found.add(whole if whole in SOURCES else home)
        elif isinstance(node, ast.Import):
            found |= {a.name[8:] for a in node.names if a.name.startswith("helpers.")}
    return frozenset(m for m in found - {name, ""} if LINES[m])


def reach(name: str) -> set[str]:
    """All modules of ours that an import of this one may bring with it."""
    seen, ahead = set(), [name]
    while ahead:
        new = imports(ahead.pop()) - seen
        seen |= new
        ahead += new
    return seen


def room(name: str) -> str:
    return name.split(".")[0]


MODULES = sorted(name for name in SOURCES if room(name) in ROOMS)


def test_when_the_house_is_measured_then_it_is_thin():
    assert sum(LINES.values()) <= MOST_LINES


def test_when_modules_are_counted_then_they_are_few():
    assert len([name for name, lines in LINES.items() if lines > 5]) <= MOST_MODULES


def test_when_the_folder_is_opened_then_one_glance_takes_it_in():
    entries = {p.name for p in HELPERS.iterdir()} - {"__pycache__", "README.md", "checks"}
    assert len(entries) <= MOST_ENTRIES


def test_when_the_checks_of_exercises_are_measured_then_they_are_few():
    assert sum(map(code_lines, CHECKS.values())) <= MOST_OF_CHECKS


def test_when_the_house_is_read_then_nothing_in_it_needs_the_checks():
    assert [name for name, text in SOURCES.items() if "helpers.checks" in text] == []


@pytest.mark.parametrize("name", SOURCES)
def test_when_a_module_is_opened_then_it_fits_one_sitting(name):
    assert LINES[name] <= MOST_OF_ONE


@pytest.mark.parametrize("name", MODULES)
def test_when_a_module_imports_then_from_its_room_or_one_before(name):
    own = ROOMS.index(room(name))
    assert [m for m in imports(name) if ROOMS.index(room(m)) > own] == []


@pytest.mark.parametrize("name", SOURCES)
def test_when_imports_are_followed_then_none_leads_back(name):
    assert name not in reach(name)


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) == "plots"])
def test_when_a_figure_is_drawn_then_its_module_computes_nothing_of_ours(name):
    assert imports(name) <= {"plots.style"}


@pytest.mark.parametrize(("name", "most"), REACH.items())
def test_when_a_call_is_followed_then_few_modules_explain_it(name, most):
    assert len(reach(name)) <= most


def test_when_the_map_is_read_then_it_shows_every_module_and_what_it_imports():
    rows = re.findall(r"^([\w/]+) +.*?(?: <- (.*))?$", MAP.split("```")[1], flags=re.MULTILINE)
    told = {name.replace("/", "."): set(uses.replace("/", ".").split(", ")) - {""}
            for name, uses in rows}  # fmt: skip
    shown = {name: set(imports(name)) for name in MODULES if LINES[name] > 5}
    assert told == shown
