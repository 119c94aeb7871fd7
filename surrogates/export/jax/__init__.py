"""A surrogate as one readable Python module of JAX functions: NAME.py.

The functions are pure, in double precision, and go into jit, vmap, grad and the like. The template
of the module lies in this folder; only what a surrogate needs of it is written. Derivatives are
JAX's own, but for kernels where the chain rule divides zero by zero.
"""

from .write import save

__all__ = ["save"]
