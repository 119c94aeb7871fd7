"""The package itself: what is imported when, and which names there are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import surrogates


def test_names_are_imported_when_they_are_first_used():
    code = (
        "import sys, surrogates\n"
        "heavy = {'torch', 'h5py', 'dolfinx', 'mpi4py', 'sklearn', 'numpy'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "assert set(surrogates.__all__) <= set(dir(surrogates))\n"
        "surrogates.Dataset\n"
        "assert not {'torch', 'dolfinx', 'mpi4py'} & sys.modules.keys()\n"
        "surrogates.fit\n"
        "assert not {'dolfinx', 'mpi4py', 'sklearn'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    with pytest.raises(AttributeError, match="no attribute .tain."):
        getattr(surrogates, "ta" + "in")
    for name in surrogates.__all__:
        assert getattr(surrogates, name) is not None


def test_without_scikit_learn_the_estimators_say_what_they_need():
    code = (
        "import sys\n"
        "sys.modules['sklearn'] = None\n"
        "from surrogates import *\n"
        "import surrogates\n"
        "assert load and train and fit\n"
        "try:\n"
        "    surrogates.GNvproRegressor\n"
        "except surrogates.InputError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True
    )
    assert "pip install 'varpro-surrogates[sklearn]'" in done.stdout


def test_editors_see_the_public_names():
    text = Path(surrogates.__file__).read_text()
    for name in {*surrogates.__all__, "GNvproRegressor", "GNvproClassifier"} - {"__version__"}:
        assert f"import {name} as {name}" in text
