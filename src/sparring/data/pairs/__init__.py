"""Pairs of images, and two unpaired sets of images."""
