"""A choice among surrogates that starts from one of other samples: what it is worth."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from draws import dataset
from fidelities import FAST, INFINITE, QUICK, drawn, error, high, low, of, started, trained

from surrogates.config import replaced
from surrogates.data import Status
from surrogates.errors import InputError
from surrogates.model.radial import RadialBasis
from surrogates.training.initial import settings_of
from surrogates.training.member import Member
from surrogates.training.selection.contest import Contest
from surrogates.training.selection.effort import Terms
from surrogates.training.selection.frame import framed
from surrogates.training.selection.regression import choose
from surrogates.training.selection.ridge import shrunk
from surrogates.training.selection.squares import Squares
from surrogates.training.selection.start import NEW, _Old, enlarged
from surrogates.training.weights import checksums, packed

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture(scope="module")
def cheap(tmp_path_factory):
    """A surrogate of 200 cheap samples."""
    data = of(low, drawn(200, 0))
    return started(trained(data), data, tmp_path_factory.mktemp("low"))


@pytest.mark.thorough
@pytest.mark.parametrize("nested", [False, True])
def test_a_cheap_fidelity_saves_samples_of_a_dear_one(cheap, nested):
    data = of(high, drawn(200, 0)[:15] if nested else drawn(15, 1))
    without, found = trained(data), trained(data, start=cheap)
    assert found.reason.startswith("old + rbf")
    assert (3 * error(found, high) < error(without, high)).all()
    Y = torch.from_numpy(drawn(2000, 99))
    std = found.surrogate.predict_std(Y)
    inside = ((found.surrogate(Y) - torch.from_numpy(high(Y.numpy()))).abs() < 1.645 * std).double()
    assert float(inside.mean()) > 0.6
    assert found.training["from"] == cheap.digest


@pytest.mark.thorough
@pytest.mark.parametrize("seed", range(2))
def test_more_data_are_never_much_worse_and_bars_hold(seed, tmp_path):
    Y = drawn(120, 10 + seed)
    few, more = of(high, Y[:100]), of(high, Y)
    without = trained(more)
    found = trained(more, start=started(trained(few), few, tmp_path))
    assert (error(found, high) < 2 * error(without, high)).all()
    X = torch.from_numpy(drawn(2000, 99))
    std = found.surrogate.predict_std(X)
    inside = ((found.surrogate(X) - torch.from_numpy(high(X.numpy()))).abs() < 1.645 * std).double()
    assert float(inside.mean()) > 0.6


@pytest.mark.thorough
def test_an_old_surrogate_of_noise_does_not_pass_for_good(tmp_path):
    """What it has learned by heart is no reason to take it: new samples tell."""
    rng = np.random.default_rng(0)
    Y = drawn(120, 3)
    C = high(Y) + 3 * rng.normal(size=(120, 2))
    few, more = dataset(Y[:100], C[:100], "0.9/0.1/0"), dataset(Y, C, "0.9/0.1/0")
    centres = RadialBasis(torch.from_numpy(Y[:100]), torch.full((2,), 40.0), "matern52")
    F = centres(torch.from_numpy(Y[:100])).detach()
    W = torch.linalg.solve(F, torch.from_numpy(C[:100])).T
    zeros = torch.zeros(2, dtype=torch.float64)
    heart = Member(
        features=centres,
        y_shift=zeros,
        y_scale=zeros + 1,
        W=torch.cat([W, zeros[:, None]], dim=1),
    )
    found = trained(few)
    weights = packed([heart], checksums(few, range(100)), zeros + 1.0)
    start = started(dataclasses.replace(found, weights=weights), few, tmp_path)
    tried = {one.name: one.error for one in trained(more, start=start).tried}
    best_old = min(value for name, value in tried.items() if name.startswith("old"))
    best = min(value for name, value in tried.items() if not name.startswith("old"))
    assert best_old > 0.7 * best


@pytest.mark.thorough
def test_too_few_new_samples_are_said_and_the_old_surrogate_is_left_out(fast):
    _, start, data = fast
    more = of(high, np.concatenate([data.Y, drawn(NEW - 1, 5)]))
    # Validation samples of the old one only chose its weights: they count as new.
    count = len(more.Y) - data.size("train")
    assert count >= NEW
    assert any(one.name.startswith("old") for one in trained(more, start=start).tried)
    old = dataclasses.replace(start, seen=checksums(data, range(len(data.Y))))
    found = trained(more, start=old)
    assert not any(one.name.startswith("old") for one in found.tried)
    assert any(f"all but {NEW - 1} samples" in warning for warning in found.warnings)


def test_residuals_of_samples_that_were_seen_are_enlarged():
    residual = torch.ones((12, 2)).double()
    residual[:6] *= 0.01
    known = torch.arange(12) < 6
    nothing = torch.zeros(12, dtype=torch.bool)
    error = torch.tensor([0.3, 0.4]).double()
    found = enlarged(residual, known, nothing, error)
    assert torch.equal(found[6:], residual[6:])
    expected = math.sqrt(1 + math.sqrt(2 / 6))
    torch.testing.assert_close(found[:6], torch.full((6, 2), expected).double())
    found = enlarged(residual, nothing, known, error)
    expected = math.sqrt(0.01**2 + 0.125)
    torch.testing.assert_close(found[:6], torch.full((6, 2), expected).double())
    assert torch.equal(found[6:], residual[6:])


def left_out_slope(K, H, g, t, i):
    """The residual of sample i by generalised least squares on the others, written out."""
    others = [j for j in range(len(t)) if j != i]
    A = np.column_stack([H, g])
    inverse = np.linalg.inv(K[np.ix_(others, others)])
    B = A[others]
    b = np.linalg.solve(B.T @ inverse @ B, B.T @ inverse @ t[others])
    a = inverse @ (t[others] - B @ b)
    return K[i, others] @ a + A[i] @ b - t[i]


def test_left_out_residuals_are_those_of_fits_without_each_sample(cheap):
    data = of(high, drawn(20, 1))
    frame = framed(data, QUICK)
    asked = asked_of(data)
    old = _Old.of(cheap, frame)
    for candidate in old.corrected(asked):
        fit_ = candidate.kriging.fit
        K = fit_.kappa(frame.X, frame.X)
        K = (K + fit_.nugget * torch.eye(len(K))).numpy()
        H = fit_.form.trend(frame.X).numpy()
        found = candidate.residual.numpy()
        for j in range(2):
            expected = np.array(
                [
                    left_out_slope(K, H, old.G[:, j].numpy(), old.T[:, j].numpy(), i)
                    for i in range(20)
                ]
            )
            ratio = (found[:, j] @ expected) / (expected @ expected)
            assert 0.99 <= ratio <= 3.01  # what errors grow by where the scales are found anew
            np.testing.assert_allclose(
                found[:, j], ratio * expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
            )
    # a + b c_old, by fits without each sample.
    found = old.affine().residual.numpy()
    for j in range(2):
        A = np.column_stack([old.G[:, j], np.ones(20)])
        for i in range(20):
            others = np.arange(20) != i
            b = np.linalg.lstsq(A[others], old.T[others, j].numpy(), rcond=None)[0]
            assert found[i, j] == pytest.approx(A[i] @ b - float(old.T[i, j]), rel=1e-8, abs=1e-12)


def asked_of(data):
    """What a selection of all that is affordable asks for, on this process."""
    kept = []

    def keep(frame, asked, best):
        kept.append(asked)
        return []

    choose(data, Terms(settings=QUICK, processes=1), more=keep)
    return kept[0]


def test_residuals_of_a_fold_are_those_of_the_members(cheap, monkeypatch):
    monkeypatch.setattr("surrogates.training.selection.frame.FOLDED", 30)
    data = of(high, drawn(60, 4), "0.7/0.3/0")
    frame = framed(data, QUICK)
    assert not frame.closed
    old = _Old.of(cheap, frame)
    Y, C = map(torch.from_numpy, data.part("validation"))
    found = [old.itself(), old.affine(), old.shrunk(), *old.corrected(asked_of(data))]
    assert len(found) > 3
    for candidate in found:
        (member,) = candidate.members()
        residual = frame.scaled(member.predict(Y) - C)
        torch.testing.assert_close(candidate.residual, residual, rtol=1e-6, atol=1e-8)


@pytest.mark.thorough
def test_networks_of_folds_start_from_the_old_ones_in_turn(fast):
    _, start, data = fast
    frame = framed(data, QUICK)
    asked = asked_of(data)
    first = start.networks()[0]
    pair = (first, dataclasses.replace(first, W=2 * first.W))
    contest = Contest(
        dataset=data,
        folds=frame.folds,
        judge=Squares(scale=frame.data.scaling.scale, n_seen=2),
        run=asked.each,
        on_progress=asked.on_progress,
        starts=pair,
    )
    settings = replaced(QUICK, {**settings_of(first.features), **INFINITE})
    given = frozenset({"regularisation.alpha1", "regularisation.alpha2"})
    (winner,) = contest.winners(settings, given, asked.effort, math.inf)
    assert winner.name == "old mlp 4, alpha1 1e+10, alpha2 1e+10"
    Y = torch.from_numpy(data.Y)
    for k, result in enumerate(winner.results):
        expected = pair[k % 2].predict(Y)
        torch.testing.assert_close(result.predict(Y), expected, rtol=0, atol=1e-3)


@pytest.mark.thorough
def test_settings_of_another_network_leave_the_old_ones_out(fast):
    _, start, data = fast
    more = of(high, np.concatenate([data.Y, drawn(20, 5)]))
    fixed = trained(
        more,
        settings=replaced(QUICK, {"network.width": 6}),
        given=frozenset({"network.width"}),
        start=start,
    )
    names = {one.name for one in fixed.tried if one.name.startswith("old")}
    assert names and not any("mlp" in name for name in names)
    network = trained(more, settings=FAST, given=frozenset({"network.kind"}), start=start)
    assert {one.name for one in network.tried} >= {"old mlp 4, alpha1 1e-03, alpha2 1e-04"}
    assert not any("rbf" in one.name or one.name == "old" for one in network.tried)


@pytest.mark.thorough
def test_a_chain_of_fidelities_remembers_all_samples(cheap, tmp_path):
    data = of(high, drawn(15, 1))
    start = started(trained(data, start=cheap), data, tmp_path)
    assert len(start.seen) == len(cheap.seen) + 15
    third = of(lambda Y: high(Y) + Y[:, :1], drawn(12, 2))
    found = trained(third, start=start)
    assert found.reason.startswith("old")
    assert error(found, lambda Y: high(Y) + Y[:, :1]).max() < 0.01


def nested(n, coarse=200, rows=None):
    """Fine samples at the first points of coarse ones, and all coarse samples."""
    Y = drawn(coarse, 0)
    return of(high, Y[:n] if rows is None else Y[rows]), of(low, Y)


def test_corrections_of_nested_samples_are_fitted_to_exact_differences(cheap):
    data, coarse = nested(20)
    start = cheap.beside(coarse)
    frame = framed(data, QUICK)
    old, paired = _Old.of(start, frame).exact(start, data)
    assert paired.all()
    G = low(data.Y[frame.rows])
    scale, shift = old.scaling.scale.numpy(), old.scaling.shift.numpy()
    np.testing.assert_allclose(old.G.numpy() * scale + shift, G, rtol=1e-10, atol=1e-10)
    # c_old + a + B c_old, by its left-out residuals, and by its member at other points.
    linear = old.linear()
    (member,) = linear.members()
    Y = torch.from_numpy(drawn(50, 5))
    before = (old.member.predict(Y).numpy() - shift) / scale
    weights, residual = shrunk(old.G, old.T - old.G)
    after = before + before @ weights[:, :-1].numpy().T + weights[:, -1].numpy()
    np.testing.assert_allclose(
        member.predict(Y).numpy(), after * scale + shift, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(linear.residual, residual, rtol=1e-12, atol=1e-12)


def test_only_samples_with_a_coarse_solve_at_their_point_take_it(cheap):
    rows = np.r_[:6, 30:40]
    data, coarse = nested(0, rows=rows)
    coarse = coarse.rows(slice(0, 30))
    status, C = coarse.status.copy(), coarse.C.copy()
    status[2], C[3, 1] = Status.FAILED, np.nan
    coarse = dataclasses.replace(coarse, status=status, C=C)
    start = cheap.beside(coarse)
    np.testing.assert_array_equal(start.pairs(data), [0, 1, -1, -1, 4, 5, *[-1] * 10])
    start.check_pairs(data)
    with pytest.raises(InputError, match="3 of the 15 samples have parameters that are among"):
        start.check_pairs(data.rows(slice(1, None)))
    frame = framed(data, QUICK)
    before = _Old.of(start, frame)
    old, paired = before.exact(start, data)
    assert int(paired.sum()) == 4
    assert torch.equal(old.G[~paired], before.G[~paired])
    assert (old.G[paired] != before.G[paired]).any(dim=1).all()
    assert len({start.digest, cheap.digest, cheap.beside(of(low, drawn(30, 0))).digest}) == 3


@pytest.mark.thorough
def test_exact_differences_are_worth_more_than_errors_of_a_poor_surrogate(tmp_path):
    """A coarse surrogate of few samples has an error far above that of the correction."""
    data, coarse = nested(12, coarse=30)
    start = started(trained(coarse), coarse, tmp_path)
    found = trained(data, start=start.beside(coarse))
    assert found.reason.startswith("old")
    assert (error(found, high) < error(trained(data), high)).all()
    Y = torch.from_numpy(drawn(2000, 99))
    std = found.surrogate.predict_std(Y)
    inside = ((found.surrogate(Y) - torch.from_numpy(high(Y.numpy()))).abs() < 1.645 * std).double()
    assert float(inside.mean()) > 0.6
