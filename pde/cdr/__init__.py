"""Convection, diffusion and reaction in the unit square."""

from .problem import CDR, CDRConfig

__all__ = ["CDR", "CDRConfig"]
