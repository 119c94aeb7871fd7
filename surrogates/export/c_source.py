r"""A surrogate as C99 source: NAME.c and NAME.h, which need nothing but libm.

The functions are those of `surrogates.model.surrogate.Surrogate`, or of a `Classifier`, for one
sample; the header that `write` makes says what each of them takes and gives. All data are constant
and all else is on the stack, so that any number of threads may call them. The formulas are those of
`surrogates.export.reference`.

Every product of a matrix with a vector is one loop, ``affine``, over panels of the matrix: eight
rows, column by column, so that the sums stay in registers, and a compiler makes vector operations
of them without being allowed to reorder a sum. Derivatives run the other way through the same loop,
on transposed copies. The Jacobian is closed form: of inputs, outputs and features the fewest are
taken through the network, forward for an input and backward for the others.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from surrogates import __version__
from surrogates.errors import InputError
from surrogates.files import atomic
from surrogates.model.tails import MIDDLE

from .blocks import Network
from .c_blocks import Features, features, padded, panels, table
from .reference import ClassifierReference, Reference, constants

if TYPE_CHECKING:
    from surrogates.model.loaded import LoadedSurrogate

# Headers of C up to C23, and those that C libraries include in them, which a file of the same name
# would hide from a program built with -I. (a surrogate "math" would write math.h).
_STANDARD = frozenset(
    "alloca assert complex ctype endian errno features fenv float inttypes iso646 limits locale "
    "malloc math memory pthread sched setjmp signal stdalign stdarg stdatomic stdbit stdbool "
    "stdckdint stddef stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar "
    "unistd wchar wctype".split()
)

# Where a source has names of its own: constants, tables, functions and macros of the file.
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_ENUM = re.compile(r"^enum \{ (.*?) \};", re.MULTILINE)
_OWN = (
    re.compile(r"^static const \w+ (\w+)", re.MULTILINE),
    re.compile(r"^static \w+ (\w+)\(", re.MULTILINE),
    re.compile(r"^#define (\w+)", re.MULTILINE),
)

_PUBLIC_TOO = {"N_IN": "INPUTS", "N_OUT": "OUTPUTS"}

_HEADER = Template("""\
/*
 * $name: $what as C99 source, which needs only libm (link with -lm).
 *
$about *
 * All functions take one sample, y, and are in double precision. They keep no state: any number of
 * threads may call them at once. An output must not overlap an input. A call takes at most about
 * $kibibytes KiB of stack. A NaN in y gives NaN, and is outside the domain; -ffast-math would tell
 * the compiler that there are none.
 *
$positive * Inputs y: name, [unit], least and largest value in the training data
 *
$inputs *
 * Outputs c$logits: name, [unit]
 *
$outputs */
#ifndef ${name}_SURROGATE_H
#define ${name}_SURROGATE_H

#define ${name}_N_IN $n_in
#define ${name}_N_OUT $n_out

#ifdef __cplusplus
extern "C" {
#endif

/* The prediction c(y). */
void ${name}_forward(const double y[${name}_N_IN], double c[${name}_N_OUT]);

/* Its Jacobian by rows: J[j * ${name}_N_IN + i] = dc_j / dy_i. */
void ${name}_jacobian(const double y[${name}_N_IN], double J[${name}_N_OUT * ${name}_N_IN]);

/* The derivative of c in the direction v, without the Jacobian: dc = J v. */
void ${name}_jvp(
    const double y[${name}_N_IN], const double v[${name}_N_IN], double dc[${name}_N_OUT]);

/* The gradient of w^T c by y, without the Jacobian: g = J^T w. */
void ${name}_vjp(
    const double y[${name}_N_IN], const double w[${name}_N_OUT], double g[${name}_N_IN]);

$trust_header
/* 1 if y lies in the domain of the training data, $domain; else 0. */
int ${name}_in_domain(const double y[${name}_N_IN]);

#ifdef __cplusplus
}
#endif

#endif
""")

_SOURCE = Template("""\
/* $name: see $name.h. Written by varpro-surrogates $version; do not edit. */
#include "$name.h"

#include <math.h>
#include <stddef.h>

#if ${name}_N_IN != $n_in || ${name}_N_OUT != $n_out
#error "$name.h belongs to another surrogate"
#endif

