"""Dataset files, and how samples get into them. Imports neither torch nor DOLFINx."""
