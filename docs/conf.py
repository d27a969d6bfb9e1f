"""Documentation: ``sphinx-build -W docs docs/_build``."""

from mda_aptnn import __version__

project = "mda-aptnn"
author = "The mda-aptnn developers"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_title = f"mda-aptnn {release}"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
# the code blocks are commands and Python; indented ones are formulas
highlight_language = "none"
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
