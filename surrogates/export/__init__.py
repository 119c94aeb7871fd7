"""The forms in which a surrogate is written for other programs, beside its surrogate file.

Each form is a module with ``save(surrogate, path)``, which takes what `surrogates.load` returns:

    c      C99 source without dependencies
    html   one page that a browser opens from disk
    jax    one Python module of JAX functions
    npz    arrays, and their evaluation in numpy alone
    pt2    a program of torch.export
"""
