"""Settings of DC resistivity that cannot be."""

import pytest
from surveys import settings

from surrogates.errors import InputError

pytestmark = pytest.mark.fenicsx


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sampling.depth=[8,30]"], "touches the surface"),
        (
            [
                "domain.size=[30,400,200]",
                "stations.number=[1,1]",
                "stations.first=[0,0,0]",
                "source.electrodes=[[-9,0,0],[9,0,0]]",
            ],
            "the body leaves the box",
        ),
        (["domain.size=[1000,1000,40]"], "the body leaves the box"),
        (["source.electrodes=[[-600,0,0],[75,0,0]]"], "an electrode is outside the box"),
        (["source.electrodes=[[-75,0,-3],[75,0,0]]"], "every electrode must be at the surface"),
        (["stations.first=[-50,-50,-1]"], "every station must be at the surface"),
        (["stations.spacing=[50,50]"], "a station is outside the box"),
        (["source.electrodes=[[-52.5,0,0],[75,0,0]]"], "on the source's electrode"),
        (["source.electrodes=[[75,0,0],[75,0,0]]"], "must be two places"),
        (["conductivity.body=0"], "conductivity.body must be positive"),
        (["conductivity.background=-1"], "conductivity.background must be positive"),
        (["sampling.volume=[0,4000]"], "sampling.volume must be positive"),
        (["sampling.depth=[-20,30]"], "sampling.depth must be positive"),
        (["sampling.depth=[30,20]"], "must be [low, high]"),
        (["mesh.cells=[6,6,6]"], "too coarse for the body: cells of"),
        (["mesh.cells=[18,18,25]"], "multiples of 3"),
        (["body.blend=12"], "body.blend must be below"),
        (['solver.method="lu"'], "unknown solver.method 'lu'"),
        (['solver.method="condensed"', 'mesh.file="a.msh"'], "needs the built-in mesh"),
        (['solver.method="condensed"', 'solver.formulation="total"'], "the secondary potential"),
        (['body.shape="sphere"'], "unknown body.shape 'sphere'"),
        (['sampling.design="simplex"'], "unknown sampling.design"),
    ],
)
def test_bad_configurations_are_refused_with_what_is_wrong(overrides, words):
    with pytest.raises(InputError, match=words.replace("[", r"\[").replace("]", r"\]")):
        settings(*overrides)
