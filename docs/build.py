"""Builds the web edition: `python docs/build.py FOLDER`, which is what `nox -s site` calls.

The texts stay where they are: what becomes a page is copied into a source folder that is laid out
like the repository, so that links between files lead where they lead there. All that is added is
the contents (`index.md`), a page for each room of `helpers/` and a line at the top of notebooks.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
# What has a page, and what pages link to or show, as far as it is there.
COPIED = (
    "README.md", "LICENSE", "CITATION.cff", ".github/pictures/*.png", "helpers/README.md",
    "benchmarks/README.md", "data/README.md", "data/*.csv", "data/*.toml", "docs/*.md",
    "notebooks/*.md", "notebooks/[0-9]*.ipynb", "notebooks/exercises/*",
)  # fmt: skip


def main() -> None:
    """Builds into a new folder first, so that a failure leaves the last site as it was."""
    target = Path(sys.argv[1] if sys.argv[1:] else ROOT / "site").resolve()
    if target.exists() and not (target / "searchindex.js").exists():
        sys.exit(f"Expected a folder that is new or holds a site. Received: {target}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        source, html = Path(temporary, "source"), Path(temporary, "html")
        stage(source)
        strict = ["--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", str(DOCS)]
        if build_main([*strict, "-d", f"{temporary}/doctrees", str(source), str(html)]):
            sys.exit("The site was not built, for the reasons above.")
        shutil.rmtree(target, ignore_errors=True)
        shutil.move(html, target)
    sys.stdout.write(f"Open {target / 'index.html'} in a browser.\n")


def stage(source: Path) -> None:
    """Lays out the sources of the pages in a folder that it makes."""
    for pattern in COPIED:
        for path in sorted(ROOT.glob(pattern)):
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    shutil.move(source / "docs" / "index.md", source / "index.md")
    for path in (source / "notebooks").glob("*.ipynb"):
        _offer_download(path)
    for room, modules in rooms().items():
        (source / "helpers" / f"{room}.rst").write_text(_describe(room, modules), encoding="utf-8")


def rooms() -> dict[str, list[str]]:
    """Lists the modules of each room of `helpers/`; a module of its own is a room as well."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "helpers").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] not in ("__init__", "__main__"):
            found.setdefault(parts[1], []).append(".".join(parts))
    return found


def _offer_download(path: Path) -> None:
    """Adds a line below the title: the notebook as a file, and its exercises if there are some."""
    notebook = nbformat.read(path, as_version=4)
    offers = [f"{{download}}`Download this notebook <{path.name}>`"]
    if (path.parent / "exercises" / path.name).exists():
        offers.append(f"{{download}}`the same to solve yourself <exercises/{path.name}>`")
    title, *rest = notebook.cells[0].source.split("\n")
    notebook.cells[0].source = "\n".join([title, "", " · ".join(offers), "", *rest])
    nbformat.write(notebook, path)


def _describe(room: str, modules: list[str]) -> str:
    """Writes the source of a room's page: its modules, with what their docstrings say."""
    if f"helpers.{room}" in modules:
        lines = [room, "=" * 80, ""]
    else:
        lines = [f"{room}/", "=" * 80, ""]
        lines += [f".. automodule:: helpers.{room}", "   :no-members:", ""]
    for module in modules:
        name = module.rsplit(".", 1)[1]
        title = [name, "-" * 80, ""] if name != room else []
        lines += [*title, f".. automodule:: {module}", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
