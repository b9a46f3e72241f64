"""Build a training state from a recipe."""
