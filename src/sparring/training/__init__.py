"""Training: one loop, in straight lines. `sparring.train` and `sparring.resume` are what users call."""

from sparring.base.lazy import lazy_names

__getattr__ = lazy_names("sparring.training", {"loop": ("Interrupted",), "train": ("resume",)})