enum { N_IN = ${name}_N_IN, N_OUT = ${name}_N_OUT };
enum { ROWS = $rows, NORMALS = $n_flat };

/*
 * The prediction is c = W u + c_0 of the features u. Matrices are in panels, see affine; those with
 * _t are transposed.
 */
$tables
/* In a loop: keeps GCC's -O3 from vectors along it, which here take up to three times as long. */
#if defined(__GNUC__) && !defined(__clang__)
#define IN_ORDER __asm__ volatile("")
#else
#define IN_ORDER ((void)0)
#endif

/*
 * out = M x + bias, or M x where bias is NULL. M is in panels of eight rows, each column by column.
 * Zeros fill up the last panel, and the bias.
 */
static void affine(
    int rows, int columns, const double *M, const double *bias, const double *x, double *out)
{
    static const double zeros[8] = {0.0};
    for (int i = 0; i < rows; i += 8) {
        const double *start = bias == NULL ? zeros : bias + i;
        double s0 = start[0], s1 = start[1], s2 = start[2], s3 = start[3];
        double s4 = start[4], s5 = start[5], s6 = start[6], s7 = start[7];
        for (int j = 0; j < columns; ++j, M += 8) {
            const double xj = x[j];
            s0 += M[0] * xj;
            s1 += M[1] * xj;
            s2 += M[2] * xj;
            s3 += M[3] * xj;
            s4 += M[4] * xj;
            s5 += M[5] * xj;
            s6 += M[6] * xj;
            s7 += M[7] * xj;
            IN_ORDER;
        }
        if (rows - i >= 8) {
            out[i] = s0;
            out[i + 1] = s1;
            out[i + 2] = s2;
            out[i + 3] = s3;
            out[i + 4] = s4;
            out[i + 5] = s5;
            out[i + 6] = s6;
            out[i + 7] = s7;
        } else {
            const double s[8] = {s0, s1, s2, s3, s4, s5, s6, s7};
            for (int k = 0; k < 8 && i + k < rows; ++k)
                out[i + k] = s[k];
        }
    }
}

$place$features$off_flat
$logarithms
void ${name}_forward(const double y[${name}_N_IN], double c[${name}_N_OUT])
{
    double u[WIDTH], values[VALUES];
$see    features($x, u, values);
    affine(N_OUT, WIDTH, W, c_0, u, c);
$physical}

void ${name}_jacobian(const double y[${name}_N_IN], double J[${name}_N_OUT * ${name}_N_IN])
{
    double slope_of[VALUES];
$see    slopes($x, slope_of);
$jacobian$chain_jacobian}

void ${name}_jvp(
    const double y[${name}_N_IN], const double v[${name}_N_IN], double dc[${name}_N_OUT])
{
    double slope_of[VALUES], d[WIDTH];
$see    slopes($x, slope_of);
$chain_v    push(slope_of, $v, d);
    affine(N_OUT, WIDTH, W, NULL, d, dc);
$chain_dc}

void ${name}_vjp(
    const double y[${name}_N_IN], const double w[${name}_N_OUT], double g[${name}_N_IN])
{
    double slope_of[VALUES], gu[WIDTH];
$see    slopes($x, slope_of);
$chain_w    affine(WIDTH, N_OUT, W_t, NULL, $w, gu);
    pull(slope_of, gu, g);
$chain_g}

$trust_source
int ${name}_in_domain(const double y[${name}_N_IN])
{
$see    for (int i = 0; i < N_IN; ++i) {
        const double slack = 1e-9 * (upper[i] - lower[i])$slack;
        if (!(lower[i] - slack <= $x[i] && $x[i] <= upper[i] + slack))
            return 0;
    }
$off_check    return 1;
}
""")

# What a surrogate has to say how far to trust it: error bars or, of a classifier, probabilities.
_BARS_HEADER = Template("""\
/*
 * The standard deviation of the prediction's error against the solver that made the training
 * data$bars. Outside the domain it grows, and is a warning rather than a measure. It says nothing
 * of how the errors of different outputs go together, nor of the solver's own error.
 */
void ${name}_predict_std(const double y[${name}_N_IN], double std[${name}_N_OUT]);

