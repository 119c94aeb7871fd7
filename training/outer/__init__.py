"""The outer problem: the features' parameters theta."""
