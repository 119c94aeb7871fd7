"""Models of the ground: parameters y to conductivities.

`make` makes a `Model` from the tables of settings in `settings.GroundConfig`. No module
here imports DOLFINx or MPI.
"""

from .base import Model as Model
from .making import make as make
from .settings import GroundConfig as GroundConfig
