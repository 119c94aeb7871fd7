"""Settings of all tests, and the figures that a test draws."""

import os

import pytest

# Ranks that wait leave their core to the others, and are bound to none: two tests run at a time.
# The names are those of Open MPI 4 and 5; other MPIs take no notice of them.
SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
}
for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)


@pytest.fixture
def drawn(monkeypatch):
    """Keep each figure that is written, for a look at what is in it."""
    from matplotlib.figure import Figure

    figures = []
    savefig = Figure.savefig

    def keep(figure, *args, **kwargs):
        figures.append(figure)
        return savefig(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
