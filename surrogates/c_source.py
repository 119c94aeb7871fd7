r"""A surrogate as C99 source: NAME.c and NAME.h, which need nothing but libm.

The functions are those of `surrogates.surrogate.Surrogate`, or of a `Classifier`, for one sample;
the header that `write` makes says what each of them takes and gives. All data are constant and all
else is on the stack, so that any number of threads may call them. The formulas are those of
`surrogates.reference`.

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

from . import __version__
from .errors import InputError
from .files import atomic
from .reference import Array, ClassifierReference, Reference, constants

if TYPE_CHECKING:
    from .export import LoadedSurrogate

_PANEL = 8  # rows; the loop of `affine` is written for it

# Headers of C99 that a file of the same name would hide from a program built with -I. (a surrogate
# "math" would write math.h).
_STANDARD = frozenset(
    "assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg "
    "stdbool stddef stdint stdio stdlib string tgmath time wchar wctype".split()
)

_PHI = {
    "sigmoid": """\
/* Replaces x by phi(x) = 1 / (1 + exp(-x)). Where exp overflows, 1 / infinity is the right 0. */
static void activate(double *x)
{
    for (int f = 0; f < WIDTH; ++f)
        x[f] = exp(-x[f]);
    for (int f = 0; f < WIDTH; ++f)
        x[f] = 1.0 / (1.0 + x[f]);
}

/* The derivative of phi where its value is k. */
static double slope(double k) { return k - k * k; }
""",
    "softplus": """\
/* Replaces x by phi(x) = log(1 + exp(x)). */
static void activate(double *x)
{
    for (int f = 0; f < WIDTH; ++f)
        x[f] = (x[f] > 0.0 ? x[f] : 0.0) + log1p(exp(-fabs(x[f])));
}

/* The derivative of phi where its value is k. */
static double slope(double k) { return -expm1(-k); }
""",
    "relu": """\
/* Replaces x by phi(x) = max(0, x), and NaN by NaN. */
static void activate(double *x)
{
    for (int f = 0; f < WIDTH; ++f)
        x[f] = x[f] < 0.0 ? 0.0 : x[f];
}

