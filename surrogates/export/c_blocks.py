"""The features of a surrogate as C source: functions and tables for each kind of block.

Each block has four functions of what the surrogate sees, x:

    features    x to the features u, with values that the derivatives need
    slopes      x to these derivatives' factors
    push        a direction in x to that of the features
    pull        a gradient by the features to that by x

A surrogate of one block has them under these names. Of several blocks each has its own, with its
number behind the names, and functions of these names call them one after the other. The loops go
through matrices in panels, see `surrogates.export.c_source`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from surrogates.types import Array

from .blocks import Anova, Block, Network, Radial

_PANEL = 8  # rows; the loop of `affine` is written for it

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

_NETWORK = """\
enum { WIDTH = $width, PADDED = $padded, STEPS = $steps, STAGES = $stages, VALUES = $values };

/*
 * From u = phi(K_in y + b_in) on, each step takes the stages
 *
 *     k_0 = phi(A_0 u + b_0),    k_i = phi(A_i (u + lengths_i k_(i-1)) + b_i)
 *
 * and makes carry u + sum_i weights_i k_i of u.
 */
static const double carry = $carry;

$tables
$phi
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
        double after[WIDTH], at[WIDTH], dk[WIDTH] = {0.0};
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

/* Takes a direction v to that of the features, d. */
static void push(const double *slope_of, const double *v, double *d)
{
    affine(WIDTH, N_IN, K_in, NULL, v, d);
    tangent(slope_of, d);
}

/* Takes a gradient g by the features, which it overwrites, to that by y. */
static void pull(const double *slope_of, double *g, double *gy)
{
    cotangent(slope_of, g);
    affine(N_IN, WIDTH, K_in_t, NULL, g, gy);
}
"""

_KAPPA = {
    "gaussian": """\
/* Gives kappa(r) of the square of r. */
static double kappa(double square) { return exp(-0.5 * square); }

/* Gives kappa'(r) / r. */
static double kappa_slope(double square) { return -exp(-0.5 * square); }
""",
    "matern52": """\
/* Gives s = sqrt(5) r of the square of r, up to where exp(-s) is 0. */
static double matern_s(double square)
{
    const double s = sqrt(5.0 * square);
    return s > 1000.0 ? 1000.0 : s;
}

/* Gives kappa(r) of the square of r. */
static double kappa(double square)
{
    const double s = matern_s(square);
    return (1.0 + s + s * s / 3.0) * exp(-s);
}

/* Gives kappa'(r) / r. */
static double kappa_slope(double square)
{
    const double s = matern_s(square);
    return -5.0 / 3.0 * (1.0 + s) * exp(-s);
}
""",
}

_RADIAL = """\
/* Features u_k = kappa(r_k), r_k the distance of a = (y - shift) factor from a centre. */
enum { WIDTH = $width, PADDED = $padded, VALUES = WIDTH + N_IN };

$tables
$phi
/* Gives a, and the squares of the distances. */
static void distances(const double *y, double *a, double *squares)
{
    const double *panel = centres;
    for (int i = 0; i < N_IN; ++i)
        a[i] = (y[i] - shift[i]) * factor[i];
    for (int k = 0; k < PADDED; k += 8) {
        double s[8] = {0.0};
        for (int i = 0; i < N_IN; ++i, panel += 8)
            for (int l = 0; l < 8; ++l) {
                const double d = a[i] - panel[l];
                s[l] += d * d;
            }
        for (int l = 0; l < 8; ++l)
            squares[k + l] = s[l];
    }
}

/* Gives u; values are a place to work in. */
static void features(const double *y, double *u, double *values)
{
    double squares[PADDED];
    distances(y, values, squares);
    for (int k = 0; k < WIDTH; ++k)
        u[k] = kappa(squares[k]);
}

