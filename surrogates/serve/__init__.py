"""Surrogates over HTTP, by `surrogates.serve.serving.serve`; needs the extra ``serve``."""