/* The derivative of phi where its value is k; NaN for NaN. */
static double slope(double k) { return k > 0.0 ? 1.0 : k; }
""",
}

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
 * Inputs y: name, [unit], least and largest value in the training data
 *
$inputs *
 * Outputs c$logits: name, [unit]
 *
$outputs */
#ifndef ${NAME}_SURROGATE_H
#define ${NAME}_SURROGATE_H

#define ${NAME}_N_IN $n_in
#define ${NAME}_N_OUT $n_out

#ifdef __cplusplus
extern "C" {
#endif

/* The prediction c(y). */
void ${name}_forward(const double y[${NAME}_N_IN], double c[${NAME}_N_OUT]);

/* Its Jacobian by rows: J[j * ${NAME}_N_IN + i] = dc_j / dy_i. */
void ${name}_jacobian(const double y[${NAME}_N_IN], double J[${NAME}_N_OUT * ${NAME}_N_IN]);

/* The derivative of c in the direction v, without the Jacobian: dc = J v. */
void ${name}_jvp(
    const double y[${NAME}_N_IN], const double v[${NAME}_N_IN], double dc[${NAME}_N_OUT]);

/* The gradient of w^T c by y, without the Jacobian: g = J^T w. */
void ${name}_vjp(
    const double y[${NAME}_N_IN], const double w[${NAME}_N_OUT], double g[${NAME}_N_IN]);

$trust_header
/* 1 if y lies in the domain of the training data, $domain; else 0. */
int ${name}_in_domain(const double y[${NAME}_N_IN]);

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

#if ${NAME}_N_IN != $n_in || ${NAME}_N_OUT != $n_out
#error "$name.h belongs to another surrogate"
#endif

enum { N_IN = ${NAME}_N_IN, N_OUT = ${NAME}_N_OUT };
enum { WIDTH = $width, PADDED = $padded, STEPS = $n_steps, STAGES = $n_stages, NORMALS = $n_flat };
enum { VALUES = (1 + STEPS * STAGES) * WIDTH };

/*
 * From u = phi(K_in y + b_in) on, each step takes the stages
 *
 *     k_0 = phi(A_0 u + b_0),    k_i = phi(A_i (u + lengths_i k_(i-1)) + b_i)
 *
 * and makes carry u + sum_i weights_i k_i of u. The prediction is c = W u + c_0. Matrices are in
 * panels, see affine; those with _t are transposed.
 */
static const double carry = $carry;

$tables
$phi
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

/* Where an entry of a matrix in panels is. */
static int place(int columns, int row, int column)
{
    return (row / 8 * columns + column) * 8 + row % 8;
}

/* Gives u, and all values of phi on the way: those of the first layer, then of each stage. */
static void features(const double *y, double *u, double *values)
{
    affine(WIDTH, N_IN, K_in, b_in, y, u);
    activate(u);
    for (int f = 0; f < WIDTH; ++f)
        values[f] = u[f];
    double *k = values + WIDTH;
    for (int stage = 0; stage < STEPS * STAGES; stage += STAGES) {
        double after[WIDTH], at[WIDTH];
        for (int f = 0; f < WIDTH; ++f) {
            after[f] = carry * u[f];
            at[f] = u[f];
        }
        for (int i = 0; i < STAGES; ++i, k += WIDTH) {
            affine(WIDTH, WIDTH, A + (stage + i) * PADDED * WIDTH, b + (stage + i) * PADDED, at, k);
            activate(k);
            for (int f = 0; f < WIDTH; ++f)
                after[f] += weights[i] * k[f];
            if (i + 1 < STAGES)
                for (int f = 0; f < WIDTH; ++f)
                    at[f] = u[f] + lengths[i + 1] * k[f];
        }
        for (int f = 0; f < WIDTH; ++f)
            u[f] = after[f];
    }
}

/* Gives the derivatives of phi that belong to the values of features. */
static void slopes(const double *y, double *slope_of)
{
    double u[WIDTH];
    features(y, u, slope_of);
    for (int v = 0; v < VALUES; ++v)
        slope_of[v] = slope(slope_of[v]);
}

/* Takes a derivative d of K_in y to that of the features. */
static void tangent(const double *slope_of, double *d)
{
    for (int f = 0; f < WIDTH; ++f)
        d[f] *= *slope_of++;
    for (int stage = 0; stage < STEPS * STAGES; stage += STAGES) {
        double after[WIDTH], at[WIDTH], dk[WIDTH];
        for (int f = 0; f < WIDTH; ++f) {
            after[f] = carry * d[f];
            at[f] = d[f];
        }
        for (int i = 0; i < STAGES; ++i, slope_of += WIDTH) {
            affine(WIDTH, WIDTH, A + (stage + i) * PADDED * WIDTH, NULL, at, dk);
            for (int f = 0; f < WIDTH; ++f) {
                dk[f] *= slope_of[f];
                after[f] += weights[i] * dk[f];
            }
            if (i + 1 < STAGES)
                for (int f = 0; f < WIDTH; ++f)
                    at[f] = d[f] + lengths[i + 1] * dk[f];
        }
        for (int f = 0; f < WIDTH; ++f)
            d[f] = after[f];
    }
}

/* Takes a gradient g by the features to that by K_in y. */
static void cotangent(const double *slope_of, double *g)
{
    for (int stage = (STEPS - 1) * STAGES; stage >= 0; stage -= STAGES) {
        double before[WIDTH], at[WIDTH] = {0.0}, gk[WIDTH];
        for (int f = 0; f < WIDTH; ++f)
            before[f] = carry * g[f];
        for (int i = STAGES - 1; i >= 0; --i) {
            const double length = i + 1 < STAGES ? lengths[i + 1] : 0.0;
            const double *slope_k = slope_of + (1 + stage + i) * WIDTH;
            for (int f = 0; f < WIDTH; ++f)
                gk[f] = slope_k[f] * (weights[i] * g[f] + length * at[f]);
            affine(WIDTH, WIDTH, A_t + (stage + i) * PADDED * WIDTH, NULL, gk, at);
            for (int f = 0; f < WIDTH; ++f)
                before[f] += at[f];
        }
        for (int f = 0; f < WIDTH; ++f)
            g[f] = before[f];
    }
    for (int f = 0; f < WIDTH; ++f)
        g[f] *= slope_of[f];
}
$off_flat
void ${name}_forward(const double y[${NAME}_N_IN], double c[${NAME}_N_OUT])
{
    double u[WIDTH], values[VALUES];
    features(y, u, values);
    affine(N_OUT, WIDTH, W, c_0, u, c);
}

void ${name}_jacobian(const double y[${NAME}_N_IN], double J[${NAME}_N_OUT * ${NAME}_N_IN])
{
    double slope_of[VALUES];
    slopes(y, slope_of);
$jacobian}

void ${name}_jvp(
    const double y[${NAME}_N_IN], const double v[${NAME}_N_IN], double dc[${NAME}_N_OUT])
{
    double slope_of[VALUES], d[WIDTH];
    slopes(y, slope_of);
    affine(WIDTH, N_IN, K_in, NULL, v, d);
    tangent(slope_of, d);
    affine(N_OUT, WIDTH, W, NULL, d, dc);
}

void ${name}_vjp(
    const double y[${NAME}_N_IN], const double w[${NAME}_N_OUT], double g[${NAME}_N_IN])
{
    double slope_of[VALUES], gu[WIDTH];
    slopes(y, slope_of);
    affine(WIDTH, N_OUT, W_t, NULL, w, gu);
    cotangent(slope_of, gu);
    affine(N_IN, WIDTH, K_in_t, NULL, gu, g);
}

$trust_source
int ${name}_in_domain(const double y[${NAME}_N_IN])
{
    for (int i = 0; i < N_IN; ++i) {
        const double slack = 1e-9 * (upper[i] - lower[i]);
        if (!(lower[i] - slack <= y[i] && y[i] <= upper[i] + slack))
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
void ${name}_predict_std(const double y[${NAME}_N_IN], double std[${NAME}_N_OUT]);
""")
_BARS_SOURCE = Template("""\
void ${name}_predict_std(const double y[${NAME}_N_IN], double std[${NAME}_N_OUT])
{
    double u[WIDTH], values[VALUES], z[WIDTH + 1], variance = $variance_floor;
    features(y, u, values);
    affine(WIDTH + 1, WIDTH, leverage, constant, u, z);
    for (int f = 0; f < WIDTH + 1; ++f)
        variance += z[f] * z[f];
    for (int i = 0; i < N_IN; ++i) {
        const double below = lower[i] - y[i], above = y[i] - upper[i];
        const double beyond = (below > above ? below : above) / unit[i];
        if (beyond > 0.0)
            variance += beyond * beyond;
    }
$off_variance    const double root = sqrt(variance);
    for (int j = 0; j < N_OUT; ++j)
        std[j] = root * sigma[j];
}
""")
_CLASSES_HEADER = Template("""\
/* The probability of each class: exp(c_k) over the sum of all of them. */
void ${name}_probabilities(const double y[${NAME}_N_IN], double p[${NAME}_N_OUT]);

/* The most probable class, from 0; -1 for a NaN in y. */
int ${name}_predict(const double y[${NAME}_N_IN]);
""")
_CLASSES_SOURCE = Template("""\
void ${name}_probabilities(const double y[${NAME}_N_IN], double p[${NAME}_N_OUT])
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

int ${name}_predict(const double y[${NAME}_N_IN])
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

# The rest of the Jacobian's function, by what is taken through the network.
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
    off_flat(y, off);
    for (int k = 0; k < NORMALS; ++k)
        variance += off[k] * off[k];
"""
_OFF_CHECK = """\
    double off[NORMALS];
    off_flat(y, off);
    for (int k = 0; k < NORMALS; ++k)
        if (!(fabs(off[k]) <= 1e-4))
            return 0;
"""


def write(surrogate: LoadedSurrogate, path: str | os.PathLike[str]) -> None:
    """Write a surrogate as C source, NAME.c and NAME.h beside it: both, whole, or neither.

    Args:
        surrogate: From `surrogates.load`.
        path: NAME.c. The functions are NAME_forward and so on.

    Raises:
        InputError: If NAME cannot begin a name in C, or would hide a header of C; if the
            surrogate's features have no such form (see `surrogates.reference.constants`); or if a
            file cannot be written.
    """
    path = Path(path)
    name = path.stem
    if path.suffix != ".c" or not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name):
        raise InputError(
            f"cannot write {path}: expected NAME.c, where NAME is a letter, then letters, digits "
            "and _, as its functions are NAME_forward and so on"
        )
    if name in _STANDARD:
        raise InputError(f"cannot write {path}: {name}.h would hide the header of C; rename it")
    source, header = _texts(name, constants(surrogate))
    with atomic(path.with_suffix(".h")) as beside_header, atomic(path) as beside:
        beside_header.write_text(header, encoding="utf-8")
        beside.write_text(source, encoding="utf-8")


