from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.ndimage

from surrogates import cli
from surrogates.data import PARTS, Dataset, Split, indian_pines, read_scene
from surrogates.data.agreement import doubt
from surrogates.errors import InputError

PINES = (46, 1428, 830, 237, 483, 730, 28, 478, 20, 972, 2455, 593, 205, 1265, 386, 93)


def run(*words) -> int:
    return cli.main([str(word) for word in words])


def write_mat5(path, **arrays):
    scipy.io.savemat(path, arrays, do_compression=True)


def write_mat73(path, **arrays):
    """As MATLAB does: a block of text first, and arrays with their dimensions reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(128))


def write_h5py(path, **arrays):
    """A file of version 7.3 that has its dimensions as Python sees them."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


WRITERS = {"5": write_mat5, "7.3": write_mat73, "7.3 of h5py": write_h5py}


def scene(n_rows=30, n_columns=20, seed=0):
    """A scene of 16-bit integers, 7 bands, and its ground truth, of classes 2, 3 and 5."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.array([0, 2, 3, 5], np.uint8), size=(n_rows, n_columns))
    return rng.integers(900, 9000, (n_rows, n_columns, 7)).astype(np.uint16), truth


@pytest.mark.parametrize("columns", [20, 30])
@pytest.mark.parametrize(
    "kinds",
    [("5", "5"), ("7.3", "7.3"), ("7.3 of h5py",) * 2, ("7.3", "5"), ("7.3 of h5py", "5")],
)
def test_the_usual_pair_becomes_a_dataset_by_the_command_line(tmp_path, capsys, kinds, columns):
    cube, truth = scene(30, columns)
    paths = tmp_path / "paviaU.mat", tmp_path / "paviaU_gt.mat"
    WRITERS[kinds[0]](paths[0], paviaU=cube, scale=np.ones((1, 1)))
    WRITERS[kinds[1]](paths[1], paviaU_gt=truth)
    out = tmp_path / "p.h5"
    words = ("--split", "balanced:40/20/0.25", "--seed", 4)
    assert run("import", paths[0], "--ground-truth", paths[1], "--out", out, *words) == 0
    n = int((truth > 0).sum())
    assert capsys.readouterr().out == f"{out}: {n} samples, 7 parameters, 3 classes\n"
    dataset = Dataset.read(out)
    np.testing.assert_array_equal(dataset.Y, cube[truth > 0])
    np.testing.assert_array_equal(dataset.C, truth[truth > 0][:, None] == [2, 3, 5])
    info = dataset.info
    assert (info.problem, info.task) == ("paviaU", "classification")
    assert info.c_names == ("class 2", "class 3", "class 5")
    assert info.y_names[0] == "band 1" and info.y_names[-1] == "band 7"
    assert run("info", out) == 0
    text = capsys.readouterr().out
    assert "task:             classification" in text
    for k, name in enumerate(info.c_names):
        counts = [int(dataset.part(part)[1][:, k].sum()) for part in PARTS]
        assert counts[0] == 30 and counts[2] == 10 and counts[1] >= 20
        assert next(line for line in text.splitlines() if name in line).split() == [
            *name.split(),
            *map(str, counts),
        ]
    assert run("verify", out) == 0
    assert "all is well" in capsys.readouterr().out


def write_reversed(path, **arrays):
    """HDF5 without MATLAB's marks and with its order."""
    write_h5py(path, **{name: array.T for name, array in arrays.items()})


def write_npz(path, **arrays):
    with open(path, "wb") as file:
        np.savez(file, **arrays)


ENDINGS = {write_npz: "npz", write_h5py: "mat", write_reversed: "h5"}


