"""A surrogate as an ONNX model: NAME.onnx, which onnxruntime evaluates in C++, C#, Java and so on.

The graph has the formulas of `surrogates.export.npz` in double precision, with derivatives in
closed form. Its input y is a batch, (n, n_in), and it has an output for each method. onnxruntime
computes all outputs at each call, whichever are asked for; so a model may be written for one method
alone.

    graph     expressions that append nodes
    blocks    the features of each block, and their derivatives
    write     the outputs, the metadata, and the file
"""

from .write import OUTPUTS, save

__all__ = ["OUTPUTS", "save"]
