"""Time the parts of the compiled engine of networks, in C alone, and what the processor can do.

    python scripts/benchmark_lanes.py cdr.pt

It compiles the engine's own source with its own flags, and a loop around each part: a group of
eight samples, and its matrix products and activations alone. The first line is a loop of
multiplications and additions of vectors that waits for no memory: the most that a core does. The
time of the products at that rate is their bound. All are the least of 300 rounds, on one thread.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import surrogates
from surrogates.errors import InputError, check
from surrogates.export.blocks import Network
from surrogates.export.c.engine import sources
from surrogates.export.c.library import FLAGS
from surrogates.export.constants import constants

PROGRAM = r"""
#include "engine.c"
#include <stdio.h>
#include <time.h>

enum { GROUPS = 64, ROUNDS = 300 };
static double Y[GROUPS * 8 * N_IN], C[GROUPS * 8 * OUT], J[N_OUT * N_IN], F[8 * ROW];
static lanes values[8 * KEPT / 8 + 1];
static volatile double sink;

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + 1e-9 * at.tv_nsec;
}

#define LEAST(seconds, statement) \
    for (int round = 0; round < ROUNDS; ++round) { \
        const double start = now(); \
        for (int g = 0; g < GROUPS; ++g) { statement; } \
        const double found = (now() - start) / GROUPS; \
        seconds = round == 0 || found < seconds ? found : seconds; \
    }

__attribute__((noinline)) static void multiply(int n)
{
    lanes s0 = all(1), s1 = all(2), s2 = all(3), s3 = all(4);
    lanes s4 = all(5), s5 = all(6), s6 = all(7), s7 = all(8);
    const lanes a = all(0.999), b = all(1e-9);
    EACH(i, n) {
        s0 = s0 * a + b, s1 = s1 * a + b, s2 = s2 * a + b, s3 = s3 * a + b;
        s4 = s4 * a + b, s5 = s5 * a + b, s6 = s6 * a + b, s7 = s7 * a + b;
    }
    sink = (s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7)[0];
}

__attribute__((noinline)) static void products(const double *y, double *c)
{
    rows_of_eight(U / 8, N_IN, K_in, b_in, y, N_IN, F, ROW);
    rows_of_eight(OUT / 8, COLUMNS, WA, c_0, F, ROW, c, OUT);
}

__attribute__((noinline)) static void activations(void)
{
    lanes *at = values;
    EACH(m, NETS) {
        const int n = (1 + nets[m].steps * nets[m].stages) * nets[m].padded;
        activate(nets[m].phi, n, at);
        at += n;
    }
}

static void line(const char *what, double seconds, int samples)
{
    printf("%-44s%9.4f us a sample\n", what, 1e6 * seconds / samples);
}

int main(void)
{
    double most, whole, product, activation, one, jacobian;
    EACH(g, GROUPS * 8) EACH(i, N_IN) Y[g * N_IN + i] =
        lower_of[i] + (upper_of[i] - lower_of[i]) * ((g + i) % 17) / 16.0;
    LEAST(most, multiply(1000));
    most /= 8000; /* of eight numbers */
    LEAST(whole, fast_forward_8(Y + g * 8 * N_IN, C + g * 8 * N_OUT));
    LEAST(product, products(Y + g * 8 * N_IN, C + g * 8 * OUT));
    LEAST(activation, activations());
    LEAST(one, fast_forward(Y + g * 8 * N_IN, C));
    LEAST(jacobian, fast_jacobian(Y + g * 8 * N_IN, J));
    const double work = (double)U * N_IN + (double)OUT * COLUMNS;
    printf("%-44s%9.1f GFLOP a second\n", "multiplications and additions, at most", 16e-9 / most);
    line("eight samples", whole, 8);
    line("  matrix products of inputs and outputs", product, 8);
    line("    at the most that the core does", most * work, 8);
    line("  activations", activation, 8);
    line("one sample", one, 1);
    line("its Jacobian", jacobian, 1);
    return 0;
}
"""


def main() -> int:
    """Print the table, or an error in one line."""
    try:
        check(len(sys.argv) == 2, "give a surrogate file")
        print(timed(sys.argv[1]), end="")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def timed(path: str) -> str:
    """Return the table of a surrogate file."""
    r = constants(surrogates.load(path))
    check(
        any(isinstance(block, Network) for block in r.blocks),
        f"{path} has no networks, of which the engine has this form",
    )
    files = sources(r)
    check(
        "fast_forward_8" in files["engine.c"] and "NETS" in files["engine.c"],
        f"{path} has other features too",
    )
    ends = (", ".join(map(repr, end.tolist())) for end in (r.lower, r.upper))
    tables = "".join(
        f"static const double {name}[] = {{{text}}};\n"
        for name, text in zip(("lower_of", "upper_of"), ends, strict=True)
    )
    flags = [flag for flag in FLAGS if flag not in ("-shared", "-fPIC")]
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**files, "parts.c": tables + PROGRAM}.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        command = ["cc", *flags, "parts.c", "full.c", "lean.c", "-o", "parts", "-lm"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        check(run.returncode == 0, f"cc cannot compile it: {run.stderr[:200]!r}")
        return subprocess.run(
            [Path(folder, "parts")], capture_output=True, text=True, timeout=600, check=True
        ).stdout


if __name__ == "__main__":
    raise SystemExit(main())
