"""Types that all parts share."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
"""An array of double-precision numbers of any shape."""
