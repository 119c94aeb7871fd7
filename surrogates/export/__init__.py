"""Other forms of a surrogate file: C source, and arrays that numpy evaluates."""
