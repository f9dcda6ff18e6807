import os
import sys
from importlib.util import find_spec
from pathlib import Path

from numpydoc.xref import DEFAULT_LINKS

# The gallery looks up the names in examples also where these are not run.
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sphinx.util.fileutil import copy_asset

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"  # outputs of examples are captured, progress bars with them

import intersphinx

import sklearn_ae

project = "sklearn-ae"
author = "The sklearn-ae developers"
copyright = "2026, the sklearn-ae developers"
version = release = sklearn_ae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
autosummary_generate = True
autodoc_typehints = "none"
templates_path = ["_templates"]
exclude_patterns = ["_build", "examples", "_templates", "inventories"]
toc_object_entries_show_parents = "hide"
nitpicky = True
nitpick_ignore_regex = [("py:mod", r"sklearn_ae\..*")]  # modules have no pages of their own
myst_heading_anchors = 3
myst_update_mathjax = False
intersphinx_mapping = intersphinx.mapping()

# Types of parameters link to classes; a link at each `int` and `str` would hide these.
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {word: word for word in DEFAULT_LINKS} | {
    "Axes": ":class:`~matplotlib.axes.Axes`",
    "DataFrame": ":class:`~pandas.DataFrame`",
    "Figure": ":class:`~matplotlib.figure.Figure`",
    "Network": ":class:`~sklearn_ae.networks.Network`",
    "Pipeline": ":class:`~sklearn.pipeline.Pipeline`",
    "RandomState": ":class:`~numpy.random.RandomState`",
    "Tensor": ":class:`~torch.Tensor`",
    "ndarray": ":class:`~numpy.ndarray`",
    "nn.Module": ":class:`nn.Module <torch.nn.Module>`",
    "torch.device": ":class:`torch.device`",
    "torch.nn.Module": ":class:`torch.nn.Module`",
}

html_theme = "pydata_sphinx_theme"
html_title = "sklearn-ae"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_sidebars = {"**": ["sidebar-nav-bs"]}
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "footer_start": ["copyright"],
    "footer_end": [],
}

# MathJax of the package sphinx-mathjax-offline, and of its 24 MB the two that are used: formulas
# are drawn without a network. The menu of MathJax would load the rest.
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}}
MATHJAX_PARTS = ("tex-chtml.js", "input/tex/extensions", "output/chtml/fonts")

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sklearn_ae",),
    "inspect_global_variables": True,
    "show_memory": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
    "write_computation_times": False,  # its table needs scripts from the network
}


def drop_empty_sidebar(app, pagename, templatename, context, doctree):
    """Remove the navigation of a section from top-level pages that have no section."""
    pages = app.env.toctree_includes
    if pagename in pages[app.config.root_doc] and pagename not in pages:
        context["sidebars"] = []


def copy_mathjax(app, exception):
    """Copy MathJax to the site after a successful build."""
    if exception is None and app.builder.format == "html":
        package = Path(find_spec("sphinx-mathjax-offline").origin).parent
        for part in MATHJAX_PARTS:
            target = app.outdir / "_static" / "mathjax" / part
            source = package / "static" / "mathjax" / part
            copy_asset(source, target if source.is_dir() else target.parent)


def setup(app):
    app.connect("html-page-context", drop_empty_sidebar)
    app.connect("build-finished", copy_mathjax)
