"""gest-api: the generator by its contract, and in a loop of libEnsemble's with failures."""

import numpy as np
import pytest
from gest_api.generator import Generator
from gest_api.vocs import VOCS
from known import oscillator

import surrogates
from surrogates.adapters import gest as adapter

SETTINGS = {"seed": 1, "candidates": 400}


def evaluated(surrogate, points, failed=()):
    """Return the points with their observables, or with none where they have failed."""
    found = []
    for i, point in enumerate(points):
        y = np.array([[point[name] for name in surrogate.y_names]])
        c = dict(zip(surrogate.c_names, oscillator(y)[0].tolist(), strict=True))
        found.append({**point, **(dict.fromkeys(c, np.nan) if i in failed else c)})
    return found


def test_it_keeps_the_contract(surrogate):
    vocs = adapter.vocs(surrogate)
    made = adapter.generator(surrogate, vocs, **SETTINGS)
    assert isinstance(made, Generator) and not made.returns_id
    points = made.suggest(7)
    assert len(points) == 7 and len(made.suggest()) == adapter.BATCH
    for point in points:
        assert set(point) == set(surrogate.y_names)
        for name, value in point.items():
            lower, upper = vocs.variables[name].domain
            assert type(value) is float and lower <= value <= upper
    assert len(made.designer.pending) == 7 + adapter.BATCH
    made.ingest(evaluated(surrogate, points, failed={2}))
    assert len(made.designer.pending) == adapter.BATCH and len(made.designer.failed) == 1
    made.ingest([])
    # Of another origin, failed in other tools' ways: a missing value, and a mark of xopt's.
    others = evaluated(surrogate, [{name: b.domain[0] for name, b in vocs.variables.items()}] * 2)
    others[0][surrogate.y_names[0]] += 0.3
    made.ingest([{name: others[0][name] for name in surrogate.y_names}])
    made.ingest([{**others[1], "xopt_error": True}])
    assert len(made.designer.failed) == 3
    made.finalize()


def test_bounds_constants_and_objectives_of_the_vocs(surrogate):
    (a, b), names = surrogate.bounds.T[0], surrogate.y_names
    variables = {names[1]: surrogate.bounds.T[1].tolist(), names[0]: [a, a + (b - a) / 4]}
    vocs = VOCS(
        variables=variables,
        objectives={surrogate.c_names[0]: "EXPLORE"},
        observables=set(surrogate.c_names[1:]),
        constants={"temperature": 300.0},
    )
    points = adapter.generator(surrogate, vocs, **SETTINGS).suggest(20)
    assert all(point["temperature"] == 300 for point in points)
    assert all(a <= point[names[0]] <= a + (b - a) / 4 for point in points)


def test_what_does_not_fit_is_refused(surrogate):
    vocs = adapter.vocs(surrogate)
    good = {name: one.domain for name, one in vocs.variables.items()}
    outputs = set(surrogate.c_names)
    for variables, observables, said in (
        ({"x": [0, 1]}, outputs, "expected the variables"),
        ({**good, surrogate.y_names[0]: {1.0, 2.0}}, outputs, "to be continuous"),
        (good, set(surrogate.c_names[1:]), "missing"),
    ):
        with pytest.raises(ValueError, match=said):
            adapter.generator(surrogate, VOCS(variables=variables, observables=observables))
    with pytest.raises(ValueError, match="only .* candidates are left"):
        few = adapter.generator(
            surrogate, vocs, candidates=np.tile(surrogate.bounds.mean(0), (2, 1))
        )
        few.suggest(3)


def test_libensemble_drives_it(surrogate, tmp_path, monkeypatch):
    """Two workers solve, some solves fail; the samples of the run train a better surrogate."""
    monkeypatch.chdir(tmp_path)
    from libensemble import Ensemble
    from libensemble.alloc_funcs.start_only_persistent import only_persistent_gens
    from libensemble.specs import AllocSpecs, ExitCriteria, GenSpecs, LibeSpecs, SimSpecs

    vocs = adapter.vocs(surrogate)
    names = surrogate.y_names

    def simulated(H, persis_info, sim_specs, libE_info):
        out = np.zeros(len(H), dtype=sim_specs["out"])
        for i, row in enumerate(H):
            y = np.array([[row[name] for name in names]])
            failed = y[0, 0] > surrogate.bounds[:, 0].mean() + 0.4 * np.ptp(surrogate.bounds[:, 0])
            for name, value in zip(surrogate.c_names, oscillator(y)[0], strict=True):
                out[name][i] = np.nan if failed else value
        return out, persis_info

    made = adapter.generator(surrogate, vocs, **SETTINGS)
    ensemble = Ensemble(
        sim_specs=SimSpecs(sim_f=simulated, vocs=vocs),
        gen_specs=GenSpecs(generator=made, initial_batch_size=8, batch_size=4, vocs=vocs),
        alloc_specs=AllocSpecs(alloc_f=only_persistent_gens),
        exit_criteria=ExitCriteria(sim_max=32, wallclock_max=300),
        libE_specs=LibeSpecs(gen_on_manager=True, comms="local", nworkers=2),
    )
    H, _, status = ensemble.run()
    assert status == 0
    H = H[H["sim_ended"]]
    Y = np.stack([H[name] for name in names], axis=1)
    C = np.stack([H[name] for name in surrogate.c_names], axis=1)
    assert len(Y) >= 32 and len(np.unique(Y, axis=0)) == len(Y)
    failed = np.isnan(C).all(axis=1)
    assert 0 < failed.sum() < 16 and len(made.designer.failed) > 0
    np.testing.assert_allclose(C[~failed], oscillator(Y[~failed]), rtol=1e-12)
    assert len(made.designer.pending) <= 8


def test_weights_that_sum_to_one_stay_there(weights):
    made = adapter.generator(weights, **SETTINGS)
    Y = np.array([list(point.values()) for point in made.suggest(6)])
    np.testing.assert_allclose(Y.sum(axis=1), 1.0, rtol=1e-9)


def test_it_needs_no_torch(without_torch, program):
    names = program("gest")
    assert len(names["results"]) == 8
    without_torch("gest", "gest_api")


def test_a_surrogate_without_bars_is_refused(folder):
    with pytest.raises(surrogates.InputError, match="is a classifier"):
        adapter.generator(surrogates.load(folder / "sides.npz"))
