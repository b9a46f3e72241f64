"""Treat a failing run: try fixes in short trainings, train the best to the end."""