def fields(n=30, seed=0):
    """A square scene of fields, whose labels fit in one way alone."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((n, n), np.uint8)
    truth[2:14, 3:9], truth[16:28, 1:12], truth[4:12, 15:28], truth[18:24, 16:29] = 1, 2, 3, 4
    spectra = rng.normal(size=(5, 7))
    return spectra[truth] + 0.3 * rng.normal(size=(n, n, 7)), truth


def pair_of(folder, of_cube, of_truth, cube, truth):
    paths = [
        folder / f"{name}.{ENDINGS.get(of, 'mat')}"
        for name, of in (("cube", of_cube), ("truth", of_truth))
    ]
    of_cube(paths[0], cube=cube)
    of_truth(paths[1], truth=truth)
    return paths


PAIRS = [
    (of_cube, of_truth)
    for of_truth in (write_mat5, write_mat73, write_npz, write_h5py)
    for of_cube in (write_mat5, write_mat73, write_npz, write_h5py, write_reversed)
    if (of_cube, of_truth) != (write_reversed, write_h5py)
]


@pytest.mark.parametrize(("of_cube", "of_truth"), PAIRS)
def test_a_square_scene_of_any_two_programs_has_its_own_labels(tmp_path, of_cube, of_truth):
    cube, truth = fields()
    notes = []
    path, other = pair_of(tmp_path, of_cube, of_truth, cube, truth)
    if of_truth is write_h5py and of_cube is not write_h5py:
        message = (
            r"nothing says in which order .*truth.mat has the dimensions: give --order rows .*"
        )
        with pytest.raises(InputError, match=message + "rows for 7. %, columns for [1-4]. %"):
            read_scene(path, other, note=notes.append)
        turned = read_scene(path, other, order="columns", note=notes.append)
        np.testing.assert_array_equal(turned.truth, truth.T)
        assert (
            len(notes) == 1 and "the labels do not seem to be those of the scene: tra" in notes[0]
        )
        found = read_scene(path, other, order="rows", note=pytest.fail)
    else:
        found = read_scene(path, other, note=pytest.fail)
    np.testing.assert_array_equal(found.cube, cube)
    np.testing.assert_array_equal(found.truth, truth)


def test_a_pair_without_marks_of_two_orders_is_noted(tmp_path):
    """Both are taken to be of one program; that they are not is seen by the spectra."""
    notes = []
    path, other = pair_of(tmp_path, write_reversed, write_h5py, *fields())
    read_scene(path, other, note=notes.append)
    assert "the labels do not seem to be those of the scene: transposed, the clas" in notes[0]


def test_a_pair_without_marks_and_reversed_is_turned_as_one(tmp_path):
    cube, truth = fields()
    path, other = pair_of(tmp_path, write_reversed, write_reversed, cube, truth)
    found = read_scene(path, other, note=pytest.fail)
    np.testing.assert_array_equal(found.cube, cube)
    np.testing.assert_array_equal(found.truth, truth)


def test_a_cube_of_as_many_bands_as_rows_is_asked_for(tmp_path, capsys):
    rng = np.random.default_rng(0)
    _, truth = fields()
    cube = rng.normal(size=(5, 30))[truth] + 0.3 * rng.normal(size=(30, 30, 30))
    path, other = pair_of(tmp_path, write_h5py, write_h5py, cube, truth)
    words = ("import", path, "--ground-truth", other, "--out", tmp_path / "a.h5")
    assert run(*words) == 2
    assert "nothing says in which order" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1 and "--order rows (as in the file) or columns" in error
    assert run(*words, "--order", "rows") == 0
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(Dataset.read(tmp_path / "a.h5").Y, cube[truth > 0])


@pytest.mark.parametrize(
    ("turn", "how"),
    [
        (lambda map: map.T, "transposed"),
        (lambda map: map[::-1], "upside down"),
        (lambda map: map[:, ::-1], "mirrored"),
        (np.rot90, "turned by 270 degrees"),
        (lambda map: map[::-1, ::-1], "turned by 180 degrees"),
    ],
)
def test_labels_that_are_turned_are_doubted_and_others_not(tmp_path, capsys, turn, how):
    cube, truth = fields()
    write_mat5(tmp_path / "s.mat", cube=cube)
    write_mat5(tmp_path / "g.mat", truth=np.ascontiguousarray(turn(truth)))
    words = ("--ground-truth", tmp_path / "g.mat", "--out", tmp_path / "a.h5")
    assert run("import", tmp_path / "s.mat", *words) == 0
    message = (
        f"warning: {tmp_path / 'g.mat'}: the labels do not seem to be those of the scene: {how},"
    )
    assert capsys.readouterr().err.startswith(message)


def test_labels_without_any_order_are_not_doubted():
    for seed in range(20):
        cube, truth = scene(12, 12, seed)
        assert doubt(cube.astype(float), truth.astype(int)) == ""


def dim_fields(light: float, noise: float, seed: int):
    """Spectra of fields that differ little, in uneven light or noise."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((80, 80), int)
    for k in range(30):
        row, column = rng.integers(0, 68, 2)
        truth[row : row + rng.integers(6, 16), column : column + rng.integers(6, 16)] = k % 5 + 1
    spectra = 3 + np.sin(np.linspace(0, 3, 24)) + 0.1 * rng.normal(size=(6, 24))
    sun = scipy.ndimage.gaussian_filter(rng.normal(size=truth.shape), 6)
    cube = spectra[truth] + 0.1 * noise * rng.normal(size=(80, 80, 24))
    cube *= np.exp(light * sun / sun.std())[..., None]
    return cube, truth


