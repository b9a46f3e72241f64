"""The checkup of data before training."""
