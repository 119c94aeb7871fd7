"""Settings of the documentation site; `scripts/docs.sh` builds it."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "extensions"), str(HERE.parent)]

project = "varpro-surrogates"
author = "the varpro-surrogates developers"
_metadata = (HERE.parent / "pyproject.toml").read_text()
release = re.findall(r'^version = "(.*)"$', _metadata, flags=re.MULTILINE)[0]
version = release

extensions = [
    "stand_ins",
    "myst_parser",
    "sphinx.ext.autodoc",
    "docstrings",  # before napoleon: it sees each docstring first
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "mathml",
    "module_pages",
    "settings_table",
]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["extensions", "_build"]
# Pages name code by the role `line`, with as much of a name as is unique, and these links are
# checked. Docstrings name it in backticks: a link where there is such an object, else code.
default_role = "found"  # of extensions/docstrings.py, as `line` is

suppress_warnings = ["ref.python"]  # a short name in an annotation may be of two modules
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
# The site is built without these packages.
autodoc_mock_imports = """
aiohttp basix dolfinx emcee ffcx h5py matplotlib meshio mpi4py petsc4py SALib scipy sklearn tensorly
tomli_w torch tqdm ufl umbridge
""".split()
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

python_maximum_signature_line_length = 80
html_math_renderer = "mathml"
html_theme = "furo"
html_show_copyright = False
html_title = f"varpro-surrogates {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}