@pytest.mark.parametrize(("light", "noise"), [(0.8, 0.1), (0.0, 4.0), (0.3, 1.0)])
def test_light_and_noise_hide_no_transposition_and_raise_no_doubt(light, noise):
    cube, truth = dim_fields(light, noise, seed=0)
    assert doubt(cube, truth) == ""
    assert "the scene: transposed, the classes" in doubt(cube, truth.T)


def test_a_background_of_255_is_asked_for(tmp_path, capsys):
    cube, truth = fields()
    write_mat5(tmp_path / "s.mat", cube=cube)
    for value, dtype in ((255, np.uint8), (65535, np.uint16)):
        marked = truth.astype(dtype)
        marked[:2] = value
        write_mat5(tmp_path / "g.mat", truth=marked)
        words = ("import", tmp_path / "s.mat", "--ground-truth", tmp_path / "g.mat")
        assert run(*words, "--out", tmp_path / "a.h5") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"g.mat has the label {value} in 60 pixels, which often marks those of no" in error
        for background, names, pixels in (
            (f"0,{value}", ["class 1", "class 2", "class 3", "class 4"], truth > 0),
            (f"{value}", [f"class {k}" for k in range(5)], marked != value),
            ("0", [*(f"class {k}" for k in range(1, 5)), f"class {value}"], marked > 0),
        ):
            out = tmp_path / f"{value}_{background}.h5"
            assert run(*words, "--background", background, "--out", out) == 0
            dataset = Dataset.read(out)
            assert list(dataset.info.c_names) == names
            np.testing.assert_array_equal(dataset.Y, cube[pixels])
    capsys.readouterr()


def test_labels_that_go_up_to_255_are_classes(tmp_path):
    cube, truth = fields()
    write_mat5(tmp_path / "s.mat", cube=cube)
    write_mat5(tmp_path / "g.mat", truth=np.where(truth > 2, truth + 251, truth).astype(np.uint8))
    found = read_scene(tmp_path / "s.mat", tmp_path / "g.mat", note=pytest.fail)
    assert found.class_names == ("class 1", "class 2", "class 254", "class 255")


def test_scene_and_ground_truth_may_be_in_one_file(tmp_path):
    cube, truth = scene()
    write_mat5(tmp_path / "a.mat", data=cube, labels=truth, wavelength=np.arange(7.0))
    found = read_scene(tmp_path / "a.mat", tmp_path / "a.mat")
    np.testing.assert_array_equal(found.cube, cube)
    assert found.cube.dtype == np.float64
    names = np.array(["", *found.class_names])
    np.testing.assert_array_equal(names[found.truth][truth == 5], "class 5")
    np.testing.assert_array_equal(found.truth == 0, truth == 0)


