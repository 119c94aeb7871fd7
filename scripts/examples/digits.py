r"""Recognise handwritten digits with your own convolutional network, trained by GNvpro.

    python scripts/examples/digits.py [--split A/B/C|balanced] [--set KEY=VALUE ...] [--seed 0]
        [--out digits.pt]

The images are the 1797 of 8 x 8 pixels that scikit-learn ships (Alpaydin and Kaynak 1998, "Optical
recognition of handwritten digits"). The same network, from the same weights, with the same work
units, is trained by GNvpro, L-BFGS with variable projection and Adam, by mean cross-entropy.

`Convolutions` has all that training and export need of a network: parameters in double precision,
``n_in`` and ``width``, a ``forward`` that ``torch.func`` can transform and TorchScript compile,
and, only for the surrogate file, the derivatives of the features with respect to the inputs.

Beside OUT.pt, the classifier by GNvpro, it writes OUT.history.jsonl and the figure OUT.png:
convergence.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from classification import OPTIMIZERS, check_out, per_cent, save, train
from program import Parser, ended, say
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from surrogates import config
from surrogates.config import check, check_seed, replaced
from surrogates.data import PARTS, Dataset, as_dataset
from surrogates.errors import InputError
from surrogates.plots import history as plotting
from surrogates.training.config import TrainConfig

SETTINGS = (
    *(
        "optimizer.method=kronecker",
        "network.width=32",
        "stopping.work_units=400",
        "precision=single",
    ),
    *("regularisation.alpha1=3e-4", "regularisation.alpha2=1e-3", "inputs.scale=0.3"),
)
COMPARED = ("gnvpro", "lbfgs", "adam")
SIDE = 8  # of an image, in pixels


class Convolutions(nn.Module):
    """Two convolutions with tanh and average pooling, and a dense layer with tanh.

    Attributes:
        n_in: Pixels of an image.
        width: Number of features.
    """

    def __init__(self, width: int, channels: tuple[int, int], generator: torch.Generator) -> None:
        """Draw the weights, of standard deviation sqrt(1 / inputs); biases start at zero."""
        super().__init__()
        self.n_in, self.width = SIDE * SIDE, width
        first, second = channels
        pooled = second * (SIDE // 4) ** 2

        def weights(*shape: int) -> nn.Parameter:
            K = torch.randn(shape, generator=generator, dtype=torch.float64)
            return nn.Parameter(K / K[0].numel() ** 0.5)

        def biases(n: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(n, dtype=torch.float64))

        self.K1, self.b1 = weights(first, 1, 3, 3), biases(first)
        self.K2, self.b2 = weights(second, first, 3, 3), biases(second)
        self.K3, self.b3 = weights(width, pooled), biases(width)

    def forward(self, Y: Tensor) -> Tensor:
        """Map images (N, n_in) to features (N, width)."""
        u = Y.view(-1, 1, 8, 8)
        for K, b in ((self.K1, self.b1), (self.K2, self.b2)):
            u = avg_pool2d(torch.tanh(torch.conv2d(u, K, b, padding=1)), 2)
        return torch.tanh(torch.addmm(self.b3, u.flatten(1), self.K3.t()))

    def forward_and_jacobian(self, Y: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (N, n_in) to features (N, width) and their derivatives (N, width, n_in).

        The derivatives are computed forward with the values: a linear layer acts on them without
        its bias, and tanh multiplies them by its slope.
        """
        n, n_in = Y.shape
        u = Y.view(-1, 1, 8, 8)
        du = torch.eye(n_in, dtype=Y.dtype, device=Y.device).repeat(n, 1).view(-1, 1, 8, 8)
        for K, b in ((self.K1, self.b1), (self.K2, self.b2)):
            u = torch.tanh(torch.conv2d(u, K, b, padding=1))
            slope = (1 - u * u).repeat_interleave(n_in, 0)
            du = avg_pool2d(slope * torch.conv2d(du, K, padding=1), 2)
            u = avg_pool2d(u, 2)
        F = torch.tanh(torch.addmm(self.b3, u.flatten(1), self.K3.t()))
        dF = torch.matmul(self.K3, du.view(n, n_in, -1).transpose(1, 2))
        return F, (1 - F * F).unsqueeze(2) * dF


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, print and draw; return the exit status."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--split",
        default="0.5/0.25/0.25",
        help="as `surrogates import` takes it; default %(default)s",
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0, help="of split and weights; default 0")
    parser.add_argument("--out", default="digits.pt", help="default digits.pt")
    return ended(lambda: study(parser.parse_args(arguments)))


def study(options: Namespace) -> None:
    """Print the table, and write classifier and figure."""
    out, seed = Path(options.out), options.seed
    check_out(out)
    check_seed(seed)
    settings = config.read(TrainConfig, None, (*SETTINGS, f"seed={seed}", *options.set))
    check(settings.optimizer.name == "gnvpro", "the optimizers are gnvpro, lbfgs and adam here")
    dataset = read(options.split, seed)
    width, generator = settings.network.width, torch.Generator().manual_seed(settings.seed)
    network = Convolutions(width, (8, 16), generator)
    n_theta = sum(parameter.numel() for parameter in network.parameters())
    sizes = ", ".join(f"{name} {dataset.size(name)}" for name in PARTS)
    print(f"{sizes} images; {n_theta} weights of the network, {10 * (width + 1)} in W\n")
    print(
        f"{'accuracy [%]':18}"
        + "".join(f"{name:>12}" for name in PARTS)
        + f"{'cross-entropy, test':>22}{'work units':>12}{'wall [s]':>10}{'CPU [s]':>9}"
    )
    runs = {}
    for optimizer in COMPARED:
        say(OPTIMIZERS[optimizer])
        run = train(dataset, replaced(settings, {"optimizer.name": optimizer}), network)
        runs[run.label] = run
        print(
            f"{run.label:18}"
            + "".join(f"{per_cent(run.found[name].accuracy):>12}" for name in PARTS)
            + f"{run.found['test'].cross_entropy:22.4f}{run.classifier.history[-1].work_units:12}"
            + f"{run.wall:10.1f}{run.cpu:9.1f}",
            flush=True,
        )
    first = runs[OPTIMIZERS["gnvpro"]]
    loaded = save(first, out)
    Y, C = dataset.part("test")
    right = (loaded.predict(Y) == C.argmax(axis=1)).sum()
    figure = out.with_suffix(".png")
    histories = {label: run.classifier.history for label, run in runs.items()}
    title = f"handwritten digits, {dataset.size('train')} training images"
    plotting.history(histories, figure, task="classification", title=title)
    print(
        f"\nclassifier: {out}; loaded again, it classifies {right} of {len(Y)} test images rightly"
    )
    print(f"figure: {figure}")


def read(split: str, seed: int) -> Dataset:
    """Make a dataset of the images; the seed is the split's."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "the images come with scikit-learn: pip install 'varpro-surrogates[examples]' "
            f"({error})"
        ) from error
    Y, labels = load_digits(return_X_y=True)
    return as_dataset(
        Y,
        np.eye(10)[labels],
        problem="digits",
        task="classification",
        y_names=[f"pixel({i}, {j})" for i in range(SIDE) for j in range(SIDE)],
        c_names=[str(digit) for digit in range(10)],
        split=split,
        seed=seed,
    )


if __name__ == "__main__":
    sys.exit(main())
