r"""The classifier that users call, and the errors of its classes and probabilities.

    logits(y) = W [F((y - y_shift) / y_scale), 1]^T / T,    probabilities = softmax(logits)

maps parameters, in the dataset's units, to one logit for each class. The temperature T was found on
validation samples (`surrogates.training.deploy`), and W absorbs it in every file. So the softmax of
a file's logits is calibrated: of the samples whose largest probability is 0.8, about 80 % are of
that class (Guo et al. 2017, "On calibration of modern neural networks"). `assess` measures how well
this holds. The most probable class does not depend on T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .networks import FeatureExtractor
from .parts import Domain, Values
from .summaries import Assessment, Bin
from .surrogate import Surrogate

BINS = 10
"""Number of intervals of the largest probability, of equal width, for reliability."""


class Classifier(Surrogate):
    """The map from y to the logits of classes, with its Jacobian in closed form and its domain.

    Arguments and errors are those of `Surrogate`. ``forward`` returns calibrated logits, and
    ``jacobian``, ``jvp`` and ``vjp`` are their derivatives. A classifier has no error bars: its
    probabilities say how sure it is, and its file has neither ``predict_std`` nor
    ``predict_interval``. Outside the domain, a wrong class may have a probability near 1.

    Attributes:
        temperature: The divisor of the logits, which ``W`` and ``c`` already contain; > 0, ().
    """

    if TYPE_CHECKING:
        temperature: Tensor

    def __init__(
        self,
        features: FeatureExtractor,
        W: Values,
        y_shift: Values,
        y_scale: Values,
        domain: Domain,
        temperature: float = 1.0,
    ) -> None:
        """Copy the parts, as float64 constants in evaluation mode.

        Args:
            features: A network of `networks`, or any module with the methods of `FeatureExtractor`.
            W: Linear layer of [F, 1] to the logits before calibration, (n_classes, n_feat + 1).
            y_shift: Subtracted from y, (n_in,), units of y.
            y_scale: Divides y after that, (n_in,), units of y.
            domain: Where the training parameters lie.
            temperature: Divides the logits, > 0.

        Raises:
            ValueError: If shapes disagree, a value is not finite, or a scale or the temperature is
                not positive.
        """
        if not temperature > 0:
            raise ValueError(f"expected a temperature > 0; got {temperature}")
        super().__init__(features, torch.as_tensor(W) / temperature, y_shift, y_scale, domain)
        self.register_buffer("temperature", self.W.new_tensor(temperature))

    @torch.jit.export
    def probabilities(self, y: Tensor) -> Tensor:
        """Return the calibrated probability of each class.

        Args:
            y: Parameters, (n_in,) or (n, n_in), units of the dataset.

        Returns:
            (n_classes,) or (n, n_classes), in [0, 1], of sum 1.
        """
        return torch.softmax(self.forward(y), -1)

    @torch.jit.export
    def predict(self, y: Tensor) -> Tensor:
        """Return the most probable class.

        Args:
            y: Parameters, (n_in,) or (n, n_in), units of the dataset.

        Returns:
            Its index, from 0, int64 () or (n,); -1 for a parameter that is NaN.
        """
        logits = self.forward(y)
        return torch.where(logits.isnan().any(-1), -1, logits.argmax(-1))

    def predict_std(self, y: Tensor) -> Tensor:
        """Raise an error: a classifier has no error bars. It is not exported, so no file has it."""
        raise NotImplementedError("a classifier has probabilities in place of error bars")

    def predict_cov(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Raise the error of `predict_std`."""
        raise NotImplementedError("a classifier has probabilities in place of error bars")

    def predict_interval(self, y: Tensor, level: float) -> Tensor:
        """Raise the error of `predict_std`."""
        raise NotImplementedError("a classifier has probabilities in place of error bars")


def assess(
    logits: Callable[[Tensor], Tensor], Y: Tensor, C: Tensor, *, batch: int = 8192
) -> Assessment:
    """Measure the errors of a classifier.

    Args:
        logits: A `Classifier`, or any function (n, n_in) -> (n, n_classes).
        Y: Parameters, (n, n_in), n >= 1.
        C: True probabilities of the classes, one-hot as a rule, (n, n_classes).
        batch: Samples predicted at once, which bounds the memory.

    Raises:
        ValueError: If there is no sample, the shapes disagree, or a logit is not finite.
    """
    if not len(Y) == len(C) > 0:
        raise ValueError(f"expected as many Y as C, at least 1; got {len(Y)} and {len(C)}")
    with torch.no_grad():
        found = torch.cat([logits(piece) for piece in torch.split(Y, batch)])
    if found.shape != C.shape:
        raise ValueError(f"expected logits of shape {tuple(C.shape)}; got {tuple(found.shape)}")
    if not torch.isfinite(found).all():
        raise ValueError("expected finite logits")
    n, n_classes = C.shape
    p, log_p = torch.softmax(found, dim=1), torch.log_softmax(found, dim=1)
    predicted = found.argmax(dim=1)
    right = C.gather(1, predicted[:, None])[:, 0].double()
    confusion = C.T.double() @ torch.nn.functional.one_hot(predicted, n_classes).double()
    counts = confusion.long() if bool(((C == 0) | (C == 1)).all()) else confusion
    reliability = _reliability(p.max(dim=1).values, right)
    gaps = [bin.samples * abs(bin.accuracy - bin.confidence) for bin in reliability if bin.samples]
    return Assessment(
        samples=n,
        accuracy=float(right.mean()),
        class_accuracy=tuple((confusion.diagonal() / confusion.sum(dim=1)).tolist()),
        confusion=tuple(map(tuple, counts.tolist())),
        cross_entropy=float(-(C * log_p).sum(dim=1).mean()),
        brier=float((p - C).square().sum(dim=1).mean()),
        calibration_error=sum(gaps) / n,
        reliability=reliability,
    )


def _reliability(confidence: Tensor, right: Tensor) -> tuple[Bin, ...]:
    index = (torch.ceil(BINS * confidence) - 1).clamp(0, BINS - 1).long()
    counts = torch.bincount(index, minlength=BINS)
    means = [torch.bincount(index, x, minlength=BINS) / counts for x in (confidence, right)]
    rows = zip(counts.tolist(), *(mean.tolist() for mean in means), strict=True)
    return tuple(
        Bin(lower=i / BINS, upper=(i + 1) / BINS, samples=n, confidence=mean, accuracy=share)
        for i, (n, mean, share) in enumerate(rows)
    )
