"""The training loop. `sparring.train` and `sparring.resume` are its public functions."""

from sparring.base.lazy import lazy_names

__getattr__ = lazy_names("sparring.training", {"loop": ("Interrupted",), "train": ("resume",)})
