"""The surrogate: networks, the deployable module, its file, and what users call."""
