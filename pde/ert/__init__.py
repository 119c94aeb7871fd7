"""DC resistivity surveys: the problem `ert`."""
