"""Helpers independent of GANs: errors, component texts, seeds, files, downloads, processes, devices."""
