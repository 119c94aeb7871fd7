"""Surveys of DC resistivity: electrodes, four-electrode data, and the files that hold them.

A survey comes from a file (`read`) or is made (`made`). Coordinates are in metres, x3 upwards.
`reading` recognises the format; `unified`, `res2dinv` and `tables` each own one; `writing` writes
the unified data format. `ground` owns flat ground, topography, buried electrodes and geometric
factors; `depth` and `sensitivity` say where data see the ground; `describing` says what is in a
survey; `coordinates` takes one along with a dataset or a surrogate.
"""

from .arrays import ARRAYS as ARRAYS
from .arrays import made as made
from .coordinates import coordinates_of as coordinates_of
from .coordinates import survey_of as survey_of
from .ground import Ground as Ground
from .ground import half_space_factors as half_space_factors
from .reading import read as read
from .survey import INFINITY as INFINITY
from .survey import Survey as Survey
