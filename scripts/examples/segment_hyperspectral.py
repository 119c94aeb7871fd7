r"""Segment a hyperspectral scene: the class of each pixel from its spectrum, by GNvpro.

    python scripts/examples/segment_hyperspectral.py [SCENE.mat --ground-truth GT.mat]
        [--split A/B/C|balanced] [--settings best|source] [--set KEY=VALUE ...]
        [--seeds 0 1 2 3 4] [--compare] [--reference] [--out segmentation.pt]

The scene is Indian Pines, which the package tensorly ships, or a pair of files in their published
form (`surrogates.data.hyperspectral`). Each labelled pixel is a sample; its place and neighbours
are not used. The classifier is trained on the first part of the split, by mean cross-entropy. The
second part selects the weights, and the temperature of the probabilities; the third is only for
tests.

Settings: ``source``, in segment_source.toml, is that of Newman et al. 2021 ("Train Like a
(Var)Pro"): a neural ODE of width 32 to the time 4 on 3 levels of 500 work units, with weights
smooth in time, on standardised bands. ``best``, in segment_best.toml, is a shorter ODE on bands
mixed by `surrogates.training.data.Mix`, as bands are samples of a curve with different noise.
``surrogates train`` takes either file as its ``--config``.

``--compare`` trains the same network by other methods with the same work units, and with their
default patience. ``--reference`` adds a support vector machine with a Gaussian kernel (C=100,
gamma='scale', the best of a grid from 10 to 10 000 times 0.0005 to 0.02 on the validation pixels of
Indian Pines) and logistic regression, both from scikit-learn, on standardised bands and on the
network's mixed inputs. A seed is for the split and the first weights.

Beside OUT.pt, the classifier of the first seed, it writes OUT.history.jsonl, and the figures
OUT.png (maps of truth, prediction and difference), OUT.confusion.png and OUT.convergence.png.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classification import OPTIMIZERS, Run, check_out, per_cent, save, train
from program import Parser, ended, say

from surrogates import config
from surrogates.config import check, check_seed, replaced
from surrogates.data import PARTS, Dataset, Scene, Split, hyperspectral
from surrogates.data.hyperspectral import INDIAN_PINES
from surrogates.errors import InputError
from surrogates.model.summaries import Assessment
from surrogates.plots import classification, history
from surrogates.plots import style as plotting
from surrogates.plots.style import GREY, legend_key
from surrogates.training.config import TrainConfig
from surrogates.types import Array

PINES_SPLIT = "2957/6560/732"  # of other scenes: balanced
FIGURES = (".png", ".confusion.png", ".convergence.png")
TARGET = 0.872  # validation accuracy of the paper's code on Indian Pines

_DIFFERENCE = {
    "trained on, right": "#e8e8e8",
    "not trained on, right": "#b8b8b8",
    "wrong": "black",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table of accuracies.

    Attributes:
        method: The method.
        seed: Seed of split and first weights.
        accuracy: Accuracy on each part, in the order of `PARTS`.
        wall: Seconds of training.
        cpu: Seconds of processor time.
        run: The training; None for a reference.
    """

    method: str
    seed: int
    accuracy: tuple[float, ...]
    wall: float
    cpu: float
    run: Run | None = None

    def __str__(self) -> str:
        """Write the line in the columns of `HEADER`."""
        cells = "".join(f"{per_cent(one):>12}" for one in self.accuracy)
        line = f"{self.method:26}{self.seed:4}{cells}{self.wall:9.1f}{self.cpu:9.1f}"
        if self.run is None:
            return line
        seconds = self.run.reached(TARGET)
        until = f"{seconds:9.1f}" if math.isfinite(seconds) else f"{'never':>9}"
        return f"{line}{until}{self.run.classifier.history[-1].work_units:8}"