/*
 * The ends of the intervals of a level$bars. q is the normal quantile of
 * (1 + level) / 2: 0.674 for 50 %, 1.645 for 90 %, 1.960 for 95 %.$tailed$asymmetric
 */
void ${name}_predict_interval(
    const double y[${name}_N_IN], double q, double low[${name}_N_OUT], double high[${name}_N_OUT]);
""")
_BARS_SOURCE = Template("""\
/* Gives the standard deviations of $of_what from the features u. */
static void deviations(const double *x, const double *u, ${c_parameter}double *std)
{
    double z[ROWS], variance = $variance_floor;
    affine(ROWS, WIDTH, leverage, constant, u, z);
    for (int f = 0; f < ROWS; ++f)
        variance += ${sign}z[f] * z[f];
    for (int i = 0; i < N_IN; ++i) {
        const double below = lower[i] - x[i], above = x[i] - upper[i];
        const double beyond = (below > above ? below : above) / unit[i];
        if (beyond > 0.0)
            variance += beyond * beyond;
    }
$off_variance    if (variance < 1e-12)
        variance = 1e-12;
$share}

void ${name}_predict_std(const double y[${name}_N_IN], double std[${name}_N_OUT])
{
    double u[WIDTH], values[VALUES];
$see    features($x, u, values);
$needed_c    deviations($x, u, ${c_argument}std);
$chain_std}

void ${name}_predict_interval(
    const double y[${name}_N_IN], double q, double low[${name}_N_OUT], double high[${name}_N_OUT])
{
    double u[WIDTH], values[VALUES], c[N_OUT], std[N_OUT];
$see    features($x, u, values);
    affine(N_OUT, WIDTH, W, c_0, u, c);
    deviations($x, u, ${c_argument}std);
    for (int j = 0; j < N_OUT; ++j) {
        const double half = $half;
        low[j] = c[j] - half;
        high[j] = c[j] + half;
    }
$physical_ends}
""")
_CLASSES_HEADER = Template("""\
/* The probability of each class: exp(c_k) over the sum of all of them. */
void ${name}_probabilities(const double y[${name}_N_IN], double p[${name}_N_OUT]);

/* The most probable class, from 0; -1 for a NaN in y. */
int ${name}_predict(const double y[${name}_N_IN]);
""")
_CLASSES_SOURCE = Template("""\
void ${name}_probabilities(const double y[${name}_N_IN], double p[${name}_N_OUT])
{
    ${name}_forward(y, p);
    double largest = p[0], sum = 0.0;
    for (int j = 1; j < N_OUT; ++j)
        if (p[j] > largest)
            largest = p[j];
    for (int j = 0; j < N_OUT; ++j) {
        p[j] = exp(p[j] - largest);
        sum += p[j];
    }
    for (int j = 0; j < N_OUT; ++j)
        p[j] /= sum;
}

int ${name}_predict(const double y[${name}_N_IN])
{
    double c[N_OUT];
    ${name}_forward(y, c);
    int best = 0;
    for (int j = 0; j < N_OUT; ++j) {
        if (isnan(c[j]))
            return -1;
        if (c[j] > c[best])
            best = j;
    }
    return best;
}
""")

_PLACE = """\
/* Where an entry of a matrix in panels is. */
static int place(int columns, int row, int column)
{
    return (row / 8 * columns + column) * 8 + row % 8;
}

"""

# The rest of the Jacobian's function, of one network by what is taken through it.
_JACOBIAN = {
    "inputs": """\
    for (int i = 0; i < N_IN; ++i) {
        double d[WIDTH], s[8];
        for (int f = 0; f < WIDTH; ++f)
            d[f] = K_in[place(N_IN, f, i)];
        tangent(slope_of, d);
        for (int j = 0; j < N_OUT; j += 8) {
            const int rows = N_OUT - j < 8 ? N_OUT - j : 8;
            affine(rows, WIDTH, W + j * WIDTH, NULL, d, s);
            for (int k = 0; k < rows; ++k)
                J[(j + k) * N_IN + i] = s[k];
        }
    }
""",
    "outputs": """\
    for (int j = 0; j < N_OUT; ++j) {
        double g[WIDTH];
        for (int f = 0; f < WIDTH; ++f)
            g[f] = W[place(WIDTH, j, f)];
        cotangent(slope_of, g);
        affine(N_IN, WIDTH, K_in_t, NULL, g, J + j * N_IN);
    }