/* Gives kappa'(r_k) / r_k for all k, then a. */
static void slopes(const double *y, double *slope_of)
{
    double squares[PADDED];
    distances(y, slope_of + WIDTH, squares);
    for (int k = 0; k < WIDTH; ++k)
        slope_of[k] = kappa_slope(squares[k]);
}

/* Takes a direction v to that of the features, d. */
static void push(const double *slope_of, const double *v, double *d)
{
    const double *a = slope_of + WIDTH;
    double scaled[N_IN];
    for (int i = 0; i < N_IN; ++i)
        scaled[i] = factor[i] * v[i];
    for (int k = 0; k < WIDTH; ++k) {
        double sum = 0.0;
        for (int i = 0; i < N_IN; ++i)
            sum += (a[i] - centres[place(N_IN, k, i)]) * scaled[i];
        d[k] = slope_of[k] * sum;
    }
}

/* Takes a gradient g by the features, which it overwrites, to that by y. */
static void pull(const double *slope_of, double *g, double *gy)
{
    const double *a = slope_of + WIDTH;
    for (int i = 0; i < N_IN; ++i)
        gy[i] = 0.0;
    for (int k = 0; k < WIDTH; ++k) {
        g[k] *= slope_of[k];
        for (int i = 0; i < N_IN; ++i)
            gy[i] += g[k] * (a[i] - centres[place(N_IN, k, i)]);
    }
    for (int i = 0; i < N_IN; ++i)
        gy[i] *= factor[i];
}
"""

_ANOVA = """\
/* Features u_k = prod_i (1 + shares_i (kappa(r_ki) - 1)), r_ki = |a_i - centre_ki| for
   a = (y - shift) factor. */
enum { WIDTH = $width, PADDED = $padded, VALUES = WIDTH * N_IN };

$tables
$phi
/* Gives u; values are a place to work in. */
static void features(const double *y, double *u, double *values)
{
    for (int i = 0; i < N_IN; ++i)
        values[i] = (y[i] - shift[i]) * factor[i];
    for (int k = 0; k < WIDTH; ++k) {
        double product = 1.0;
        for (int i = 0; i < N_IN; ++i) {
            const double d = values[i] - centres[place(N_IN, k, i)];
            product *= 1.0 + shares[i] * (kappa(d * d) - 1.0);
        }
        u[k] = product;
    }
}

/* Gives the derivatives of the features by y, those of u_k one after the other. */
static void slopes(const double *y, double *slope_of)
{
    for (int k = 0; k < WIDTH; ++k, slope_of += N_IN) {
        double factors[N_IN], product = 1.0;
        for (int i = 0; i < N_IN; ++i) {
            const double d = (y[i] - shift[i]) * factor[i] - centres[place(N_IN, k, i)];
            factors[i] = 1.0 + shares[i] * (kappa(d * d) - 1.0);
            slope_of[i] = product * shares[i] * kappa_slope(d * d) * d * factor[i];
            product *= factors[i];
        }
        product = 1.0;
        for (int i = N_IN - 1; i >= 0; --i) {
            slope_of[i] *= product;
            product *= factors[i];
        }
    }
}

/* Takes a direction v to that of the features, d. */
static void push(const double *slope_of, const double *v, double *d)
{
    for (int k = 0; k < WIDTH; ++k) {
        double sum = 0.0;
        for (int i = 0; i < N_IN; ++i)
            sum += slope_of[k * N_IN + i] * v[i];
        d[k] = sum;
    }
}

/* Takes a gradient g by the features to that by y. */
static void pull(const double *slope_of, double *g, double *gy)
{
    for (int i = 0; i < N_IN; ++i)
        gy[i] = 0.0;
    for (int k = 0; k < WIDTH; ++k)
        for (int i = 0; i < N_IN; ++i)
            gy[i] += g[k] * slope_of[k * N_IN + i];
}
"""

_POLYNOMIAL = """\
/* Features x = (y - shift) / scale, and the products of pairs of them. */
enum { WIDTH = $width, PAIRS = WIDTH - N_IN, VALUES = N_IN };

