"""The electrodes of a survey's file come back from the coordinates of its data, as in the file."""

import numpy as np
import pytest

from surrogates import config
from surrogates.pde.ert import ERT, ERTConfig
from surrogates.survey import Survey, made, read, survey_of

pytestmark = pytest.mark.fenicsx


def test_electrodes_have_the_elevations_of_the_file(tmp_path):
    line = made("pole-dipole", electrodes=8, spacing=2.5)
    high = line.electrodes + [1000.0, -20.0, 312.5]
    boreholes = np.array([[1010.0, -15, 308.5], [1010.0, -15, 306.0]])
    data = np.array([*line.data, [0, 8, 3, 9], [9, -1, 8, 5]])
    Survey(electrodes=np.concatenate([high, boreholes]), data=data).write(tmp_path / "s.ohm")
    about = ERT.describe(config.read(ERTConfig, None, [f"survey.file={tmp_path / 's.ohm'}"]))
    found, file = survey_of(about["coordinates"], "s"), read(tmp_path / "s.ohm")
    np.testing.assert_allclose(found.electrodes, file.electrodes, rtol=1e-12)
    np.testing.assert_array_equal(found.data, file.data)
    np.testing.assert_allclose(found.values["k"], about["coordinates"]["k"])
