"""Figures. Each function writes one file, whole or not at all.

The ending of the file (.png, .pdf, .svg) is its format.

    history           the course of trainings
    learning          the course of a run of `surrogates.learn`
    regression        predictions beside observables: parity, observations
    classification    confusion and reliability
    style             the size and style of all of them, for figures of your own
"""
