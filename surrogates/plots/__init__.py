"""Figures of trainings, surrogates and PDE solutions."""
