"""PDE surrogates by variable projection: what users of a surrogate import.

The parts that make one are `surrogates.pde` (FEniCSx problems to dataset) and
`surrogates.training` (dataset to surrogate); importing this package imports neither.
"""

__version__ = "0.1.0"
