"""Where samples are kept: in memory, or mapped from a file."""
