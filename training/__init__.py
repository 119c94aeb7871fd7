"""Training: a dataset becomes a surrogate by variable projection. Imports no PDE library.

`train.train` is the entry: it chooses a surrogate (`selection`), or trains one network (`fit.fit`).
Where what the paper describes is found (Newman, Ruthotto, Hart and van
Bloemen Waanders 2021, "Train Like a (Var)Pro: Efficient Training of Neural Networks with Variable
Projection"; its samples are columns, ours are rows):

    Phi(W, theta), the inner problem, W(theta)      varpro: solve_w, LeastSquaresSolution
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
    scaling of inputs, errors; of targets           data: Data, Mix; scaling: Scaling
    the methods that it is compared with            baselines
    samples over several processes                  processes

and where the choice of a surrogate is made:

    what is tried, and how it is weighed            selection, for classes: classes, entropy
    networks on folds, within a cost                contest, folds, pool
    radial basis functions, by likelihood           kernel
    ridge regressions                               ridge
    what starts from another surrogate              start; its file: weights
    logistic regressions, on radial functions too   plain, logistic
    error bars from held-out residuals              bars
    the surrogate that is written                   deploy
    missing observables                             completion
    logarithms of inputs and outputs                logs

and from the callers to the files:

    surrogates.train, surrogates.fit                make; the settings they are given: settings
    checkpoint, surrogate file, history             run, which the command train calls as well
    a surrogate with its errors and warnings        train, outcome, advice
"""