def _texts(name: str, reference: Reference) -> tuple[str, str]:
    """Give source and header."""
    r, about = reference, reference.metadata
    n_steps, n_stages, width, _ = r.A.shape
    n_out, n_in, n_flat = len(r.c_0), len(r.lower), len(r.normals)
    stages, biases = r.A.reshape(-1, width, width), r.b.reshape(-1, width)
    padded = width + -width % _PANEL
    sizes = {"inputs": n_in, "outputs": n_out, "features": width}
    through = min(sizes, key=lambda key: sizes[key])
    doubles = (1 + n_steps * n_stages) * width + 8 * width + n_in + n_flat
    doubles += padded * width if through == "features" else 0
    classifies = isinstance(r, ClassifierReference)
    doubles += n_out if classifies else 0
    bars = {"leverage": _panels(r.leverage), "constant": _padded(r.constant), "sigma": r.sigma}
    tables = {
        **{"K_in": _panels(r.K_in), "b_in": _padded(r.b_in)},
        **{"A": np.concatenate([_panels(A) for A in stages])},
        **{"b": np.concatenate([_padded(b) for b in biases])},
        **{"lengths": r.lengths, "weights": r.weights},
        **{"W": _panels(r.W), "c_0": _padded(r.c_0)},
        **{"K_in_t": _panels(r.K_in.T), "W_t": _panels(r.W.T)},
        **{"A_t": np.concatenate([_panels(A.T) for A in stages])},
        **({} if classifies else bars),
        **{"lower": r.lower, "upper": r.upper},
        **({"unit": r.unit} if n_flat or not classifies else {}),
        **({"centre": r.centre, "normals": _panels(r.normals)} if n_flat else {}),
    }
    inputs = zip(
        about["y_names"], about["y_units"], r.lower.tolist(), r.upper.tolist(), strict=True
    )
    outputs = zip(about["c_names"], about["c_units"], strict=True)
    words = {
        "name": name,
        "NAME": name.upper(),
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
        "width": width,
        "padded": padded,
        "n_steps": n_steps,
        "n_stages": n_stages,
        "n_flat": n_flat,
        "carry": repr(float(r.carry)),
        "variance_floor": "NAN" if math.isnan(r.floor) else repr(float(r.floor)),
        "kibibytes": -(-8 * doubles // 1024),
        "tables": "\n".join(_table(key, values) for key, values in tables.items()),
        "phi": _PHI[r.phi],
        "jacobian": _JACOBIAN[through],
        "off_flat": _OFF_FLAT if n_flat else "",
        "off_variance": _OFF_VARIANCE if n_flat else "",
        "off_check": _OFF_CHECK if n_flat else "",
        "bars": ": NaN, as it is not known" if math.isnan(r.floor) else "",
        "domain": "the box above" + (" and the flat that they lie in" if n_flat else ""),
    }
    trust = (_CLASSES_SOURCE, _CLASSES_HEADER) if classifies else (_BARS_SOURCE, _BARS_HEADER)
    source, header = (template.substitute(words) for template in trust)
    return (
        _SOURCE.substitute(words, trust_source=source),
        _HEADER.substitute(words, trust_header=header),
    )


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


def _panels(M: Array) -> Array:
    """Order a matrix as the generated ``affine`` takes it."""
    blocks = np.pad(M, ((0, -len(M) % _PANEL), (0, 0))).reshape(-1, _PANEL, M.shape[1])
    return blocks.transpose(0, 2, 1).ravel()


def _padded(b: Array) -> Array:
    return np.pad(b, (0, -len(b) % _PANEL))


def _table(name: str, values: Array) -> str:
    """Declare an array of numbers, each with the digits that give it back."""
    numbers = [repr(value) for value in values.tolist()]
    lines = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    return f"static const double {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "};\n"


def _quoted(text: str) -> str:
    """Write a text as a JSON string that is safe in a comment, whatever a user put into it."""
    chars = json.dumps(text, ensure_ascii=False)
    safe = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in chars)
    return safe.replace("*/", "*\\/").replace("/*", "/\\u002a")
