"""Time a surrogate's calls in C on one thread, beside numpy in the same run.

    python scripts/benchmark_c.py cdr.pt

The source comes from `surrogates export --format c`, compiled by cc for any machine and for this
one. All calls take turns, so that a change of the machine's speed affects all, and loop over many
y. Times are the thread's own, without other programs. The floor of a forward is the time of its
arithmetic alone, measured in the same run: as many exponentials, and as many multiplications and
additions, eight sums at a time.
"""

import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmark_surrogate import main, numpy_forward

from surrogates.errors import InputError
from surrogates.export import c as c_source
from surrogates.export.constants import constants
from surrogates.model.loaded import LoadedSurrogate

FLAGS = ("-O2", "-O3 -march=native")
METHODS = ("forward", "jacobian", "jvp", "vjp", "predict_std")
SAMPLES = 64  # different y in a loop
CALLS = 200  # of a loop
ROUNDS = 60

# Every loop has the same arguments: number of calls, Y, a direction, a cotangent, the result.
LOOPS = (
    """
#include "timed.h"
#include <math.h>
static double sum_of_products(const double *x)
{
    static const double M[8 * SAMPLES];
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
    for (const double *m = M; m < M + 8 * SAMPLES; m += 8) {
        s0 += m[0] * *x, s1 += m[1] * *x, s2 += m[2] * *x, s3 += m[3] * *x;
        s4 += m[4] * *x, s5 += m[5] * *x, s6 += m[6] * *x, s7 += m[7] * *x;
    }
    return s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7;
}
#define LOOP(name, call) \\
    void name(long n, const double *Y, const double *v, const double *w, double *out) \\
    { \\
        (void)v, (void)w; \\
        for (long i = 0; i < n; ++i) { \\
            const double *y = Y + i % SAMPLES * timed_N_IN; \\
            call; \\
        } \\
    }
LOOP(forward, timed_forward(y, out))
LOOP(jacobian, timed_jacobian(y, out))
LOOP(jvp, timed_jvp(y, v, out))
LOOP(vjp, timed_vjp(y, w, out))
LOOP(predict_std, timed_predict_std(y, out))
LOOP(exponentials, for (int k = 0; k < SAMPLES; ++k) out[k] = exp(-Y[k]))
LOOP(multiply_adds, out[0] = sum_of_products(v))
"""
).replace("SAMPLES", str(SAMPLES))


def benchmark(surrogate: LoadedSurrogate) -> None:
    """Print the table."""
    r = constants(surrogate)
    net = r.blocks[0]
    in_numpy = numpy_forward(surrogate.module)
    rng = np.random.default_rng(0)
    Y = r.centre + r.unit * rng.uniform(-1, 1, (SAMPLES, surrogate.n_in))
    v, w = rng.standard_normal(surrogate.n_in), rng.standard_normal(surrogate.n_out)
    out = np.empty(surrogate.n_out * surrogate.n_in)
    calls: dict[tuple[str, str], Callable[[], object]] = {
        ("numpy", "forward"): lambda: [in_numpy(y) for y in Y]
    }
    with tempfile.TemporaryDirectory() as folder:
        c_source.save(surrogate, Path(folder) / "timed.c")
        for flags in FLAGS:
            loops = build(Path(folder), flags)
            for name in (*METHODS, "exponentials", "multiply_adds"):
                calls[flags, name] = bound(loops[name], Y, v, w, out)
    calls["-O2", "forward"]()
    np.testing.assert_allclose(out[: surrogate.n_out], in_numpy(Y[(CALLS - 1) % SAMPLES]), 1e-9)
    seconds = {key: np.empty(ROUNDS) for key in calls}
    for i in range(-3, ROUNDS):
        for key, call in calls.items():
            start = time.thread_time()
            call()
            n = SAMPLES if key[0] == "numpy" else CALLS
            seconds[key][max(i, 0)] = (time.thread_time() - start) / n
    median = {key: 1e6 * float(np.median(values)) for key, values in seconds.items()}
    exponentials = net.b.size + net.b_in.size
    entries = net.K_in.size + net.A.size + r.W.size
    weights = entries + net.b_in.size + net.b.size + r.c_0.size
    for flags in FLAGS:
        parts = (
            exponentials * median[flags, "exponentials"],
            entries / 8 * median[flags, "multiply_adds"],
        )
        median[flags, "forward's floor"] = sum(parts) / SAMPLES
    print(f"{'microseconds, median':24}" + "".join(f"{flags:>20}" for flags in FLAGS))
    for name in (*METHODS, "forward's floor"):
        print(f"{name:24}" + "".join(f"{median[flags, name]:20.2f}" for flags in FLAGS))
    reference_us = median["numpy", "forward"]
    print(f"{'forward in numpy':24}{reference_us:20.2f}")
    ratios = ", ".join(
        f"{reference_us / median[flags, 'forward']:.0f} ({flags})" for flags in FLAGS
    )
    print(f"a forward in C is faster than in numpy by {ratios}")
    print(
        f"a forward is {2 * entries} flops, {exponentials} exponentials, {8 * weights} bytes of "
        f"weights and {8 * (r.lower.size + r.c_0.size)} of y and c"
    )


def build(folder: Path, flags: str) -> ctypes.CDLL:
    """Compile the source and the loops to a library."""
    library = folder / f"{len(flags)}.so"
    (folder / "loops.c").write_text(LOOPS)
    sources = [str(folder / name) for name in ("loops.c", "timed.c")]
    command = ["cc", "-std=c99", *flags.split(), "-shared", "-fPIC", *sources, "-o", str(library)]
    try:
        subprocess.run([*command, "-lm"], check=True, timeout=200)
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(f"cannot build the source: {error}") from error
    return ctypes.CDLL(str(library))


def bound(loop: Callable[..., object], *arrays: np.ndarray) -> Callable[[], object]:
    """Return a function without arguments that calls a loop on arrays, and keeps them alive."""
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in arrays]
    return lambda: loop(ctypes.c_long(CALLS), *pointers)


if __name__ == "__main__":
    sys.exit(main(benchmark))
