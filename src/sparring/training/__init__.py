"""Training: one loop, in straight lines."""
