"""Checks of a problem at a few random parameters; `check` begins them."""