def test_indian_pines_with_both_splits(tmp_path, capsys):
    pytest.importorskip("tensorly", reason="needs tensorly, which has the scene")
    for split in ("2957/6560/732", "balanced"):
        out = tmp_path / f"{split[:4]}.h5"
        assert run("import", "indian_pines", "--out", out, "--split", split) == 0
        assert "10249 samples, 200 parameters, 16 classes" in capsys.readouterr().out
        dataset = Dataset.read(out)
        assert tuple(dataset.C.sum(axis=0)) == PINES
        counts = np.array([dataset.part(part)[1].sum(axis=0) for part in PARTS]).astype(int)
        if split != "balanced":
            assert counts.sum(axis=1).tolist() == [2957, 6560, 732]
            # Each class has its share, to five standard deviations of draws without replacement.
            n, share = np.array(PINES), 2957 / 10249
            spread = np.sqrt(n * share * (1 - share) * (10249 - n) / 10248)
            assert (np.abs(counts[0] - n * share) < 5 * spread).all()
            continue
        for n, (train, validation, test) in zip(PINES, counts.T.tolist(), strict=True):
            pool = min(250, n - 10)
            assert (train, validation, test) == (pool - round(pool / 5), n - pool, round(pool / 5))
        assert counts.sum(axis=1).tolist() == [2455, 7180, 614]
    assert dataset.info.c_names[0] == "Alfalfa" and dataset.info.c_names[8] == "Oats"
    assert dataset.info.y_names[0] == "band 1 (400.02 nm)"
    assert "tensorly" in dataset.info.versions
    assert (dataset.split != Split.UNUSED).all()


@pytest.mark.thorough
def test_the_published_files_of_indian_pines_are_known_and_bands_kept(tmp_path):
    """Both files are the scene of tensorly: the corrected one, and that of all 220 bands."""
    pytest.importorskip("tensorly", reason="needs tensorly, which has the scene")
    pines = indian_pines()
    assert pines.cube.shape == (145, 145, 200) and len(pines.wavelengths) == 200
    cube, truth = pines.cube.astype(np.uint16), pines.truth.astype(np.uint8)
    write_mat5(tmp_path / "gt.mat", indian_pines_gt=truth)
    write_mat73(tmp_path / "c.mat", indian_pines_corrected=cube)
    write_mat5(tmp_path / "all.mat", indian_pines=np.concatenate([cube, cube[..., :20]], axis=2))
    corrected = read_scene(tmp_path / "c.mat", tmp_path / "gt.mat")
    assert corrected.dataset(seed=3).digest == pines.dataset(seed=3).digest
    assert corrected.class_names == pines.class_names
    every = read_scene(tmp_path / "all.mat", tmp_path / "gt.mat").dataset()
    assert every.Y.shape == (10249, 220) and every.info.c_names == pines.class_names


def test_without_tensorly_one_line_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorly", None)
    assert run("import", "indian_pines", "--out", tmp_path / "a.h5") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: the scene indian_pines comes with the package tensorly")
    assert "pip install 'tensorly>=0.9'" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def changed(array, value, *at):
    array = array.astype(np.float64)
    array[at] = value
    return array


CUBE, TRUTH = scene()


