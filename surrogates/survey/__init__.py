"""Surveys of DC resistivity: electrodes, four-electrode data, and the files that hold them."""

from .survey import Survey as Survey
