r"""A surrogate as C99 source: NAME.c and NAME.h, which need nothing but libm.

The functions are those of `surrogates.model.surrogate.Surrogate`, or of a `Classifier`, for one
sample; the header that `save` writes says what each of them takes and returns. All data are
constant and everything else is on the stack, so any number of threads may call them. The formulas
are in the text of `surrogates.export.npz`.

One loop, ``affine``, computes every product of a matrix with a vector. It runs over panels of the
matrix: eight rows, column by column. The sums stay in registers, and a compiler vectorises the
loop without permission to reorder a sum. Derivatives run backwards through the same loop, on
transposed copies. The Jacobian has a closed form: of inputs, outputs and features, the fewest are
taken through the network, forwards for inputs and backwards for the others.

Kriging of many outputs has weights of low rank, which are written as two factors (`low_rank`).

The templates of the source lie in this folder; `surrogates.export.c.templates` lists them.
"""

from .write import save

__all__ = ["save"]
