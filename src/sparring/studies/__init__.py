"""What works on many runs: sweeps, comparisons, treatments, the clinic."""