""",
    "features": """\
    double G_t[PADDED * WIDTH] = {0.0}; /* of the features by K_in y, transposed, in panels */
    for (int f = 0; f < WIDTH; ++f) {
        double g[WIDTH] = {0.0};
        g[f] = 1.0;
        cotangent(slope_of, g);
        for (int i = 0; i < WIDTH; ++i)
            G_t[place(WIDTH, i, f)] = g[i];
    }
    for (int j = 0; j < N_OUT; ++j) {
        double w[WIDTH], g[WIDTH];
        for (int f = 0; f < WIDTH; ++f)
            w[f] = W[place(WIDTH, j, f)];
        affine(WIDTH, WIDTH, G_t, NULL, w, g);
        affine(N_IN, WIDTH, K_in_t, NULL, g, J + j * N_IN);
    }
""",
}

# The same of other features.
_BLOCKS_JACOBIAN = {
    "inputs": _JACOBIAN["inputs"]
    .replace("double d[WIDTH], s[8];", "double v[N_IN] = {0.0}, d[WIDTH], s[8];")
    .replace(
        "        for (int f = 0; f < WIDTH; ++f)\n            d[f] = K_in[place(N_IN, f, i)];\n", ""
    )
    .replace("tangent(slope_of, d);", "v[i] = 1.0;\n        push(slope_of, v, d);"),
    "outputs": """\
    for (int j = 0; j < N_OUT; ++j) {
        double g[WIDTH];
        for (int f = 0; f < WIDTH; ++f)
            g[f] = W[place(WIDTH, j, f)];
        pull(slope_of, g, J + j * N_IN);
    }
""",
}

_SEEN = """
/* Gives what the features take of y: logarithms of marked inputs, NaN where there is none. */
static void seen(const double *y, double *x)
{
    for (int i = 0; i < N_IN; ++i)
        x[i] = !log_inputs[i] ? y[i] : y[i] > 0.0 ? log(y[i]) : NAN;
}
"""
_PHYSICAL = """
/* Replaces what the linear layer gives by c. */
static void physical(double *c)
{
    for (int j = 0; j < N_OUT; ++j)
        if (log_outputs[j])
            c[j] = exp(c[j]);
}

/* Gives the derivatives of c by what the linear layer gives. */
static void output_factors(const double *x, double *by)
{
    double u[WIDTH], values[VALUES];
    features(x, u, values);
    affine(N_OUT, WIDTH, W, c_0, u, by);
    for (int j = 0; j < N_OUT; ++j)
        by[j] = log_outputs[j] ? exp(by[j]) : 1.0;
}
"""
_FACTORS = """\
    double by[N_OUT];
    output_factors($x, by);
"""
# What logarithms of inputs add to the functions, by the place.
_OF_INPUTS = {
    "logarithms": _SEEN,
    "see": "    double x[N_IN];\n    seen(y, x);\n",
    "chain_jacobian": """\
    for (int j = 0; j < N_OUT; ++j)
        for (int i = 0; i < N_IN; ++i)
            if (log_inputs[i])
                J[j * N_IN + i] /= y[i];
""",
    "chain_v": """\
    double scaled[N_IN];
    for (int i = 0; i < N_IN; ++i)
        scaled[i] = log_inputs[i] ? v[i] / y[i] : v[i];
""",
    "chain_g": """\
    for (int i = 0; i < N_IN; ++i)
        if (log_inputs[i])
            g[i] /= y[i];
""",
}
_OF_OUTPUTS = {
    "logarithms": _PHYSICAL,
    "physical": "    physical(c);\n",
    "physical_ends": "    physical(low);\n    physical(high);\n",
    "chain_jacobian": _FACTORS
    + """\
    for (int j = 0; j < N_OUT; ++j)
        for (int i = 0; i < N_IN; ++i)
            J[j * N_IN + i] *= by[j];
""",
    "chain_dc": _FACTORS + "    for (int j = 0; j < N_OUT; ++j)\n        dc[j] *= by[j];\n",
    "chain_w": _FACTORS + "    for (int j = 0; j < N_OUT; ++j)\n        by[j] *= w[j];\n",
    "chain_std": """\
    for (int j = 0; j < N_OUT; ++j)
        if (log_outputs[j])
            std[j] *= exp(c[j]);
