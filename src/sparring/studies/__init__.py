"""Studies over many runs: sweeps, comparisons, treatments, and the clinic."""
