"""Sphinx settings: Markdown by MyST, the furo theme, everything offline."""

from robustcmr import __version__

project = "robustcmr"
author = "The robustcmr authors"
copyright = "The robustcmr authors"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"

html_theme = "furo"
html_title = f"robustcmr {release}"
