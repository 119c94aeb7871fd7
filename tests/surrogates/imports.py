"""Files of other programs, to be imported."""

from __future__ import annotations

import h5py
import numpy as np
import scipy.io


def write_mat5(path, Y, C):
    scipy.io.savemat(path, {"Y": Y, "C": C, "note": "text"}, do_compression=True)


def write_mat73(path, Y, C):
    """As MATLAB does: a block of text first, and arrays with their dimensions reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["Y"], file["C"] = Y.T, C.T
        file.create_group("#refs#")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(128))


def write_npz(path, Y, C):
    np.savez(path, Y=Y, C=C, other=1)


WRITERS = {"5.mat": write_mat5, "73.mat": write_mat73, "a.npz": write_npz}


def written(path, names, rows, separator=","):
    """Write a table, and return its path."""
    lines = [separator.join(map(str, row)) for row in ([names] if names else []) + list(rows)]
    path.write_text("\n".join(lines) + "\n")
    return path
