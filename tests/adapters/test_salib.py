"""SALib samples the surrogate's box, and finds the indices of the function that was learned."""

import numpy as np
import pytest
from known import sobol_indices

import surrogates
from surrogates.adapters import salib as adapter


def test_the_problem_has_names_and_bounds(surrogate):
    problem = adapter.problem(surrogate)
    assert problem["num_vars"] == 2
    assert tuple(problem["names"]) == surrogate.y_names
    assert tuple(problem["outputs"]) == surrogate.c_names
    np.testing.assert_array_equal(np.transpose(problem["bounds"]), surrogate.bounds)


def test_indices_are_those_of_the_function(program, surrogate, without_torch):
    names = program("salib")
    study = names["study"]
    assert study.samples.shape == (4096 * 4, 2)
    assert surrogate.in_domain(study.samples).all()
    C = surrogate.predict(study.samples)  # of another engine: sums in another order
    np.testing.assert_allclose(study.results, C, rtol=0, atol=1e-9)
    first, total = sobol_indices(surrogate.bounds)
    for k, name in enumerate(surrogate.c_names):
        found = study.analysis[name]
        # Of 4096 points of Sobol's sequence; SALib's intervals are of 95 %, and of random points.
        for index, exact in (("S1", first[k]), ("ST", total[k])):
            assert (np.abs(found[index] - exact) < found[f"{index}_conf"] + 1e-3).all(), (k, index)
            assert found[f"{index}_conf"].max() < 0.1
    without_torch("salib", "SALib")


def test_one_output_is_analysed_too(surrogate):
    one = surrogate.select("x(2 s)")
    study = adapter.specification(one).sample_sobol(1024, calc_second_order=False, seed=0)
    study.evaluate(adapter.function(one), nprocs=2)
    study.analyze_sobol(calc_second_order=False, seed=0)
    first, total = sobol_indices(surrogate.bounds)
    # Of 1024 points of Sobol's sequence: better than 1 / 1024^0.5 of random ones.
    np.testing.assert_allclose(study.analysis["S1"], first[1], atol=1 / 32)
    np.testing.assert_allclose(study.analysis["ST"], total[1], atol=1 / 32)


def test_functions_of_salib_take_the_problem(surrogate):
    from SALib.analyze import dgsm
    from SALib.sample import finite_diff

    problem = adapter.problem(surrogate)
    Y = finite_diff.sample(problem, 200, delta=1e-4, seed=0)
    C = surrogate.predict(Y)[:, 0]
    found = dgsm.analyze(problem, Y, C, seed=0)
    J = surrogate.jacobian(Y[::3])[:, 0]
    np.testing.assert_allclose(found["vi"], (J**2).mean(axis=0), rtol=1e-3)


def test_weights_that_sum_to_one_are_refused_with_what_to_do(weights):
    with pytest.raises(surrogates.InputError, match="not independent, .* factors of your own"):
        adapter.problem(weights)
