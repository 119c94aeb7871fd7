"""Models of the ground: parameters, tensors of cells, and their derivatives."""

import numpy as np
import pytest
from ground_models import BODY, KINDS, LAYERS, LOWER, MESH_REGIONS, UPPER, boxes, inner, model
from scipy import stats

from surrogates import config
from surrogates.errors import InputError
from surrogates.pde.dcr import body
from surrogates.pde.ert.models import GroundConfig, make
from surrogates.pde.ert.models.laminate import INDICES

pytestmark = pytest.mark.fenicsx  # by the package; the modules need numpy and scipy alone


def tags_of(points):
    return (np.arange(len(points)) % len(MESH_REGIONS)).astype(np.int64)


def eigenvalues(K):
    full = np.empty((len(K), 3, 3))
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))):
        full[:, i, j] = full[:, j, i] = K[:, k]
    return np.linalg.eigvalsh(full)


def test_parameters_have_names_units_and_bounds_and_fixed_ones_are_none():
    made = model("model.kind=body", *BODY, "body.a2=[4,4]", "model.background=[100,100]")
    assert made.y_names == (
        *("x1", "x2", "depth", "a1", "a3", "rotation"),
        "log10 resistivity of body",
    )
    assert made.y_units == ("m", "m", "m", "m", "m", "rad", "log10(ohm m)")
    assert made.y_lower.tolist() == [5, -6, 12, 5, 4, -0.6, 0]
    assert made.y_upper[-1] == 4
    assert made.layers(inner(made)).resistivity == pytest.approx([100])
    assert made.body(inner(made))[4] == 4
    layered = model(*KINDS["layers"])
    assert layered.y_names == (
        *(f"log10 resistivity of layer {i}" for i in (1, 2, 3)),
        *(f"thickness of layer {i}" for i in (1, 2)),
    )
    layers = layered.layers(np.array([1, 2, 0.5, 3, 7]))
    assert layers.resistivity == pytest.approx([10, 100, 10**0.5])
    assert layers.thickness.tolist() == [3, 7]
    assert model("model.kind=half-space").y_names == ("log10 resistivity",)
    assert model(*KINDS["regions"]).y_names == (
        "log10 resistivity of clay",
        "log10 resistivity of sand",
    )
    assert model(*KINDS["interface"]).y_names[2:] == ("position", "dip", "strike")
    assert model(*KINDS["field"]).y_names == (
        "log10 resistivity",
        *(f"z{i + 1}" for i in range(12)),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_the_tensor(kind):
    # A Taylor test: the remainder falls with the square of the step, in each parameter.
    made = model(*KINDS[kind])
    points, weights, _ = boxes(LOWER + 0.3, UPPER, (13, 11, 9))
    tags, y = tags_of(points), inner(made)
    V = np.diag(made.y_upper - made.y_lower)
    K, dK = made.tensor(y, points, weights, tags), made.derivatives(y, V, points, weights, tags)
    assert dK.shape == (len(V), len(points), 6)
    for v, slope, name in zip(V, dK, made.y_names, strict=True):
        assert np.abs(slope).max() > 0, name
        steps = 2.0 ** -np.arange(10, 15)
        rest = [
            np.linalg.norm(made.tensor(y + h * v, points, weights, tags) - K - h * slope)
            for h in steps
        ]
        if max(rest) < 1e-13 * np.linalg.norm(K):
            continue  # linear
        orders = -np.diff(np.log2(rest))
        assert orders.min() > 1.8, (name, orders)


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_differences_of_higher_order(kind):
    made = model(*KINDS[kind])
    points, weights, _ = boxes(LOWER + 0.3, UPPER, (13, 11, 9))
    tags, y = tags_of(points), inner(made, seed=1)
    v = np.random.default_rng(0).standard_normal(len(y)) * (made.y_upper - made.y_lower)
    h = 2e-4

    def difference(h):
        plus, minus = (made.tensor(y + s * h * v, points, weights, tags) for s in (1, -1))
        return (plus - minus) / (2 * h)

    expected = (4 * difference(h / 2) - difference(h)) / 3
    (found,) = made.derivatives(y, v[None], points, weights, tags)
    assert np.abs(found - expected).max() < 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize("kind", KINDS)
def test_tensors_lie_between_the_least_and_largest_conductivity(kind):
    made = model(*KINDS[kind])
    points, weights, _ = boxes(LOWER + 0.3, UPPER, (13, 11, 9), order=3)
    tags, y = tags_of(points), inner(made)
    values = eigenvalues(made.tensor(y, points, weights, tags))
    at = made.at(y, points, np.broadcast_to(tags[:, None], points.shape[:2]))
    assert at.min() > 0
    assert values.min() > at.min() * 0.999
    assert values.max() < at.max() * 1.001
    # Cells whose points have one conductivity have it in all directions, but for those of a cut.
    one = np.ptp(at, axis=1) <= 1e-12 * at[:, 0]
    if kind in ("half-space", "regions", "ellipsoid", "cuboid", "blended interface"):
        assert values[one] == pytest.approx(np.broadcast_to(at[one][:, :1], values[one].shape))
        assert one.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_much_smaller_than_all_features_has_the_conductivity_of_its_point(kind):
    made, y = model(*KINDS[kind]), None
    y = inner(made)
    x = np.random.default_rng(0).uniform(LOWER, UPPER, (4000, 1, 3))
    points, weights, _ = boxes(-np.full(3, 1e-5), np.full(3, 1e-5), (1, 1, 1))
    tags = tags_of(x)
    K = made.tensor(y, x + points, weights, tags)
    expected = made.at(y, x[:, 0], tags)
    assert K == pytest.approx(expected[:, None] * [1, 1, 1, 0, 0, 0], rel=1e-4, abs=1e-4 * K.max())


def test_layers_in_boxes_have_the_exact_means():
    made = model(*KINDS["layers"])
    y = np.array([1.3, 2.5, 0.7, 3.1, 7.2])
    points, weights, x3 = boxes(LOWER, UPPER, (2, 2, 14))
    K = made.tensor(y, points, weights).reshape(4, 14, 6)
    bottoms = np.array([0, -3.1, -10.3, -np.inf])
    overlap = np.minimum(x3[1:, None], bottoms[:-1]) - np.maximum(x3[:-1, None], bottoms[1:])
    shares = overlap.clip(0) / np.diff(x3)[:, None]
    m = 10 ** -y[:3]
    arithmetic, harmonic = shares @ m, 1 / (shares @ (1 / m))
    cut = (shares > 0).sum(axis=1) == 2
    assert cut.sum() == 2
    expected = np.stack([arithmetic, arithmetic, harmonic, *np.zeros((3, 14))], axis=1)
    assert np.allclose(K, expected, rtol=1e-12, atol=1e-15)
    assert np.allclose(made.layers(y).averages(x3), K[0, :, [0, 2]], rtol=1e-12)
    slope = made.layer_derivatives(y, np.eye(5))
    step = 1e-6
    for i, e in enumerate(np.eye(5)):
        plus, minus = (made.layers(y + s * step * e) for s in (1, -1))
        difference = [
            *(plus.resistivity - minus.resistivity),
            *(plus.thickness - minus.thickness),
        ]
        assert np.allclose(slope[i], np.array(difference) / (2 * step), rtol=1e-7, atol=1e-7)


def test_a_body_in_layers_leaves_cells_away_from_it_to_the_layers():
    made, layered = model(*KINDS["body in layers"]), model(*KINDS["layers"])
    points, weights, _ = boxes(LOWER, UPPER, (25, 15, 14))
    y = inner(made)
    changed = made.changed(y, points)
    K, background = made.tensor(y, points, weights), layered.tensor(y[:5], points, weights)
    assert 50 < changed.sum() < 1000
    assert np.allclose(K[~changed], background[~changed], rtol=1e-12, atol=1e-16)
    assert (np.abs(K - background).max(axis=1)[changed] > 0).all()
    # Deep in the body its own resistivity holds, whatever the layer.
    place = made.body(y)
    x = np.array([place[0], place[1], -place[2]])
    assert made.at(y, x) == pytest.approx(10 ** -y[-1])


@pytest.mark.parametrize("kind", ["ellipsoid", "cuboid", "body in layers"])
def test_bodies_stay_within_their_reach_and_nearly_fill_it(kind):
    made = model(*KINDS[kind])
    lower, upper = made.reach
    points, _, _ = boxes(lower - 3, upper + 3, (60, 60, 60), order=1)
    inside = ((points[:, 0] > lower) & (points[:, 0] < upper)).all(axis=1)
    touched = np.zeros(len(points), dtype=bool)
    random = np.random.default_rng(0)
    for unit in [*(random.uniform(size=(40, len(made.y_names))) < 0.5), np.ones(len(made.y_names))]:
        touched |= made.changed(made.y_lower + unit * (made.y_upper - made.y_lower), points)
    assert not touched[~inside].any()
    x = points[touched, 0]
    assert (x.max(axis=0) - x.min(axis=0) > 0.85 * (upper - lower)).all()


def test_a_body_s_tensors_are_those_of_dcr():
    assert INDICES == body.INDICES
    settings = ("model.background=[100,100]", "body.resistivity=[1,1]", "body.depth=[20,20]")
    sizes = [f"body.{axis}=[{a},{a}]" for axis, a in (("a1", 12.0), ("a2", 8.4), ("a3", 6.0))]
    place = ("body.x1=[0,0]", "body.x2=[0,0]", "body.rotation=[-1,1]", "body.blend=5.0")
    points, weights, _ = boxes((-20, -20, -32), (20, 20, -8), (40, 40, 30))
    for shape, unit in body.SHAPES.items():
        made = model("model.kind=body", f"body.shape={shape}", *settings, *sizes, *place)
        old = body.Body(shape=shape, aspect=(12.0, 8.4, 6.0))
        y = np.array([20, unit * 12 * 8.4 * 6, 0.6])
        expected = 0.01 * (old.tensor(y, 100.0, points, weights) + [1, 1, 1, 0, 0, 0])
        K = made.tensor(np.array([0.6]), points, weights)
        assert np.abs(K - expected).max() < 1e-12 * K.max()


def test_a_sharp_vertical_plane_cuts_cells_into_laminates():
    made = model("model.kind=interface", "interface.dip=[1.5707963267948966,1.5707963267948966]")
    points, weights, _ = boxes((-10, -10, -10), (10, 10, 0), (200, 1, 1))
    left, right = 1.0, 2.5
    positions = np.linspace(-1, 1, 401)
    parallel, series, slope = np.zeros((3, 401))
    V = np.array([[0.0, 0.0, 1.0]])
    for i, position in enumerate(positions):
        y = np.array([left, right, position])
        K = made.tensor(y, points, weights)
        assert np.allclose(K[0], 0.1 * np.array([1, 1, 1, 0, 0, 0]))
        assert np.allclose(K[-1], 10**-2.5 * np.array([1, 1, 1, 0, 0, 0]))
        assert np.abs(K[:, 3:]).max() < 1e-15
        assert np.allclose(K[:, 1], K[:, 2])
        parallel[i], series[i] = K[:, 1].mean(), (1 / K[:, 0]).mean()
        slope[i] = made.derivatives(y, V, points, weights)[0, :, 1].mean()
    # The row of cells, along the plane and across it, is right within 0.3 % of a cell.
    share = (positions + 10) / 20
    assert np.abs(parallel / 0.1 - share - 10**-1.5 * (1 - share)).max() < 0.003 / 200
    assert np.abs(series / 10**2.5 - (1 - share) - 10**-1.5 * share).max() < 0.003 / 200
    assert slope == pytest.approx(np.full(401, (0.1 - 10**-2.5) / 20), rel=0.02)


@pytest.mark.parametrize("kind", ["ellipsoid", "cuboid"])
def test_the_drawn_surface_is_the_middle_of_the_blended_edge(kind):
    made = model(*KINDS[kind], "body.resistivity=[1,1]", "model.background=[100,100]")
    y = inner(made)
    vertices, triangles = made.surface(y)
    assert triangles.min() == 0
    assert triangles.max() == len(vertices) - 1
    middles = vertices[triangles].mean(axis=1)
    at = np.log10(made.at(y, vertices if kind == "ellipsoid" else middles))
    assert np.median(at) == pytest.approx(-1.0, abs=1e-6)  # the middle of -2 and 0
    a, b, c = vertices[triangles].transpose(1, 0, 2) - made.body(y)[:3] * [1, 1, -1]
    volume = np.abs(np.einsum("ni,ni->n", a, np.cross(b, c))).sum() / 6
    unit = 4 / 3 * np.pi if kind == "ellipsoid" else 8
    assert volume == pytest.approx(unit * made.body(y)[3:6].prod(), rel=0.01)
    assert model(*KINDS["layers"]).surface(inner(model(*KINDS["layers"]))) is None


def test_settings_are_read_from_the_toml_text_that_they_are_written_as():
    for overrides in ((), *KINDS.values()):
        given = config.read(GroundConfig, None, overrides)
        assert config.from_toml(GroundConfig, config.to_toml(given)) == given
    assert all(setting.text for setting in config.described(GroundConfig()))


def test_settings_of_other_kinds_are_said_to_have_no_effect():
    made = model("model.kind=layers", *LAYERS, *BODY, "model.background=[1,2]")
    assert made.notes == (
        "body is set, but model.kind=layers does not use it",
        "model.background is set, but model.kind=layers does not use it",
    )
    assert model(*KINDS["body in layers"]).notes == ()


def test_regions_are_found_by_their_names():
    made = model(*KINDS["regions"])
    y = np.array([1.0, 2.2])
    m = made.at(y, np.zeros((3, 3)), np.array([0, 1, 2]))
    assert m == pytest.approx([10**-2.2, 1e-3, 0.1])  # sand, dyke, clay


def test_what_the_program_chooses_fits_the_survey():
    for lower, upper in ((LOWER, UPPER), (np.array([0.0, 3.0, -2.0]), np.array([9.0, 3.0, 0.0]))):
        for kind in ("half-space", "body", "layers", "body-in-layers", "interface", "field"):
            made = make(config.read(GroundConfig, None, [f"model.kind={kind}"]), lower, upper)
            made.check_flat()
            assert len(made.y_names) > 0
            assert (made.y_lower < made.y_upper).all()
    assert "x2" not in make(GroundConfig(), lower, upper).y_names  # one line of electrodes


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["model.kind=sphere"], "unknown model.kind 'sphere'; known are half-space"),
        (["model.kind=layer"], "unknown model.kind 'layer'; did you mean 'layers'?"),
        (["model.background=[-1,10]"], "model.background must be positive; got -1 to 10"),
        (["model.background=[20,10]"], "model.background must be [low, high]"),
        (["body.shape=elipsoid"], "did you mean 'ellipsoid'?"),
        (["body.deph=[1,2]"], "did you mean 'body.depth'?"),
        (["body.blend=0"], "body.blend must be positive"),
        (["body.resistivity=[0,10]"], "body.resistivity must be positive"),
        (["layers.thickness=[[1,2],[1,2]]"], "layers.thickness must have bounds for 1 layers"),
        (["layers.resistivity=[]"], "layers.resistivity must have bounds for each layer"),
        (["layers.resistivity=[[1,2],[2,-3]]"], "layers.resistivity[1] must be [low, high]"),
        (["layers.thickness=[[0,2]]"], "layers.thickness[0] must be positive"),
        (["interface.dip=[0,1]"], "interface.dip must be between 0 and pi rad"),
        (["interface.blend=-1"], "interface.blend must not be negative"),
        (
            ["model.kind=half-space", "model.background=[9,9]"],
            "every quantity of the model is fixed; give one of them bounds that differ, such as "
            "model.background=[10, 1000]",
        ),
        (["model.kind=regions"], "model.kind=regions needs regions.names"),
        (['regions.names=["a","a"]', "regions.resistivity=[[1,2],[1,2]]"], "has ['a'] twice"),
        (['regions.names=["a"]'], "regions.resistivity must have bounds for each"),
        (['regions.names=[""]', "regions.resistivity=[[1,2]]"], "has an empty name"),
        (["field.terms=0"], "field.terms must be 1 to 1000; got 0"),
        (["field.deviation=0"], "field.deviation must be positive"),
        (["field.length=[1,1,0]"], "field.length must be positive"),
        (["field.covariance=exponental"], "did you mean 'exponential'?"),
        (["field.bounds=[1,1]"], "field.bounds must be [low, high]"),
        ([*BODY, "body.blend=6.5"], "body.blend must be below the body's smallest thickness, 6 m"),
        (
            [*KINDS["regions"], 'regions.names=["clay","sands","dyke"]'],
            "unknown region 'sands'; did you mean 'sand'?",
        ),
        (
            ["model.kind=regions", 'regions.names=["clay"]', "regions.resistivity=[[1,2]]"],
            "regions.names must name every region of the mesh; it has none of sand, dyke",
        ),
        (
            ["model.kind=field", "field.terms=1000", "field.length=[400,400,400]"]
            + ["field.covariance=squared-exponential"],
            "field.terms must be at most",
        ),
    ],
)
def test_wrong_settings_are_one_line(overrides, message):
    with pytest.raises(InputError) as error:
        model(*overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_regions_need_a_mesh():
    settings = config.read(GroundConfig, None, KINDS["regions"])
    with pytest.raises(InputError, match="model.kind=regions needs mesh.file"):
        make(settings, LOWER, UPPER)


def test_a_body_that_reaches_flat_ground_is_refused():
    made = model(*KINDS["body in layers"])
    made.check_flat()
    made = model("model.kind=body-in-layers", *LAYERS, *BODY, "body.depth=[6.4,14]")
    with pytest.raises(InputError, match="the body touches the surface: .* can be 6.4 m"):
        made.check_flat()


def test_coefficients_of_a_field_have_the_normal_prior_and_the_others_the_uniform_one():
    field = model(*KINDS["field"])
    z = field.normal
    assert [name.startswith("z") for name in field.y_names] == z.tolist()
    uniform = np.random.default_rng(0).uniform(field.y_lower, field.y_upper, (4000, len(z)))
    drawn = field.of_prior(uniform)
    np.testing.assert_array_equal(drawn[:, ~z], uniform[:, ~z])
    assert ((field.y_lower <= drawn) & (drawn <= field.y_upper)).all()
    # Of the standard normal distribution between -3 and 3.
    assert np.abs(drawn[:, z].mean(axis=0)).max() < 4 / np.sqrt(4000)
    assert np.abs(drawn[:, z].std(axis=0) - 0.9866).max() < 4 / np.sqrt(2 * 4000)
    np.testing.assert_allclose(
        field.log_prior(drawn[:5]),
        stats.norm.logpdf(drawn[:5, z]).sum(axis=1) + z.sum() * 0.5 * np.log(2 * np.pi),
    )
