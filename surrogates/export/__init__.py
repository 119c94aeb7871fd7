"""The forms in which a surrogate is written for other programs, beside its surrogate file.

Each form is a module with ``save(surrogate, path)``, which takes what `surrogates.load` returns:

    c      C99 source without dependencies; c.fortran and c.loader with a module for Fortran or
           Python beside it
    html   one page that a browser opens from disk
    jax    one Python module of JAX functions
    npz    arrays, and their evaluation in numpy alone
    onnx   a model of ONNX
    pt2    a program of torch.export
"""
