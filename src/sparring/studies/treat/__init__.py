"""Treatments: fixes that are tried in short trainings."""
