"""Storage of samples: in memory, or memory-mapped from a file."""
