"""Adapters: a surrogate as codes for uncertainty quantification and inversion take it.

Each module is for one package, has its name, and imports it when one of its functions is called.
An adapter takes any `LoadedSurrogate`, passes on names, bounds and gradients, and needs no torch
unless its package does. Of a classifier c are the logits. `docs/adapters.md` has a program for
each.
"""
