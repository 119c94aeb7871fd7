"""Feature extractors: the nonlinear part F(y; theta) of a surrogate c = [F(y), 1] W^T.

A feature extractor is a `torch.nn.Module` with integer attributes ``n_in`` and ``width``. Two
methods are required of a module of your own (`FeatureExtractor`):

    forward                 maps inputs (N, n_in) to features (N, width); torch.func can transform
                            it. Training needs no other method.
    forward_and_jacobian    returns these features and their derivatives, (N, width, n_in). The
                            surrogate file calls it.

Others are optional:

    refined                 returns a larger network with the same function, for multilevel training
    roughness               returns a quadratic form, for weights that are smooth in time
    sensitivities, coordinates, parameters_at
                            return derivatives by the parameters with more structure than torch can
                            find
    tangents, sensitivities_along
                            return derivatives of the features, and of ``sensitivities``, along
                            directions of the inputs, for training with derivatives

The networks of this folder are a first layer, u = sigma(K_in y + b_in), and stages sigma(A u + b)
after it. The stages are those of Runge-Kutta steps (`AntisymmetricODE`), layers with a skip
connection (`ResNet`), or layers without one (`MLP`). `ACTIVATIONS` names the sigma that they take.
In place of ``forward_and_jacobian`` they have ``fused``, a form for the surrogate file.
"""

from ..kinds import ACTIVATIONS
from .extractor import FeatureExtractor, Sensitivities, SensitivitiesAlong, with_ones
from .mlp import MLP
from .ode import AntisymmetricODE
from .resnet import ResNet

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "AntisymmetricODE",
    "FeatureExtractor",
    "ResNet",
    "Sensitivities",
    "SensitivitiesAlong",
    "with_ones",
]
