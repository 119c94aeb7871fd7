"""From a PDE to a surrogate of a stated error: the loop of solves and trainings.

    surrogate = surrogates.learn("darcy.py:Darcy", target=0.01, out="best.pt", budget=2000)

One round trains a surrogate on all samples so far, and solves for a fresh random batch that it has
not seen. The mean error on this batch, with an interval, is an honest estimate: no sample of it was
designed, and the surrogate does not change afterwards. The loop ends when the upper limit is below
the target, or the budget is spent. Otherwise the batch joins the training samples, with others that
the surrogate itself suggests, and the next round begins.

    the arguments, checked                              asked: Asked, Budget
    errors on a batch, and the interval of their mean   estimate: Estimate
    numbers of samples, levels of the looks             policy: Policy
    the folder ``<out>.learn``, its lock and decisions  state: State
    solves, and the datasets joined                     samples: Samples
    coarse solves beside fine ones                      fidelities: Coarse, Shares
    the rounds                                          loop: learn
    the surrogate's file                                certified: write
    the page                                            report: write

This room stands above `pde`, `training` and `design`, and imports each when it is needed.
"""