$tables
/* Gives u; values become x. */
static void features(const double *y, double *u, double *values)
{
    for (int i = 0; i < N_IN; ++i)
        u[i] = values[i] = (y[i] - shift[i]) / scale[i];
    for (int p = 0; p < PAIRS; ++p)
        u[N_IN + p] = values[first[p]] * values[second[p]];
}

/* Gives x. */
static void slopes(const double *y, double *slope_of)
{
    for (int i = 0; i < N_IN; ++i)
        slope_of[i] = (y[i] - shift[i]) / scale[i];
}

/* Gives 0, and NaN where an x is NaN, of which no derivative of x itself would tell. */
static double nothing(const double *x)
{
    double sum = 0.0;
    for (int i = 0; i < N_IN; ++i)
        sum += x[i] - x[i];
    return sum;
}

/* Takes a direction v to that of the features, d. */
static void push(const double *slope_of, const double *v, double *d)
{
    const double zero = nothing(slope_of);
    for (int i = 0; i < N_IN; ++i)
        d[i] = v[i] / scale[i] + zero;
    for (int p = 0; p < PAIRS; ++p)
        d[N_IN + p] = slope_of[first[p]] * d[second[p]] + slope_of[second[p]] * d[first[p]];
}

/* Takes a gradient g by the features to that by y. */
static void pull(const double *slope_of, double *g, double *gy)
{
    const double zero = nothing(slope_of);
    for (int i = 0; i < N_IN; ++i)
        gy[i] = g[i] + zero;
    for (int p = 0; p < PAIRS; ++p) {
        gy[first[p]] += g[N_IN + p] * slope_of[second[p]];
        gy[second[p]] += g[N_IN + p] * slope_of[first[p]];
    }
    for (int i = 0; i < N_IN; ++i)
        gy[i] /= scale[i];
}
"""

_ALL = """\
enum { WIDTH = $width, VALUES = $values };

/* The functions of all blocks together, one after the other. */
static void features(const double *y, double *u, double *values)
{
$features}

static void slopes(const double *y, double *slope_of)
{
$slopes}

static void push(const double *slope_of, const double *v, double *d)
{
$push}

static void pull(const double *slope_of, double *g, double *gy)
{
    double part[N_IN];
    for (int i = 0; i < N_IN; ++i)
        gy[i] = 0.0;
$pull}
"""
_PULL = """\
    pull$s(slope_of + $value, g + $start, part);
    for (int i = 0; i < N_IN; ++i)
        gy[i] += part[i];
"""

# What a block has for itself, as whole words of its text, or a comment.
_OWN = re.compile(
    r"/\*.*?\*/|\b(WIDTH|PADDED|STEPS|STAGES|VALUES|PAIRS|carry|K_in|b_in|A|b|lengths|weights|K_in_t|A_t|"
    r"activate|slope|features|slopes|tangent|cotangent|push|pull|kappa|kappa_slope|matern_s|centres|"
    r"shift|factor|scale|shares|distances|first|second|nothing)\b",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Features:
    """The C source of all blocks.

    Attributes:
        text: Tables and functions.
        values: Doubles that ``features`` writes beside u, and ``slopes`` in all.
        work: Doubles at most that a function has on the stack for itself.
    """

    text: str
    values: int
    work: int


def features(blocks: Sequence[Block]) -> Features:
    """Write the functions of a surrogate's blocks."""
    parts = [_one(block) for block in blocks]
    work = max(part.work for part in parts)
    if len(parts) == 1:
        return parts[0]
    start = value = 0
    texts, calls = [], {name: "" for name in ("features", "slopes", "push", "pull")}
    for i, (block, part) in enumerate(zip(blocks, parts, strict=True)):
        s = f"_{i}"
        texts.append(_suffixed(part.text, s))
        calls["features"] += f"    features{s}(y, u + {start}, values + {value});\n"
        calls["slopes"] += f"    slopes{s}(y, slope_of + {value});\n"
        calls["push"] += f"    push{s}(slope_of + {value}, v, d + {start});\n"
        calls["pull"] += Template(_PULL).substitute(s=s, value=value, start=start)
        start, value = start + block.width, value + part.values
    texts.append(Template(_ALL).substitute(calls, width=start, values=value))
    n_in = _n_in(blocks[0])
    return Features(text="\n".join(texts), values=value, work=work + n_in)


