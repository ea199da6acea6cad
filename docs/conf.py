"""Settings of the site: ``make docs`` builds it into docs/_build/html."""

from importlib.metadata import version as installed
import os
from pathlib import Path
import sys
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator

import inference
import pyro_lvm

HERE = Path(__file__).parent
SHORT = os.environ.get("PYRO_LVM_SHORT") == "1"
os.environ["COLUMNS"] = "88"  # the width of the help texts
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # whose python prints them
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm, of notebooks without widgets

project, author = "pyro-lvm", "the pyro-lvm developers"
project_copyright = author
version = release = installed("pyro-lvm")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.programoutput",
]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]

html_theme = "furo"
html_title = "pyro-lvm"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"  # formulas that every browser draws by itself, offline and without scripts
html_show_sphinx = False
html_copy_source = html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

# Notebooks are executed, and executed again when their code or the library has changed; the short mode has results of its own.
nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / ("notebooks-short" if SHORT else "notebooks"))
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_merge_streams = True

autosummary_generate = True
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
toc_object_entries = False


def setup(app: Sphinx) -> None:
    """Add what no extension does."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (formula, None))
    app.connect("doctree-read", printable)
    app.connect("missing-reference", public_reference)
    app.connect("include-read", links_of_the_root)
    app.connect("source-read", links_of_the_root)


def inline_formula(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line as MathML."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def formula(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own as MathML, with its lines below one another."""
    text = node.astext().strip()
    lines = rf"\begin{{aligned}}{text}\end{{aligned}}" if r"\\" in text or "&" in text else text
    translator.body.append(f'<div class="math">{convert(lines, display="block")}</div>')
    raise nodes.SkipNode


def printable(app: Sphinx, doctree: nodes.document) -> None:
    """Remove the backspace that jsonargparse prints in its help."""
    for text in list(doctree.findall(nodes.Text)):
        if "\b" in text:
            text.parent.replace(text, nodes.Text(text.replace(" \b", "")))


def public_reference(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element) -> nodes.Element | None:
    """Lead a reference to the module in which something is written to its public name, which has the entry."""
    parts = node.get("reftarget", "").split(".")
    for package in (pyro_lvm, inference):
        for i, part in enumerate(parts):
            if parts[0] == package.__name__ and part in package.__all__:
                target = ".".join([package.__name__, *parts[i:]])
                return env.get_domain("py").resolve_xref(env, node["refdoc"], app.builder, node["reftype"], target, node, text)
    return None


def links_of_the_root(*event: Any) -> None:
    """Lead links to and between the pages at the top of the repository to their pages on the site."""
    content = event[-1]
    for name in ("CHANGELOG.md", "CONTRIBUTING.md"):
        for place in (f"](../{name})", f"]({name})"):
            content[0] = content[0].replace(place, f"]({name.lower()})")
    content[0] = content[0].replace("](docs/", "](")