""",
}
# Of an interval; see `surrogates.model.tails`.
_HALF = f"q * exp(0.5 * tail[j] * (q * q - {MIDDLE!r})) * std[j]"
_TAILED = """
 * For high levels they are further off than q standard deviations, for low ones nearer: errors have
 * heavier tails than a normal distribution."""
_SHARE = """\
    const double root = sqrt(variance);
    for (int j = 0; j < N_OUT; ++j)
        std[j] = root * sigma[j];
"""
_MEMBERS_SHARE = """\
    const double *layer = member_W;
    for (int j = 0; j < N_OUT; ++j)
        std[j] = variance * sigma[j] * sigma[j];
    for (int m = 0; m < $members; ++m) {
        double own[N_OUT];
        affine(N_OUT, member_widths[m], layer, member_biases + m * $padded_out, u, own);
        layer += $padded_out * member_widths[m];
        u += member_widths[m];
        for (int j = 0; j < N_OUT; ++j)
            std[j] += $spread * member_weights[m * N_OUT + j] * (own[j] - c[j]) * (own[j] - c[j]);
    }
    for (int j = 0; j < N_OUT; ++j)
        std[j] = sqrt(std[j]);
"""

_OFF_FLAT = """
/* Gives how far y is off the flat, along its normals. */
static void off_flat(const double *y, double *off)
{
    double scaled[N_IN];
    for (int i = 0; i < N_IN; ++i)
        scaled[i] = (y[i] - centre[i]) / unit[i];
    affine(NORMALS, N_IN, normals, NULL, scaled, off);
}
"""
_OFF_VARIANCE = """\
    double off[NORMALS];
    off_flat(x, off);
    for (int k = 0; k < NORMALS; ++k)
        variance += off[k] * off[k];
"""
_OFF_CHECK = """\
    double off[NORMALS];
    off_flat($x, off);
    for (int k = 0; k < NORMALS; ++k)
        if (!(fabs(off[k]) <= 1e-4))
            return 0;
"""


def write(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as C source, NAME.c and NAME.h beside it: both, whole, or neither.

    Args:
        surrogate: From `surrogates.load`.
        path: NAME.c. The functions are NAME_forward and so on, the sizes NAME_N_IN and NAME_N_OUT,
            in the case of the file's name: cdr and CDR are two surrogates.

    Raises:
        InputError: If NAME cannot begin a name in C, or would hide a header of C; if the
            surrogate's features have no such form (see `surrogates.export.reference.constants`); or
            if a file cannot be written.
    """
    path = Path(path)
    name = path.stem
    if path.suffix != ".c" or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(
            f"cannot write {path}: expected NAME.c, where NAME is a letter, then letters, digits "
            "and _, as its functions are NAME_forward and so on"
        )
    if name.lower() in _STANDARD:  # some file systems do not tell Math.h from math.h
        raise InputError(f"cannot write {path}: {name}.h would hide the header of C; rename it")
    source, header = _texts(name, constants(surrogate))
    with atomic(path.with_suffix(".h")) as beside_header, atomic(path) as beside:
        beside_header.write_text(header, encoding="utf-8")
        beside.write_text(source, encoding="utf-8")


