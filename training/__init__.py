"""Training: a dataset becomes a surrogate by variable projection. Imports no PDE library.

`fit.fit` is the entry. Below it: `multilevel` runs `gauss_newton` on networks of growing depth;
that minimises the reduced problem of `varpro` with models from `dense` and `krylov` in a
`trust_region`. `baselines` has other methods, to compare it with.
"""
