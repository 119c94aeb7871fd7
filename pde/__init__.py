"""FEniCSx problems to dataset files. Never imports torch."""
