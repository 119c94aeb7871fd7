"""Surrogates as C source: built with the system's compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled import C99, STRICT, Library, build, needs_cc, needs_cxx
from exports import METHODS, arguments, check_close, expected, saved
from plain import NETWORKS, Sine, both, made, points

from surrogates.errors import InputError
from surrogates.export import c as c_source
from surrogates.export.c import templates
from surrogates.export.constants import constants
from surrogates.model.surrogate import Surrogate


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """All of `NETWORKS` in one library."""
    folder = tmp_path_factory.mktemp("libraries")
    for i, network in enumerate(NETWORKS):
        c_source.save(both(*network)[1], folder / f"net{i}.c")
    sources = [f"net{i}.c" for i in range(len(NETWORKS))]
    build("cc", *C99, "-shared", "-fPIC", "-O2", *sources, "-o", "all.so", "-lm", cwd=folder)
    library = ctypes.CDLL(str(folder / "all.so"))
    return {
        network: Library(library, f"net{i}", network[2], network[4])
        for i, network in enumerate(NETWORKS)
    }


def test_the_list_of_templates_is_whole():
    folder = Path(templates.__file__).parent
    listed = re.findall(r"\w+\.(?:[ch]|f90|py)\.in", templates.__doc__)
    assert sorted(listed) == sorted(path.name for path in folder.glob("*.in"))


@needs_cc
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_is_the_surrogate_in_and_out_of_the_domain(network, libraries):
    surrogate, _ = both(*network)
    Y = points(surrogate)
    for method in METHODS:
        given = (Y, *arguments(surrogate, method, len(Y)))
        found = libraries[network](method, *given)
        check_close(found, expected(surrogate, method, *given), method)


@needs_cc
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_nan_gives_nan_and_huge_numbers_what_torch_gives(network, libraries):
    surrogate, _ = both(*network)
    call = libraries[network]
    Y = points(surrogate)[:4]
    Y[0, -1], Y[1], Y[2], Y[3, 0] = np.nan, 1e200, -1e200, np.inf
    for method in METHODS:
        given = (Y, *arguments(surrogate, method, 4))
        found = call(method, *given)
        check_close(found[1:3], expected(surrogate, method, *given)[1:3], method)
        assert method == "in_domain" or np.isnan(found[0]).all()
    assert not call("in_domain", Y).any()
    if network[1] in ("tanh", "sigmoid"):
        assert np.isfinite(call("predict", Y[1:])).all()


@needs_cc
def test_threads_give_the_same_bits(libraries):
    network = NETWORKS[0]
    surrogate, _ = both(*network)
    Y = np.tile(points(surrogate), (5, 1))

    def work(_):
        return [
            libraries[network](method, Y, *arguments(surrogate, method, len(Y)))
            for method in METHODS
        ]

    alone = work(0)
    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(16)):
            for found, right in zip(results, alone, strict=True):
                assert found.tobytes() == right.tobytes()


@pytest.mark.parametrize("command", ["cc -O3 -march=native", "clang -O1"])
def test_compilers_have_nothing_to_say(command, tmp_path):
    compiler, *flags = command.split()
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    for network in NETWORKS[8:10]:
        c_source.save(both(*network)[1], tmp_path / f"{network[1]}.c")
    build(compiler, *C99, *flags, "-c", "tanh.c", "softplus.c", cwd=tmp_path)


CPP = """
#include "net.h"
#include "net.h"
#include <cstdio>

int main()
{
    const double y[net_N_IN] = {@};
    double c[net_N_OUT];
    net_forward(y, c);
    for (double value : c) std::printf("%.17g\\n", value);
}
"""


@needs_cc
@needs_cxx
@pytest.mark.parametrize("language", ["c", "c++"])
def test_from_cpp(language, tmp_path):
    surrogate, loaded = both(*NETWORKS[0])
    c_source.save(loaded, tmp_path / "net.c")
    y = points(surrogate)[:1]
    (tmp_path / "main.cpp").write_text(CPP.replace("@", ", ".join(map(repr, y[0].tolist()))))
    compiler, *flags = ("cc", *C99) if language == "c" else ("g++", "-xc++", "-std=c++11", *STRICT)
    build(compiler, *flags, "-c", "net.c", cwd=tmp_path)
    build("g++", *STRICT, "main.cpp", "net.o", "-o", "main", cwd=tmp_path)
    run = subprocess.run(["./main"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    found = np.array([run.stdout.split()], dtype=float)
    check_close(found, expected(surrogate, "predict", y), "c")


UNIT = """
#include "net_own.c"
#include "net.c"
#include "NET.c"
#include "net_member.c"
#include "slopes.c"
#include "net.h"
#include "NET.h"
#include <stdio.h>

