"""Training images streamed from shards: tar files in the WebDataset format, local, remote, or a command's output."""