HEADER = (
    f"{'accuracy [%]':26}{'seed':>4}"
    + "".join(f"{name:>12}" for name in PARTS)
    + f"{'wall [s]':>9}{'CPU [s]':>9}{f'to {100 * TARGET:.1f}':>9}{'work':>8}"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print and draw; return the exit status."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", nargs="?", default=INDIAN_PINES, metavar="SCENE.mat")
    parser.add_argument("--ground-truth", metavar="GT.mat")
    parser.add_argument(
        "--split", help=f"as `surrogates import` takes it; default {PINES_SPLIT}, else balanced"
    )
    parser.add_argument(
        "--settings", choices=("best", "source"), default="best", help="default best"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default 0")
    parser.add_argument("--compare", action="store_true", help="train by other methods as well")
    parser.add_argument("--reference", action="store_true", help="add scikit-learn's classifiers")
    parser.add_argument("--out", default="segmentation.pt", help="default segmentation.pt")
    return ended(lambda: study(parser.parse_args(arguments)))


def study(options: Namespace) -> None:
    """Print the tables, and write classifier and figures."""
    out = Path(options.out)
    check_out(out)
    for seed in options.seeds:
        check_seed(seed)
    path = Path(__file__).with_name(f"segment_{options.settings}.toml")
    settings = config.read(TrainConfig, path, options.set)
    check(settings.seed == TrainConfig.seed, "the seed is that of --seeds here")
    check(
        settings.optimizer.name == "gnvpro",
        "the optimizer is gnvpro here; --compare has the others",
    )
    models = reference_models() if options.reference else {}
    scene = read(options.scene, options.ground_truth)
    split = options.split or (PINES_SPLIT if scene.name == INDIAN_PINES else "balanced")

    rows: list[Row] = []
    for seed in options.seeds:
        dataset = scene.dataset(split=split, seed=seed)
        if not rows:
            describe(scene, dataset, settings)
            print(f"\n{HEADER}")
        optimizers = OPTIMIZERS if options.compare else ("gnvpro",)
        for optimizer in optimizers:
            say(f"seed {seed}: {OPTIMIZERS[optimizer]}")
            patience = settings.stopping.patience if optimizer == "gnvpro" else None
            here = replaced(
                settings, {"seed": seed, "optimizer.name": optimizer, "stopping.patience": patience}
            )
            rows.append(row_of(train(dataset, here)))
            print(rows[-1], flush=True)
        if models:
            say(f"seed {seed}: scikit-learn")
            for row in references(dataset, settings, seed, models):
                rows.append(row)
                print(row, flush=True)
    if len(options.seeds) > 1:
        summarise(rows)

    first, dataset = rows[0].run, scene.dataset(split=split, seed=options.seeds[0])
    assert first is not None
    report(dataset, first)
    loaded = save(first, out)
    labelled = scene.truth > 0
    prediction, trained = np.zeros_like(scene.truth), np.zeros_like(labelled)
    prediction[labelled] = 1 + loaded.predict(scene.cube[labelled])
    trained[labelled] = dataset.split == Split.TRAIN
    maps, confusion, convergence = map(out.with_suffix, FIGURES)
    draw(scene, prediction, trained, maps)
    counts = first.found["validation"].confusion
    title = f"{scene.name}: validation pixels"
    classification.confusion(counts, scene.class_names, confusion, title=title)
    seed = options.seeds[0]
    runs = {row.method: row.run for row in rows if row.run and row.seed == seed}
    histories = {method: run.classifier.history for method, run in runs.items()}
    title = f"{scene.name}, {dataset.size('train')} training pixels"
    history.history(histories, convergence, task="classification", title=title)
    print(f"\nclassifier: {out}\nfigures: {maps}, {confusion}, {convergence}")


def read(scene: str, truth: str | None) -> Scene:
    """Read the requested scene."""
    if scene == INDIAN_PINES:
        check(truth is None, f"{INDIAN_PINES} has its ground truth; leave out --ground-truth")
        return hyperspectral.indian_pines()
    if truth is None:
        raise InputError(f"--ground-truth GT.mat must say what the pixels of {scene} are")
    return hyperspectral.read_scene(scene, truth)


def row_of(run: Run) -> Row:
    """Make the line of a training."""
    return Row(
        method=run.label,
        seed=run.settings.seed,
        accuracy=tuple(run.found[name].accuracy for name in PARTS),
        wall=run.wall,
        cpu=run.cpu,
        run=run,
    )


def reference_models() -> dict[str, Any]:
    """Return scikit-learn's classifiers by their names."""
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.svm import SVC
    except ImportError as error:
        raise InputError(
            f"--reference needs scikit-learn: pip install 'varpro-surrogates[examples]' ({error})"
        ) from error
    return {
        "SVM, Gaussian": SVC(C=100, gamma="scale"),
        "logistic regression": LogisticRegression(C=1, max_iter=3000),
    }


def references(
    dataset: Dataset, settings: TrainConfig, seed: int, models: Mapping[str, Any]
) -> Iterator[Row]:
    """Train them on standardised bands, and on bands mixed by the settings."""
    parts = [dataset.part(name) for name in PARTS]
    labels = [C.argmax(axis=1) for _, C in parts]
    mean, std = parts[0][0].mean(axis=0), parts[0][0].std(axis=0)
    bands = [(Y - mean) / np.where(std > 0, std, 1) for Y, _ in parts]
    inputs = {"": bands}
    mix = settings.mix
    if mix is not None:
        mixing = mix.of(torch.from_numpy(bands[0].T @ bands[0] / len(bands[0]))).numpy()
        inputs[", mixed"] = [Y @ mixing.T for Y in bands]
    for what, values in inputs.items():
        for name, model in models.items():
            wall, cpu = time.perf_counter(), time.process_time()
            model.fit(values[0], labels[0])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            pairs = zip(values, labels, strict=True)
            accuracy = tuple(float(model.score(Y, c)) for Y, c in pairs)
            yield Row(method=name + what, seed=seed, accuracy=accuracy, wall=wall, cpu=cpu)


def describe(scene: Scene, dataset: Dataset, settings: TrainConfig) -> None:
    """Print the samples and the settings."""
    n_rows, n_columns, n_bands = scene.cube.shape
    sizes = ", ".join(f"{name} {dataset.size(name)}" for name in PARTS)
    print(
        f"{scene.name}: {n_rows} x {n_columns} pixels, {n_bands} bands; {len(dataset.Y)} pixels "
        f"of {len(scene.class_names)} classes: {sizes} (split {dataset.info.split})"
    )
    defaults, here = (config.entries(config.to_toml(one)) for one in (TrainConfig(), settings))
    changed = (f"{key}={value}" for key, value in here.items() if value != defaults[key])
    print(f"settings: {' '.join(changed)}")


def summarise(rows: Sequence[Row]) -> None:
    """Print means and standard deviations over the seeds."""
    print(f"\n{'mean and std over seeds':30}" + "".join(f"{name:>16}" for name in PARTS))
    for method in dict.fromkeys(row.method for row in rows):
        of = [row for row in rows if row.method == method]
        cells = []
        for values in zip(*(row.accuracy for row in of), strict=True):
            std = statistics.stdev(values)
            cells.append(f"{per_cent(statistics.mean(values))} +- {per_cent(std)}")
        wall, cpu = (statistics.mean(getattr(row, name) for row in of) for name in ("wall", "cpu"))
        line = "".join(f"{cell:>16}" for cell in cells)
        print(f"{method:30}{line}{wall:9.1f} s, CPU {cpu:.1f} s each")


def report(dataset: Dataset, run: Run) -> None:
    """Print accuracy by class, the confusion matrix, and the probabilities' quality."""
    names = dataset.info.c_names
    wide = max(map(len, names)) + 2
    print(f"\n{'accuracy [%] (pixels)':{wide}}" + "".join(f"{name:>18}" for name in PARTS))
    for k, name in enumerate(names):
        cells = (cell(run.found[part], k) for part in PARTS)
        print(f"{name:{wide}}" + "".join(f"{text:>18}" for text in cells))
    means = (np.nanmean(run.found[part].class_accuracy) for part in PARTS)
    print(f"{'mean of the classes':{wide}}" + "".join(f"{per_cent(x):>11}{'':7}" for x in means))

    print("\nvalidation pixels by true class (row) and predicted one (column)")
    print(" " * wide + "".join(f"{k + 1:6}" for k in range(len(names))))
    for k, (name, counts) in enumerate(
        zip(names, run.found["validation"].confusion, strict=True), start=1
    ):
        print(f"{k:2} {name:{wide - 3}}" + "".join(f"{n:6}" if n else "     ." for n in counts))
    test = run.found["test"]
    print(
        f"\ntemperature {float(run.classifier.temperature):.3f}; on test: cross-entropy "
        f"{test.cross_entropy:.3f}, Brier score {test.brier:.3f}, expected calibration error "
        f"{per_cent(test.calibration_error)} %"
    )


def cell(found: Assessment, k: int) -> str:
    """Write a class's accuracy and its pixels."""
    n = sum(found.confusion[k])
    return f"{per_cent(found.class_accuracy[k]) if n else '-':>11} ({n})"


def draw(scene: Scene, prediction: Array, trained: Array, path: Path) -> None:
    """Draw the maps of truth, prediction and difference.

    Args:
        scene: The scene.
        prediction: Classes, numbered as in the scene's ground truth, (n_rows, n_columns).
        trained: Whether each pixel was trained on, (n_rows, n_columns), bool.
        path: The figure.
    """
    n_rows, n_columns = scene.truth.shape
    labelled, wrong = scene.truth > 0, prediction != scene.truth
    unseen = labelled & ~trained
    share = per_cent(float(wrong[unseen].mean()))
    print(f"\n{unseen.sum()} labelled pixels not trained on: {share} % wrong")
    lines = -(-len(scene.class_names) // 4)
    width = plotting.WIDTH
    size = (width, width / 3 * n_rows / n_columns + 0.18 * lines + 0.5)
    with plotting.saved_figure(path, size, "") as figure:
        from matplotlib.colors import BoundaryNorm, ListedColormap

        colors = class_colors(len(scene.class_names))
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        difference = np.where(wrong, 3, np.where(trained, 1, 2))
        for axes, values, palette, title in (
            (panels[0], scene.truth, colors, "ground truth"),
            (panels[1], prediction, colors, "prediction"),
            (
                panels[2],
                difference,
                list(_DIFFERENCE.values()),
                f"{share} % of {unseen.sum()} unseen pixels wrong",
            ),
        ):
            axes.imshow(
                np.ma.masked_where(~labelled, values),
                cmap=ListedColormap(palette),
                norm=BoundaryNorm(np.arange(0.5, len(palette) + 1), len(palette)),
                interpolation="nearest",
            )
            axes.set(title=title, xticks=[], yticks=[])
            axes.grid(False)
            for spine in axes.spines.values():
                spine.set(visible=True, color=GREY, linewidth=0.6)
        for place, names, palette, columns in (
            ("left", scene.class_names, colors, 4),
            ("right", _DIFFERENCE.keys(), _DIFFERENCE.values(), 1),
        ):
            handles = [legend_key(color, "", marker="s", markersize=6) for color in palette]
            names = [plotting.plain(name) for name in names]
            how = {"ncols": columns, "fontsize": 8, "handletextpad": 0, "columnspacing": 1}
            plotting.legend(figure, handles, names, loc=f"outside lower {place}", **how)


def class_colors(n: int) -> list[Any]:
    """Return a colour for each class: tints and shades of few hues."""
    from matplotlib.colors import to_rgb

    hues = [np.array(to_rgb(color)) for color in plotting.CYCLE]
    tones = [lambda c: c, lambda c: 0.45 * c + 0.55, lambda c: 0.55 * c]
    return [tuple(tones[k // len(hues) % 3](hues[k % len(hues)])) for k in range(n)]


if __name__ == "__main__":
    sys.exit(main())
