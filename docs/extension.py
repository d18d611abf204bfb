"""What the pages need and Sphinx does not do: formulas, alt texts, tables, links into the code."""

import re
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from myst_nb.core.render import MimeData, NbElementRenderer
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

MATHML = "{http://www.w3.org/1998/Math/MathML}"
ElementTree.register_namespace("", MATHML[1:-1])
LATEX = (
    (r"\\([bB]igg?)(?![a-zA-Z])", r"\\\1l"),  # \bigl is known
    (r"\\([td]?frac)\s*(\d)\s*(\d)", r"\\\1{\2}{\3}"),  # else 34 is one number
    (r"(\\(?:bar|hat)\s*(?:\w|\{\w+\}))_", r"\1{}_"),  # else an index is set below
    (r"(\\ln)(?=\s)", r"\1\\,"),
)
LINES = {"_": "over", "⏟": "under"}
ROOT = Path(__file__).resolve().parent.parent


def setup(app: Sphinx) -> dict[str, Any]:
    """Is called by Sphinx."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    app.add_node(HideCodeCellNode, override=True, html=(_open_fold, _close_fold))
    app.add_config_value("repository", "", "env")
    app.connect("doctree-read", _mend_tables)
    app.connect("doctree-read", _lead, priority=400)  # before downloads are collected
    app.connect("autodoc-skip-member", _skip)
    app.connect("autodoc-process-docstring", _keep_returns, priority=400)  # before napoleon
    NbElementRenderer.render_image = _render_image
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _visit_math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes a formula as MathML, which browsers draw themselves: no script is needed."""
    formula = to_mathml(node.astext(), isinstance(node, nodes.math_block))
    self.body.append(formula)
    raise nodes.SkipNode


def to_mathml(latex: str, as_block: bool) -> str:
    """Translates a formula, and mends what docutils does not know or does otherwise than LaTeX."""
    for pattern, other in LATEX:
        latex = re.sub(pattern, other, latex)
    formula = tex2mathml(latex, as_block=as_block).replace("&ApplyFunction;", "\u2061")
    tree = ElementTree.fromstring(formula)
    for element in tree.iter():
        first = element[0] if len(element) else element
        if element.tag == f"{MATHML}msub" and "".join(first.itertext()).rstrip().endswith("⏟"):
            element.tag = f"{MATHML}munder"  # the words of a brace stand below it
        if len(element) == 2 and element[1].text in LINES:
            element.attrib = {"class": LINES[element[1].text]}  # grows in any font, by CSS
            element.tag = f"{MATHML}mrow"
            element.remove(element[1])
    formula = ElementTree.tostring(tree, encoding="unicode")
    return f'<div class="formula">{formula}</div>' if as_block else formula


def _open_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """Folds a cell under its own words; those of MyST-NB are hidden from who listens to a page."""
    solves = "solution" in node.parent["cell_metadata"].get("tags", [])
    prompt = "Show the solution" if solves else node["prompt_show"]
    self.body.append(f"<details><summary>{self.encode(prompt)}</summary>\n")


def _close_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")


_as_it_is = NbElementRenderer.render_image


def _render_image(self: NbElementRenderer, data: MimeData) -> list[nodes.Element]:
    """Keeps the text that a figure has in the notebook; MyST-NB only keeps width and height."""
    images = _as_it_is(self, data)
    images[0]["alt"] = data.output_metadata.get(data.mime_type, {}).get("alt", "")
    return images


def _mend_tables(app: Sphinx, tree: nodes.document) -> None:
    """Gives each table of pandas ids of its own, heads that say of what, and a box to scroll in."""
    numbers = count()
    for node in tree.findall(nodes.raw):
        if "text_html" in node["classes"]:
            text = re.sub(r"\bT_t", f"T_{next(numbers)}", node.astext())
            text = re.sub(r"<th (?=[^>]*\bcol_heading\b)", '<th scope="col" ', text)
            text = re.sub(r"<th (?=[^>]*\brow_heading\b)", '<th scope="row" ', text)
            node.children = [nodes.Text(f'<div class="table-wrapper pandas">{text}</div>')]


def _lead(app: Sphinx, tree: nodes.document) -> None:
    """Leads links to what is in the repository, but no page, to what stands for it.

    Code has the page of its room, `README.md` is the front page, notebooks that are not shown can
    be downloaded, and all else is in the repository. A link to what does not exist is left to MyST,
    which refuses it.
    """
    folder = ROOT.joinpath(app.env.docname).parent
    for node in list(tree.findall(addnodes.pending_xref)):
        name, *_ = node["reftarget"].split("#")
        if node["reftype"] != "myst" or not name or name in app.env.found_docs:
            continue
        path = ROOT / name if node["refdomain"] else (folder / name).resolve()
        if (page := _page(app, path)) is not None:
            node.attributes.update(
                refdomain="doc", reftarget=page, reftargetid=node.get("reftargetid")
            )
        elif path.with_suffix(".ipynb").exists():
            _replace(node, addnodes.download_reference(reftarget=f"/{name}.ipynb"))
        elif path.is_relative_to(ROOT) and path.exists() and app.config.repository:
            inside = path.relative_to(ROOT).as_posix()
            address = f"{app.config.repository}/blob/HEAD/{inside}"
            _replace(node, nodes.reference(refuri=address))


def _replace(node: nodes.Element, other: nodes.Element) -> None:
    """Puts a link in another's place, with its text."""
    other.extend(node.children)
    node.replace_self(other)


def _page(app: Sphinx, path: Path) -> str | None:
    """Finds the page that stands for a path in the repository, if another one does."""
    if path in (ROOT / "README", ROOT / "README.md"):
        return "index"
    if not path.is_relative_to(ROOT / "helpers") or path.suffix == ".md" or not path.exists():
        return None
    room = [*path.relative_to(ROOT / "helpers").with_suffix("").parts, "README"][0]
    return f"helpers/{room}" if f"helpers/{room}" in app.env.found_docs else "helpers/README"


def _skip(app: Sphinx, kind: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    """Leaves out what Python itself says of the fields of a NamedTuple."""
    return True if "Alias for field number" in (getattr(member, "__doc__", None) or "") else None


def _keep_returns(
    app: Sphinx, kind: str, name: str, member: Any, options: Any, lines: list[str]
) -> None:
    """Keeps what is returned whole: napoleon takes words before a colon for a type."""
    for number, line in enumerate(lines[:-1]):
        if line.strip() in ("Returns:", "Yields:"):
            lines[number + 1] = re.sub(r"^( *)", r"\1: ", lines[number + 1])
