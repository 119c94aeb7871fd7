"""Problems in weak form: F(u, y; v) = 0, with tangents and adjoints of the discrete map."""

from .problem import VariationalProblem as VariationalProblem
from .statement import At as At
from .statement import Dirichlet as Dirichlet
from .statement import Time as Time
from .statement import WeakForm as WeakForm

__all__ = ["At", "Dirichlet", "Time", "VariationalProblem", "WeakForm"]
