"""Commands that use a surrogate: evaluate, predict, export, explore, serve."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import surrogates
from surrogates.data import Dataset
from surrogates.errors import InputError

from .console import coverage, per_cent, print_rows, warn
from .data import check_out
from .options import Commands, add_part, add_refuse_outside, add_trust


def add_evaluate(commands: Commands) -> None:
    """Add evaluate."""
    sub = commands.add("evaluate", evaluate, "measure a surrogate's errors on a part of a dataset")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("file", metavar="F.h5")
    add_part(sub)
    sub.add_argument("--json", action="store_true", help="print JSON")
    add_trust(sub)


def add_predict(commands: Commands) -> None:
    """Add predict."""
    sub = commands.add("predict", predict, "evaluate a surrogate at the parameters in a file")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--in", dest="input", required=True, metavar="y.csv|.npy|.h5")
    sub.add_argument("--out", required=True, metavar="c.csv|.npy|.h5")
    add_refuse_outside(sub)
    add_trust(sub)


def add_export(commands: Commands) -> None:
    """Add export."""
    sub = commands.add(
        "export",
        export_surrogate,
        "write a surrogate as C99, for Fortran, numpy, JAX, ONNX, torch.export, or as a page",
    )
    sub.add_argument("surrogate", metavar="F.pt")
    formats = ("c", "fortran", "ctypes", "npz", "jax", "onnx", "pt2", "html")
    sub.add_argument("--format", choices=formats, required=True)
    endings = "F.c|F.f90|F.py|F.npz|F.onnx|F.pt2|F.html"
    sub.add_argument("--out", required=True, metavar=endings)
    sub.add_argument(
        "--method",
        metavar="NAME",
        help="method that a .pt2 file (default forward) or an .onnx file (default all) holds",
    )
    add_trust(sub)


def add_explore(commands: Commands) -> None:
    """Add explore."""
    sub = commands.add("explore", explore, "open a surrogate as a page in the browser")
    sub.add_argument("surrogate", metavar="F.pt")
    sub.add_argument("--out", metavar="F.html", help="default a temporary file, which stays")
    add_trust(sub)


def add_serve(commands: Commands) -> None:
    """Add serve."""
    sub = commands.add("serve", serve, "answer UM-Bridge clients over HTTP")
    sub.add_argument("surrogates", nargs="+", metavar="F.pt")
    sub.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1, this machine alone")
    sub.add_argument("--port", type=int, default=4242, help="default 4242; 0 for any that is free")
    sub.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which clients call this server; may be repeated",
    )
    add_refuse_outside(sub)
    add_trust(sub)


def load_both(options: argparse.Namespace) -> tuple[Any, Dataset]:
    """Read a surrogate and a dataset that it fits."""
    surrogate = surrogates.load(options.surrogate, trust=options.trust)
    dataset = Dataset.read(options.file)
    surrogate.check_matches(dataset.info)
    return surrogate, dataset


def evaluate(options: argparse.Namespace) -> int:
    """Measure a surrogate's errors on a dataset."""
    from surrogates.model import describe

    surrogate, dataset = load_both(options)
    from surrogates.training.advice import poor_outputs

    errors = surrogate.evaluate(dataset, options.split)
    if options.json:
        print(json.dumps(describe.plain(errors), indent=2, allow_nan=False))
        return 0
    print(f"{options.surrogate} on the {errors.samples} {options.split} samples of {options.file}")
    if dataset.info.task == "classification":
        _print_assessment(errors, surrogate)
    else:
        print(f"error over spread: {errors.by_spread(dataset.info.c_names)}")
        print(f"relative error:    {errors.relative}")
        print(f"of centred c:      {errors.centred}")
        for what, line in errors.by_unit.items():
            print(f"{f'error of {what}:':<18} {line}")
        print(f"error bars:        {coverage(errors.coverage)}")
        for warning in poor_outputs({options.split: errors}, dataset):
            warn(warning)
    same = surrogate.metadata.get("dataset", {}).get("digest") == dataset.digest
    tried = "tried" in surrogate.metadata["training"]
    if same and options.split == "validation" and tried:
        warn("it has been trained on these samples too; train printed errors held out by folds")
    return 0


