"""The surrogate: networks, the module that is deployed, its file, and its errors."""
