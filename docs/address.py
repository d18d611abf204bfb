"""Writes the address of the repository wherever it stands: `nox -s address`.

Its one home is the line `Repository` in pyproject.toml. From there it goes to the buttons and the
first code cell of each notebook, and to the links and commands of the texts. A notebook that has
no such cells gets them. With `--check` nothing is written: places that differ are named.
"""

import re
import secrets
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.commands.series import find_notebooks
from helpers.runs import write_atomic

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("README.md", "CONTRIBUTING.md", "docs/teaching.md", "notebooks/README.md")
BRANCH = "main"
# How the cells of a notebook's door are known, whatever else has changed in them.
DOOR, COLAB = "**New words?**", 'if "google.colab" in sys.modules'
GREETING = """\
**New words?** They are in the [glossary](README.md#glossary). **Nothing installed?**
[▶ Open in Colab](https://colab.research.google.com/github/{slug}/blob/{branch}/notebooks/{name}) ·
[▶ Open in Binder](https://mybinder.org/v2/gh/{slug}/{branch}?urlpath=lab/tree/notebooks/{name})"""
CELL = """\
import sys
from importlib.util import find_spec

if "google.colab" in sys.modules and not find_spec("helpers"):  # in Colab, for the first time
    import shutil
    import subprocess

    REPOSITORY = "{url}"
    extra = "[gpu]" if shutil.which("nvidia-smi") else ""
    shutil.rmtree("cnmc", ignore_errors=True)
    subprocess.run(["git", "clone", "-q", "--depth=1", REPOSITORY, "cnmc"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-qe", f"cnmc{{extra}}"], check=True)
    print(f"Cloned {{REPOSITORY}} and installed it. Colab has loaded older libraries, so:")
    raise SystemExit("choose Runtime > Restart session, then Runtime > Run all.")"""
LINKS = (
    (r"(colab\.research\.google\.com/github/)\S+?/blob/[\w.-]+", r"\1{slug}/blob/{branch}"),
    (r"(mybinder\.org/v2/gh/)[\w.-]+/[\w.-]+/[\w.-]+", r"\1{slug}/{branch}"),
    (r"(git clone (?:-\S+ )*)https?://\S+", r"\1{url}"),
)  # fmt: skip


def main(root: Path = ROOT, write: bool = True) -> list[str]:
    """Writes the address wherever it stands.

    Args:
        root: Folder of the project.
        write: Else places are only named.

    Returns:
        The files that had another address, or a notebook without its door.

    Raises:
        ValueError: If the address is none of a repository on GitHub, which Colab opens.
    """
    url = address(root)
    changed = [_in_text(root / name, url, write) for name in TEXTS if (root / name).exists()]
    for path in find_notebooks(root / "notebooks"):
        changed.append(_in_notebook(path, url, write))
    return [path.relative_to(root).as_posix() for path in changed if path]


def address(root: Path = ROOT) -> str:
    """Reads the address from pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project["urls"]["Repository"]
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)", url):
        raise ValueError(f"Repository is https://github.com/OWNER/NAME. Received: {url!r}")
    return url


def addressed(text: str, url: str) -> str:
    """Returns a text whose links and commands name the repository."""
    for pattern, wanted in LINKS:
        text = re.sub(pattern, wanted.format(slug=_slug(url), url=url, branch=BRANCH), text)
    return text


def give_door(notebook: nbformat.NotebookNode, name: str, url: str) -> None:
    """Writes the greeting and the cell for Colab below the title, or where they stand already."""
    cells = notebook.cells
    greeting = GREETING.format(slug=_slug(url), branch=BRANCH, name=name)
    for place, begin, make, text in (
        (1, DOOR, new_markdown_cell, greeting),
        (2, COLAB, new_code_cell, CELL.format(url=url)),
    ):
        cell = next((cell for cell in cells if begin in cell.source), None)
        if cell is None:
            cell = make(id=secrets.token_hex(4))
            cells.insert(place, cell)
        cell.source = text
        if cell.cell_type == "code":
            cell.metadata["tags"] = ["setup"]  # goes with the exercises, too
    _count_anew([cell for cell in cells if cell.cell_type == "code"])


def _count_anew(cells: list[nbformat.NotebookNode]) -> None:
    """Numbers executed cells from 1: the one for Colab answers nothing where it was not run."""
    if sum(cell.execution_count is None for cell in cells) > 1:
        return  # as its author left it
    for count, cell in enumerate(cells, start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count


def _in_text(path: Path, url: str, write: bool) -> Path | None:
    old = path.read_text(encoding="utf-8")
    new = addressed(old, url)
    if write and new != old:
        write_atomic(path, lambda path: path.write_text(new, encoding="utf-8"))
    return path if new != old else None


def _in_notebook(path: Path, url: str, write: bool) -> Path | None:
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    give_door(notebook, path.name, url)
    changed = nbformat.writes(notebook) != before
    if write and changed:
        write_atomic(path, lambda path: nbformat.write(notebook, path))
    return path if changed else None


def _slug(url: str) -> str:
    return url.removeprefix("https://github.com/")


if __name__ == "__main__":
    is_check = "--check" in sys.argv
    found = main(write=not is_check)
    sys.stdout.write("\n".join([*found, f"{len(found)} files differ" + "ed" * (not is_check), ""]))
    sys.exit(1 if is_check and found else 0)