def _suffixed(text: str, suffix: str) -> str:
    """Give a block its own names; comments stay as they are."""

    def name(found: re.Match[str]) -> str:
        return found[0] + suffix if found[1] else found[0]

    return _OWN.sub(name, text)


def _n_in(block: Block) -> int:
    return block.K_in.shape[1] if isinstance(block, Network) else len(block.shift)


def _one(block: Block) -> Features:
    width, n_in = block.width, _n_in(block)
    padded_width = width + -width % _PANEL
    words: dict[str, Any] = {"width": width, "padded": padded_width}
    if isinstance(block, Network):
        steps, stages = block.A.shape[:2]
        values, work = (1 + steps * stages) * width, 6 * width
        words.update(steps=steps, stages=stages, values=values, phi=_PHI[block.phi])
        text = Template(_NETWORK).substitute(
            words, carry=repr(float(block.carry)), tables=_tables(_network_tables(block))
        )
    elif isinstance(block, Anova):
        values, work = width * n_in, n_in
        tables = {name: getattr(block, name) for name in ("shift", "factor", "shares")}
        tables["centres"] = panels(block.centres)
        words.update(phi=_KAPPA[block.kernel], tables=_tables(tables))
        text = Template(_ANOVA).substitute(words)
    elif isinstance(block, Radial):
        values, work = width + n_in, padded_width + n_in
        tables = {"shift": block.shift, "factor": block.factor, "centres": panels(block.centres)}
        words.update(phi=_KAPPA[block.kernel], tables=_tables(tables))
        text = Template(_RADIAL).substitute(words)
    else:
        values, work = n_in, n_in
        tables = {name: getattr(block, name) for name in ("shift", "scale", "first", "second")}
        text = Template(_POLYNOMIAL).substitute(words, tables=_tables(tables))
    return Features(text=text, values=values, work=work)


def _network_tables(block: Network) -> dict[str, Array]:
    width = block.width
    stages, biases = block.A.reshape(-1, width, width), block.b.reshape(-1, width)
    return {
        **{"K_in": panels(block.K_in), "b_in": padded(block.b_in)},
        **{"A": np.concatenate([panels(A) for A in stages])},
        **{"b": np.concatenate([padded(b) for b in biases])},
        **{"lengths": block.lengths, "weights": block.weights},
        **{"K_in_t": panels(block.K_in.T)},
        **{"A_t": np.concatenate([panels(A.T) for A in stages])},
    }


def _tables(tables: dict[str, Any]) -> str:
    return "\n".join(table(name, values) for name, values in tables.items())


def panels(M: Array) -> Array:
    """Order a matrix as the generated ``affine`` takes it."""
    blocks = np.pad(M, ((0, -len(M) % _PANEL), (0, 0))).reshape(-1, _PANEL, M.shape[1])
    return blocks.transpose(0, 2, 1).ravel()


def padded(b: Array) -> Array:
    """Fill up a bias with zeros to whole panels."""
    return np.pad(b, (0, -len(b) % _PANEL))


def table(name: str, values: npt.NDArray[Any]) -> str:
    """Declare an array of numbers, each with the digits that give it back; ints for integers."""
    numbers = [repr(value) for value in values.tolist()] or ["0"]
    kind = "int" if values.dtype.kind in "iub" else "double"
    lines = [", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4)]
    return f"static const {kind} {name}[{len(numbers)}] = {{\n    " + ",\n    ".join(lines) + "};\n"
