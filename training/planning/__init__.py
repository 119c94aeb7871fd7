"""How many samples a stated error takes: learning curves, and what they cost."""
