"""Training: a dataset becomes a surrogate by variable projection. Imports no PDE library.

`fit.fit` is the entry. Where what the paper describes is found (Newman, Ruthotto, Hart and van
Bloemen Waanders 2021, "Train Like a (Var)Pro: Efficient Training of Neural Networks with Variable
Projection"; its samples are columns, ours are rows):

    Phi(W, theta), the inner problem, W(theta)      varpro: solve_w, InnerSolution
    losses: least squares, cross-entropy, others    losses: Loss
    W(theta) for these, by Newton-Krylov            newton: minimise, NewtonSolution
    the reduced problem Phi_red, its gradient       gauss_newton: ReducedProblem
    Tikhonov's penalty, weights smooth in time      penalty: Penalty
    the Jacobian of the reduced residual            varpro: ReducedJacobian (J @ v, J.T @ M, J.gram)
    products with the features' Jacobian            features: FeatureJacobian
    the Gauss-Newton matrix, exact                  dense: gauss_newton_matrix
    the Gauss-Newton matrix on a Krylov space       krylov: lanczos
    the matrix in Kronecker products, for L-BFGS    kronecker
    the trust-region subproblem, the radius         trust_region
    an iteration of GNvpro, its work units          gauss_newton: GaussNewton
    levels: refinement, alpha1                      multilevel: Multilevel
    scaling of inputs and targets, errors           data: Data, Mix
    the methods that it is compared with            baselines
    samples over several processes                  processes
"""
