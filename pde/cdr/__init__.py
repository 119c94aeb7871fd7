"""Convection, diffusion and reaction in the unit square."""

from .config import CDRConfig
from .problem import CDR

__all__ = ["CDR", "CDRConfig"]
