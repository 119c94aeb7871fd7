"""Measure a surrogate's page in headless Chromium while a slider moves.

    python scripts/benchmark_page.py F.pt [F.pt ...]

Prints for each page its size, the time until it is drawn, and for 240 frames, in each of which the
first slider moves: the time of an update (median and 95 %, wall clock), of which the prediction
with its error bars takes the time beside it (median of 60), the processor time of the page's main
thread and of all Chromium's processes for one frame, and the frames a second. Below
16.7 ms of the main thread a core can draw 60 frames a second, the most that headless Chromium
draws. The first line is an empty page in the same browser: on a busy machine it too draws fewer.

Then the largest differences from TorchScript at 100 settings of the domain, over the outputs'
spread there: of c, of its standard deviation, and of the ends of its 95 % interval. For kernels, at
last the differences of c from the same sums in numpy's long double: TorchScript's, the page's, and
those of long double sums of kernel values that are rounded to double. Where the last is not small,
no program in double precision has more digits.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from chromium import PROGRAM, Browser

import surrogates
from surrogates.export import html
from surrogates.export.blocks import KAPPA, Radial
from surrogates.export.constants import constants as constants_of
from surrogates.export.reference import Reference
from surrogates.model.loaded import LoadedSurrogate
from surrogates.types import Array

FRAMES = 240
MOVE = """new Promise(done => {
  const slider = document.querySelector('input[type=range]'), updates = [];
  const start = performance.now();
  let frame = 0;
  const step = () => {
    if (frame && window.page) updates.push(page.milliseconds);
    if (slider) {
      slider.value = 500 + 400 * Math.sin(frame / 20);
      slider.dispatchEvent(new Event('input'));
    }
    if (++frame <= FRAMES) requestAnimationFrame(step);
    else {
      const rate = FRAMES / (performance.now() - start) * 1e3;
      done({rate, updates: updates.sort((a, b) => a - b)});
    }
  };
  requestAnimationFrame(step);
})""".replace("FRAMES", str(FRAMES))


PREDICTED = """!window.page ? 0 : Array.from({length: 60}, () => {
  const y = page.domain.random(new Set(), page.state.y), start = performance.now();
  page.result(y);
  return performance.now() - start;
}).sort((a, b) => a - b)[30]"""


def processes(pid: int) -> list[int]:
    """Return a process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in processes(int(child)))]


def seconds(browser: Browser) -> tuple[float, float]:
    """Return the processor time of the main thread, and of all processes."""
    (main,) = [
        metric["value"]
        for metric in browser.call("Performance.getMetrics")["metrics"]
        if metric["name"] == "TaskDuration"
    ]
    ticks = 0
    for pid in processes(browser.process.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return main, ticks / os.sysconf("SC_CLK_TCK")


def measure(browser: Browser, name: str, size: int, opened: float) -> None:
    """Move the slider of the page that is open, and print a line."""
    before = seconds(browser)
    found = browser.evaluate(MOVE)
    main, whole = (1e3 * (b - a) / FRAMES for a, b in zip(before, seconds(browser), strict=True))
    updates = found["updates"] or [0.0]
    middle, late = (updates[int(share * (len(updates) - 1))] for share in (0.5, 0.95))
    computed = browser.evaluate(PREDICTED)
    print(
        f"{name:<16}{size / 1e3:7.0f}{opened:8.2f}{middle:9.1f}{late:9.1f}{computed:9.1f}"
        f"{main:9.1f}{whole:9.1f}{found['rate']:9.1f}",
        flush=True,
    )


RESULTS = """Array.from({length: 100}, () => {
  const r = page.result(page.domain.random(new Set(), page.state.y));
  return [r.point.y, r.c, r.std, r.lower, r.upper].map(values => [...values]);
})"""


def compare(browser: Browser, surrogate: LoadedSurrogate) -> None:
    """Print the differences of the open page from a surrogate, which has error bars."""
    found = browser.evaluate(RESULTS)
    Y, C, std, *ends = (np.array([row[i] for row in found]) for i in range(5))
    right = surrogate.predict(Y)
    pairs = [(C, right), (std, surrogate.predict_std(Y))]
    pairs.append((np.stack(ends, axis=1), surrogate.predict_interval(Y, 0.95)))
    differences = [np.abs((a - b) / right.std(axis=0)).max() for a, b in pairs]
    print("    differs by", " ".join(f"{value:.1e}" for value in differences), flush=True)
    constants = constants_of(surrogate)
    if not any(isinstance(block, Radial) for block in constants.blocks):
        return
    exact, rounded = (in_long_double(constants, Y, kept) for kept in (np.longdouble, np.float64))
    found = [np.abs((c - exact) / right.std(axis=0)).max() for c in (right, C, rounded)]
    print("    from long double", " ".join(f"{float(value):.1e}" for value in found), flush=True)


def in_long_double(constants: Reference, Y: Array, kept: type) -> Array:
    """Return c at Y, (n, n_out), its features rounded to a type before they are summed."""
    r, wide = constants, np.longdouble
    X, features = r.seen(Y).astype(wide), []
    for block in r.blocks:
        if isinstance(block, Radial):
            scaled = (X - block.shift) * block.factor.astype(wide)
            distances = np.sqrt(
                sum((scaled[:, [i]] - c) ** 2 for i, c in enumerate(block.centres.T))
            )
            features.append(KAPPA[block.kernel][0](distances))
        else:
            features.append(block.features(X))
    u = np.concatenate(features, axis=1).astype(kept).astype(wide)
    return np.asarray(u @ r.W.T.astype(wide) + r.c_0)


def main() -> None:
    """Measure each page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("surrogates", nargs="+", metavar="F.pt")
    options = parser.parse_args()
    if PROGRAM is None:
        parser.error("there is no Chromium")
    browser = Browser(PROGRAM)
    try:
        browser.resize(1400, 900)
        browser.call("Performance.enable", timeDomain="threadTicks")
        print(
            "page                 KB  open s   update     95 %  predict     main   all ms frames/s",
            flush=True,
        )
        browser.call("Page.navigate", url="about:blank")
        measure(browser, "empty", 0, 0.0)
        with tempfile.TemporaryDirectory() as folder:
            for path in map(Path, options.surrogates):
                page = Path(folder, f"{path.stem}.html")
                surrogate = surrogates.load(path)
                html.save(surrogate, page)
                start = time.monotonic()
                browser.open(page)
                browser.wait("window.page && page.now && !page.waiting")
                opened = time.monotonic() - start
                time.sleep(1.0)
                measure(browser, path.stem, page.stat().st_size, opened)
                compare(browser, surrogate)
    finally:
        browser.close()


if __name__ == "__main__":
    main()