int main(void)
{
    const double y[net_N_IN > NET_N_IN ? net_N_IN : NET_N_IN] = {@};
    double c[net_N_OUT], d[NET_N_OUT], e[slopes_N_OUT];
    net_forward(y, c);
    NET_forward(y, d);
    slopes_forward(y, e);
    for (int j = 0; j < net_N_OUT; ++j) printf("%.17g\\n", c[j]);
    for (int j = 0; j < NET_N_OUT; ++j) printf("%.17g\\n", d[j]);
    for (int j = 0; j < slopes_N_OUT; ++j) printf("%.17g\\n", e[j]);
    return 0;
}
"""


@needs_cc
@needs_cxx
@pytest.mark.parametrize("language", ["c", "c++"])
def test_several_surrogates_in_one_unit(language, tmp_path):
    """Of names that differ in case alone, begin with another's, or are one within the source."""
    networks = {"net": 0, "NET": 5, "net_member": 8, "net_own": 0, "slopes": 4}
    for name, i in networks.items():
        c_source.save(both(*NETWORKS[i])[1], tmp_path / f"{name}.c")
    y = 0.1 + np.arange(20) / 20
    (tmp_path / "unit.c").write_text(UNIT.replace("@", ", ".join(map(repr, y.tolist()))))
    compiler, *flags = ("cc", *C99) if language == "c" else ("g++", "-xc++", "-std=c++11", *STRICT)
    build(compiler, *flags, "-c", "unit.c", "-o", "unit.o", cwd=tmp_path)
    build(compiler if language == "c" else "g++", "unit.o", "-o", "unit", "-lm", cwd=tmp_path)
    run = subprocess.run(["./unit"], cwd=tmp_path, capture_output=True, timeout=60, check=True)
    surrogates_ = [both(*NETWORKS[networks[name]])[0] for name in ("net", "NET", "slopes")]
    right = [expected(one, "predict", y[None, : len(one.lower)])[0] for one in surrogates_]
    check_close(np.array(run.stdout.split(), dtype=float), np.concatenate(right), "c")


def test_a_header_of_c_is_hidden_in_no_case(tmp_path):
    for name in ("math", "Math", "features"):
        with pytest.raises(InputError, match=f"{name}.h would hide the header of C"):
            c_source.save(both(*NETWORKS[0])[1], tmp_path / f"{name}.c")


@needs_cc
def test_names_of_any_text_are_safe_and_come_back(tmp_path):
    texts = [
        "*/ int main;",
        "/*",
        "/*/",
        "a\\",
        "two\nlines",
        "??/",
        "\u202eevil",
        '"',
        "γ",
    ]
    texts += ["\0", "\u2028", "%s $name ${x}", "\U000e0001", "é/* */"]
    surrogate = made("mlp", "tanh", len(texts), 3, 2, 1)
    names = {"y_names": texts, "y_units": texts, "c_names": texts[:2], "c_units": texts[2:4]}
    about = {"problem": "*/ #error", "command": "/* \\\n */", "created": "??/\n"}
    loaded = saved(surrogate, tmp_path / "s.pt", **names, **about)
    c_source.save(loaded, tmp_path / "net.c")
    build("cc", *C99, "-c", "net.c", cwd=tmp_path)
    header = (tmp_path / "net.h").read_text(encoding="utf-8")
    rows = re.findall(r'^ \* +\d+  (".*")  \[(.*)\](?:  |$)', header, re.MULTILINE)
    found = [(json.loads(name), json.loads(f'"{unit}"')) for name, unit in rows]
    assert found == [*zip(texts, texts, strict=True), *zip(texts[:2], texts[2:4], strict=True)]


def test_every_number_is_exact(tmp_path):
    _, loaded = both(*NETWORKS[0])
    c_source.save(loaded, tmp_path / "net.c")
    source = (tmp_path / "net.c").read_text()
    right = constants(loaded)
    for name in ("sigma", "lower", "upper", "unit", "lengths", "weights"):
        numbers = re.search(rf"double net_own_{name}\[\d+\] = {{(.*?)}};", source, re.DOTALL)[1]
        found = np.array([float(number) for number in numbers.split(",")])
        of = right.blocks[0] if name in ("lengths", "weights") else right
        assert found.tobytes() == getattr(of, name).tobytes(), name


