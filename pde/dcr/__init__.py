"""DC resistivity in three dimensions."""

from .problem import DCR

__all__ = ["DCR"]
