"""Names of activation functions and kernels. Imports no torch: settings are checked by them."""

ACTIVATIONS = ("tanh", "softplus", "sigmoid", "relu")
"""Names of the activation functions. relu has the derivative 0 at 0."""

KERNELS = ("gaussian", "matern52")
"""Names of the kernels, kappa."""