def test_the_same_surrogate_is_the_same_text(tmp_path):
    _, loaded = both(*NETWORKS[0])
    texts = []
    for _ in range(2):
        c_source.save(loaded, tmp_path / "net.c")
        texts.append([(tmp_path / name).read_bytes() for name in ("net.c", "net.h")])
    assert texts[0] == texts[1]


@needs_cc
def test_a_header_of_another_surrogate_is_an_error(tmp_path):
    c_source.save(both(*NETWORKS[0])[1], tmp_path / "net.c")
    source = (tmp_path / "net.c").read_bytes()
    c_source.save(both(*NETWORKS[1])[1], tmp_path / "net.c")
    (tmp_path / "net.c").write_bytes(source)
    run = subprocess.run(["cc", "-c", "net.c"], cwd=tmp_path, capture_output=True, timeout=60)
    assert run.returncode and b"net.h belongs to another surrogate" in run.stderr


def test_the_jacobian_takes_the_fewest_through_the_network(tmp_path):
    by = {
        "d[f] = net_own_K_in[net_own_place(net_own_INPUTS, f, i)]": NETWORKS[1],
        "g[f] = net_own_W[net_own_place(net_own_WIDTH, j, f)]": NETWORKS[2],
        "G_t[": NETWORKS[0],
    }
    for text, network in by.items():
        c_source.save(both(*network)[1], tmp_path / "net.c")
        assert text in (tmp_path / "net.c").read_text()


@needs_cc
def test_without_error_bars_the_deviation_is_nan(surrogate, Y, tmp_path):
    older = saved(surrogate, tmp_path / "s.pt", schema_version=1)
    c_source.save(older, tmp_path / "net.c")
    build("cc", *C99, "-shared", "-fPIC", "net.c", "-o", "net.so", "-lm", cwd=tmp_path)
    call = Library(ctypes.CDLL(str(tmp_path / "net.so")), "net", 4, 6)
    assert np.isnan(call("predict_std", Y.numpy())).all()
    check_close(call("predict", Y.numpy()), expected(surrogate, "predict", Y.numpy()), "c")
    assert "NaN, as it is not known" in (tmp_path / "net.h").read_text()


def test_other_features_are_refused(parts, tmp_path):
    changes = {"features": Sine(), "W": torch.ones(6, 5), "error_bars": None}
    loaded = saved(Surrogate(**{**parts, **changes}), tmp_path / "user.pt")
    with pytest.raises(InputError, match="user.pt cannot be exported"):
        c_source.save(loaded, tmp_path / "user.c")
    assert os.listdir(tmp_path) == ["user.pt"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("net.cpp", "expected NAME.c, where NAME is a letter"),
        ("net.C", "expected NAME.c"),
        ("net", "expected NAME.c"),
        (".c", "expected NAME.c"),
        ("2d.c", "expected NAME.c"),
        ("_net.c", "expected NAME.c"),
        ("a-b.c", "expected NAME.c"),
        ("a.b.c", "expected NAME.c"),
        ("netü.c", "expected NAME.c"),
        ("math.c", "math.h would hide the header of C"),
        ("missing/net.c", "there is no folder"),
        ("source.c", "source.c' is a folder"),
        ("header.c", "header.h' is a folder"),
    ],
)
def test_bad_paths_leave_nothing(name, message, tmp_path):
    (tmp_path / "source.c").mkdir()
    (tmp_path / "header.h").mkdir()
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        c_source.save(both(*NETWORKS[0])[1], tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(os.listdir(tmp_path)) == ["header.h", "source.c"]


def test_a_full_disk_changes_neither_file(tmp_path):
    _, loaded = both(*NETWORKS[0])
    new, old = tmp_path / "new", tmp_path / "old"
    new.mkdir()
    old.mkdir()
    (old / "net.c").write_text("old source")
    (old / "net.h").write_text("old header")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for folder in (new, old):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # the header fits, the source not
        try:
            with pytest.raises(OSError, match="cannot write .*File too large"):
                c_source.save(loaded, folder / "net.c")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(new) == []
    texts = {path.name: path.read_text() for path in old.iterdir()}
    assert texts == {"net.c": "old source", "net.h": "old header"}