def _print_assessment(found: Any, surrogate: Any) -> None:
    names, numbers = surrogate.class_names, [sum(row) for row in found.confusion]
    there = [k for k, number in enumerate(numbers) if number]
    worst = sorted(there, key=lambda k: float(found.class_accuracy[k]))[:3]
    mistakes = np.array(found.confusion) * (1 - np.eye(len(names), dtype=int))
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    print_rows(
        {
            "accuracy": per_cent(found.accuracy),
            "worst classes": ", ".join(
                f"{names[k]} {per_cent(found.class_accuracy[k])} of {numbers[k]:.6g}" for k in worst
            ),
            "most mistaken": f"{names[true]} for {names[predicted]}, {mistakes.max():.6g} times"
            if mistakes.any()
            else "",
            "cross-entropy": f"{found.cross_entropy:.4g} (natural logarithm)",
            "Brier score": f"{found.brier:.4g}",
            "calibration": f"expected calibration error {per_cent(found.calibration_error)}, "
            f"temperature {surrogate.temperature:.4g}",
        }
    )
    print("largest probability     mean  accuracy  samples")
    for bin in found.reliability:
        if bin.samples:
            interval = f"{100 * bin.lower:.0f} to {100 * bin.upper:.0f} %"
            mean, share = per_cent(bin.confidence), per_cent(bin.accuracy)
            print(f"{interval:>19}{mean:>9}{share:>10}{bin.samples:9}")


def predict(options: argparse.Namespace) -> int:
    """Write the predictions of a table of parameters."""
    from surrogates.data.rows import read_table, write_table
    from surrogates.model.loaded import LoadedClassifier

    check_out(options.out, options.input, options.surrogate)
    surrogate = surrogates.load(
        options.surrogate, refuse_outside=options.refuse_outside, trust=options.trust
    )
    Y = read_table(options.input, surrogate.metadata["y_names"])
    names = surrogate.metadata["c_names"]
    if isinstance(surrogate, LoadedClassifier):
        classes = [names[k] for k in surrogate.predict(Y)]
        write_table(options.out, surrogate.probabilities(Y), names, classes)
        what = f"the probabilities of {surrogate.n_out} classes"
    else:
        write_table(options.out, surrogate.predict(Y), names)
        what = f"{surrogate.n_out} observables"
    outside = int((~surrogate.in_domain(Y)).sum())
    print(f"{options.out}: {len(Y)} predictions of {what}")
    if outside:
        print(f"{outside} of them outside the training domain (in_domain)")
    return 0


def export_surrogate(options: argparse.Namespace) -> int:
    """Write a surrogate in another form."""
    from surrogates.export import c, html, jax, npz, onnx, pt2
    from surrogates.export.c import fortran, loader

    check_out(options.out, options.surrogate)
    if options.method is not None and options.format not in ("pt2", "onnx"):
        raise InputError("--method is for --format pt2 and onnx: the others have all methods")
    surrogate = surrogates.load(options.surrogate, trust=options.trust)
    if options.format == "pt2":
        pt2.save(surrogate, options.out, method=options.method or "forward")
    elif options.format == "onnx":
        onnx.save(surrogate, options.out, method=options.method)
    else:
        plain = {"c": c, "fortran": fortran, "ctypes": loader, "npz": npz, "jax": jax, "html": html}
        plain[options.format].save(surrogate, options.out)
    print(f"{options.out}: {surrogate.n_in} parameters, {surrogate.n_out} {surrogate.OUTPUTS}")
    return 0


def explore(options: argparse.Namespace) -> int:
    """Write a surrogate as a page, and open it."""
    from surrogates.export import html

    if options.out:
        check_out(options.out, options.surrogate)
    surrogate = surrogates.load(options.surrogate, trust=options.trust)
    folder = "" if options.out else tempfile.mkdtemp(prefix="surrogates-")
    path = Path(options.out or Path(folder, f"{Path(options.surrogate).stem}.html")).absolute()
    try:
        html.save(surrogate, path)
    except BaseException:
        if folder:
            os.rmdir(folder)
        raise
    print(path, flush=True)
    # Without a display, webbrowser takes a browser for terminals, which would wait for keys.
    shown = sys.platform != "linux" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not shown:
        print("there is no display here: open the page in any browser, on any machine")
        return 0
    try:
        found = webbrowser.open(path.as_uri())
    except KeyboardInterrupt:  # of a browser that $BROWSER keeps in the foreground
        print("interrupted; the page stays", file=sys.stderr)
        return 130
    if not found:
        print("no browser was found: open the page in any, on any machine")
    return 0


def serve(options: argparse.Namespace) -> int:
    """Serve a surrogate over HTTP."""
    try:
        from surrogates.serve import serving
    except ImportError as error:
        raise InputError(
            f"serving needs aiohttp: pip install 'varpro-surrogates[serve]' ({error})"
        ) from error

    def tell(url: str, names: Sequence[str]) -> None:
        print(f"serving {', '.join(names)} at {url} (Ctrl-C ends)", flush=True)

    serving.serve(
        options.surrogates,
        host=options.host,
        port=options.port,
        refuse_outside=options.refuse_outside,
        trust=options.trust,
        allow_hosts=options.allow_host,
        on_listening=tell,
    )
    return 0
