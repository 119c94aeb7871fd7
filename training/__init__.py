"""Training: a dataset becomes a surrogate by variable projection. Imports no PDE library.

`train.train` is the entry: it chooses a surrogate (`selection`), or trains one network (`fit.fit`).
The list below says where each equation of the paper is computed (Newman, Ruthotto, Hart and van
Bloemen Waanders 2021, "Train Like a (Var)Pro: Efficient Training of Neural Networks with Variable
Projection"; its samples are columns, ours are rows):

    Phi(W, theta), the inner problem, W(theta)      inner/varpro: solve_w, LeastSquaresSolution
    losses: least squares, cross-entropy, others    inner/losses: Loss
    W(theta) for these, by Newton-Krylov            inner/newton: minimise, NewtonSolution
    the reduced problem Phi_red, its gradient       outer/gauss_newton: ReducedProblem
    Tikhonov's penalty, weights smooth in time      outer/penalty: Penalty
    the Jacobian of the reduced residual            inner/solution: ReducedJacobian
                                                    (J @ v, J.T @ M, J.gram)
    products with the features' Jacobian            features: FeatureJacobian
    the Gauss-Newton matrix, exact                  outer/dense: gauss_newton_matrix
    the Gauss-Newton matrix on a Krylov space       outer/krylov: lanczos
    the matrix in Kronecker products, for L-BFGS    outer/kronecker: Kronecker
    the trust-region subproblem, the radius         trust_region: solve_subproblem, RadiusRule
    an iteration of GNvpro, its work units          outer/gauss_newton: GaussNewton
    levels: refinement, alpha1                      outer/multilevel: Multilevel
    scaling of inputs, errors; of targets           data: Data, Mix; scaling: Scaling
    methods to compare with                         outer/baselines, outer/lbfgs: LBFGS
    samples over several processes                  communicator: Communicator

A training:

    its settings, and those of older files          config: TrainConfig, stored; names: known
    the network with the first weights              initial: network
    a linear part, the inputs as features           beside: WithInputs
    the outer method, chosen by sizes               methods: methods
    the file that it is resumed from                checkpoint: Checkpoint
    one record per iteration                        history: Record

The choice of a surrogate:

    candidates and their weights                    selection/regression, selection/classes: choose
    candidates besides networks                     selection/regression_candidates,
                                                    selection/class_candidates
    networks on folds, within a cost                selection/contest, selection/folds, pool
    how networks are judged                         selection/squares, selection/entropy
    the mean of candidates                          selection/stacking: stacked
    radial basis functions, by likelihood           selection/kernel, selection/likelihood
    ridge regressions                               selection/ridge
    candidates from another surrogate               selection/start; its file: weights
    logistic regressions, on radial functions too   selection/plain, inner/logistic
    error bars from held-out residuals              selection/bars
    the surrogate that is written                   deploy, temperature
    missing observables                             completion
    what adjoints do not see                        unseen
    logarithms of inputs and outputs                logs

and from the callers to the files:

    surrogates.train, surrogates.fit                make; the settings they are given: settings
    checkpoint, surrogate file, history             run, which the command train calls as well
    a surrogate with its errors and warnings        train, outcome, advice
"""