def _texts(name: str, reference: Reference) -> tuple[str, str]:
    """Give source and header."""
    r, about = reference, reference.metadata
    n_out, n_in, n_flat = len(r.c_0), len(r.lower), len(r.normals)
    parts = features(r.blocks)
    through, jacobian = _jacobian(r)
    classifies = isinstance(r, ClassifierReference)
    inputs = zip(
        about["y_names"], about["y_units"], r.lower.tolist(), r.upper.tolist(), strict=True
    )
    outputs = zip(about["c_names"], about["c_units"], strict=True)
    places = _logarithms(r)
    words = {
        **places,
        **_shares(r, needs_c=bool(places["chain_std"])),
        "name": name,
        "version": __version__,
        "what": "a classifier" if classifies else "a surrogate of a PDE's solution",
        "logits": ", the calibrated logits of classes" if classifies else "",
        "about": _comment(_about(about)),
        "inputs": _comment(
            f"{i:5}  {_quoted(what)}  [{_quoted(unit)[1:-1]}]  {least!r} to {largest!r}"
            for i, (what, unit, least, largest) in enumerate(inputs)
        ),
        "outputs": _comment(
            f"{j:5}  {_quoted(what)}  [{_quoted(unit)[1:-1]}]"
            for j, (what, unit) in enumerate(outputs)
        ),
        "n_in": n_in,
        "n_out": n_out,
        "rows": len(r.leverage),
        "n_flat": n_flat,
        "kibibytes": -(-8 * _doubles(r, parts, through) // 1024),
        "tables": "\n".join(table(key, values) for key, values in _tables(r).items()),
        "place": _PLACE if "place(" in parts.text + jacobian else "",
        "features": parts.text,
        "jacobian": jacobian,
        "off_flat": _OFF_FLAT if n_flat else "",
        "off_variance": _OFF_VARIANCE if n_flat else "",
        "off_check": Template(_OFF_CHECK).substitute(places) if n_flat else "",
        "bars": ": NaN, as it is not known" if math.isnan(r.floor) else "",
        "domain": "the box above" + (" and the flat that they lie in" if n_flat else ""),
    }
    trust = (_CLASSES_SOURCE, _CLASSES_HEADER) if classifies else (_BARS_SOURCE, _BARS_HEADER)
    source, header = (template.substitute(words) for template in trust)
    return (
        _with_own_names(_SOURCE.substitute(words, trust_source=source), name),
        _HEADER.substitute(words, trust_header=header),
    )


def _with_own_names(source: str, name: str) -> str:
    """Put NAME_own_ before all names that a source keeps to itself.

    So the sources of several surrogates may be included in one, which C programs without a build
    system do. No two surrogates, however they are called, have such a name in common: the
    last part of none is that of a public name, so that one called NAME_own has none of them.
    """
    code = _COMMENT.sub("", source)
    own = {found for pattern in _OWN for found in pattern.findall(code)}
    own.update(word.split()[0] for text in _ENUM.findall(code) for word in text.split(","))
    names = "|".join(sorted(own, key=len, reverse=True))
    words = re.compile(rf'{_COMMENT.pattern}|"[^"\n]*"|\b({names})\b', re.DOTALL)

    def own_name(found: re.Match[str]) -> str:
        word = _PUBLIC_TOO.get(found[1], found[1])
        return f"{name}_own_{word}" if word else found[0]

    return words.sub(own_name, source)


def _jacobian(r: Reference) -> tuple[str, str]:
    """Choose what is taken through the features, the fewest; give its name and the statements."""
    sizes = {"inputs": len(r.lower), "outputs": len(r.c_0)}
    texts = _BLOCKS_JACOBIAN
    if len(r.blocks) == 1 and isinstance(r.blocks[0], Network):
        sizes["features"], texts = r.blocks[0].width, _JACOBIAN
    through = min(sizes, key=lambda key: sizes[key])
    return through, texts[through]


def _doubles(r: Reference, parts: Features, through: str) -> int:
    """Count the doubles that a call has on the stack at most, about."""
    n_rows, width = r.leverage.shape
    n_out, n_in = len(r.c_0), len(r.lower)
    doubles = parts.values + parts.work + 2 * width + n_rows + 4 * n_in + len(r.normals)
    doubles += (3 if r.ensemble.spread else 2) * n_out
    return doubles + ((width + 7) * width if through == "features" else 0)


def _tables(r: Reference) -> dict[str, npt.NDArray[Any]]:
    n_flat, classifies = len(r.normals), isinstance(r, ClassifierReference)
    bars: dict[str, npt.NDArray[Any]] = {
        "leverage": panels(r.leverage),
        "constant": padded(r.constant),
        "sigma": r.sigma,
    }
    if (r.signs < 0).any():
        bars["signs"] = r.signs
    if (r.tail > 0).any():
        bars["tail"] = r.tail
    if r.ensemble.spread:
        layers = np.split(r.ensemble.W, np.cumsum(r.ensemble.widths)[:-1], axis=1)
        bars["member_W"] = np.concatenate([panels(layer) for layer in layers])
        bars["member_biases"] = np.concatenate([padded(bias) for bias in r.ensemble.biases])
        bars["member_weights"] = r.ensemble.weights.ravel()
        bars["member_widths"] = r.ensemble.widths
    return {
        **{"W": panels(r.W), "c_0": padded(r.c_0), "W_t": panels(r.W.T)},
        **({} if classifies else bars),
        **{"lower": r.seen(r.lower), "upper": r.seen(r.upper)},
        **({"unit": r.unit} if n_flat or not classifies else {}),
        **({"centre": r.centre, "normals": panels(r.normals)} if n_flat else {}),
        **({"log_inputs": r.log_inputs.astype(int)} if r.log_inputs.any() else {}),
        **({"log_outputs": r.log_outputs.astype(int)} if r.log_outputs.any() else {}),
    }


def _logarithms(r: Reference) -> dict[str, str]:
    """Give the statements that logarithms add to the functions, by their place."""
    of_inputs, of_outputs = bool(r.log_inputs.any()), bool(r.log_outputs.any())
    words = {"x": "x" if of_inputs else "y", "v": "scaled" if of_inputs else "v"}
    words["w"] = "by" if of_outputs else "w"
    words["slack"] = " + (log_inputs[i] ? 1e-12 : 0.0)" if of_inputs else ""
    numbers = ", ".join(str(i) for i in np.flatnonzero(r.log_inputs))
    words["positive"] = (
        _comment(["These inputs must be positive, else all results are NaN:", f"{numbers}", ""])
        if of_inputs
        else ""
    )
    words["asymmetric"] = ""
    if of_outputs:
        numbers = ", ".join(str(j) for j in np.flatnonzero(r.log_outputs))
        words["asymmetric"] = (
            "\n * These outputs are predicted by their logarithms, and so are their ends:\n"
            f" * {numbers}"
        )
    chosen = [_OF_INPUTS] if of_inputs else []
    chosen += [_OF_OUTPUTS] if of_outputs else []
    for place in {**_OF_INPUTS, **_OF_OUTPUTS}:
        text = "".join(texts[place] for texts in chosen if place in texts)
        words[place] = Template(text).substitute(words)
    return words


def _shares(r: Reference, *, needs_c: bool) -> dict[str, str]:
    """Give the statements about the error bars, by their place."""
    spread, tailed = float(r.ensemble.spread), bool((r.tail > 0).any())
    words = {
        "members": str(len(r.ensemble.widths)),
        "padded_out": str(len(padded(r.c_0))),
        "spread": repr(spread),
    }
    return {
        "variance_floor": "NAN" if math.isnan(r.floor) else repr(float(r.floor)),
        "sign": "signs[f] * " if (r.signs < 0).any() else "",
        "share": Template(_MEMBERS_SHARE).substitute(words) if spread else _SHARE,
        "c_parameter": "const double *c, " if spread else "",
        "c_argument": "c, " if spread else "",
        "needed_c": "    double c[N_OUT];\n    affine(N_OUT, WIDTH, W, c_0, u, c);\n"
        if spread or needs_c
        else "",
        "of_what": "what the linear layer gives, c," if spread or needs_c else "c",
        "half": _HALF if tailed else "q * std[j]",
        "tailed": _TAILED if tailed else "",
    }


def _about(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Say where a surrogate comes from and how good it is, as far as its file does."""
    for key in ("problem", "created", "command"):
        if key in metadata:
            yield f"{key}: {_quoted(metadata[key])}"
    if "dataset" in metadata:
        yield f"digest of the dataset: {_quoted(metadata['dataset']['digest'])}"
    for part, errors in metadata.get("errors", {}).items():
        on = f"on {errors['samples']} samples ({_quoted(part)})"
        if "accuracy" in errors:
            yield (
                f"accuracy {on}: {errors['accuracy']:.1%}, "
                f"expected calibration error {errors['calibration_error']:.1%}"
            )
        elif errors["relative"]["mean"] is not None:
            relative = errors["relative"]
            yield f"relative error {on}: mean {relative['mean']:.3%}, max {relative['max']:.3%}"


def _comment(lines: Iterable[str]) -> str:
    return "".join(f" * {line}\n" for line in lines)


def _quoted(text: str) -> str:
    """Write a text as a JSON string that is safe in a comment, whatever a user put into it."""
    chars = json.dumps(text, ensure_ascii=False)
    safe = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in chars)
    return safe.replace("*/", "*\\/").replace("/*", "/\\u002a")
