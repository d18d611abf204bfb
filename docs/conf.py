"""Settings of the web edition. Nothing is executed, and no page asks another computer."""

import sys
import tomllib
from pathlib import Path

import matplotlib

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from helpers import settings  # noqa: E402

with settings.start_up():  # TensorFlow's notes are no warnings of ours
    import keras  # noqa: F401

with (DOCS.parent / "pyproject.toml").open("rb") as file:
    about = tomllib.load(file)["project"]

project = "Leukaemic or normal?"
author = about["authors"][0]["name"]
project_copyright = author
version = release = about["version"]
repository = about.get("urls", {}).get("Repository", "")
language = "en"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.githubpages",
    "extension",
]
exclude_patterns = ["README.md", "notebooks/exercises"]

nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # else from a server
nb_code_prompt_show = "Show the {type}"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_preserve_defaults = True
add_module_names = False  # the heading above says it
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
default_role = "code"  # our docstrings are plain text with `code` in single backticks

html_theme = "furo"
html_title = project
html_static_path = ["static", f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSerif.ttf"]
templates_path = ["templates"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # it is fetched, which browsers refuse for pages from a disk
highlight_language = "none"  # of what says nothing else: commands, maps
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
