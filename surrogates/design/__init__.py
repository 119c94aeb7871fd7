r"""The design of samples: where to solve next, by the surrogate alone.

    surrogates.suggest("cdr.pt", 50)                    # an array of points
    designer = surrogates.Designer(surrogate)           # again and again, with results in between

`posterior` has the covariance of a surrogate's error between points, `sizes` how large the error is
about a point, `candidates` draws points as the problem draws its samples, and `greedy` chooses a
batch of them. Importing this room imports numpy and scipy, and not torch.
"""
