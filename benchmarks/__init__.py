"""Measurements. Each module runs by itself: python -m benchmarks.speed, .quality, .startup."""
