"""DC resistivity surveys: the problem `ert`."""

from .case import case_of as case_of
from .config import ERTConfig as ERTConfig
from .config import Observable as Observable
from .problem import ERT as ERT
from .problem import standard_deviations as standard_deviations