@pytest.mark.parametrize(
    ("cube", "truth", "message"),
    [
        (CUBE, TRUTH[:-1], "s.mat is 30 x 20 x 7 and g.mat is 29 x 20: not the rows x columns x"),
        (CUBE, TRUTH.T, "s.mat is 30 x 20 x 7 and g.mat is 20 x 30: not the rows"),
        (changed(CUBE, np.nan, 3, 4, 5), TRUTH, "s.mat is nan at row 4, column 5, band 6 (counted"),
        (changed(CUBE, np.inf, 0, 0), TRUTH, "inf at row 1, column 1, band 1 (counted from 1; 7"),
        (CUBE, changed(TRUTH, 1.5, 3, 4), "g.mat is 1.5 at row 4, column 5, and classes are int"),
        (CUBE, changed(TRUTH, -1, 3, 4), "g.mat is -1.0 at row 4, column 5, and classes are int"),
        (CUBE, changed(TRUTH, np.nan, 3), "g.mat is nan at row 4, column 1, and classes are int"),
        (CUBE, changed(TRUTH, np.inf, 3), "g.mat is inf at row 4, column 1, and classes are int"),
        (CUBE, 0 * TRUTH, "g.mat is 0 everywhere: no pixel has a class"),
        (CUBE, np.minimum(TRUTH, 1), "there is a single class; a classifier needs two"),
        (CUBE[..., 0], TRUTH, "s.mat has no array of 3 dimensions; it has scene (30 x 20)"),
        (CUBE, CUBE, "g.mat has no array of 2 dimensions; it has truth (30 x 20 x 7)"),
        (CUBE, TRUTH.astype(str), "g.mat has no array of 2 dimensions; it has truth (no numbers)"),
    ],
)
def test_a_pair_with_faults_is_one_clear_line(tmp_path, capsys, monkeypatch, cube, truth, message):
    monkeypatch.chdir(tmp_path)
    write_mat5("s.mat", scene=cube)
    write_mat5("g.mat", truth=truth)
    assert run("import", "s.mat", "--ground-truth", "g.mat", "--out", "a.h5") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.mat", "s.mat"]


def test_options_that_do_not_fit_a_scene_are_one_clear_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cube, truth = scene()
    truth[0, 0] = 7  # a class of one pixel
    write_mat5("s.mat", scene=cube, mean=cube.mean(axis=2), map=truth)
    write_mat5("g.mat", truth=truth)
    (tmp_path / "s.tif").write_bytes(b"II*\0")
    whole = (tmp_path / "s.mat").read_bytes()
    (tmp_path / "half.mat").write_bytes(whole[: len(whole) // 2])
    pair = ("s.mat", "--ground-truth", "g.mat")
    for words, message in {
        (*pair, "--split", "balanced"): "samples of each class; 'class 7' has 1",
        (*pair, "--split", "0/0.5/0.5", "--seed", "-1"): "the seed must be at least 0",
        (*pair, "--split", "20/20/1"): "there are no training samples of 'class 7'; give another",
        (*pair, "--task", "regression"): "a scene is of --task classification",
        (*pair, "--samples", "rows"): "--samples is not for a scene",
        (*pair, "--background", "0,x"): "cannot read the background '0,x': expected integers",
        (
            *pair,
            "--order",
            "rows",
        ): "--order rows is for HDF5 files without MATLAB's marks; the order of these",
        ("s.mat", "--order", "rows"): "--order is for a scene, with --ground-truth",
        ("s.mat", "--background", "0"): "--background is for a scene, with --ground-truth",
        ("indian_pines", "--ground-truth", "g.mat"): "indian_pines comes with its ground truth",
        ("s.mat", "--ground-truth", "s.mat"): "several arrays of 2 dimensions; it has scene (30 x",
        ("s.tif", "--ground-truth", "g.mat"): "cannot read s.tif: a scene is a file .mat or .npz",
        ("none.mat", "--ground-truth", "g.mat"): "there is no file none.mat",
        ("half.mat", "--ground-truth", "g.mat"): "half.mat is not a whole .mat file",
        ("s.mat",): "it has scene, mean, map (a hyperspectral scene takes --ground-truth)",
    }.items():
        assert run("import", *words, "--out", "a.h5") == 2, words
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, words
        assert not (tmp_path / "a.h5").exists()
