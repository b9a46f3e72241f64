"""Diagnosis of the logs of other programs."""
