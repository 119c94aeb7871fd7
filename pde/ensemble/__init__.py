"""An ensemble of solves: tasks over the processes of a communicator, saved as they finish."""
