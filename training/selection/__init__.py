"""The choice among surrogates by held-out errors, and their error bars."""
