"""Pairs of images, and two sets of them."""
