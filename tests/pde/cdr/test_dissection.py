"""S by dense blocks against the matrices of the scheme."""

import numpy as np
import pytest
from mpi4py import MPI

from surrogates import config
from surrogates.pde.cdr import CDR, CDRConfig
from surrogates.pde.cdr.dissection import divided

pytestmark = pytest.mark.fenicsx


@pytest.mark.parametrize(
    ("cells", "degree", "diffusivity"),
    [([8, 8], 4, "0.02"), ([8, 8], 4, "1e-5"), ([11, 7], 2, "0.02"), ([24, 20], 1, "1e-5")],
)
def test_blocks_are_the_product_of_the_matrices_and_its_transpose(cells, degree, diffusivity):
    overrides = (f"mesh.cells={cells}", f"mesh.degree={degree}", f"flow.diffusivity={diffusivity}")
    scheme = CDR(config.read(CDRConfig, None, overrides), MPI.COMM_SELF)._scheme
    dense = [X.copy().convert("dense") for X in (scheme._A, scheme._M)]
    A, M = (X.getDenseArray() for X in dense)  # which live as long as the matrices
    S = np.linalg.solve(A, M)
    blocks = scheme._blocks
    assert blocks is not None and blocks.error < 1e-13
    w = np.random.default_rng(0).standard_normal((5, len(S)))
    into = np.empty((5, len(blocks.nodes)))
    for transposed, reference in ((False, w @ S.T), (True, w @ S)):
        blocks.apply(w[:, blocks.nodes], into, transposed)
        found = into[:, blocks.places]
        assert np.abs(found - reference).max() < 1e-12 * np.abs(reference).max()


def test_patches_cover_the_nodes_and_only_lines_separate_them():
    x = np.linspace(0, 1, 25)
    points = np.array([(a, b) for a in x for b in x])  # 6 x 6 cells of degree 4
    patch = divided(points, (6, 6), 4, 10**6)
    assert patch.shape == (625,) and patch.min() == -1
    grid = patch.reshape(25, 25)
    for a, b in ((grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1])):
        assert ((a == b) | (a == -1) | (b == -1)).all()
    sizes = np.bincount(patch[patch >= 0])
    assert (sizes > 0).all() and len(sizes) > 1


def test_a_mesh_whose_blocks_are_too_large_is_left_to_the_factorisation():
    points = np.zeros((1, 2))
    assert divided(points, (200, 200), 4, 10**7) is None  # beyond the caches
    assert divided(points, (8, 8), 4, 100) is None  # a factorisation with few entries is faster
