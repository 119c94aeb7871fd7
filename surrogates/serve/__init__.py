"""Surrogates over HTTP."""
